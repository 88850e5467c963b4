/* graph.c: nodes and regions. node() is the only constructor: it clears the attributes that an operation does not
   have, infers type and shape from its row, lets algebra.c replace the node by a simpler one, and otherwise returns
   the one node that is equal (hash-consing).
   Guarantees: equal nodes are equal pointers; operands have smaller ids; regions inside LOOP and COND are equal
   pointers if equal. Nothing iterates over a table keyed by addresses: output does not depend on where memory lies. */
#include "ops.h"
#include <stdlib.h>
#include <string.h>

static Node **table;                                       /* open addressing, a power of two, in malloc'ed memory */
static uint32_t table_cap, table_n, next_id;
static int64_t next_uid;
Loc graph_loc;

void graph_fail(const Node *x, const char *what)
{
    fprintf(stderr, "nlc: internal error: graph: %s %s: %s\n", op_row[x->op].name, node_type(x), what);
    for (int i = 0; i < x->nin; i++)
        fprintf(stderr, "    operand %d: %s %s\n", i, op_row[x->in[i]->op].name, node_type(x->in[i]));
    if (x->loc.line)
        fprintf(stderr, "    made at %s:%u:%d\n", source_name(x->loc.file), (unsigned)x->loc.line, x->loc.col);
    abort();
}

int64_t graph_uid(void) { return ++next_uid; }

/* ---- hashing */
static uint64_t mix_word(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

static uint64_t mix(uint64_t h, const void *p, size_t n)   /* eight bytes at a time */
{
    const unsigned char *c = p;
    for (uint64_t w; n; c += sizeof w) {
        size_t take = n < sizeof w ? n : sizeof w;
        w = 0;
        memcpy(&w, c, take);
        h = mix_word(h, w);
        n -= take;
    }
    return h;
}

static size_t data_size(const Node *x) { return (size_t)n_size(x) * (size_t)dt_size(x->dt); }

/* what counts of the attributes: not the place of a gather, not an address */
static Attr identity(const Node *x)
{
    Attr a;
    memcpy(&a, &x->a, sizeof a);
    a.data = NULL;
    if (x->op == OP_GATHER)
        a.site = 0;
    return a;
}

static uint32_t node_hash(const Node *x)
{
    Attr a = identity(x);
    uint64_t h = mix_word(x->op, (uint64_t)x->dt << 8 | x->rank);
    h = mix(h, x->dim, sizeof(int32_t) * x->rank);
    if (op_row[x->op].attrs)
        h = mix(h, &a, sizeof a);
    if (x->op == OP_DATA)
        h = mix(h, x->a.data, data_size(x));
    for (int i = 0; i < x->nin; i++)
        h = mix_word(h, x->in[i]->id);
    return (uint32_t)h;
}

static bool node_equal(const Node *x, const Node *y)
{
    if (x->hash != y->hash || x->op != y->op || x->nin != y->nin || !same_type(x, y))
        return false;
    if (x->nin && memcmp(x->in, y->in, sizeof *x->in * (size_t)x->nin))
        return false;
    Attr a = identity(x), b = identity(y);
    return !memcmp(&a, &b, sizeof a) && (x->op != OP_DATA || !memcmp(x->a.data, y->a.data, data_size(x)));
}

static void table_grow(void)
{
    uint32_t cap = table_cap ? table_cap * 2 : 1024;
    Node **t = calloc(cap, sizeof *t);
    if (!t) {
        fprintf(stderr, "nlc: out of memory\n");
        exit(1);
    }
    for (uint32_t i = 0; i < table_cap; i++)
        if (table[i]) {
            uint32_t h = table[i]->hash & (cap - 1);
            while (t[h])
                h = (h + 1) & (cap - 1);
            t[h] = table[i];
        }
    free(table);
    table = t, table_cap = cap;
}

static Node *cons(Node *x)                                 /* the node that equals x */
{
    if (2 * (table_n + 1) > table_cap)
        table_grow();
    x->hash = node_hash(x);
    uint32_t h = x->hash & (table_cap - 1);
    for (; table[h]; h = (h + 1) & (table_cap - 1))
        if (node_equal(table[h], x))
            return table[h];
    Node *n = NEW(Node), **in = NEWN(Node *, x->nin ? x->nin : 1);
    memcpy(n, x, sizeof *n);
    if (x->nin)
        memcpy(in, x->in, sizeof *in * (size_t)x->nin);
    n->in = in;
    n->id = ++next_id;
    table_n++;
    return table[h] = n;
}

void graph_reset(void)
{
    free(table);
    table = NULL;
    table_cap = table_n = next_id = 0;
    next_uid = 0;
    regions_reset();
    sites_reset();
    eval_forget();
}

/* ---- node() */
/* one element or none: the step says nothing */
static void take_range(Attr *to, const Attr *a, int rank, const int32_t *len)
{
    for (int i = 0; i < rank; i++) {
        to->start[i] = len[i] ? a->start[i] : 0;
        to->step[i] = len[i] > 1 ? a->step[i] : 1;
    }
}

static void take_attrs(Node *x, const Attr *a)             /* only those that the operation has; the rest stays zero */
{
    unsigned has = a ? op_row[x->op].attrs : 0;
    Attr *t = &x->a;
    if (has & A_VALUE && dt_float(x->dt))
        t->num = x->dt == F32 ? (float)a->num : a->num;
    else if (has & A_VALUE)
        t->inum = int_wrap(x->dt, a->inum);
    if (has & A_K)
        t->k = a->k;
    if (has & A_AXIS)
        t->axis = a->axis;
    if (has & A_AXES)
        t->axes = a->axes;
    if (has & A_MAP)
        memcpy(t->map, a->map, x->op == OP_PERM ? x->in[0]->rank : x->rank);
    if (has & A_RANGE)
        take_range(t, a, x->rank, x->op == OP_PAD ? x->in[0]->dim : x->dim);
    if (has & A_LABELS) {
        memcpy(t->la, a->la, x->in[0]->rank);
        memcpy(t->lb, a->lb, x->in[1]->rank);
        for (int i = 0; i < MAXDIM && a->lo[i]; i++)
            t->lo[i] = a->lo[i];
    }
    if (has & A_SITE)
        t->site = a->site;
    if (has & A_DATA)
        t->data = a->data;
    if (has & A_REGION) {
        t->r[0] = a->r[0] ? region_intern(a->r[0]) : NULL;
        t->r[1] = a->r[1] ? region_intern(a->r[1]) : NULL;
    }
    if (has & A_REVERSE)
        t->reverse = a->reverse;
}

static void rank_fail(int rank)
{
    fprintf(stderr, "nlc: internal error: graph: a node of %d axes; there can be %d\n", rank, MAXDIM);
    abort();
}

Node *node(Op op, Dt dt, int rank, const int32_t *dim, int nin, Node *const *in, const Attr *a, Loc loc)
{
    Node x;
    memset(&x, 0, sizeof x);
    if (rank > MAXDIM)
        rank_fail(rank);
    x.op = (uint16_t)op, x.dt = (uint8_t)dt, x.rank = (uint8_t)rank, x.nin = nin, x.in = (Node **)in;
    x.loc = loc.line ? loc : graph_loc;
    if (rank && dim)
        memcpy(x.dim, dim, sizeof *dim * (size_t)rank);
    if (op_row[op].arity >= 0 && op_row[op].arity != nin)
        graph_fail(&x, "wrong number of operands");
    take_attrs(&x, a);
    const char *bad = op_row[op].infer(&x);
    if (bad)
        graph_fail(&x, bad);
    for (int i = x.rank; i < MAXDIM; i++)
        x.dim[i] = 0;
    Node *y = simplify(&x);
    if (y && !same_type(&x, y))
        graph_fail(&x, "algebra changed its type");
    return y ? y : cons(&x);
}

/* ---- regions */
static Region **region_at;
static int region_n, region_cap;

void regions_reset(void)
{
    free(region_at);
    region_at = NULL;
    region_n = region_cap = 0;
}

Region *region_new(int np, Node *const *formal, const uint8_t *fkind, int nr, Node *const *result, const uint8_t *rkind)
{
    Region *r = NEW(Region);
    *r = (Region){ np, nr, NEWN(Node *, np + 1), NEWN(uint8_t, np + 1), NEWN(Node *, nr + 1), NEWN(uint8_t, nr + 1) };
    if (np) {
        memcpy(r->formal, formal, sizeof *formal * (size_t)np);
        memcpy(r->fkind, fkind, (size_t)np);
    }
    if (nr) {
        memcpy(r->result, result, sizeof *result * (size_t)nr);
        memcpy(r->rkind, rkind, (size_t)nr);
    }
    return r;
}

static bool same_bytes(const void *a, const void *b, size_t n) { return !n || !memcmp(a, b, n); }

static bool region_equal(const Region *a, const Region *b)
{
    size_t np = (size_t)a->np, nr = (size_t)a->nr;
    return a->np == b->np && a->nr == b->nr &&
           same_bytes(a->fkind, b->fkind, np) && same_bytes(a->formal, b->formal, np * sizeof(Node *)) &&
           same_bytes(a->rkind, b->rkind, nr) && same_bytes(a->result, b->result, nr * sizeof(Node *));
}

/* The one private copy of an equal region that LOOP and COND refer to, so that equal loops are equal nodes. */
Region *region_intern(const Region *r)
{
    for (int i = region_n - 1; i >= 0; i--)
        if (region_at[i] == r || region_equal(region_at[i], r))
            return region_at[i];
    if (region_n == region_cap) {
        region_cap = region_cap ? 2 * region_cap : 64;
        region_at = realloc(region_at, sizeof *region_at * (size_t)region_cap);
    }
    Region *own = region_new(r->np, r->formal, r->fkind, r->nr, r->result, r->rkind);
    check_region(own, "making a loop or cond", false);
    return region_at[region_n++] = own;
}

/* ---- walking and rebuilding */
static int by_id(const void *a, const void *b)
{
    uint32_t x = (*(Node *const *)a)->id, y = (*(Node *const *)b)->id;
    return x < y ? -1 : x > y;
}

int graph_order(int nr, Node *const *result, Node ***order)
{
    VEC(Node *) seen = { 0 };
    VEC(Node *) todo = { 0 };
    unsigned char *mark = calloc((next_id >> 3) + 1, 1);   /* one bit per id */
    for (int i = 0; i < nr; i++)
        if (result[i])
            PUSH(todo, result[i]);
    while (todo.n) {
        Node *x = todo.at[--todo.n];
        if (mark[x->id >> 3] >> (x->id & 7) & 1)
            continue;
        mark[x->id >> 3] |= (unsigned char)(1u << (x->id & 7));
        PUSH(seen, x);
        for (int i = 0; i < x->nin; i++)
            PUSH(todo, x->in[i]);
    }
    free(mark);
    if (seen.n)                                            /* operands are older: order of birth is one of evaluation */
        qsort(seen.at, (size_t)seen.n, sizeof *seen.at, by_id);
    *order = seen.at;
    return seen.n;
}

static Node *rebuild(const Node *x, Node *const *in)
{
    return node(x->op, x->dt, x->rank, x->dim, x->nin, in, &x->a, x->loc);
}

/* Operands of x after the map; true if one differs. */
static bool mapped_operands(const Node *x, const PtrMap *to, Node **in)
{
    bool changed = false;
    for (int j = 0; j < x->nin; j++) {
        Node *y = ptrmap_get(to, x->in[j]);
        in[j] = y ? y : x->in[j];
        changed |= in[j] != x->in[j];
    }
    return changed;
}

void graph_subst(int nr, Node **result, int n, Node *const *from, Node *const *to)
{
    Node **order, *small[8];
    PtrMap map = { 0 };
    int len = graph_order(nr, result, &order);
    for (int i = 0; i < n; i++)
        *ptrmap_at(&map, from[i]) = to[i];
    for (int i = 0; i < len; i++) {
        Node *x = order[i], **in = x->nin <= 8 ? small : NEWN(Node *, x->nin);
        if (x->nin && !ptrmap_get(&map, x) && mapped_operands(x, &map, in)) {
            Node *y = rebuild(x, in);
            *ptrmap_at(&map, x) = y;
        }
    }
    for (int i = 0; i < nr; i++) {
        Node *y = result[i] ? ptrmap_get(&map, result[i]) : NULL;
        result[i] = y ? y : result[i];
    }
    ptrmap_free(&map);
}

typedef struct { Node *(*each)(Node *x); PtrMap done; } Rewriting;     /* done: regions met before, as others share them */

static Region *rewritten(const Region *r, Rewriting *w);

/* x with other operands (and other regions inside), then what `each` makes of it. */
static Node *rewritten_node(Node *x, Node *const *in, bool moved, Rewriting *w)
{
    if (op_row[x->op].attrs & A_REGION) {
        Attr a;
        memcpy(&a, &x->a, sizeof a);
        for (int i = 0; i < 2; i++)
            a.r[i] = a.r[i] ? rewritten(a.r[i], w) : NULL;
        x = node(x->op, NDT, 0, NULL, x->nin, in, &a, x->loc);
    } else if (moved) {
        x = rebuild(x, in);
    }
    return w->each(x);
}

static Region *rewritten(const Region *r, Rewriting *w)
{
    Region *e = ptrmap_get(&w->done, r);
    if (e)
        return e;
    Node **order;
    PtrMap map = { 0 };
    int len = graph_order(r->nr, r->result, &order);
    e = region_new(r->np, r->formal, r->fkind, r->nr, r->result, r->rkind);
    for (int i = 0; i < len; i++) {
        Node *x = order[i], **in = NEWN(Node *, x->nin + 1);
        bool moved = mapped_operands(x, &map, in);
        Node *y = rewritten_node(x, in, moved, w);
        if (y != x)
            *ptrmap_at(&map, x) = y;
    }
    for (int i = 0; i < r->nr; i++) {
        Node *y = ptrmap_get(&map, r->result[i]);
        e->result[i] = y ? y : r->result[i];
    }
    ptrmap_free(&map);
    *ptrmap_at(&w->done, r) = e;
    return e;
}

Region *region_rewrite(Region *r, Node *(*each)(Node *x))
{
    Rewriting w = { .each = each };
    Region *e = rewritten(r, &w);
    ptrmap_free(&w.done);
    return e;
}

/* An ITEM that is 0 for every item is 0 in the body; the formal keeps its place. */
static Region *without_zero_items(const Region *r, Node *const *in)
{
    Region *e = region_new(r->np, r->formal, r->fkind, r->nr, r->result, r->rkind);
    Node **from = NEWN(Node *, r->np + 1), **to = NEWN(Node *, r->np + 1);
    int n = 0;
    double v;
    for (int i = 0, k = 0; i < r->np; i++) {
        if (r->fkind[i] == K_INDEX)
            continue;
        Node *x = in[k++];
        if (r->fkind[i] == K_ITEM && is_const(x, &v) && v == 0)
            from[n] = r->formal[i], to[n++] = n_zeros_like(r->formal[i]);
    }
    if (n)
        graph_subst(e->nr, e->result, n, from, to);
    return e;
}

static Node *without_tags(Node *x)
{
    if (x->op == OP_LOOP) {
        Attr a;
        memcpy(&a, &x->a, sizeof a);
        a.r[0] = without_zero_items(a.r[0], x->in);
        return node(x->op, NDT, 0, NULL, x->nin, x->in, &a, x->loc);
    }
    return x->op == OP_MARK || x->op == OP_STOP ? x->in[0] : x;
}

Region *region_erase(Region *r) { return region_rewrite(r, without_tags); }

/* The formals of the outside that the results reach without passing through a cut. */
static int free_formals(int nr, Node *const *result, int ncut, Node *const *cut, Node ***found)
{
    VEC(Node *) todo = { 0 };
    VEC(Node *) outer = { 0 };
    PtrMap seen = { 0 };
    for (int i = 0; i < ncut; i++)
        *ptrmap_at(&seen, cut[i]) = cut[i];
    for (int i = 0; i < nr; i++)
        PUSH(todo, result[i]);
    while (todo.n) {
        Node *x = todo.at[--todo.n];
        void **slot = ptrmap_at(&seen, x);
        if (*slot)
            continue;
        *slot = x;
        if (x->op == OP_FORMAL)
            PUSH(outer, x);
        for (int i = 0; i < x->nin; i++)
            PUSH(todo, x->in[i]);
    }
    ptrmap_free(&seen);
    if (outer.n)
        qsort(outer.at, (size_t)outer.n, sizeof *outer.at, by_id);
    *found = outer.at;
    return outer.n;
}

static Region *closed(int nr, Node *const *res, int np, Node *const *from, Node *const *formal)
{
    uint8_t *fkind = NEWN(uint8_t, np + 1), *rkind = NEWN(uint8_t, nr + 1);
    Region *r;
    memset(fkind, K_CAPTURE, (size_t)np);
    memset(rkind, K_STACK, (size_t)nr);
    r = region_new(np, formal, fkind, nr, res, rkind);
    graph_subst(nr, r->result, np, from, formal);
    return r;
}

int region_close2(int nr, Node *const *res0, Node *const *res1, int ncut, Node *const *cut, Node ***cap,
                  Region **r0, Region **r1)
{
    int nres = res1 ? 2 * nr : nr;
    Node **all = NEWN(Node *, nres + 1), **outer;
    if (nr)
        memcpy(all, res0, sizeof *all * (size_t)nr);
    if (res1)
        memcpy(all + nr, res1, sizeof *all * (size_t)nr);
    int extra = free_formals(nres, all, ncut, cut, &outer), np = ncut + extra;
    Node **from = NEWN(Node *, np + 1), **formal = NEWN(Node *, np + 1);
    for (int i = 0; i < np; i++) {
        from[i] = i < ncut ? cut[i] : outer[i - ncut];
        formal[i] = n_formal(i, from[i]->dt, from[i]->rank, from[i]->dim);
    }
    *r0 = closed(nr, res0, np, from, formal);
    if (res1)
        *r1 = closed(nr, res1, np, from, formal);
    *cap = from;
    return np;
}

/* ---- places that a running program may have to name */
typedef struct { Loc loc; const char *what; } Site;
static Site *site;
static int nsites, sites_cap;

void sites_reset(void)
{
    free(site);
    site = NULL;
    nsites = sites_cap = 0;
}

static bool same_place(Loc a, Loc b) { return a.file == b.file && a.line == b.line && a.col == b.col; }

int site_add(Loc loc, const char *what)
{
    for (int i = nsites - 1; i >= 0; i--)
        if (same_place(site[i].loc, loc) && !strcmp(site[i].what, what))
            return i;
    if (nsites == sites_cap) {
        sites_cap = sites_cap ? 2 * sites_cap : 64;
        site = realloc(site, sizeof *site * (size_t)sites_cap);
    }
    site[nsites] = (Site){ loc, arena_strdup(what) };
    return nsites++;
}

int site_count(void) { return nsites; }
Loc site_loc(int i) { return site[i].loc; }
const char *site_what(int i) { return site[i].what; }

/* ---- pointer maps */
static uint32_t ptr_hash(const void *p)
{
    uint64_t v = (uint64_t)(uintptr_t)p * 0x9E3779B97F4A7C15u;
    return (uint32_t)(v >> 32);
}

static int ptr_slot(const PtrMap *m, const void *key)
{
    int h = (int)(ptr_hash(key) & (uint32_t)(m->cap - 1));
    while (m->key[h] && m->key[h] != key)
        h = (h + 1) & (m->cap - 1);
    return h;
}

void **ptrmap_at(PtrMap *m, const void *key)
{
    if (2 * (m->n + 1) > m->cap) {
        PtrMap old = *m;
        m->cap = old.cap ? 2 * old.cap : 32;
        m->key = calloc((size_t)m->cap, sizeof *m->key);
        m->val = calloc((size_t)m->cap, sizeof *m->val);
        for (int i = 0; i < old.cap; i++)
            if (old.key[i]) {
                int h = ptr_slot(m, old.key[i]);
                m->key[h] = old.key[i], m->val[h] = old.val[i];
            }
        free(old.key), free(old.val);
    }
    int h = ptr_slot(m, key);
    if (!m->key[h]) {
        m->key[h] = key;
        m->n++;
    }
    return &m->val[h];
}

void *ptrmap_get(const PtrMap *m, const void *key) { return m->cap ? m->val[ptr_slot(m, key)] : NULL; }

void ptrmap_free(PtrMap *m)
{
    free(m->key), free(m->val);
    *m = (PtrMap){ 0 };
}
