/* plan_print.c: --dump=plan: the steps of every entry, and every kernel once. Equal output for equal input. */
#include "plan.h"
#include <string.h>

static const char *const row_name[] = {
#define OP(NAME, name, arity, group) name,
#include "ops.def"
#undef OP
    "load", "store", "add to", "join", "copy",
};

static void print_buf(const Buf *b, int64_t offset, FILE *to)
{
    long long at = (long long)(b->offset + offset);
    switch (b->space) {
    case SP_BLOCK:
        if (b->in)
            print_buf(b->in, at, to);
        else
            fprintf(to, "arena+%lld", at);
        return;
    case SP_STATE: fprintf(to, "state+%lld", at); return;
    case SP_IN: fprintf(to, "in%d+%lld", b->index, (long long)offset); return;
    case SP_OUT: fprintf(to, "out%d+%lld", b->index, (long long)offset); return;
    case SP_CALL: fprintf(to, "call+%lld", at); return;
    case SP_DATA: fprintf(to, "data%u+%lld", b->data->id, (long long)offset); return;
    case SP_ITEM:
        fprintf(to, "(");
        print_buf(b->in, at, to);
        fprintf(to, ")+%lldt", (long long)b->step);
        return;
    case SP_INDEX: fprintf(to, "t"); return;
    case SP_SCRATCH: fprintf(to, "scratch+%lld", at); return;
    case SP_STATUS: fprintf(to, "status"); return;
    }
}

static int kernel_number(const Plan *p, const Kernel *k)
{
    for (int i = 0; i < p->kernel.n; i++)
        if (p->kernel.at[i] == k)
            return i;
    return -1;
}

static void print_seq(const Plan *p, const Seq *seq, int depth, FILE *to);

static void print_step(const Plan *p, const Step *s, int depth, FILE *to)
{
    fprintf(to, "%*s", 4 * depth, "");
    if (s->kind == STEP_KERNEL) {
        fprintf(to, "%s k%d(", s->solo ? "solo" : "all ", kernel_number(p, s->kernel));
        for (int i = 0; i < s->narg; i++) {
            fprintf(to, i ? ", " : "");
            print_buf(s->arg[i].buf, s->arg[i].offset, to);
            fprintf(to, s->arg[i].write ? s->arg[i].read ? " rw" : " w" : "");
        }
        fprintf(to, ")\n");
        return;
    }
    if (s->kind == STEP_FOR) {
        fprintf(to, "%s for t < %lld%s%s\n", s->solo ? "solo" : s->shared ? "each" : "all ", (long long)s->trip,
                s->reverse ? ", from the last" : "", s->body[0]->meet && !s->solo && !s->shared ? ", barrier after each" : "");
        print_seq(p, s->body[0], depth + 1, to);
        return;
    }
    fprintf(to, "%s if ", s->solo ? "solo" : "all ");
    print_buf(s->arg[0].buf, s->arg[0].offset, to);
    fprintf(to, "\n");
    print_seq(p, s->body[0], depth + 1, to);
    fprintf(to, "%*selse\n", 4 * depth, "");
    print_seq(p, s->body[1], depth + 1, to);
}

static void print_seq(const Plan *p, const Seq *seq, int depth, FILE *to)
{
    for (int i = 0; i < seq->step.n; i++) {
        if (seq->step.at[i]->barrier)
            fprintf(to, "%*sbarrier\n", 4 * depth, "");
        print_step(p, seq->step.at[i], depth, to);
    }
}

static void print_ins(const Nest *n, int i, FILE *to)
{
    const Ins *x = &n->ins[i];
    fprintf(to, "    %%%d = %s", i, row_name[x->op]);
    for (int k = 0; k < x->nin; k++)
        fprintf(to, " %%%d", x->in[k]);
    if (x->operand >= 0 && x->stride) {
        fprintf(to, " p%d[", x->operand);
        for (int l = 0; l < n->no + n->ni; l++)
            fprintf(to, "%s%lld", l ? " " : "", (long long)x->stride[l]);
        fprintf(to, "]");
    }
    if (x->op == OP_CONST)
        fprintf(to, dt_float((Dt)x->dt) ? " %g" : " %.0f", dt_float((Dt)x->dt) ? x->num : (double)x->inum);
    fprintf(to, " : %s, %s %d\n", dt_name((Dt)x->dt), x->full ? "pass" : "before", x->pass);
}

static void print_nest(const Nest *n, FILE *to)
{
    fprintf(to, " over [");
    for (int i = 0; i < n->no + n->ni; i++)
        fprintf(to, "%s%lld", i == n->no ? " | " : i ? " " : "", (long long)n->dim[i]);
    fprintf(to, "]%s%s\n", n->vec_inner ? ", vectors inside" : "", n->slots > 1 ? ", in slots" : "");
    for (int i = 0; i < n->nins; i++)
        print_ins(n, i, to);
}

static void print_extents(const char *name, const Ext *e, int n, FILE *to)
{
    fprintf(to, " %s(", name);
    for (int i = 0; i < n; i++)
        fprintf(to, "%s%lld: %lld %lld %lld", i ? ", " : "", (long long)e[i].n, (long long)e[i].sa, (long long)e[i].sb, (long long)e[i].sc);
    fprintf(to, ")");
}

static void print_kernel(const Kernel *k, int number, FILE *to)
{
    fprintf(to, "k%d:", number);
    if (k->kind == KN_NEST) {
        print_nest(&k->nest, to);
    } else if (k->kind == KN_CONTRACT) {
        const ContractSpec *s = &k->contract;
        fprintf(to, " product %s (size: strides of a, b, c)", dt_name(s->dt));
        print_extents("batch", s->batch, s->nbatch, to);
        print_extents("m", s->m, s->nm, to);
        print_extents("n", s->n, s->nn, to);
        print_extents("k", s->k, s->nk, to);
        fprintf(to, "\n");
    } else {
        fprintf(to, " %s\n", k->key);
    }
}

void plan_print(const Plan *p, FILE *to)
{
    for (int i = 0; i < p->entry.n; i++) {
        const EntryPlan *e = p->entry.at[i];
        fprintf(to, "entry %s: arena %lld, scratch %lld, work %lld%s\n", e->entry->name, (long long)e->arena, (long long)e->scratch,
                (long long)e->work, e->solo ? ", one thread" : "");
        print_seq(p, e->seq, 1, to);
    }
    for (int i = 0; i < p->kernel.n; i++)
        print_kernel(p->kernel.at[i], i, to);
}
