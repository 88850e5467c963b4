/* team.c: the threads that call entries. They are made once, by one parallel region around the whole run: the first
   thread runs the schedule and hands out calls, the others wait for them. Waiting is a short spin, then sleep: on a
   busy machine a thread that spins keeps the one that it waits for from running.

   A team of as many threads as the process may use cores keeps each thread to one of them: else the system, when it is
   busy, leaves two on the same core for many steps, taking turns while they wait for each other.

   How many threads take part in a call depends on the work of the entry and never on the data. */
#define _GNU_SOURCE                      /* sched_setaffinity */
#include "rt.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#else                                    /* a compiler without OpenMP: one thread */
static int omp_get_num_procs(void) { return 1; }
#endif

enum {
    WORK_PER_THREAD = 200000,            /* multiply-adds that pay for one more thread */
    SPINS = 1000, YIELDS = 10,           /* looks before giving way; turns given away before sleeping */
};

/* A thread's own: what it is called with, and the number of calls it was to take part in. */
typedef struct { _Alignas(64) atomic_uint turn; nl_call call; nl_status status; char *scratch; } Member;

static struct {
    const Desc *desc;
    int n;
    Member *member;
    char *arena;
    bool testing;                        /* NLRT_TEST is set: every call is the whole team's, in memory full of garbage */
    /* the work that is handed out */
    Job job;
    void *with;
    int members;
    bool over;
    /* written by several threads, each on a line of its own */
    _Alignas(64) atomic_int arrived;     /* at the barrier */
    _Alignas(64) atomic_uint passed;     /* barriers */
    _Alignas(64) atomic_int asleep;
    pthread_mutex_t lock;
    pthread_cond_t wake;
} team = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static _Thread_local bool in_call;       /* of several threads: only then do others come to the barrier */

static inline void pause_a_bit(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Waits until *x is no longer `old`. */
static void wait_change(atomic_uint *x, unsigned old)
{
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load_explicit(x, memory_order_acquire) != old)
            return;
        if (i < SPINS)
            pause_a_bit();
        else
            sched_yield();
    }
    pthread_mutex_lock(&team.lock);
    atomic_fetch_add(&team.asleep, 1);
    while (atomic_load(x) == old)
        pthread_cond_wait(&team.wake, &team.lock);
    atomic_fetch_sub(&team.asleep, 1);
    pthread_mutex_unlock(&team.lock);
}

/* After a change: a thread that goes to sleep counts itself first and then looks again, so it is either seen here or
   sees the change. */
static void wake_sleepers(void)
{
    if (atomic_load(&team.asleep) == 0)
        return;
    pthread_mutex_lock(&team.lock);
    pthread_cond_broadcast(&team.wake);
    pthread_mutex_unlock(&team.lock);
}

static void meet(void)
{
    int all = team.members;              /* read before arriving: it may be another call's afterwards */
    unsigned passed = atomic_load_explicit(&team.passed, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team.arrived, 1, memory_order_acq_rel) + 1 == all) {
        atomic_store_explicit(&team.arrived, 0, memory_order_relaxed);
        atomic_fetch_add(&team.passed, 1);
        wake_sleepers();
    } else
        wait_change(&team.passed, passed);
}

void nlrt_barrier(void)
{
    if (in_call)
        meet();
}

int team_threads(void) { return team.n; }

void team_init(const Desc *d, int nthreads)
{
    size_t arena = 0, scratch = 0;
    for (int i = 0; i < d->nentry; i++) {
        arena = d->entry[i].arena > arena ? d->entry[i].arena : arena;
        scratch = d->entry[i].scratch > scratch ? d->entry[i].scratch : scratch;
    }
    team.desc = d;
    team.n = nthreads > 0 ? nthreads : omp_get_num_procs();
    team.member = rt_alloc(sizeof *team.member * (size_t)team.n);
    team.arena = rt_alloc(arena);
    team.testing = getenv("NLRT_TEST") != NULL;
    for (int t = 0; t < team.n; t++)
        team.member[t].scratch = rt_alloc(scratch);
}

/* The other threads below n are to go on. */
static void next_turn(int n)
{
    for (int t = 1; t < n; t++)
        atomic_fetch_add(&team.member[t].turn, 1);
    wake_sleepers();
}

static void take_part(int tid)
{
    in_call = true;
    team.job(team.with, tid, team.members);
    meet();                              /* what they wrote is seen afterwards */
    in_call = false;
}

static void serve(int tid)
{
    for (unsigned seen = 0;; seen++) {
        wait_change(&team.member[tid].turn, seen);
        if (team.over)
            return;
        take_part(tid);
    }
}

/* ---- a core for each thread */
#if defined(__linux__) && defined(_OPENMP)
static cpu_set_t cores;                  /* that the process may use */

static bool may_keep_cores(void)
{
    return !getenv("OMP_PROC_BIND") && sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) == team.n;
}

static void keep_core(int tid)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int c = 0, k = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, &cores) && k++ == tid)
            CPU_SET(c, &one);
    sched_setaffinity(0, sizeof one, &one);          /* where it is refused, threads are left as they are */
}

static void leave_core(void) { sched_setaffinity(0, sizeof cores, &cores); }
#elif defined(_OPENMP)
static bool may_keep_cores(void) { return false; }
static void keep_core(int tid) { (void)tid; }
static void leave_core(void) { }
#endif

void team_run(void (*work)(void *), void *with)
{
#ifdef _OPENMP
    omp_set_dynamic(0);
    bool keep = team.n > 1 && may_keep_cores();
#pragma omp parallel num_threads(team.n) if (team.n > 1)
    {
        if (keep)
            keep_core(omp_get_thread_num());
        if (omp_get_thread_num() > 0)
            serve(omp_get_thread_num());
        else {
            team.n = omp_get_num_threads();          /* may be fewer than asked for */
            work(with);
            team.over = true;
            next_turn(team.n);
        }
        if (keep)
            leave_core();
    }
#else
    team.n = 1;
    work(with);
    (void)serve;
#endif
}

int team_size(double work)
{
    if (team.testing)
        return team.n;
    double n = 1 + work / WORK_PER_THREAD;
    return n < team.n ? (int)n : team.n;
}

void team_do(int n, Job job, void *with)
{
    if (n <= 1) {
        job(with, 0, 1);
        return;
    }
    team.job = job;
    team.with = with;
    team.members = n;
    next_turn(n);
    take_part(0);
}

/* ---- calls of entries */
typedef struct { int entry; const Call *call; } Calling;

/* For tests: what a call reads before it wrote it there is not a number. */
static void spoil(char *memory, size_t bytes)
{
    if (team.testing && memory)
        memset(memory, 0xff, bytes);
}

static void run_member(void *with, int tid, int n)
{
    const Call *c = ((const Calling *)with)->call;
    const nl_entry *e = &team.desc->program->entry[((const Calling *)with)->entry];
    Member *m = &team.member[tid];
    spoil(m->scratch, team.desc->entry[((const Calling *)with)->entry].scratch);
    m->status = (nl_status){0};
    m->call = (nl_call){.state = c->state, .in = c->in, .out = c->out, .arena = team.arena, .scratch = m->scratch,
                        .count = c->count, .index = c->index, .seed = c->seed, .tid = tid, .nthreads = n,
                        .status = &m->status, .self = e->self};
    e->fn(&m->call);
}

nl_status team_call(int entry, const Call *c)
{
    Calling calling = {entry, c};
    int n = team_size(team.desc->entry[entry].work);
    spoil(team.arena, team.desc->entry[entry].arena);
    team_do(n, run_member, &calling);
    nl_status st = team.member[0].status;
    for (int t = 1; t < n; t++) {
        const nl_status *other = &team.member[t].status;
        if (other->bad && (!st.bad || other->site < st.site))
            st = *other;
    }
    return st;
}

nl_status alone_call(int entry, const Call *c, char *arena, char *scratch)
{
    const nl_entry *e = &team.desc->program->entry[entry];
    nl_status st = {0};
    nl_call call = {.state = c->state, .in = c->in, .out = c->out, .arena = arena ? arena : team.arena,
                    .scratch = scratch ? scratch : team.member[0].scratch, .count = c->count, .index = c->index,
                    .seed = c->seed, .tid = 0, .nthreads = 1, .status = &st, .self = e->self};
    spoil(call.arena, team.desc->entry[entry].arena);
    spoil(call.scratch, team.desc->entry[entry].scratch);
    bool outside = in_call;
    in_call = false;                     /* its barriers are its own */
    e->fn(&call);
    in_call = outside;
    return st;
}
