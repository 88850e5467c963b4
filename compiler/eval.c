/* eval.c: the reference evaluator: a region's nodes one after another, each straight from its row, in doubles and
   int64s.
   Per region it keeps a plan: the order of nodes, a buffer for each, and their operands' buffers; constants
   are computed once. A plan is not re-entrant, and need not be: a region cannot contain itself. Views that change no
   order (RESHAPE, MARK, STOP) and the results of LOOP and COND share their operand's buffer. */
#include "ops.h"
#include <stdlib.h>
#include <string.h>

typedef struct Plan Plan;
typedef struct {
    Node *x;
    Tensor *in_one[3], **in;     /* operands' tensors */
    Tensor *out;                 /* LOOP, COND: their results, one per result of the region */
    Plan *sub[2];
    /* shares its operand's buffer; computed when the plan was made; value set by the caller */
    bool alias, leaf, given;
    bool varies;                 /* in a loop: depends on the index, an item or a carry */
    const Tensor *value;         /* given */
} Step;
struct Plan {
    const Region *r;
    Node **formal, **result;     /* copies: the plan is stale if the region has changed */
    int np, nr, n;
    Step *step;
    Tensor *t;                   /* of each step */
    Tensor **arg, **res;         /* tensors of the formals (NULL: not used) and of the results */
    Tensor *item, *spare;        /* LOOP bodies: the tensors that formals are bound to; carries in the making */
    bool round;
};
static PtrMap plans[2];                                    /* region -> plan; without and with rounding */
static Plan **all_plans;
static int plan_n, plan_cap;

/* ---- tensors */
static int64_t size_of(const Tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static void shape_tensor(Tensor *t, int dt, int rank, const int32_t *dim)
{
    *t = (Tensor){ .dt = (uint8_t)dt, .rank = (uint8_t)rank };
    if (rank)
        memcpy(t->dim, dim, sizeof *dim * (size_t)rank);
}

static void allot(Tensor *t)                               /* zeros */
{
    void *p = calloc((size_t)size_of(t) + 1, sizeof(int64_t));
    if (!p) {
        fprintf(stderr, "nlc: out of memory\n");
        exit(1);
    }
    if (dt_float(t->dt))
        t->f = p;
    else
        t->i = p;
}

Tensor *tensor_new(Dt dt, int rank, const int32_t *dim)
{
    Tensor *t = calloc(1, sizeof *t);
    shape_tensor(t, dt, rank, dim);
    allot(t);
    return t;
}

void tensor_free(Tensor *t)
{
    if (!t)
        return;
    free(t->f), free(t->i);
    free(t);
}

static void copy(Tensor *to, int64_t at, const Tensor *from)   /* to[at ..] = from */
{
    size_t bytes = sizeof(int64_t) * (size_t)size_of(from);
    if (bytes && dt_float(to->dt))
        memcpy(to->f + at, from->f, bytes);
    else if (bytes)
        memcpy(to->i + at, from->i, bytes);
}

static void share(Tensor *t, const Tensor *from, int64_t at)
{
    if (dt_float(t->dt))
        t->f = from->f + at;
    else
        t->i = from->i + at;
}

static void add(Tensor *to, const Tensor *from)
{
    int64_t n = size_of(to);
    if (dt_float(to->dt))
        for (int64_t i = 0; i < n; i++)
            to->f[i] += from->f[i];
    else
        for (int64_t i = 0; i < n; i++)
            to->i[i] = int_wrap(to->dt, (int64_t)((uint64_t)to->i[i] + (uint64_t)from->i[i]));
}

static void clear(Tensor *t)
{
    int64_t n = size_of(t);
    if (n && dt_float(t->dt))
        memset(t->f, 0, sizeof *t->f * (size_t)n);
    else if (n)
        memset(t->i, 0, sizeof *t->i * (size_t)n);
}

/* ---- plans */
static Plan *plan_of(const Region *r, bool round);

static void plan_results(Step *s)                          /* a tensor per result of a LOOP or COND */
{
    const Region *r = s->x->a.r[0];
    s->out = calloc((size_t)r->nr + 1, sizeof *s->out);
    for (int k = 0; k < r->nr; k++) {
        Node *y = r->result[k];
        int32_t dim[MAXDIM] = { (int32_t)s->x->a.k };
        bool stack = s->x->op == OP_LOOP && r->rkind[k] == K_STACK;
        memcpy(dim + stack, y->dim, sizeof *dim * y->rank);
        shape_tensor(&s->out[k], y->dt, y->rank + stack, dim);
        allot(&s->out[k]);
    }
}

static void plan_step(Plan *p, int j, Node *x, const PtrMap *index)
{
    Step *s = &p->step[j];
    s->x = x;
    s->in = x->nin <= 3 ? s->in_one : calloc((size_t)x->nin, sizeof *s->in);
    for (int i = 0; i < x->nin; i++)
        s->in[i] = ptrmap_get(index, x->in[i]);
    for (int i = 0; i < 2; i++)
        s->sub[i] = x->a.r[i] ? plan_of(x->a.r[i], p->round) : NULL;
    shape_tensor(&p->t[j], x->dt, x->rank, x->dim);
    s->alias = x->op == OP_RESHAPE || x->op == OP_MARK || x->op == OP_STOP || x->op == OP_OUT || x->op == OP_FORMAL;
    s->leaf = op_row[x->op].group == G_LEAF && !s->alias;
    if (s->sub[0])
        plan_results(s);
    else if (!s->alias)
        allot(&p->t[j]);
    if (s->leaf) {
        op_row[x->op].eval(x, NULL, &p->t[j], NULL);
        if (p->round || !dt_float(x->dt))
            tensor_round(&p->t[j]);
    }
}

static bool step_varies(const Plan *p, const Step *s)
{
    if (s->x->op == OP_FORMAL)
        return s->x->a.k >= p->r->np || p->r->fkind[s->x->a.k] != K_CAPTURE;
    for (int i = 0; i < s->x->nin; i++)
        if (p->step[s->in[i] - p->t].varies)
            return true;
    return false;
}

static void plan_formals(Plan *p, const PtrMap *index)
{
    const Region *r = p->r;
    for (int i = 0; i < r->np; i++) {
        p->arg[i] = ptrmap_get(index, r->formal[i]);
        shape_tensor(&p->item[i], r->formal[i]->dt, r->formal[i]->rank, r->formal[i]->dim);
        p->spare[i] = p->item[i];
        if (r->fkind[i] == K_INDEX || r->fkind[i] == K_CARRY)
            allot(&p->item[i]);
        if (r->fkind[i] == K_CARRY)
            allot(&p->spare[i]);
    }
}

static Plan *plan_new(const Region *r, bool round)
{
    Plan *p = calloc(1, sizeof *p);
    Node **order;
    PtrMap index = { 0 };
    *p = (Plan){ .r = r, .round = round, .np = r->np, .nr = r->nr, .n = graph_order(r->nr, r->result, &order) };
    p->formal = calloc((size_t)r->np + 1, sizeof(Node *)), p->result = calloc((size_t)r->nr + 1, sizeof(Node *));
    p->arg = calloc((size_t)r->np + 1, sizeof(Tensor *)), p->res = calloc((size_t)r->nr + 1, sizeof(Tensor *));
    p->item = calloc((size_t)r->np + 1, sizeof(Tensor)), p->spare = calloc((size_t)r->np + 1, sizeof(Tensor));
    p->step = calloc((size_t)p->n + 1, sizeof(Step)), p->t = calloc((size_t)p->n + 1, sizeof(Tensor));
    for (int i = 0; i < r->np; i++)
        p->formal[i] = r->formal[i];
    for (int j = 0; j < p->n; j++) {
        plan_step(p, j, order[j], &index);
        p->step[j].varies = step_varies(p, &p->step[j]);
        *ptrmap_at(&index, order[j]) = &p->t[j];
    }
    plan_formals(p, &index);
    for (int k = 0; k < r->nr; k++) {
        p->result[k] = r->result[k];
        p->res[k] = ptrmap_get(&index, r->result[k]);
    }
    ptrmap_free(&index);
    return p;
}

static void free_buffer(Tensor *t) { free(t->f), free(t->i); }

static void plan_free(Plan *p)
{
    for (int j = 0; j < p->n; j++) {
        Step *s = &p->step[j];
        if (s->out) {
            for (int k = 0; k < s->x->a.r[0]->nr; k++)
                free_buffer(&s->out[k]);
            free(s->out);
        } else if (!s->alias) {
            free_buffer(&p->t[j]);
        }
        if (s->in != s->in_one)
            free(s->in);
    }
    for (int i = 0; i < p->np; i++) {
        uint8_t kind = p->r->fkind[i];
        if (kind == K_INDEX || kind == K_CARRY)
            free_buffer(&p->item[i]);
        if (kind == K_CARRY)
            free_buffer(&p->spare[i]);
    }
    free(p->formal), free(p->result), free(p->arg), free(p->res);
    free(p->item), free(p->spare), free(p->step), free(p->t);
    free(p);
}

static bool stale(const Plan *p)                           /* the region was given other results since */
{
    const Region *r = p->r;
    if (p->np != r->np || p->nr != r->nr)
        return true;
    for (int i = 0; i < r->np; i++)
        if (p->formal[i] != r->formal[i])
            return true;
    for (int k = 0; k < r->nr; k++)
        if (p->result[k] != r->result[k])
            return true;
    return false;
}

static Plan *plan_of(const Region *r, bool round)
{
    Plan *p = ptrmap_get(&plans[round], r);
    if (p && !stale(p))
        return p;
    p = plan_new(r, round);                                /* (a stale one stays in the list until eval_forget) */
    if (plan_n == plan_cap) {
        plan_cap = plan_cap ? 2 * plan_cap : 64;
        all_plans = realloc(all_plans, sizeof *all_plans * (size_t)plan_cap);
    }
    all_plans[plan_n++] = p;
    *ptrmap_at(&plans[round], r) = p;
    return p;
}

void eval_forget(void)
{
    for (int i = 0; i < plan_n; i++)
        plan_free(all_plans[i]);
    free(all_plans);
    all_plans = NULL;
    plan_n = plan_cap = 0;
    ptrmap_free(&plans[0]);
    ptrmap_free(&plans[1]);
}

/* ---- running a plan whose formals are bound */
static void run(Plan *p, bool all, EvalStatus *st);

static void bind_formal(Plan *p, int i, const Tensor *t, int64_t at)
{
    if (p->arg[i])
        share(p->arg[i], t, at);
}

static void run_cond(Step *s, EvalStatus *st)
{
    Plan *b = s->sub[!s->in[0]->i[0]];
    for (int i = 0; i < b->np; i++)
        bind_formal(b, i, s->in[i + 1], 0);
    run(b, true, st);
    /* copied: another COND may have the same region, hence the same plan */
    for (int k = 0; k < b->nr; k++)
        copy(&s->out[k], 0, b->res[k]);
}

/* The carries of the next iteration are written beside those of this one, which results may still share. */
static void take_results(Step *s, Plan *b, int64_t t)
{
    int carry = 0;
    for (int k = 0; k < b->nr; k++) {
        if (b->r->rkind[k] == K_STACK) {
            copy(&s->out[k], t * size_of(b->res[k]), b->res[k]);
        } else if (b->r->rkind[k] == K_SUM) {
            add(&s->out[k], b->res[k]);
        } else {
            while (b->r->fkind[carry] != K_CARRY)
                carry++;
            copy(&b->spare[carry++], 0, b->res[k]);
        }
    }
    for (int i = 0; i < b->np; i++)
        if (b->r->fkind[i] == K_CARRY) {
            Tensor swap = b->item[i];
            b->item[i] = b->spare[i], b->spare[i] = swap;
        }
}

static void start_loop(Step *s, Plan *b)                   /* initial carries and sums */
{
    for (int i = 0, in = 0; i < b->np; i++) {
        if (b->r->fkind[i] == K_CARRY)
            copy(&b->item[i], 0, s->in[in]);
        in += b->r->fkind[i] != K_INDEX;
    }
    for (int k = 0; k < b->nr; k++)
        if (b->r->rkind[k] == K_SUM)
            clear(&s->out[k]);
}

static void bind_iteration(Step *s, Plan *b, int64_t t)
{
    for (int i = 0, in = 0; i < b->np; i++) {
        uint8_t kind = b->r->fkind[i];
        if (kind == K_INDEX)
            b->item[i].i[0] = t;
        if (kind == K_INDEX || kind == K_CARRY)
            bind_formal(b, i, &b->item[i], 0);
        else
            bind_formal(b, i, s->in[in], kind == K_ITEM ? t * size_of(&b->item[i]) : 0);
        in += kind != K_INDEX;
    }
}

static void run_loop(Step *s, EvalStatus *st)
{
    Plan *b = s->sub[0];
    int64_t trip = s->x->a.k;
    start_loop(s, b);
    for (int64_t n = 0; n < trip; n++) {
        int64_t t = s->x->a.reverse ? trip - 1 - n : n;
        bind_iteration(s, b, t);
        run(b, n == 0, st);
        take_results(s, b, t);
    }
    for (int k = 0, carry = 0; k < b->nr; k++)
        if (b->r->rkind[k] == K_CARRY) {
            while (b->r->fkind[carry] != K_CARRY)
                carry++;
            copy(&s->out[k], 0, &b->item[carry++]);
        }
    if (b->round)
        for (int k = 0; k < b->nr; k++)
            if (b->r->rkind[k] == K_SUM)
                tensor_round(&s->out[k]);
}

static void run_out(const Plan *p, const Step *s, Tensor *t)
{
    const Step *from = &p->step[s->in[0] - p->t];
    share(t, &from->out[s->x->a.k], 0);
}

/* not all: only what varies from one iteration to the next */
static void run(Plan *p, bool all, EvalStatus *st)
{
    for (int j = 0; j < p->n; j++) {
        Step *s = &p->step[j];
        Tensor *t = &p->t[j];
        Op op = s->x->op;
        if (s->given) {
            share(t, s->value, 0);
        } else if (s->leaf || op == OP_FORMAL || !(all || s->varies)) {
            continue;
        } else if (op == OP_OUT) {
            run_out(p, s, t);
        } else if (s->alias) {
            share(t, s->in[0], 0);
        } else if (op == OP_LOOP) {
            run_loop(s, st);
        } else if (op == OP_COND) {
            run_cond(s, st);
        } else {
            if (op_row[op].group == G_ELEM)
                elem_eval(s->x, s->in, t, st);
            else
                op_row[op].eval(s->x, s->in, t, st);
            if (p->round || !dt_float(t->dt))
                tensor_round(t);
        }
    }
}

/* Values given to nodes: their steps share the caller's tensors for this run. A step's own buffer is put aside and
   back. */
static Tensor *give(Plan *p, int n, Node *const *x, Tensor *const *value)
{
    Tensor *own = calloc((size_t)p->n + 1, sizeof *own);
    for (int j = 0; j < p->n; j++)
        for (int i = 0; i < n; i++)
            if (p->step[j].x == x[i]) {
                own[j] = p->t[j];
                p->step[j].given = true;
                p->step[j].value = value[i];
            }
    return own;
}

static void take_back(Plan *p, Tensor *own)
{
    for (int j = 0; j < p->n; j++)
        if (p->step[j].given) {
            p->t[j] = own[j];
            p->step[j].given = false;
        }
    free(own);
}

void region_eval_with(const Region *r, Tensor *const *in, Tensor **out, bool round, EvalStatus *st, int n,
                      Node *const *x, Tensor *const *value)
{
    EvalStatus unseen = { 0 };
    Plan *p = plan_of(r, round);
    Tensor *own = give(p, n, x, value);
    for (int i = 0; i < r->np; i++)
        if (p->arg[i])
            bind_formal(p, i, in[i], 0);
    run(p, true, st ? st : &unseen);
    for (int k = 0; k < r->nr; k++) {
        out[k] = tensor_new(p->res[k]->dt, p->res[k]->rank, p->res[k]->dim);
        copy(out[k], 0, p->res[k]);
    }
    take_back(p, own);
}

void region_eval(const Region *r, Tensor *const *in, Tensor **out, bool round, EvalStatus *st)
{
    region_eval_with(r, in, out, round, st, 0, NULL, NULL);
}
