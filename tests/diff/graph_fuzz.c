/* graph_fuzz.c: random graphs of all operations, evaluated by the reference evaluator and by emitted code, alone and by a team
   of three threads (which must agree in every bit).
   usage: graph_fuzz [-n programs] [-s first seed] [-e entries per program] [-o operations per entry] [-c cpu] [-b] [-t] [-v] [-p] [-l] */
#include "plan.h"
#include "nlrt.h"
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

Options opt;

/* ---- the runtime's side */

/* Threads take turns: each runs alone to its next barrier, in a fixed order. What lacks a barrier then goes wrong every time, in
   one of two orders. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_passed = PTHREAD_COND_INITIALIZER;
static int team, turn;
static bool backwards;
static _Thread_local int my_place;

static void wait_for_turn(void)
{
    pthread_mutex_lock(&lock);
    while (turn != my_place)
        pthread_cond_wait(&turn_passed, &lock);
    pthread_mutex_unlock(&lock);
}

static void pass_turn(void)
{
    pthread_mutex_lock(&lock);
    turn = (turn + 1) % team;
    pthread_cond_broadcast(&turn_passed);
    pthread_mutex_unlock(&lock);
}

/* What else generated code calls must be linked, to be found when it is loaded. */
void (*const needed)(int32_t, int64_t, const void *, int64_t, int32_t, int32_t *, int64_t, void *) = nlrt_argsort;

void nlrt_barrier(void)
{
    pass_turn();
    wait_for_turn();
}

int nlrt_main(const nl_program *p, int argc, char **argv) { (void)p, (void)argc, (void)argv; return 0; }

/* ---- random numbers */

static uint64_t rng = 1;
static uint32_t rnd(uint32_t n)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return (uint32_t)(rng >> 33) % n;
}
static bool chance(int percent) { return rnd(100) < (uint32_t)percent; }

/* ---- graphs. A value is exact if both sides compute the same bits: only then may it be compared, rounded or sorted. */

typedef struct { Node *n; bool exact; double size; } Item;
typedef VEC(Item) Items;
static Dt real_type;
static int depth;

static const int sizes[] = { 1, 2, 3, 4, 5, 7, 8, 10, 16, 17, 20, 33, 64, 100, 257, 512, 600, 1000 };
static int64_t most = 40000, most_of_formal = 3000;      /* elements */

static int32_t any_size(int64_t room)
{
    int32_t s;
    do
        s = sizes[rnd(sizeof sizes / sizeof *sizes - (most > 40000 ? 0 : 4))];
    while (s > room && s > 1);
    return s;
}

static Item pick(const Items *v, bool (*ok)(Item))
{
    for (int tries = 0; tries < 50; tries++) {
        Item x = v->at[v->n > 12 && chance(70) ? v->n - 1 - (int)rnd(12) : (int)rnd((uint32_t)v->n)];
        if (!ok || ok(x))
            return x;
    }
    return (Item){ 0 };
}

static bool is_real(Item x) { return x.n->dt == real_type; }
static bool is_exact_real(Item x) { return is_real(x) && x.exact; }
static bool is_bool(Item x) { return x.n->dt == BOOL && x.exact; }
static bool is_pred(Item x) { return x.n->dt == BOOL && x.exact && x.n->rank == 0; }
static bool is_i32(Item x) { return x.n->dt == I32 && x.exact; }
static bool is_i64(Item x) { return x.n->dt == I64 && x.exact; }
static bool is_number(Item x) { return x.n->dt != BOOL && x.n->dt != U8; }
static bool has_axes(Item x) { return x.n->rank > 0; }

static void add(Items *v, Node *n, bool exact, double size)
{
    if (n_size(n) > most)
        return;
    Item x = { n, exact && size < 1000, size };
    PUSH(*v, x);
}

/* y stretched, cut, filled or summed to the shape of x; NULL if that is too odd */
static Node *fit(Node *y, const Node *x)
{
    if (y->rank == x->rank && !memcmp(y->dim, x->dim, sizeof(int32_t) * x->rank))
        return y;
    if (y->rank == 0)
        return n_bcast(y, x->rank, x->dim, (int8_t[MAXDIM]){ -1, -1, -1, -1, -1, -1, -1, -1 });
    if (y->rank > x->rank)
        return NULL;
    for (int i = 0; i < y->rank; i++) {
        int32_t want = x->dim[x->rank - y->rank + i];
        if (y->dim[i] != want && y->dim[i] != 1) {
            if (y->dim[i] < want)
                return NULL;
            y = n_slice1(y, i, (int32_t)rnd((uint32_t)(y->dim[i] - want + 1)), want, 1);
        }
    }
    return n_expand(y, x->rank, x->dim);
}

static void unary(Items *v)
{
    static const Op all[] = { OP_NEG, OP_ABS, OP_SQRT, OP_EXP, OP_LOG, OP_SIN, OP_COS, OP_TANH, OP_SIGMOID, OP_ERF, OP_SIGN, OP_FLOOR };
    int k = (int)rnd(12);
    Item x = pick(v, k < 2 ? is_number : k < 10 ? is_real : is_exact_real);
    if (!x.n)
        return;
    Node *n = x.n;
    if (all[k] == OP_EXP && x.size > 20)
        return;
    if (all[k] == OP_SQRT || all[k] == OP_LOG)
        n = n_bin(OP_ADD, n_un(OP_ABS, n), n_const(real_type, 0.5));
    bool keeps = k < 2 || k >= 10;
    add(v, n_un(all[k], n), x.exact && keeps, all[k] == OP_EXP ? exp(x.size) : k < 2 ? x.size : fmin(x.size, 40));
}

static void binary(Items *v)
{
    static const Op all[] = { OP_ADD, OP_SUB, OP_MUL, OP_MIN, OP_MAX, OP_DIV, OP_POW, OP_LT, OP_LE, OP_EQ, OP_MOD, OP_IDIV };
    int k = (int)rnd(12);
    Item x = pick(v, k < 5 ? is_number : k < 7 ? is_real : k < 10 ? is_exact_real : chance(50) ? is_i32 : is_exact_real);
    if (!x.n)
        return;
    Item y = { 0 };
    for (int tries = 0; tries < 20 && (!y.n || y.n->dt != x.n->dt || (k >= 7 && !y.exact)); tries++)
        y = pick(v, NULL);
    if (!y.n || y.n->dt != x.n->dt || (k >= 7 && !y.exact))
        return;
    Node *a = x.n, *b = fit(y.n, a);
    if (!b)
        return;
    double size = k < 2 ? x.size + y.size : k == 2 ? x.size * y.size : fmax(x.size, y.size);
    if (size > 1e6)
        return;
    if (k == 5 || (k >= 10 && dt_float(a->dt)))
        b = n_bin(OP_ADD, n_un(OP_ABS, b), n_const(a->dt, 1)), size = x.size;
    if (k == 6)
        a = n_bin(OP_ADD, n_un(OP_ABS, a), n_const(real_type, 0.5)), b = n_un(OP_TANH, b), size = x.size + 2;
    bool exact = x.exact && y.exact && k != 5 && k != 6 && !(k >= 10 && dt_float(a->dt));
    add(v, n_bin(all[k], a, b), exact, size);
}

static void choose(Items *v)
{
    Item c = pick(v, is_bool), x = pick(v, NULL), y = pick(v, NULL);
    if (!c.n || x.n->dt != y.n->dt)
        return;
    Node *b = fit(y.n, x.n), *p = fit(c.n, x.n);
    if (b && p)
        add(v, n_select(p, x.n, b), x.exact && y.exact, fmax(x.size, y.size));
}

static void convert(Items *v)
{
    static const Dt types[] = { F32, I32, I64, BOOL, U32, F64 };
    Item x = pick(v, NULL);
    Dt to = chance(40) ? real_type : types[rnd(6)];
    if (!x.n || (!x.exact && !(dt_float(to) && dt_float(x.n->dt))))
        return;
    add(v, n_cast(x.n, to), x.exact, to == U32 ? 1e9 : x.size);
}

static void view(Items *v)
{
    Item x = pick(v, has_axes);
    if (!x.n)
        return;
    Node *n = x.n;
    int r = n->rank, axis = (int)rnd((uint32_t)r);
    int8_t map[MAXDIM];
    int32_t dim[MAXDIM], start[MAXDIM], step[MAXDIM];
    switch (rnd(6)) {
    case 0:
        for (int i = 0; i < r; i++) map[i] = (int8_t)i;
        for (int i = r - 1; i > 0; i--) { int j = (int)rnd((uint32_t)i + 1); int8_t t = map[i]; map[i] = map[j]; map[j] = t; }
        add(v, n_perm(n, map), x.exact, x.size);
        return;
    case 1:
        if (r == 1 && n->dim[0] % 2 == 0) {
            dim[0] = 2, dim[1] = n->dim[0] / 2;
            add(v, n_reshape(n, 2, dim), x.exact, x.size);
        } else if (r >= 2) {
            int o = 0;
            for (int i = 0; i < r; i++)
                if (i == axis && i + 1 < r) dim[o++] = n->dim[i] * n->dim[i + 1], i++;
                else dim[o++] = n->dim[i];
            add(v, n_reshape(n, o, dim), x.exact, x.size);
        }
        return;
    case 2: {
        int32_t len = 1 + (int32_t)rnd((uint32_t)n->dim[axis]), by = chance(30) ? 2 : 1;
        while (by > 1 && (len - 1) * by + 1 > n->dim[axis]) by--;
        int32_t from = (int32_t)rnd((uint32_t)(n->dim[axis] - (len - 1) * by));
        if (chance(20)) from += (len - 1) * by, by = -by;
        add(v, n_slice1(n, axis, from, len, by), x.exact, x.size);
        return;
    }
    case 3:
        for (int i = 0; i < r; i++) dim[i] = n->dim[i], start[i] = 0, step[i] = 1;
        step[axis] = chance(30) ? 2 : 1;
        start[axis] = (int32_t)rnd(3);
        dim[axis] = start[axis] + (n->dim[axis] - 1) * step[axis] + 1 + (int32_t)rnd(3);
        if (chance(20)) start[axis] += (n->dim[axis] - 1) * step[axis], step[axis] = -step[axis];
        add(v, n_pad(n, r, dim, start, step), x.exact, x.size);
        return;
    case 4:
        if (r < 4) {
            Node *w = n_window(n, axis, 1 + (int32_t)rnd((uint32_t)(n->dim[axis] < 5 ? n->dim[axis] : 5)));
            add(v, w, x.exact, x.size);
        }
        return;
    default:
        if (r < 4 && n_size(n) < 2000) {
            int at = (int)rnd((uint32_t)r + 1), o = 0;
            for (int i = 0; i <= r; i++)
                if (i == at) map[i] = -1, dim[i] = any_size(10);
                else map[i] = (int8_t)o, dim[i] = n->dim[o++];
            add(v, n_bcast(n, r + 1, dim, map), x.exact, x.size);
        }
    }
}

static void fold(Items *v)
{
    Item x = pick(v, is_real);
    if (!x.n || x.n->rank < 1 || x.n->rank > 3)
        return;
    int axis = (int)rnd(x.n->rank);
    Node *w = n_window(x.n, axis, 1 + (int32_t)rnd((uint32_t)(x.n->dim[axis] < 4 ? x.n->dim[axis] : 4)));
    w = n_un(OP_NEG, w);
    Attr a = { .axis = axis, .k = w->dim[axis + 1] };
    add(v, node(OP_FOLD, (Dt)0, 0, NULL, 1, &w, &a, (Loc){ 0 }), x.exact, x.size * 4);
}

static void joined(Items *v)
{
    Item x = pick(v, has_axes);
    if (!x.n)
        return;
    int axis = (int)rnd(x.n->rank);
    Node *parts[3] = { x.n, chance(50) ? x.n : n_slice1(x.n, axis, 0, 1 + (int32_t)rnd((uint32_t)x.n->dim[axis]), 1), x.n };
    add(v, n_concat(2 + (int)rnd(2), parts, axis), x.exact, x.size);
}

static bool is_big(Item x) { return is_number(x) && n_size(x.n) >= 1 << 16; }

static void reduced(Items *v)
{
    bool whole = most > 40000 && chance(60);
    Item x = pick(v, whole ? is_big : is_number);
    if (!x.n || !x.n->rank)
        return;
    uint32_t all = (1u << x.n->rank) - 1, axes = whole ? all : 1 + rnd(all);
    double n = 1;
    for (int i = 0; i < x.n->rank; i++)
        if (axes >> i & 1) n *= x.n->dim[i];
    if (chance(60)) {
        if (x.size * n < 1e6)
            add(v, n_sum(x.n, axes), x.exact, x.size * n);
    } else {
        add(v, n_maxr(x.n, axes), x.exact, x.size);
    }
}

/* One value summed over several axes, each for itself, and what it is without one of the sums. */
static void reduced_each_way(Items *v)
{
    Item x = pick(v, is_real);
    int r = x.n ? x.n->rank : 0;
    if (r < 2)
        return;
    Node *square = n_bin(OP_MUL, x.n, n_un(OP_TANH, x.n));
    int first = (int)rnd((uint32_t)r);
    for (int k = 0; k < r; k++) {
        int axis = (first + k) % r;
        Node *sum = chance(80) ? n_sum(square, 1u << axis) : n_maxr(square, 1u << axis);
        double size = x.size * x.n->dim[axis];
        add(v, sum, false, size);
        if (k == 0 && chance(60)) {
            int8_t map[MAXDIM];
            for (int i = 0, at = 0; i < r; i++) map[i] = (int8_t)(i == axis ? -1 : at++);
            square = n_bin(OP_ADD, square, n_un(OP_SIN, n_bcast(sum, r, x.n->dim, map)));
        }
    }
}

static void ordered(Items *v)
{
    Item x = pick(v, chance(70) ? is_exact_real : is_i32);
    if (!x.n || !x.n->rank)
        return;
    int axis = (int)rnd(x.n->rank);
    switch (rnd(3)) {
    case 0: add(v, n_argmax(x.n, axis), true, x.n->dim[axis]); return;
    case 1: {
        Attr a = { .axis = axis, .k = chance(50) };
        add(v, node(OP_ARGSORT, (Dt)0, 0, NULL, 1, &x.n, &a, (Loc){ 0 }), true, x.n->dim[axis]);
        return;
    }
    default: add(v, n_cumsum(x.n, axis, chance(50)), x.exact, x.size * x.n->dim[axis]);
    }
}

static void looked_up(Items *v)
{
    Item x = pick(v, chance(80) ? is_real : NULL), i = pick(v, chance(70) ? is_i32 : is_i64);
    if (!x.n || !i.n || !x.n->rank || i.n->rank + x.n->rank > 5)
        return;
    Node *idx = n_bin(OP_MOD, i.n, n_iconst((Dt)i.n->dt, x.n->dim[0]));
    int nb = 0;
    if (chance(30) && x.n->rank >= 2 && idx->rank >= 1 && idx->dim[0] == x.n->dim[0])
        nb = 1, idx = n_bin(OP_MOD, i.n, n_iconst((Dt)i.n->dt, x.n->dim[1]));
    if (chance(10))
        idx = i.n;               /* out of range here and there: clamped, and noted */
    Node *g = n_gather(x.n, idx, nb, (Loc){ 0 });
    add(v, g, x.exact, x.size);
    if (is_real(x) && chance(50) && n_size(g) < 40000) {
        Attr a = { .axis = nb };
        Node *in[2] = { chance(50) ? n_un(OP_NEG, g) : g, idx };
        add(v, node(OP_SCATTER, real_type, x.n->rank, x.n->dim, 2, in, &a, (Loc){ 0 }), x.exact && x.size * (double)n_size(idx) < 900, x.size * (double)n_size(idx));
    }
}

static void product(Items *v)
{
    Item x = pick(v, is_real), y = pick(v, is_real);
    if (!x.n || !y.n || x.size > 1e3 || y.size > 1e3)
        return;
    Node *a = x.n, *b = y.n;
    int8_t la[MAXDIM] = { 0 }, lb[MAXDIM] = { 0 }, lo[MAXDIM] = { 0 };
    bool used[32] = { 0 };
    int next = 1, rank = 0;
    double k = 1, out = 1;
    for (int i = 0; i < a->rank; i++) la[i] = (int8_t)next++;
    for (int j = 0; j < b->rank; j++) {
        lb[j] = 0;
        for (int i = 0; i < a->rank && !lb[j]; i++)
            if (b->dim[j] == a->dim[i] && !used[la[i]] && chance(60)) lb[j] = la[i], used[la[i]] = true;
        if (!lb[j]) lb[j] = (int8_t)next++;
    }
    for (int l = 1; l < next; l++) {
        bool ina = memchr(la, l, MAXDIM), inb = memchr(lb, l, MAXDIM);
        int32_t d = 1;
        for (int i = 0; i < a->rank; i++) if (la[i] == l) d = a->dim[i];
        for (int i = 0; i < b->rank; i++) if (lb[i] == l) d = b->dim[i];
        bool keep = ina && inb ? chance(25) : chance(95);
        if (keep && rank < 4) lo[rank++] = (int8_t)l, out *= d;
        else k *= d;
    }
    for (int i = rank - 1; i > 0; i--) if (chance(50)) { int j = (int)rnd((uint32_t)i + 1); int8_t t = lo[i]; lo[i] = lo[j]; lo[j] = t; }
    if (out > 20000 || out * k > 1e6)
        return;
    add(v, n_contract(a, b, la, lb, rank, lo), x.exact && y.exact, x.size * y.size * k);
}

static void drawn(Items *v)
{
    Item x = pick(v, is_i64);
    if (!x.n)
        return;
    Node *seed = n_iconst(I64, 77 + rnd(5)), *step = n_iconst(I64, rnd(1000));
    Node *element = x.n->rank ? n_iota(I64, x.n->rank, x.n->dim, (int)rnd(x.n->rank)) : n_iconst(I64, 3);
    Node *b = n_bits(seed, step, x.n, element, (int)rnd(4), 0x123456789abcdefull + rnd(3));
    add(v, b, true, 5e9);
    Attr dummy;
    (void)dummy;
    add(v, n_bin(OP_MUL, n_cast(n_cast(n_bin(OP_IDIV, b, n_iconst(U32, 1 << 24)), I32), real_type), n_const(real_type, 1.0 / 256)), true, 1);
}

static void leaf(Items *v)
{
    int32_t dim[MAXDIM] = { any_size(20), any_size(40) };
    Dt dt = chance(50) ? real_type : chance(50) ? I32 : I64;
    add(v, n_iota(dt, 2, dim, (int)rnd(2)), true, 40);
    float f[64];
    double d[64];
    for (int i = 0; i < 64; i++) d[i] = f[i] = (float)((int)rnd(64) - 32) / 8;
    int32_t n = any_size(64);
    void *bytes = arena_alloc(sizeof d);
    memcpy(bytes, real_type == F32 ? (void *)f : (void *)d, real_type == F32 ? sizeof f : sizeof d);
    add(v, n_data(real_type, 1, &n, bytes), true, 4);
    add(v, n_const(real_type, (double)((int)rnd(64) - 32) / 8), true, 4);
}

static void grow(Items *v, int n);

static void branch(Items *v)
{
    if (depth > 1)
        return;
    Item c = pick(v, is_pred);
    if (!c.n)
        c = (Item){ n_bin(OP_LT, n_const(real_type, chance(50)), n_const(real_type, chance(50))), true, 1 };
    if (is_const(c.n, NULL))
        return;
    depth++;
    int nr = 1 + (int)rnd(3);
    Node *res[2][3];
    bool exact[3] = { true, true, true };
    Items side[2] = { { 0 }, { 0 } };
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < v->n; i++) PUSH(side[s], v->at[i]);
        grow(&side[s], (int)rnd(6));
    }
    for (int k = 0; k < nr; k++) {
        Item a = pick(&side[0], NULL), b = { 0 };
        for (int tries = 0; tries < 100 && !b.n; tries++) {
            Item y = pick(&side[1], NULL);
            if (y.n && y.n->dt == a.n->dt && y.n->rank == a.n->rank && !memcmp(y.n->dim, a.n->dim, sizeof(int32_t) * a.n->rank)) b = y;
        }
        if (!b.n) b = a;
        res[0][k] = a.n, res[1][k] = b.n;
        exact[k] = a.exact && b.exact;
    }
    depth--;
    Node **cap;
    Region *r0, *r1;
    int ncut = (int)rnd(6);
    Node *cut[6];
    for (int i = 0; i < ncut; i++) cut[i] = v->at[rnd((uint32_t)v->n)].n;
    for (int i = 0; i < ncut; i++)
        for (int j = i + 1; j < ncut; j++)
            if (cut[i] == cut[j]) cut[j--] = cut[--ncut];
    int ncap = region_close2(nr, res[0], res[1], ncut, cut, &cap, &r0, &r1);
    Node *cond = n_cond(c.n, ncap, cap, r0, r1);
    for (int k = 0; k < nr; k++)
        add(v, n_out(cond, k), exact[k], 900);
}

static void loop(Items *v)
{
    if (depth > 1)
        return;
    Item xs = pick(v, has_axes), carry = pick(v, is_real), capture = pick(v, is_real);
    if (!xs.n || !is_real(xs) || !carry.n || !capture.n || n_size(carry.n) > 2000 || xs.n->dim[0] > 20)
        return;
    int32_t trip = xs.n->dim[0];
    Node *f[4] = { n_formal(0, I32, 0, NULL), n_formal(1, real_type, xs.n->rank - 1, xs.n->dim + 1),
                   n_formal(2, real_type, carry.n->rank, carry.n->dim), n_formal(3, real_type, capture.n->rank, capture.n->dim) };
    uint8_t fk[4] = { K_INDEX, K_ITEM, K_CARRY, K_CAPTURE }, rk[3] = { K_CARRY, K_STACK, K_SUM };
    Items in = { 0 };
    add(&in, f[0], true, 20);
    for (int i = 1; i < 4; i++) add(&in, f[i], false, 4);
    depth++;
    grow(&in, 2 + (int)rnd(8));
    depth--;
    Node *res[3] = { f[2], pick(&in, NULL).n, pick(&in, is_real).n };
    Item next = pick(&in, is_real);
    Node *to = next.n ? fit(next.n, f[2]) : NULL;
    if (to)
        res[0] = chance(80) ? n_un(OP_TANH, n_bin(OP_ADD, to, n_bin(OP_MUL, f[2], n_const(real_type, 0.5)))) : n_un(OP_TANH, to);
    if (!res[2])
        res[2] = f[2];
    Region *body = region_new(4, f, fk, 3, res, rk);
    Node *operands[3] = { xs.n, carry.n, capture.n };
    Node *l = n_loop(trip, chance(40), body, 3, operands);
    add(v, n_out(l, 0), false, 1 + carry.size);
    add(v, n_out(l, 1), false, 1e5);
    add(v, n_out(l, 2), false, 1e5);
}

/* Something new of [lanes, d] that lets no lane see another; w : [d, d]. */
static Node *in_lanes(Node *x, Node *y, Node *w, Node *t)
{
    int32_t d = x->dim[1];
    switch (rnd(10)) {
    case 0: return n_bin(chance(50) ? OP_ADD : OP_MUL, x, y);
    case 1: return n_un(OP_SIN, n_contract(x, w, (int8_t[]){ 1, 2 }, (int8_t[]){ 3, 2 }, 2, (int8_t[]){ 1, 3 }));
    case 2: return n_un(OP_TANH, n_cumsum(x, 1, chance(50)));
    case 3: return n_gather(x, n_argsort(y, 1), 1, (Loc){ 0 });
    case 4: return n_bin(OP_SUB, x, n_bcast(n_maxr(y, 2), 2, x->dim, (int8_t[]){ 0, -1 }));
    case 5: {
        Node *m = n_contract(x, y, (int8_t[]){ 1, 2 }, (int8_t[]){ 1, 3 }, 3, (int8_t[]){ 1, 2, 3 });
        return n_un(OP_SIN, n_contract(m, x, (int8_t[]){ 1, 2, 3 }, (int8_t[]){ 1, 3 }, 2, (int8_t[]){ 1, 2 }));
    }
    case 6: return n_concat(2, (Node *[]){ n_slice1(x, 1, d / 2, d - d / 2, 1), n_slice1(y, 1, 0, d / 2, 1) }, 1);
    case 7: return n_perm(n_perm(n_bin(OP_MUL, x, n_cast(n_iota(I32, 2, x->dim, 1), real_type)), (int8_t[]){ 1, 0 }), (int8_t[]){ 1, 0 });
    case 8: {
        Node *cut[2] = { x, y }, **cap, *then = n_bin(OP_ADD, x, y), *els = n_un(OP_NEG, y);
        Region *r0, *r1;
        int n = region_close2(1, &then, &els, 2, cut, &cap, &r0, &r1);
        return n_out(n_cond(n_bin(OP_LT, t, n_iconst(I32, 2)), n, cap, r0, r1), 0);
    }
    default: {
        Node *f[2] = { n_formal(0, real_type, 2, x->dim), n_formal(1, real_type, 2, x->dim) };
        Node *res[2] = { n_un(OP_TANH, n_bin(OP_ADD, f[0], f[1])), n_bin(OP_MUL, f[0], f[1]) };
        Node *l = n_loop(3, false, region_new(2, f, (uint8_t[]){ K_CARRY, K_CAPTURE }, 2, res, (uint8_t[]){ K_CARRY, K_SUM }), 2, (Node *[]){ x, y });
        return chance(50) ? n_out(l, 0) : n_un(OP_TANH, n_out(l, 1));
    }
    }
}

/* A loop over time with states of several lanes. */
static void lanes(Items *v)
{
    Item a = pick(v, is_real), b = pick(v, is_real), c = pick(v, is_real);
    if (depth || !a.n || !b.n || !c.n)
        return;
    int32_t trip = 1 + (int32_t)rnd(4), s[] = { trip, 2 + (int32_t)rnd(6), 1 + (int32_t)rnd(9) }, ww[] = { s[2], s[2] };
    Node *like[3] = { n_splat(real_type, 0, 3, s), n_splat(real_type, 0, 2, s + 1), n_splat(real_type, 0, 2, ww) };
    Node *xs = fit(a.n, like[0]), *start = fit(b.n, like[1]), *w = fit(c.n, like[2]);
    if (!xs || !start || !w)
        return;
    Node *f[4] = { n_formal(0, I32, 0, NULL), n_formal(1, real_type, 2, s + 1), n_formal(2, real_type, 2, s + 1), n_formal(3, real_type, 2, ww) };
    Node *x[12] = { n_un(OP_TANH, f[1]), n_un(OP_TANH, f[2]) };
    int n = 2;
    for (int k = 2 + (int)rnd(9); k > 0; k--, n++) {
        Node *p = x[rnd((uint32_t)n)], *q = x[rnd((uint32_t)n)];
        x[n] = in_lanes(p, q, n_un(OP_TANH, f[3]), f[0]);
    }
    Node *last = n_un(OP_TANH, x[n - 1]), *other = x[rnd((uint32_t)n)];
    Node *square = n_contract(last, other, (int8_t[]){ 1, 2 }, (int8_t[]){ 1, 3 }, 2, (int8_t[]){ 2, 3 });
    Node *res[5] = { chance(50) ? last : n_bin(OP_MUL, last, f[2]), x[rnd((uint32_t)n)], other, n_bin(OP_MUL, square, n_const(real_type, 2)), n_sum(other, 1) };
    uint8_t fk[4] = { K_INDEX, K_ITEM, K_CARRY, K_CAPTURE }, rk[5] = { K_CARRY, K_STACK, K_SUM, K_SUM, K_STACK };
    Node *l = n_loop(trip, chance(50), region_new(4, f, fk, 5, res, rk), 3, (Node *[]){ xs, start, w });
    for (int k = 0; k < 5; k++)
        if (chance(70)) add(v, n_out(l, k), false, 1e5);
}

static void grow(Items *v, int n)
{
    static void (*const make[])(Items *) = { unary, unary, binary, binary, binary, binary, choose, convert, view, view, view, fold, joined, reduced,
                                             reduced, reduced, reduced_each_way, ordered, looked_up, product, product, drawn, leaf, branch, loop, lanes };
    for (int i = 0; i < n; i++)
        make[rnd(sizeof make / sizeof *make)](v);
}

/* ---- programs */

typedef struct { Entry *e; Region *plain; Items v; Tensor **in; bool *exact; } Case;      /* plain: before it was optimized */

static Node *formal(int k, Dt dt)
{
    int32_t dim[MAXDIM];
    int rank = (int)rnd(4);
    int64_t room = most_of_formal;
    for (int i = 0; i < rank; i++) dim[i] = any_size(room), room /= dim[i];
    if (most > 40000 && chance(40)) rank = 2, dim[0] = 257 + (int32_t)rnd(100), dim[1] = 300 + (int32_t)rnd(100);
    return n_formal(k, dt, rank, dim);
}

static Model *model;

static void new_state(const Node *n)
{
    State *s = NEW(State);
    s->path = arena_printf("s%d", model->state.n);
    s->dt = (Dt)n->dt, s->rank = n->rank;
    memcpy(s->dim, n->dim, sizeof n->dim);
    s->id = model->state.n;
    PUSH(model->state, s);
}

static Case make_case(int number, int nops)
{
    Case c = { 0 };
    Entry *e = c.e = NEW(Entry);
    VEC(Node *) f = { 0 };
    VEC(Bind) in = { 0 }, out = { 0 };
    VEC(Node *) res = { 0 };
    VEC(bool) exact = { 0 };
    int nf = 3 + (int)rnd(6), fields = 0, outs = 0;
    for (int k = 0; k < nf; k++) {
        Dt dt = k == 0 ? I32 : k == 1 ? BOOL : k == 2 ? I64 : chance(90) ? real_type : U8;
        Node *n = k == 1 && chance(70) ? n_formal(k, BOOL, 0, NULL) : formal(k, dt);
        PUSH(f, n);
        add(&c.v, n, true, 4);
        Bind b = { B_FIELD, fields };
        if (k > 2 && chance(50)) {
            b = (Bind){ B_STATE, model->state.n };
            new_state(n);
        } else {
            fields++;
        }
        PUSH(in, b);
    }
    grow(&c.v, nops);
    for (int k = 0; k < nf; k++) {
        if (in.at[k].kind != B_STATE)
            continue;
        Item x = { 0 };
        for (int tries = 0; tries < 30 && !x.n; tries++) {
            Item y = pick(&c.v, NULL);
            Node *n = y.n && y.n->dt == f.at[k]->dt ? fit(y.n, f.at[k]) : NULL;
            if (n) x = (Item){ n, y.exact, y.size };
        }
        if (!x.n || chance(10)) x = (Item){ f.at[k], true, 4 };
        else if (chance(50) && is_real(x)) x = (Item){ n_bin(OP_ADD, x.n, f.at[k]), false, 4 };
        PUSH(res, x.n);
        PUSH(exact, x.exact);
        PUSH(out, in.at[k]);
    }
    int no = 2 + (int)rnd(6);
    for (int k = 0; k < no; k++) {
        Item x = pick(&c.v, NULL);
        if (!x.n) continue;
        PUSH(res, x.n);
        PUSH(exact, x.exact);
        Bind b = { B_OUT, outs++ };
        PUSH(out, b);
    }
    e->name = arena_printf("case%d", number);
    e->id = number;
    e->model = model;
    e->in = in.at, e->out = out.at;
    c.exact = exact.at;
    uint8_t *fk = NEWN(uint8_t, f.n + 1), *rk = NEWN(uint8_t, res.n + 1);
    memset(fk, K_CAPTURE, (size_t)f.n);
    memset(rk, K_STACK, (size_t)res.n);
    e->r = region_new(f.n, f.at, fk, res.n, res.at, rk);
    c.plain = region_new(f.n, f.at, fk, res.n, res.at, rk);
    optimize(e->r);
    return c;
}

/* ---- tensors */

static int64_t tensor_count(const Tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

static void fill_random(Tensor *t)
{
    for (int64_t i = 0; i < tensor_count(t); i++) {
        int k = (int)rnd(65) - 32;
        if (dt_float(t->dt)) t->f[i] = k / 8.0;
        else t->i[i] = t->dt == BOOL ? k & 1 : t->dt == U8 ? (uint8_t)k : k;
    }
}

static void to_bytes(const Tensor *t, void *p)
{
    for (int64_t i = 0; i < tensor_count(t); i++)
        switch (t->dt) {
        case F32: ((float *)p)[i] = (float)t->f[i]; break;
        case F64: ((double *)p)[i] = t->f[i]; break;
        case I64: ((int64_t *)p)[i] = t->i[i]; break;
        case BOOL: case U8: ((uint8_t *)p)[i] = (uint8_t)t->i[i]; break;
        default: ((uint32_t *)p)[i] = (uint32_t)t->i[i];
        }
}

static double from_bytes(Dt dt, const void *p, int64_t i)
{
    switch (dt) {
    case F32: return ((const float *)p)[i];
    case F64: return ((const double *)p)[i];
    case I64: return (double)((const int64_t *)p)[i];
    case I32: return ((const int32_t *)p)[i];
    case U32: return ((const uint32_t *)p)[i];
    default: return ((const uint8_t *)p)[i];
    }
}

static double value_of(const Tensor *t, int64_t i) { return dt_float(t->dt) ? t->f[i] : (double)t->i[i]; }

/* ---- running */

typedef struct { nl_call call; const nl_entry *fn; } Job;

static void *run_job(void *p)
{
    Job *j = p;
    my_place = backwards ? team - 1 - j->call.tid : j->call.tid;
    wait_for_turn();
    j->fn->fn(&j->call);
    pass_turn();
    return NULL;
}

typedef struct { char *state; void **in, **out; int64_t *out_bytes; int nout; char *arena; nl_status status[3]; } Run;

/* Memory full of NaN that ends at a page nobody may touch. */
typedef struct { char *start; size_t bytes; } Mapping;
static VEC(Mapping) mappings;

static void *fenced(int64_t n)
{
    size_t page = 4096, whole = ((size_t)n + page - 1) / page * page;
    char *p = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, 0xff, whole);
    mprotect(p + whole, page, PROT_NONE);
    Mapping m = { p, whole + page };
    PUSH(mappings, m);
    return p + whole - n;
}

static void unmap_all(void)
{
    while (mappings.n > 0) {
        mappings.n--;
        munmap(mappings.at[mappings.n].start, mappings.at[mappings.n].bytes);
    }
}

static Run run_case(const Case *c, const nl_entry *fn, int nthreads)
{
    Run s = { 0 };
    const Entry *e = c->e;
    s.state = fenced(model_bytes(model));
    s.in = calloc((size_t)e->r->np + 1, sizeof *s.in);
    s.out = calloc((size_t)e->r->nr + 1, sizeof *s.out);
    s.out_bytes = calloc((size_t)e->r->nr + 1, sizeof *s.out_bytes);
    s.arena = fenced(e->arena);
    for (int i = 0; i < e->r->np; i++) {
        if (e->in[i].kind == B_STATE) {
            to_bytes(c->in[i], s.state + state_offset(model, e->in[i].index));
            continue;
        }
        s.in[e->in[i].index] = fenced(n_size(e->r->formal[i]) * dt_size((Dt)e->r->formal[i]->dt));
        to_bytes(c->in[i], s.in[e->in[i].index]);
    }
    for (int i = 0; i < e->r->nr; i++)
        if (e->out[i].kind == B_OUT) {
            s.out_bytes[s.nout] = n_size(e->r->result[i]) * dt_size((Dt)e->r->result[i]->dt);
            s.out[s.nout] = fenced(s.out_bytes[s.nout]);
            s.nout++;
        }
    team = nthreads;
    turn = 0;
    pthread_t th[3];
    Job job[3];
    for (int t = 0; t < nthreads; t++) {
        job[t] = (Job){ { .state = s.state, .in = (const void *const *)s.in, .out = s.out, .arena = s.arena, .scratch = fenced(e->scratch), .count = 1,
                          .tid = t, .nthreads = nthreads, .status = &s.status[t] }, fn };
        if (t) pthread_create(&th[t], NULL, run_job, &job[t]);
    }
    run_job(&job[0]);
    for (int t = 1; t < nthreads; t++) pthread_join(th[t], NULL);
    return s;
}

static void space_free(Run *s)
{
    free(s->in), free(s->out), free(s->out_bytes);
}

static int bad, verbose;

/* slack: how far rounding each f32 node moves the result */
static bool near_enough(double a, double b, double scale, double slack, bool exact)
{
    if (isnan(a) || isnan(b) || isinf(a) || isinf(b))
        return (isnan(a) && isnan(b)) || a == b;
    return exact ? a == b : fabs(a - b) <= (real_type == F64 ? 1e-9 : 1e-4) * (1 + scale) + 30 * slack;
}

static void compare(const Case *c, Tensor *const *want, Tensor *const *precise, const Run *s, const char *what)
{
    for (int i = 0; i < c->e->r->nr; i++) {
        Node *n = c->e->r->result[i];
        Bind b = c->e->out[i];
        const void *have = b.kind == B_STATE ? (void *)(s->state + state_offset(model, b.index)) : s->out[b.index];
        double scale = 0, slack = 0;
        for (int64_t j = 0; j < n_size(n); j++) {
            double w = fabs(value_of(want[i], j));
            if (w > scale && !isinf(w)) scale = w;
            slack = fmax(slack, fabs(value_of(want[i], j) - value_of(precise[i], j)));
        }
        for (int64_t j = 0; j < n_size(n); j++) {
            double h = from_bytes((Dt)n->dt, have, j), w = value_of(want[i], j);
            if (near_enough(h, w, scale, slack, c->exact[i] && !dt_float((Dt)n->dt)))
                continue;
            printf("%s %s: result %d (%s) element %lld: %.17g, should be %.17g (scale %g)\n", c->e->name, what, i, node_type(n), (long long)j, h, w, scale);
            bad++;
            break;
        }
    }
}

/* Did optimizing change what is computed? Both by the evaluator. (Whole numbers may jump where a float before them moved by its last bit.) */
static void check_optimized(const Case *c, Tensor *const *precise)
{
    Tensor **plain = calloc((size_t)c->plain->nr + 1, sizeof *plain);
    EvalStatus st = { 0 };
    region_eval(c->plain, c->in, plain, false, &st);
    for (int i = 0; i < c->plain->nr; i++) {
        Node *n = c->plain->result[i];
        double scale = 0;
        for (int64_t j = 0; j < n_size(n); j++)
            if (isfinite(value_of(plain[i], j))) scale = fmax(scale, fabs(value_of(plain[i], j)));
        for (int64_t j = 0; j < n_size(n); j++) {
            double p = value_of(plain[i], j), q = value_of(precise[i], j);
            if (!dt_float((Dt)n->dt) || !(fabs(p - q) > 1e-6 * (1 + scale))) continue;
            printf("%s optimized: result %d (%s) element %lld: %.17g, was %.17g\n", c->e->name, i, node_type(n), (long long)j, q, p);
            bad++;
            break;
        }
        tensor_free(plain[i]);
    }
    free(plain);
}

static void same_bits(const Case *c, const Run *a, const Run *b)
{
    for (int i = 0; i < c->e->r->nr; i++) {
        Node *n = c->e->r->result[i];
        Bind d = c->e->out[i];
        size_t bytes = (size_t)(n_size(n) * dt_size((Dt)n->dt));
        const void *p = d.kind == B_STATE ? (void *)(a->state + state_offset(model, d.index)) : a->out[d.index];
        const void *q = d.kind == B_STATE ? (void *)(b->state + state_offset(model, d.index)) : b->out[d.index];
        if (memcmp(p, q, bytes)) {
            printf("%s: result %d depends on the threads\n", c->e->name, i);
            bad++;
        }
    }
}

static bool has_bodies(const Region *r)
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < n; i++)
        if (order[i]->op == OP_COND || order[i]->op == OP_LOOP)
            return true;
    return false;
}

static void check(Case *c, const nl_entry *fn)
{
    const Region *r = c->e->r;
    c->in = calloc((size_t)r->np + 1, sizeof *c->in);
    Tensor **want = calloc((size_t)r->nr + 1, sizeof *want), **precise = calloc((size_t)r->nr + 1, sizeof *want);
    for (int i = 0; i < r->np; i++) {
        c->in[i] = tensor_new((Dt)r->formal[i]->dt, r->formal[i]->rank, r->formal[i]->dim);
        fill_random(c->in[i]);
    }
    EvalStatus st = { 0 };
    region_eval(r, c->in, want, true, &st);
    region_eval(r, c->in, precise, false, &st);
    int was = bad;
    check_optimized(c, precise);
    backwards = false;
    Run one = run_case(c, fn, 1), three = run_case(c, fn, 3);
    backwards = true;
    Run again = run_case(c, fn, 3);
    compare(c, want, precise, &one, "alone");
    if (bad == was)
        same_bits(c, &one, &three);
    if (bad == was)
        same_bits(c, &one, &again);
    bool noted = three.status[0].bad || three.status[1].bad || three.status[2].bad;
    bool whole = !has_bodies(r);         /* the evaluator also computes results of branches that nobody reads */
    if (noted != (one.status[0].bad != 0) || (noted && !st.bad) || (st.bad && !noted && whole)) {
        printf("%s: a bad index was %s\n", c->e->name, st.bad ? "not noted" : "noted");
        bad++;
    }
    if (bad != was && verbose)
        region_print(r, stdout);
    space_free(&one);
    space_free(&three);
    space_free(&again);
    unmap_all();
    for (int i = 0; i < r->np; i++) tensor_free(c->in[i]);
    for (int i = 0; i < r->nr; i++) tensor_free(want[i]), tensor_free(precise[i]);
    free(c->in), free(want), free(precise);
}

static void one_program(uint64_t seed, int entries, int nops)
{
    rng = seed * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < 10; i++) rnd(2);
    real_type = chance(60) ? F64 : F32;
    opt.f64 = real_type == F64;
    model = NEW(Model);
    model->name = model->label = "m";
    Program *p = NEW(Program);
    p->source = "fuzz.nl", p->dir = ".", p->f64 = opt.f64;
    PUSH(p->model, model);
    Case *c = NEWN(Case, entries);
    for (int i = 0; i < entries; i++) {
        c[i] = make_case(i, nops);
        PUSH(p->entry, c[i].e);
        if (verbose > 1)
            region_print(c[i].e->r, stdout);
    }
    model->init = c[0].e;
    fflush(stdout);
    char obj[64], so[64], cmd[256];
    snprintf(obj, sizeof obj, "/tmp/fuzz%d.o", (int)getpid());
    snprintf(so, sizeof so, "/tmp/fuzz%d.so", (int)getpid());
    if (!emit_program(p, 1, (const char *const[]){ obj }))
        exit(1);
    snprintf(cmd, sizeof cmd, "cc -shared -o %s %s -lm", so, obj);
    if (system(cmd))
        exit(1);
    void *lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        printf("%s\n", dlerror());
        exit(1);
    }
    const nl_program *np = dlsym(lib, "nl_program");
    int was = bad;
    for (int i = 0; i < entries; i++)
        check(&c[i], &np->entry[i]);
    if (bad != was)
        printf("seed %llu failed (%s)\n", (unsigned long long)seed, opt.f64 ? "f64" : "f32");
    dlclose(lib);
    unlink(obj), unlink(so);
}

/* In a process of its own: the compiler's memory goes at its end, and a crash is one difference. */
static void apart(uint64_t seed, int entries, int nops)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        bad = 0;
        alarm(120);
        one_program(seed, entries, nops);
        fflush(stdout);
        _exit(bad > 100 ? 100 : bad);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) {
        bad += WEXITSTATUS(status);
        return;
    }
    printf("seed %llu: signal %d\n", (unsigned long long)seed, WTERMSIG(status));
    bad++;
}

int main(int argc, char **argv)
{
    int programs = 10, entries = 8, nops = 25, o;
    uint64_t seed = 1;
    opt.verify = true;
    setenv("NLC_LANE_BYTES", "0", 0);
    while ((o = getopt(argc, argv, "n:s:e:o:c:btvpl")) != -1)
        switch (o) {
        case 'n': programs = atoi(optarg); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 'e': entries = atoi(optarg); break;
        case 'o': nops = atoi(optarg); break;
        case 'c': opt.cpu = optarg; break;
        case 'v': verbose++; break;
        case 'b': most = 600000, most_of_formal = 300000; break;
        case 't': plan_solo_work = 0; break;
        case 'p': opt.dump = "plan"; break;
        case 'l': opt.dump = "llvm"; break;
        default: return 2;
        }
    for (int i = 0; i < programs; i++) {
        if (programs == 1)
            one_program(seed, entries, nops);
        else
            apart(seed + (uint64_t)i, entries, nops);
    }
    printf("%d programs, %d differences\n", programs, bad);
    return bad != 0;
}
