/* emit.c: a program as object files: every kernel of the plan, a function per entry that calls them, the table nl_program.

   An entry runs in every thread of the team. It computes addresses (base of a space plus a constant), calls kernels, lets
   thread 0 alone do what is small, takes its share of the turns of a loop whose turns are independent, and meets the others at
   barriers. In programs of f32 it sets flush-to-zero and puts the
   thread's own mode back at the end. */
#include "emit_kernel.h"
#include "../runtime/nlrt.h"
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef LLVMValueRef V;

typedef struct {
    Em *em;
    const Plan *plan;
    const EntryPlan *ep;
    V call, state, arena, scratch, status, tid, nthreads, *in, *out;
    int nin, nout;
    V mode;                      /* where the thread's floating point mode is kept, or NULL */
    bool alone;                  /* only thread 0 comes here */
} En;

enum { FTZ_DAZ = 0x8040 };

/* ---- kernels */

static const char *const kind_name[] = {
    [KN_NEST] = "nest", [KN_CONTRACT] = "contract", [KN_JOIN] = "join", [KN_SCATTER] = "scatter", [KN_FOLD] = "fold",
    [KN_CUMSUM] = "cumsum", [KN_ARGSORT] = "argsort", [KN_ARGMAX] = "argmax",
};

static void emit_kernel(Em *em, Kernel *k, int number)
{
    char *name = arena_printf("k%d_%s", number, kind_name[k->kind]);
    switch (k->kind) {
    case KN_NEST: k->fn = emit_nest(em, &k->nest, name); break;
    case KN_CONTRACT: k->fn = emit_contract(em, &k->contract, name); break;
    case KN_JOIN: k->fn = emit_join(em, k, name); break;
    default: k->fn = emit_move(em, k, name); break;
    }
}

/* The function of a kernel that lies in another object. */
static void declare_kernel(Em *em, Kernel *k, int number)
{
    k->fn = em_declare(em, arena_printf("k%d_%s", number, kind_name[k->kind]), k->noperand);
}

/* ---- addresses */

static V data_global(En *en, Node *n)
{
    char *name = arena_printf("data%u", n->id);
    V g = LLVMGetNamedGlobal(en->em->mod, name);
    if (g)
        return g;
    unsigned bytes = (unsigned)(n_size(n) * dt_size(n->dt));
    V text = LLVMConstStringInContext(en->em->cx, n->a.data, bytes, true);
    g = LLVMAddGlobal(en->em->mod, LLVMTypeOf(text), name);
    LLVMSetInitializer(g, text);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetAlignment(g, 64);
    return g;
}

static V bytes_from(En *en, V base, int64_t offset)
{
    return em_at(en->em, U8, base, em_int(en->em, offset));
}

static V address(En *en, const Buf *b, int64_t offset)
{
    V at;
    switch (b->space) {
    case SP_BLOCK: return b->in ? address(en, b->in, b->offset + offset) : bytes_from(en, en->arena, offset);
    case SP_STATE: return bytes_from(en, en->state, b->offset + offset);
    case SP_CALL: return bytes_from(en, en->call, b->offset + offset);
    case SP_IN: return bytes_from(en, en->in[b->index], offset);
    case SP_OUT: return bytes_from(en, en->out[b->index], offset);
    case SP_DATA: return bytes_from(en, data_global(en, b->data), offset);
    case SP_ITEM:
        at = address(en, b->in, b->offset + offset);
        return em_at(en->em, U8, at, em_index(en->em, b->loop->t, b->step, NULL));
    case SP_INDEX: return b->loop->tvar;
    case SP_SCRATCH: return bytes_from(en, en->scratch, b->offset + offset);
    default: return en->status;
    }
}

/* ---- steps */

static void call_kernel(En *en, const Step *s)
{
    Em *em = en->em;
    int n = s->kernel->noperand;
    V *arg = NEWN(V, n + 2);
    assert(n == s->narg);
    for (int i = 0; i < n; i++)
        arg[i] = address(en, s->arg[i].buf, s->arg[i].offset);
    arg[n] = en->alone ? em_int(em, 0) : en->tid;
    arg[n + 1] = en->alone ? em_int(em, 1) : en->nthreads;
    LLVMTypeRef *types = NEWN(LLVMTypeRef, n + 2);
    for (int i = 0; i < n; i++)
        types[i] = em->ptr;
    types[n] = types[n + 1] = em->i64;
    LLVMTypeRef t = LLVMFunctionType(em->none, types, (unsigned)n + 2, false);
    LLVMBuildCall2(em->b, t, s->kernel->fn, arg, (unsigned)n + 2, "");
}

static void barrier(En *en)
{
    Em *em = en->em;
    LLVMTypeRef t = LLVMFunctionType(em->none, NULL, 0, false);
    V f = LLVMGetNamedFunction(em->mod, "nlrt_barrier");
    if (!f)
        f = LLVMAddFunction(em->mod, "nlrt_barrier", t);
    LLVMBasicBlockRef meet = em_block(em, "meet"), on = em_block(em, "on");
    V several = LLVMBuildICmp(em->b, LLVMIntSGT, en->nthreads, em_int(em, 1), "");
    LLVMBuildCondBr(em->b, several, meet, on);
    LLVMPositionBuilderAtEnd(em->b, meet);
    LLVMBuildCall2(em->b, t, f, NULL, 0, "");
    LLVMBuildBr(em->b, on);
    LLVMPositionBuilderAtEnd(em->b, on);
}

static void emit_seq(En *en, const Seq *seq);

static void emit_if(En *en, const Step *s)
{
    Em *em = en->em;
    V c = em_load(em, BOOL, 1, address(en, s->arg[0].buf, s->arg[0].offset), NULL);
    LLVMBasicBlockRef yes = em_block(em, "then"), no = em_block(em, "else"), done = em_block(em, "fi");
    LLVMBuildCondBr(em->b, c, yes, no);
    for (int side = 0; side < 2; side++) {
        LLVMPositionBuilderAtEnd(em->b, side ? no : yes);
        emit_seq(en, s->body[side]);
        LLVMBuildBr(em->b, done);
    }
    LLVMPositionBuilderAtEnd(em->b, done);
}

static void emit_for(En *en, Step *s)
{
    Em *em = en->em;
    V from = em_int(em, 0), to = em_int(em, s->trip);
    bool alone = en->alone;
    if (s->shared && !alone) {
        em_range(em, s->trip, 1, en->tid, en->nthreads, &from, &to);
        en->alone = true;
    }
    EmLoop l = em_loop(em, from, to, 1, false);
    s->t = s->reverse ? LLVMBuildSub(em->b, em_int(em, s->trip - 1), l.i, "") : l.i;
    if (s->indexed) {
        s->tvar = em_var(em, em->i32, NULL);
        em_set(em, s->tvar, LLVMBuildTrunc(em->b, s->t, em->i32, ""));
    }
    emit_seq(en, s->body[0]);
    if (!en->alone && s->body[0]->meet)
        barrier(en);
    em_loop_end(em, &l);
    en->alone = alone;
}

static void emit_step(En *en, Step *s)
{
    switch (s->kind) {
    case STEP_KERNEL: call_kernel(en, s); return;
    case STEP_IF: emit_if(en, s); return;
    case STEP_FOR: emit_for(en, s); return;
    }
}

/* Neighbours that thread 0 does alone share one test. */
static void emit_seq(En *en, const Seq *seq)
{
    Em *em = en->em;
    for (int i = 0; i < seq->step.n;) {
        Step *s = seq->step.at[i];
        if (s->barrier && !en->alone)
            barrier(en);
        if (!s->solo || en->alone) {
            emit_step(en, s);
            i++;
            continue;
        }
        LLVMBasicBlockRef mine = em_block(em, "alone"), done = em_block(em, "all");
        LLVMBuildCondBr(em->b, LLVMBuildICmp(em->b, LLVMIntEQ, en->tid, em_int(em, 0), ""), mine, done);
        LLVMPositionBuilderAtEnd(em->b, mine);
        en->alone = true;
        do
            emit_step(en, seq->step.at[i++]);
        while (i < seq->step.n && seq->step.at[i]->solo && !seq->step.at[i]->barrier);
        en->alone = false;
        LLVMBuildBr(em->b, done);
        LLVMPositionBuilderAtEnd(em->b, done);
    }
}

/* ---- entries */

static V field(En *en, int64_t offset, LLVMTypeRef t)
{
    V v = LLVMBuildLoad2(en->em->b, t, bytes_from(en, en->call, offset), "");
    return v;
}

static V *pointers(En *en, int64_t offset, const Bind *bind, int nbind, BindKind kind)
{
    int n = 0;
    for (int i = 0; i < nbind; i++)
        if (bind[i].kind == kind && bind[i].index >= n)
            n = bind[i].index + 1;
    V *p = NEWN(V, n + 1), base = n ? field(en, offset, en->em->ptr) : NULL;
    for (int i = 0; i < n; i++)
        p[i] = LLVMBuildLoad2(en->em->b, en->em->ptr, bytes_from(en, base, i * (int64_t)sizeof(void *)), "");
    return p;
}

static void mode_call(Em *em, const char *name, V at)
{
    LLVMTypeRef t = LLVMFunctionType(em->none, &em->ptr, 1, false);
    V f = LLVMGetIntrinsicDeclaration(em->mod, LLVMLookupIntrinsicID(name, strlen(name)), NULL, 0);
    LLVMBuildCall2(em->b, t, f, &at, 1, "");
}

static void flush_to_zero(En *en)
{
    Em *em = en->em;
    if (en->plan->program->f64 || strncmp(em->t->triple, "x86_64", 6))
        return;
    en->mode = em_var(em, em->i32, NULL);
    V mine = em_var(em, em->i32, NULL);
    mode_call(em, "llvm.x86.sse.stmxcsr", en->mode);
    em_set(em, mine, LLVMBuildOr(em->b, em_get(em, en->mode), em_inum(em, I32, 1, FTZ_DAZ), ""));
    mode_call(em, "llvm.x86.sse.ldmxcsr", mine);
}

static void prologue(En *en)
{
    Em *em = en->em;
    const Entry *e = en->ep->entry;
    en->call = LLVMGetParam(em->fn, 0);
    en->tid = LLVMBuildSExt(em->b, field(en, offsetof(nl_call, tid), em->i32), em->i64, "");
    en->nthreads = LLVMBuildSExt(em->b, field(en, offsetof(nl_call, nthreads), em->i32), em->i64, "");
    if (en->ep->solo) {
        LLVMBasicBlockRef mine = em_block(em, "alone"), others = em_block(em, "others");
        LLVMBuildCondBr(em->b, LLVMBuildICmp(em->b, LLVMIntEQ, en->tid, em_int(em, 0), ""), mine, others);
        LLVMPositionBuilderAtEnd(em->b, others);
        LLVMBuildRetVoid(em->b);
        LLVMPositionBuilderAtEnd(em->b, mine);
        en->alone = true;
    }
    en->state = field(en, offsetof(nl_call, state), em->ptr);
    en->arena = field(en, offsetof(nl_call, arena), em->ptr);
    en->scratch = field(en, offsetof(nl_call, scratch), em->ptr);
    en->status = field(en, offsetof(nl_call, status), em->ptr);
    en->in = pointers(en, offsetof(nl_call, in), e->in, e->r->np, B_FIELD);
    en->out = pointers(en, offsetof(nl_call, out), e->out, e->r->nr, B_OUT);
    flush_to_zero(en);
}

static V emit_entry(Em *em, const Plan *plan, const EntryPlan *ep, int number)
{
    En en = { .em = em, .plan = plan, .ep = ep };
    LLVMTypeRef t = LLVMFunctionType(em->none, &em->ptr, 1, false);
    V fn = em->fn = LLVMAddFunction(em->mod, arena_printf("entry%d.%s", number, ep->entry->name), t);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(em->b, em_block(em, "entry"));
    prologue(&en);
    emit_seq(&en, ep->seq);
    if (en.mode)
        mode_call(em, "llvm.x86.sse.ldmxcsr", en.mode);
    LLVMBuildRetVoid(em->b);
    em->fn = NULL;
    return fn;
}

/* ---- the table and main */

static V text_global(Em *em, const char *text)
{
    V s = LLVMConstStringInContext(em->cx, text, (unsigned)strlen(text), false);
    V g = LLVMAddGlobal(em->mod, LLVMTypeOf(s), "text");
    LLVMSetInitializer(g, s);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    return g;
}

static V constant(Em *em, const char *name, V value, bool exported)
{
    V g = LLVMAddGlobal(em->mod, LLVMTypeOf(value), name);
    LLVMSetInitializer(g, value);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, exported ? LLVMExternalLinkage : LLVMPrivateLinkage);
    return g;
}

static V emit_table(Em *em, const char *json, int n, V *fn)
{
    LLVMTypeRef row_type[2] = { em->ptr, em->ptr };
    LLVMTypeRef row = LLVMStructTypeInContext(em->cx, row_type, 2, false);
    V *rows = NEWN(V, n + 1), none = LLVMConstNull(em->ptr);
    for (int i = 0; i < n; i++) {
        V f[2] = { fn[i], none };
        rows[i] = LLVMConstNamedStruct(row, f, 2);
    }
    V table = constant(em, "entries", LLVMConstArray2(row, rows, (uint64_t)n), false);
    V all[5] = { em_inum(em, I32, 1, NL_ABI), text_global(em, json), table, em_inum(em, I32, 1, n), text_global(em, em->t->needs) };
    return constant(em, "nl_program", LLVMConstStructInContext(em->cx, all, 5, false), true);
}

static void emit_main(Em *em, V program)
{
    LLVMTypeRef main_args[2] = { em->i32, em->ptr }, run_args[3] = { em->ptr, em->i32, em->ptr };
    LLVMTypeRef run_type = LLVMFunctionType(em->i32, run_args, 3, false);
    V run = LLVMAddFunction(em->mod, "nlrt_main", run_type);
    V fn = em->fn = LLVMAddFunction(em->mod, "main", LLVMFunctionType(em->i32, main_args, 2, false));
    LLVMPositionBuilderAtEnd(em->b, em_block(em, "entry"));
    V arg[3] = { program, LLVMGetParam(fn, 0), LLVMGetParam(fn, 1) };
    LLVMBuildRet(em->b, LLVMBuildCall2(em->b, run_type, run, arg, 3, ""));
    em->fn = NULL;
}

/* ---- object files: making machine code takes nearly all of a compilation, so several processes do it */

enum { KERNELS = 12 };                   /* for which another process is worth it */

static int parts_of(const Plan *plan, int most)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int n = 1 + plan->kernel.n / KERNELS;
    n = n > cores ? (int)cores : n;
    return n > most ? most : n < 1 ? 1 : n;
}

/* Every parts-th kernel; the first part declares the others, which lie in other objects. */
static void emit_kernels(Em *em, const Plan *plan, int part, int parts)
{
    for (int i = 0; i < plan->kernel.n; i++) {
        Kernel *k = plan->kernel.at[i];
        bool own = i % parts == part;
        if (own)
            emit_kernel(em, k, i);
        else if (part == 0)
            declare_kernel(em, k, i);
        if (parts > 1 && (own || part == 0)) {
            LLVMSetLinkage(k->fn, LLVMExternalLinkage);
            LLVMSetVisibility(k->fn, LLVMHiddenVisibility);
        }
    }
}

static bool emit_part(const Plan *plan, const Target *t, const char *name, int part, int parts, const char *obj)
{
    Em *em = em_new(t, name);
    if (!em)
        return false;
    emit_kernels(em, plan, part, parts);
    return em_finish(em, obj);
}

/* The first part has the entries, the table and main. */
static bool emit_first(Program *p, const Plan *plan, const Target *t, int parts, const char *obj)
{
    Em *em = em_new(t, p->source ? p->source : "program");
    if (!em)
        return false;
    emit_kernels(em, plan, 0, parts);
    V *fn = NEWN(V, plan->entry.n + 1);
    for (int i = 0; i < plan->entry.n; i++)
        fn[i] = emit_entry(em, plan, plan->entry.at[i], i);
    emit_main(em, emit_table(em, program_json(p), plan->entry.n, fn));
    if (opt.dump && !strcmp(opt.dump, "llvm")) {
        char *text = LLVMPrintModuleToString(em->mod);
        fputs(text, stdout);
        LLVMDisposeMessage(text);
    }
    return em_finish(em, obj);
}

static pid_t start_part(const Plan *plan, const Target *t, const char *name, int part, int parts, const char *obj)
{
    fflush(NULL);
    pid_t child = fork();
    if (child)
        return child;
    signal(SIGINT, SIG_DFL);             /* what is to be cleaned up is the parent's to do */
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    _exit(emit_part(plan, t, name, part, parts, obj) ? 0 : 1);
}

static bool wait_part(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int emit_program(Program *p, int nobj, const char *const *obj)
{
    Target target;
    if (!target_find(&target, opt.cpu))
        return 0;
    const char *solo = getenv("NLC_SOLO_WORK");      /* for tests: 0 shares out what is not worth it */
    if (solo)
        plan_solo_work = atoll(solo);
    Plan *plan = plan_program(p, &target);
    if (opt.dump && !strcmp(opt.dump, "plan"))
        plan_print(plan, stdout);
    int parts = opt.dump && !strcmp(opt.dump, "llvm") ? 1 : parts_of(plan, nobj);
    pid_t *child = NEWN(pid_t, parts + 1);
    const char *name = p->source ? p->source : "program";
    for (int i = 1; i < parts; i++)
        child[i] = start_part(plan, &target, name, i, parts, obj[i]);
    bool ok = emit_first(p, plan, &target, parts, obj[0]);
    for (int i = 1; i < parts; i++) {
        bool done = child[i] > 0 ? wait_part(child[i]) : emit_part(plan, &target, name, i, parts, obj[i]);     /* no process was to be had */
        ok = done && ok;
    }
    return ok ? parts : 0;
}
