/* team.c: the threads that call entries. A call runs in one parallel region; each thread has its own nl_call and scratch, made
   at start-up. How many threads take part depends on the work of the entry and never on the data. */
#include "rt.h"
#include <omp.h>
#include <stdlib.h>

enum { WORK_PER_THREAD = 200000 };       /* multiply-adds that pay for waking one more thread */

typedef struct { nl_call call; nl_status status; char *scratch; char pad[64]; } Member;

static struct {
    const Desc *desc;
    int n;
    Member *member;
    char *arena;
} team;

static _Thread_local bool in_team;       /* only then do other threads come to the barrier */

void nlrt_barrier(void)
{
    if (in_team) {
#pragma omp barrier
    }
}

int team_threads(void) { return team.n; }

void team_init(const Desc *d, int nthreads)
{
    size_t arena = 0, scratch = 0;
    for (int i = 0; i < d->nentry; i++) {
        arena = d->entry[i].arena > arena ? d->entry[i].arena : arena;
        scratch = d->entry[i].scratch > scratch ? d->entry[i].scratch : scratch;
    }
    omp_set_dynamic(0);
    team.desc = d;
    team.n = nthreads > 0 ? nthreads : omp_get_num_procs();
    team.member = rt_alloc(sizeof *team.member * (size_t)team.n);
    team.arena = rt_alloc(arena);
    for (int t = 0; t < team.n; t++)
        team.member[t].scratch = rt_alloc(scratch);
    if (team.n > 1) {                    /* wakes the threads once, so that no step has to make them */
#pragma omp parallel num_threads(team.n)
        nlrt_barrier();
    }
}

static int threads_for(const Entry *e)
{
    double n = 1 + e->work / WORK_PER_THREAD;
    return n < team.n ? (int)n : team.n;
}

static void run_member(int entry, const Call *c, int tid, int n, char *arena, char *scratch)
{
    Member *m = &team.member[tid];
    const nl_entry *e = &team.desc->program->entry[entry];
    m->status = (nl_status){0};
    m->call = (nl_call){.state = c->state, .in = c->in, .out = c->out, .arena = arena, .scratch = scratch, .count = c->count, .index = c->index,
                        .seed = c->seed, .tid = tid, .nthreads = n, .status = &m->status, .self = e->self};
    e->fn(&m->call);
}

nl_status team_call(int entry, const Call *c)
{
    int n = threads_for(&team.desc->entry[entry]), got = 1;
    if (n <= 1)
        run_member(entry, c, 0, 1, team.arena, team.member[0].scratch);
    else {
#pragma omp parallel num_threads(n)
        {
            int tid = omp_get_thread_num(), all = omp_get_num_threads();
            if (tid == 0)
                got = all;
            in_team = all > 1;
            run_member(entry, c, tid, all, team.arena, team.member[tid].scratch);
            in_team = false;
        }
    }
    nl_status st = team.member[0].status;
    for (int t = 1; t < got; t++) {
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
    nl_call call = {.state = c->state, .in = c->in, .out = c->out, .arena = arena ? arena : team.arena, .scratch = scratch ? scratch : team.member[0].scratch,
                    .count = c->count, .index = c->index, .seed = c->seed, .tid = 0, .nthreads = 1, .status = &st, .self = e->self};
    e->fn(&call);
    return st;
}
