/* elab_stream.c: streams. A reader is opened by the runtime; a generator and a map become entries that make one item;
   slices, `when`, sums, mixes and windows are told to the runtime. Equal streams (same canonical name) are one. */
#include <math.h>
#include <string.h>
#include "elab_int.h"

static const struct { const char *name; StreamKind kind; int files; } readers[] = {
    { "csv", SM_CSV, 1 }, { "idx", SM_IDX, 2 }, { "npy", SM_NPY, 1 }, { "text", SM_TEXT, 1 },
    { "lines", SM_CSV, 0 }, { "json", SM_CSV, 0 }, { "tokens", SM_CSV, 0 }, { "records", SM_CSV, 0 },
};

static int reader_index(const char *name)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) if (!strcmp(readers[i].name, name)) return (int)i;
    return -1;
}

bool is_reader(const char *name) { return reader_index(name) >= 0; }

enum { MAX_STREAMS = 10000 };

/* Over the limit streams are errors that say nothing more. */
static Value stream_v(Stream *s)
{
    return s && el.p->stream.n <= MAX_STREAMS ? (Value){ .kind = V_STREAM, .stream = s, .loc = s->loc } : v_err();
}

static void stream_add(Stream *s)
{
    s->id = el.p->stream.n;
    PUSH(el.p->stream, s);
    if (s->id == MAX_STREAMS) error_at(s->loc, "the program has more than %d streams", MAX_STREAMS);
}

static Stream *stream_find(const char *name)
{
    for (int i = 0; i < el.p->stream.n; i++) if (!strcmp(el.p->stream.at[i]->name, name)) return el.p->stream.at[i];
    return NULL;
}

static Stream *stream_new(StreamKind kind, const char *name, Loc at)
{
    Stream *s = NEW(Stream);
    s->kind = kind; s->name = name; s->loc = at;
    stream_add(s);
    return s;
}

static void copy_fields(Stream *to, Stream *from)
{
    for (int i = 0; i < from->field.n; i++) PUSH(to->field, from->field.at[i]);
}

static Stream *as_stream(Value v, Loc at)
{
    if (v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_STREAM) v = stream_call(v.clo, at);
    if (v.kind == V_STREAM) return v.stream;
    if (v.kind != V_ERR) error_at(at, "a stream is wanted here, not %s", v_show(v));
    return NULL;
}

/* ---- item functions: generators, maps, conditions */

typedef struct { Mode mode; Version *v; Lvl *lvl; Inst *inst; Elabmodel *em; Axes axes; DrawContext draws; Version body;
                 Lvl here; Node *index; } Item;

static void item_begin(Item *it, const char *path)
{
    it->mode = el.mode; it->v = el.v; it->lvl = el.lvl; it->inst = el.inst; it->em = el.em; it->axes = axes;
    it->draws = draws;
    memset(&it->body, 0, sizeof it->body);
    it->here = (Lvl){ .kind = L_STREAM };
    el.mode = M_STREAM; el.v = NULL; el.lvl = &it->here; el.inst = NULL; axes.n = 0;
    it->index = entry_in(&it->body, B_INDEX, 0, I64, 0, NULL);
    draws = (DrawContext){ .seed = entry_in(&it->body, B_SEED, 0, I64, 0, NULL), .step = n_iconst(I64, 0),
                           .item = it->index, .path = path };
}

static void item_end(Item *it)
{
    el.mode = it->mode; el.v = it->v; el.lvl = it->lvl; el.inst = it->inst; el.em = it->em; axes = it->axes;
    draws = it->draws;
}

static bool free_dim_error(Scope *s, Ast *p)
{
    for (int i = 0; i < p->type->n; i++) {
        Value v = eval(s, p->type->list[i]);
        int64_t k;
        if (v.kind == V_ERR) return true;
        if (!v_integer(v, &k) || k < 1 || k > INT32_MAX) {
            error_at(p->type->list[i]->loc, "a dimension is a whole number of at least 1, not %s", v_show(v));
            return true;
        }
    }
    return false;
}

/* Declares the stream's fields from its outputs. */
static bool declare_fields(Stream *st, Ast **out, int n, Scope *s)
{
    for (int i = 0; i < n; i++) {
        Field f = { .name = out[i]->name, .loc = out[i]->loc };
        bool ok;
        if (!out[i]->type) {
            error_at(out[i]->loc, "the field '%s' needs a shape: %s : []", out[i]->name, out[i]->name);
            return false;
        }
        f.dt = elem_type(out[i]->type, &ok);
        f.rank = out[i]->type->n;
        if (!ok || free_dim_error(s, out[i])) return false;
        if (f.rank >= MAXDIM) { error_at(out[i]->loc, "a field has at most %d axes", MAXDIM - 1); return false; }
        for (int k = 0; k < f.rank; k++) {
            int64_t d;
            v_integer(eval(s, out[i]->type->list[k]), &d);
            f.dim[k] = (int32_t)d;
        }
        PUSH(st->field, f);
    }
    return true;
}

/* Binds the fields of src that `names` wants: by name, or all of them in order. take[i]: which field input i of the
   entry reads. */
static bool take_fields(Item *it, Stream *src, Ast **names, int n, Scope *s, Stream *st, Loc at)
{
    int *which = NEWN(int, n + 1);
    bool by_name = true;
    for (int i = 0; i < n; i++) {
        which[i] = -1;
        for (int k = 0; k < src->field.n; k++) if (src->field.at[k].name == names[i]->name) which[i] = k;
        by_name &= which[i] >= 0;
    }
    if (!by_name) {
        if (n != src->field.n) {
            error_at(n ? loc_span(names[0]->loc, names[n - 1]->loc) : at,
                     "the stream '%s' has %d fields, and %d other names are given for them", src->name, src->field.n,
                     n);
            return false;
        }
        for (int i = 0; i < n; i++) which[i] = i;
    }
    for (int i = 0; i < n; i++) {
        Field *f = &src->field.at[which[i]];
        Value x = v_tensor(entry_in(&it->body, B_FIELD, i, f->dt, f->rank, f->dim), 0);
        if (f->dt == U8) x = v_tensor(n_cast(x.node, I32), 0);
        PUSH(st->take, which[i]);
        scope_bind(s, names[i]->name, x, names[i]->loc);
    }
    return true;
}

/* ---- what does not depend on the item: computed once, when the stream is opened or the seed changes */

enum { CHEAP_DRAW = 16 };        /* elements that are drawn again for each item */

static bool of_item(const Item *it, const Node *x)
{
    for (int i = 0; i < it->body.in.n; i++)
        if (it->body.in.at[i] == x) return it->body.bind.at[i].kind == B_INDEX || it->body.bind.at[i].kind == B_FIELD;
    return false;
}

static bool costs_much(const Node *x)
{
    switch (x->op) {
    case OP_ARGSORT: case OP_CONTRACT: case OP_LOOP: case OP_COND: case OP_CUMSUM: case OP_SCATTER: return true;
    case OP_BITS: return n_size(x) > CHEAP_DRAW;
    default: return false;
    }
}

typedef struct { bool item, dear; } Reach;               /* a node depends on the item; on something that costs much */

/* Takes x out of the item's function, or what it is stretched from. */
static void take_out(Nodes *cut, Node *x)
{
    while (x->op == OP_BCAST) x = x->in[0];
    for (int i = 0; i < cut->n; i++) if (cut->at[i] == x) return;
    PUSH(*cut, x);
}

/* Dear values that the item's function needs and that do not depend on the item. */
static Nodes find_fixed(const Item *it, int nout, Node **out)
{
    Node **order;
    Nodes cut = { 0 };
    int n = graph_order(nout, out, &order);
    uint32_t most = 0;
    for (int i = 0; i < n; i++) most = order[i]->id > most ? order[i]->id : most;
    Reach *r = NEWN(Reach, most + 1);
    for (int i = 0; i < n; i++) {
        Reach *own = &r[order[i]->id];
        own->item = of_item(it, order[i]);
        own->dear = costs_much(order[i]);
        for (int k = 0; k < order[i]->nin; k++) {
            own->item |= r[order[i]->in[k]->id].item;
            own->dear |= r[order[i]->in[k]->id].dear;
        }
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; r[order[i]->id].item && k < order[i]->nin; k++) {
            const Reach *in = &r[order[i]->in[k]->id];
            if (!in->item && in->dear) take_out(&cut, order[i]->in[k]);
        }
    for (int i = 0; i < nout; i++) if (!r[out[i]->id].item && r[out[i]->id].dear) take_out(&cut, out[i]);
    return cut;
}

/* Closes the item's function, and before it the one that is called once, whose results are inputs behind the taken
   fields. */
static bool close_item(Stream *st, Item *it, const char *name, int nout, Node **out, const Bind *bind, Loc at)
{
    Nodes cut = find_fixed(it, nout, out);
    if (cut.n) {
        Bind *to = NEWN(Bind, cut.n);
        Node **given = NEWN(Node *, cut.n);
        for (int i = 0; i < cut.n; i++) to[i] = (Bind){ B_OUT, i };
        st->once = entry_close(arena_printf("%s.once.%d", name, el.p->entry.n), NULL, it->body.in.n, it->body.in.at,
                               it->body.bind.at, cut.n, cut.at, to, at);
        if (!st->once) return false;
        for (int i = 0; i < cut.n; i++)
            given[i] = entry_in(&it->body, B_FIELD, st->take.n + i, cut.at[i]->dt, cut.at[i]->rank, cut.at[i]->dim);
        graph_subst(nout, out, cut.n, cut.at, given);
    }
    st->entry = entry_close(arena_printf("%s.%d", name, el.p->entry.n), NULL, it->body.in.n, it->body.in.at,
                            it->body.bind.at, nout, out, bind, at);
    return st->entry != NULL;
}

static Stream *stream_when(Stream *src, Ast *cond, Scope *s, Ast **names, int n, const char *name, Loc at)
{
    Stream *old = stream_find(name);
    if (old) return old;
    Item it;
    Stream *st = NEW(Stream);
    int errors = error_count();
    item_begin(&it, name);
    Scope *in = scope_new(s, at);
    Value c = v_err();
    if (take_fields(&it, src, names, n, in, st, at)) c = eval(in, cond);
    if (c.kind != V_ERR) c = v_convert(v_as_tensor(c, cond->loc), BOOL, cond->loc);
    if (c.kind == V_TENSOR && c.node->rank) {
        error_at(cond->loc, "`when` takes one condition an item, and this is %s", v_show(c));
        c = v_err();
    }
    item_end(&it);
    if (error_count() > errors || c.kind != V_TENSOR) return NULL;
    st->kind = SM_WHEN; st->name = name; st->loc = at;
    copy_fields(st, src);
    PUSH(st->src, src);
    if (!close_item(st, &it, "when", 1, &c.node, &(Bind){ B_OUT, 0 }, at)) return NULL;
    stream_add(st);
    return st;
}

/* The body of a generator or a map: binds the outputs' names. */
static bool run_item(Stream *st, Ast *def, Scope *s, Item *it)
{
    bool done = false;
    Value last = exec(s, def->body, def->nbody, &done);
    if (last.kind == V_ERR) return false;
    Node **out = NEWN(Node *, def->n + 1);
    Bind *bind = NEWN(Bind, def->n + 1);
    for (int i = 0; i < def->n; i++) {
        Field *f = &st->field.at[i];
        Value v;
        if (!scope_find(s, f->name, &v)) {
            error_at(f->loc, "the body of the stream '%s' does not bind its field '%s'", def->name, f->name);
            return false;
        }
        if (v.kind == V_ERR) return false;
        Loc at = v.loc.line ? v.loc : f->loc;
        v = v_convert(v_as_tensor(v, at), f->dt, at);
        if (v.kind == V_TENSOR) v = v_stretch(v, f->rank, f->dim, at, arena_printf("the field '%s'", f->name));
        if (v.kind != V_TENSOR) return false;
        out[i] = v_full(v, 0, f->rank, f->dim);
        bind[i] = (Bind){ B_OUT, i };
    }
    return close_item(st, it, arena_printf("%s.item", def->name), def->n, out, bind, def->loc);
}

static Stream *innermost(Stream *s) { while (s->src.n == 1 && s->kind != SM_MAP) s = s->src.at[0]; return s; }

static void shape_from(Stream *s)
{
    if (!s->src.n || s->kind == SM_MAP) return;
    shape_from(s->src.at[0]);
    s->field.n = 0;
    for (int i = 0; i < s->src.at[0]->field.n; i++) {
        Field f = s->src.at[0]->field.at[i];
        if (s->kind == SM_WINDOW) {
            for (int k = f.rank; k > 0; k--) f.dim[k] = f.dim[k - 1];
            f.dim[0] = (int32_t)s->n;
            f.rank++;
        }
        PUSH(s->field, f);
    }
}

/* stream S = csv(F) -> (fields): the fields are those of the reader at the bottom. */
static Value reader_stream(Ast *def, Scope *s, const char *name)
{
    int before = el.p->stream.n;
    Stream *st = as_stream(eval(s, def->a), def->a->loc);
    if (!st) return v_err();
    Stream *base = innermost(st);
    bool fresh = base->id >= before && !base->def;        /* made by this declaration, not by one that it names */
    if (def->n) {
        if (base->kind != SM_CSV && base->kind != SM_IDX && base->kind != SM_NPY && base->kind != SM_TEXT) {
            error_at(def->loc, "fields are declared where the file is read");
            return v_err();
        }
        if (!fresh) {                                     /* the same file under other names: a reader of its own */
            Stream *copy = stream_new(base->kind, arena_printf("%s:%s", name, base->name), def->loc);
            int id = copy->id;
            const char *nm = copy->name;
            *copy = *base;
            copy->id = id; copy->name = nm; copy->field.n = 0; copy->field.at = NULL; copy->field.cap = 0;
            copy->def = NULL;
            if (st == base) st = copy;
            else { error_at(def->loc, "this file is already a stream, with other fields"); return v_err(); }
            base = copy;
        }
        base->field.n = 0;
        if (!declare_fields(base, def->list, def->n, s)) return v_err();
        shape_from(st);
    }
    if (base->kind == SM_CSV && !base->field.n) {
        error_at(def->loc, "a csv stream names its fields: stream %s = csv(..) -> (x : [2], y : [])", def->name);
        return v_err();
    }
    if ((base->kind == SM_IDX || base->kind == SM_NPY) && base->field.n != base->path.n) {
        error_at(def->loc, "each file is one field: %d files, %d fields", base->path.n, base->field.n);
        return v_err();
    }
    if (!base->def) base->def = def->name;
    if (st->id >= before) st->name = name;
    return stream_v(st);
}

static Value stream_make(Closure *c, const char *name, Loc at);

Value stream_call(Closure *c, Loc at)
{
    enum { MAX_DEPTH = 100 };
    static int depth;
    const char *name = v_text(v_def(c));
    Stream *old = stream_find(name);
    if (old) return stream_v(old);
    if (depth == MAX_DEPTH) {
        error_at(at, "the stream '%s' is made of itself", c->def->name);
        return v_err();
    }
    depth++;
    Value v = stream_make(c, name, at);
    depth--;
    return v;
}

/* The stream of a definition with its arguments. */
static Value stream_make(Closure *c, const char *name, Loc at)
{
    Ast *def = c->def;
    Scope *s = scope_new(file_scope(def->loc.file), at);
    if (!bind_params(s, def, c)) return v_err();
    if (def->a) return reader_stream(def, s, name);
    Stream *src = NULL;
    if (def->b) {
        src = as_stream(eval(s, def->b), def->b->loc);
        if (!src) return v_err();
        if (def->c)
            src = stream_when(src, def->c, s, def->inputs, def->ninputs,
                              arena_printf("%s when %s in %s", src->name, ast_text(def->c), name), def->c->loc);
        if (!src) return v_err();
    }
    if (!def->n) {
        error_at(def->loc, "a stream names what it gives: stream %s -> (x : [2], y : []) { .. }", def->name);
        return v_err();
    }
    Stream *st = NEW(Stream);
    Item it;
    st->kind = src ? SM_MAP : SM_GEN; st->name = name; st->def = def->name; st->loc = def->loc;
    item_begin(&it, name);
    bool ok = declare_fields(st, def->list, def->n, s);
    if (ok && src) { PUSH(st->src, src); ok = take_fields(&it, src, def->inputs, def->ninputs, s, st, def->loc); }
    ok = ok && run_item(st, def, s, &it);
    item_end(&it);
    if (!ok) return v_err();
    stream_add(st);
    return stream_v(st);
}

/* ---- stream expressions */

static bool bound(Value v, Loc at, int64_t *k, bool *pct)
{
    if (v.kind == V_PERCENT) {
        *pct = true; *k = v.num >= 0 && v.num <= 100 ? (int64_t)v.num : -1;
        if (v.num == (double)*k) return true;
        error_at(at, "a share is a whole number of percent, 0 to 100");
        return false;
    }
    if (v.kind == V_ERR) return false;
    if (v_integer(v, k)) return true;
    error_at(at, "items are counted in whole numbers or percent, not %s", v_show(v));
    return false;
}

Value stream_slice(Value v, Ast *ix, Scope *sc)
{
    Stream *src = v.stream;
    int64_t lo = 0, hi = 0;
    bool lp = false, hp = false, open = true;
    const char *text = "";
    if (ix->kind != E_SLICE) { error_at(ix->loc, "items of a stream are taken by a slice: S[a:b]"); return v_err(); }
    if (ix->a) {
        Value a = eval(sc, ix->a);
        if (!bound(a, ix->a->loc, &lo, &lp)) return v_err();
        text = v_text(a);
    }
    text = arena_printf("%s:", text);
    if (ix->b) {
        Value b = eval(sc, ix->b);
        if (!bound(b, ix->b->loc, &hi, &hp)) return v_err();
        open = false;
        text = arena_printf("%s%s", text, v_text(b));
    }
    const char *name = arena_printf("%s[%s]", src->name, text);
    Stream *st = stream_find(name);
    if (st) return stream_v(st);
    st = stream_new(SM_SLICE, name, ix->loc);
    copy_fields(st, src);
    PUSH(st->src, src);
    st->lo = lo; st->hi = hi; st->lo_pct = lp; st->hi_pct = hp; st->hi_open = open;
    return stream_v(st);
}

static bool same_fields(Stream *a, Stream *b, Loc at)
{
    bool same = a->field.n == b->field.n;
    for (int i = 0; same && i < a->field.n; i++) {
        Field *x = &a->field.at[i], *y = &b->field.at[i];
        same = x->name == y->name && x->dt == y->dt && x->rank == y->rank &&
            !memcmp(x->dim, y->dim, (size_t)x->rank * sizeof *x->dim);
    }
    if (!same) error_at(at, "'%s' and '%s' have different fields", a->name, b->name);
    return same;
}

Value stream_cat(Value a, Value b, Ast *sum)
{
    Loc at = sum->loc;
    Stream *x = as_stream(a, sum->a->loc), *y = as_stream(b, sum->b->loc);
    if (!x || !y || !same_fields(x, y, at)) return v_err();
    const char *name = arena_printf("%s + %s", x->name, y->name);
    Stream *st = stream_find(name);
    if (st) return stream_v(st);
    st = stream_new(SM_CAT, name, at);
    copy_fields(st, x);
    PUSH(st->src, x);
    PUSH(st->src, y);
    return stream_v(st);
}

static Value stream_mix(Scope *s, Ast *e)
{
    Stream *st = NEW(Stream);
    const char *name = "mix(";
    for (int i = 0; i < e->n; i++) {
        double w;
        if (e->list[i]->kind != E_PAIR) {
            error_at(e->list[i]->loc, "mix takes weights and streams: mix(0.85: A, 0.15: B)");
            return v_err();
        }
        Value wv = eval(s, e->list[i]->a);
        Stream *src = as_stream(eval(s, e->list[i]->b), e->list[i]->b->loc);
        if (!src || wv.kind == V_ERR) return v_err();
        if (!v_number(wv, &w) || !(w >= 0 && w < INFINITY)) {
            error_at(e->list[i]->a->loc, "a weight is a number of at least 0, not %s", v_show(wv));
            return v_err();
        }
        if (i && !same_fields(st->src.at[0], src, e->list[i]->loc)) return v_err();
        PUSH(st->src, src);
        PUSH(st->weight, w);
        name = arena_printf("%s%s%s: %s", name, i ? ", " : "", v_text(wv), src->name);
    }
    if (!e->n) { error_at(e->loc, "mix takes weights and streams: mix(0.85: A, 0.15: B)"); return v_err(); }
    double all = 0;
    for (int i = 0; i < st->weight.n; i++) all += st->weight.at[i];
    if (all == 0) { error_at(e->loc, "the weights of this mix are all 0"); return v_err(); }
    name = arena_printf("%s)", name);
    Stream *old = stream_find(name);
    if (old) return stream_v(old);
    st->kind = SM_MIX; st->name = name; st->loc = e->loc;
    copy_fields(st, st->src.at[0]);
    stream_add(st);
    return stream_v(st);
}

static Value stream_reader(Scope *s, Ast *e)
{
    int r = reader_index(e->a->name);
    const char *name = arena_printf("%s(", e->a->name);
    VEC(const char *) path = { 0 };
    if (!readers[r].files) {
        error_at(e->loc, "the reader '%s' comes with the next release; there are csv, idx, npy and text", e->a->name);
        return v_err();
    }
    for (int i = 0; i < e->n; i++) {
        Value v = eval(s, e->list[i]);
        if (v.kind == V_ERR) return v;
        if (v.kind != V_STR) {
            error_at(e->list[i]->loc, "%s() takes file names, not %s", e->a->name, v_show(v));
            return v_err();
        }
        name = arena_printf("%s%s%s", name, i ? ", " : "", v.str);
        PUSH(path, v.str);
    }
    if (!path.n || ((readers[r].kind == SM_CSV || readers[r].kind == SM_TEXT) && path.n != 1)) {
        error_at(e->loc, "%s() takes %s", e->a->name, path.n ? "one file" : "a file's name");
        return v_err();
    }
    name = arena_printf("%s)", name);
    Stream *st = stream_find(name);
    if (st) return stream_v(st);
    st = stream_new(readers[r].kind, name, e->loc);
    for (int i = 0; i < path.n; i++) PUSH(st->path, path.at[i]);
    if (st->kind == SM_TEXT) { Field f = { .name = intern(""), .dt = U8, .loc = e->loc }; PUSH(st->field, f); }
    return stream_v(st);
}

static Value stream_window(Scope *s, Ast *e)
{
    Stream *src = as_stream(eval(s, e->a), e->a->loc);
    int64_t n, step;
    if (!src) return v_err();
    Value v = eval(s, e->b), k = e->c ? eval(s, e->c) : v;
    if (v.kind == V_ERR || k.kind == V_ERR) return v_err();
    if (!v_integer(v, &n) || n < 1 || n > 1 << 24) {
        error_at(e->b->loc, "a window is a whole number of items, at least 1, not %s", v_show(v));
        return v_err();
    }
    if (!v_integer(k, &step) || step < 1) {
        error_at(e->c ? e->c->loc : e->b->loc, "a window's step is a whole number, at least 1, not %s", v_show(k));
        return v_err();
    }
    const char *name = e->op == 'a' ? arena_printf("%s window %lld anywhere", src->name, (long long)n)
                     : e->c ? arena_printf("%s window %lld step %lld", src->name, (long long)n, (long long)step)
                     : arena_printf("%s window %lld", src->name, (long long)n);
    Stream *st = stream_find(name);
    if (st) return stream_v(st);
    for (int i = 0; i < src->field.n; i++)
        if (src->field.at[i].rank + 2 > MAXDIM) {
            error_at(e->loc, "a field has at most %d axes", MAXDIM - 1);
            return v_err();
        }
    st = stream_new(SM_WINDOW, name, e->loc);
    st->n = n; st->step = step; st->anywhere = e->op == 'a';
    PUSH(st->src, src);
    shape_from(st);
    return stream_v(st);
}

static Value stream_filter(Scope *s, Ast *e)
{
    Stream *src = as_stream(eval(s, e->a), e->a->loc);
    if (!src) return v_err();
    Ast **names = NEWN(Ast *, src->field.n + 1);
    for (int i = 0; i < src->field.n; i++) {
        names[i] = ast_new(E_NAME, e->loc);
        names[i]->name = src->field.at[i].name;
    }
    /* The condition's text may hold names bound around it: their values make the name. */
    const char *name = arena_printf("%s when %s", src->name, ast_text(e->b));
    for (Scope *k = s; k && !k->is_file; k = k->parent)
        for (Binding *b = k->first; b; b = b->next)
            if (b->v.kind == V_NUM && strstr(ast_text(e->b), b->name))
                name = arena_printf("%s, %s = %s", name, b->name, v_text(b->v));
    return stream_v(stream_when(src, e->b, s, names, src->field.n, name, e->loc));
}

Value stream_value(Scope *s, Ast *e)
{
    if (e->kind == E_WHEN) return stream_filter(s, e);
    if (e->kind == E_WINDOW) return stream_window(s, e);
    if (!strcmp(e->a->name, "mix")) return stream_mix(s, e);
    return stream_reader(s, e);
}
