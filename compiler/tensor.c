/* tensor.c: Values that are numbers, tensors and lists: what they are, how their element types and shapes meet, and the
   elementwise operators of the language. The other operations are in tensor_index.c and tensor_product.c, the named
   functions in builtins*.c.

   Requires the graph's builders, and the stack of map axes as it was when its operands were made. Does all checking of
   shapes and types that a user can get wrong, with the messages; the builders below only assert. Guarantees: a result has
   the union of its operands' map axes in front; operations on numbers known when compiling give such numbers, exact on
   integers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "elab_int.h"
#include "tensor.h"

int axis_push(int32_t size)
{
    if (axes.n == MAXDIM) {                           /* no result could be right from here on */
        error_at(graph_loc, "this is mapped over more than %d axes at once", MAXDIM);
        diag_flush(stderr);
        exit(1);
    }
    axes.size[axes.n] = size;
    return axes.n++;
}

void axis_pop(void) { axes.n--; }

/* ---- making Values */

Value v_err(void) { return (Value){.kind = V_ERR}; }
Value v_int(int64_t i) { return (Value){.kind = V_NUM, .nk = N_INT, .inum = i}; }
Value v_real(double x) { return (Value){.kind = V_NUM, .nk = N_REAL, .num = x}; }
Value v_bool(bool b) { return (Value){.kind = V_NUM, .nk = N_BOOL, .inum = b}; }
Value v_tensor(Node *n, uint16_t set) { return (Value){.kind = V_TENSOR, .node = n, .axes = set}; }
Value v_list(int n, Value *elem, bool tuple) { return (Value){.kind = V_LIST, .n = n, .elem = elem, .tuple = tuple}; }

Value v_result(Node *n, uint16_t set, bool weak, Loc at)
{
    if (!n->loc.line) n->loc = at;
    return (Value){.kind = V_TENSOR, .node = n, .axes = set, .weak = weak, .loc = at};
}

static Value placed(Value v, Loc at)
{
    v.loc = at;
    return v;
}

/* ---- asking Values */

int v_naxes(uint16_t set)
{
    int n = 0;
    for (; set; set &= (uint16_t)(set - 1)) n++;
    return n;
}

int v_rank(Value v) { return v.kind == V_TENSOR ? v.node->rank - v_naxes(v.axes) : 0; }
const int32_t *v_dim(Value v) { return v.node->dim + v_naxes(v.axes); }

Shape v_shape_of(Value v)
{
    Shape s = {.rank = v_rank(v)};
    if (s.rank) memcpy(s.dim, v_dim(v), sizeof(int32_t) * (size_t)s.rank);
    return s;
}

Dt float_dt(void) { return opt.f64 ? F64 : F32; }

static double number_of(Value v) { return v.nk == N_REAL ? v.num : (double)v.inum; }

static bool constant_scalar(Value v)
{
    double x;
    return v.kind == V_TENSOR && !v.node->rank && is_const(v.node, &x);
}

bool v_is_num(Value v) { return v.kind == V_NUM || constant_scalar(v); }

bool v_number(Value v, double *x)
{
    if (v.kind == V_NUM) return *x = number_of(v), true;
    return constant_scalar(v) && is_const(v.node, x);
}

/* A real that is a whole number counts, so that sizes may be written 1e6; the limit keeps the conversion exact. */
bool v_integer(Value v, int64_t *i)
{
    double x;
    if (v.kind == V_NUM && v.nk != N_REAL) return *i = v.inum, true;
    if (constant_scalar(v) && !dt_float(v.node->dt)) return *i = v.node->a.inum, true;
    if (!v_number(v, &x) || x != floor(x) || fabs(x) > 9007199254740992.0) return false;
    *i = (int64_t)x;
    return true;
}

bool v_shape(Value v, int *rank, int32_t *dim)
{
    if (v.kind == V_NUM) return *rank = 0, true;
    if (v.kind == V_TENSOR) {
        Shape s = v_shape_of(v);
        *rank = s.rank;
        memcpy(dim, s.dim, sizeof(int32_t) * (size_t)s.rank);
        return true;
    }
    if (v.kind != V_LIST || !v.n) return false;
    int r, r0 = 0;
    int32_t d[MAXDIM], d0[MAXDIM];
    for (int i = 0; i < v.n; i++) {
        if (!v_shape(v.elem[i], &r, d)) return false;
        if (!i) {
            r0 = r;
            memcpy(d0, d, sizeof d0);
        } else if (r != r0 || memcmp(d, d0, sizeof(int32_t) * (size_t)r)) {
            return false;
        }
    }
    if (r0 + 1 > MAXDIM) return false;
    *rank = r0 + 1;
    dim[0] = v.n;
    memcpy(dim + 1, d0, sizeof(int32_t) * (size_t)r0);
    return true;
}

bool v_equal_shape(Value a, Value b)
{
    int ra, rb;
    int32_t da[MAXDIM], db[MAXDIM];
    return v_shape(a, &ra, da) && v_shape(b, &rb, db) && ra == rb && !memcmp(da, db, sizeof(int32_t) * (size_t)ra);
}

Dt v_dt(Value v)
{
    if (v.kind == V_TENSOR) return (Dt)v.node->dt;
    if (v.kind == V_LIST) {
        Dt dt = BOOL;
        for (int i = 0; i < v.n; i++) {
            Dt e = v_dt(v.elem[i]);
            if (e == F64 || dt == F64) dt = F64;
            else if (dt_float(e) || dt_float(dt)) dt = float_dt();
            else if (e != BOOL) dt = e == I64 || dt == I64 ? I64 : I32;
        }
        return dt;
    }
    if (v.nk == N_REAL) return float_dt();
    if (v.nk == N_BOOL) return BOOL;
    return v.inum < INT32_MIN || v.inum > INT32_MAX ? I64 : I32;
}

/* ---- showing Values */

const char *shape_text(int rank, const int32_t *dim)
{
    const char *s = "";
    for (int i = 0; i < rank; i++) s = arena_printf("%s%s%d", s, i ? ", " : "", dim[i]);
    return arena_printf("[%s]", s);
}

const char *v_dims(Value v)
{
    int rank;
    int32_t dim[MAXDIM];
    return v_shape(v, &rank, dim) ? shape_text(rank, dim) : "no shape";
}

static const char *show_number(Value v)
{
    if (v.nk == N_BOOL) return v.inum ? "the constant true" : "the constant false";
    if (v.nk == N_INT) return arena_printf("the number %lld", (long long)v.inum);
    return arena_printf("the number %.10g", v.num);
}

static const char *show_definition(const Closure *c)
{
    if (c->builtin) return arena_printf("the function %s", builtin_name(c->builtin));
    static const struct { AstKind kind; const char *word; } words[] = {
        {D_RULE, "rule"}, {D_BLOCK, "block"}, {D_MODEL, "model"}, {D_STREAM, "stream"}, {D_FN, "function"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].kind == c->def->kind) return arena_printf("the %s %s", words[i].word, c->def->name);
    return c->def->name;
}

static const char *show_list(Value v)
{
    int rank;
    int32_t dim[MAXDIM];
    if (!v.tuple && v_shape(v, &rank, dim)) return arena_printf("a list %s", shape_text(rank, dim));
    return arena_printf("a %s of %d", v.tuple ? "tuple" : "list", v.n);
}

const char *v_show(Value v)
{
    switch (v.kind) {
    case V_ERR: return "an error";
    case V_NONE: return v.str ? arena_printf("the level '%s', which emits nothing", v.str) : "nothing";
    case V_NUM: return show_number(v);
    case V_STR: return arena_printf("the text \"%s\"", v.str);
    case V_TENSOR: return v_rank(v) ? arena_printf("a tensor %s", v_dims(v)) : "a scalar";
    case V_LIST: return show_list(v);
    case V_DEF: return show_definition(v.clo);
    case V_INST: return arena_printf("an instance of %s", v.inst->def->name);
    case V_STREAM: return arena_printf("the stream %s", v.stream->name);
    case V_MODEL: return arena_printf("the model %s", v.minst->name);
    case V_PAIR: return "a pair with a key";
    case V_PERCENT: return arena_printf("%.10g%%", v.num);
    case V_EVENT: return arena_printf("the event %s", v.event->name);
    }
    return "nothing";
}

static bool real_place(Loc at, Loc other)
{
    return other.line && (other.line != at.line || other.file != at.file || other.col != at.col);
}

/* The operands of a failed operation were often computed elsewhere. */
void v_places(Value a, Value b, Loc at)
{
    if (real_place(at, a.loc)) note_at(a.loc, "this is %s", v_show(a));
    if (real_place(at, b.loc) && real_place(a.loc, b.loc)) note_at(b.loc, "this is %s", v_show(b));
}

/* ---- element types */

static Dt wider_integer(Dt a, Dt b)
{
    if (a == BOOL && b == BOOL) return BOOL;
    return a == I64 || b == I64 || a == U32 || b == U32 ? I64 : I32;
}

/* Integers become floats where they meet one; a number written in the program takes the type of the tensors; what is made
   of step and constants alone (weak) is 64 bits wide until it meets a tensor, and then takes that tensor's float type. */
Type v_common(int n, const Value *v, bool floats)
{
    Dt integer = BOOL, real = NDT;
    bool weak = false, strong = false;
    for (int i = 0; i < n; i++) {
        Dt dt = v_dt(v[i]);
        bool tensor = v[i].kind == V_TENSOR;
        if (tensor && v[i].weak) weak = true;
        else if (tensor) strong = true;
        if (dt_float(dt)) floats = true;
        else integer = wider_integer(integer, dt);
        if (tensor && !v[i].weak && dt_float(dt)) real = real == F64 || dt == F64 ? F64 : F32;
    }
    weak = weak && !strong;
    if (real != NDT) return (Type){real, false};
    if (floats) return (Type){weak ? F64 : float_dt(), weak};
    return (Type){weak && integer != BOOL ? I64 : integer, weak};
}

Type v_arith(int n, const Value *v)
{
    Type t = v_common(n, v, false);
    if (t.dt == BOOL) t.dt = t.weak ? I64 : I32;
    return t;
}

static Node *number_node(Value v, Dt dt)
{
    if (dt_float(dt)) return n_const(dt, number_of(v));
    if (dt == BOOL) return n_iconst(BOOL, number_of(v) != 0);
    return n_iconst(dt, v.nk == N_REAL ? (int64_t)v.num : v.inum);
}

/* What is not 0 is true. */
static Value to_bool(Value v)
{
    if (v.kind == V_NUM) return v_tensor(number_node(v, BOOL), 0);
    if (v.node->dt != BOOL) v.node = n_un(OP_NOT, n_bin(OP_EQ, v.node, n_zeros_like(v.node)));
    v.state = NULL;
    return v;
}

Value v_to(Value v, Type t)
{
    if (t.dt == BOOL) return to_bool(v);
    if (v.kind == V_NUM) return (Value){.kind = V_TENSOR, .node = number_node(v, t.dt), .weak = t.weak, .loc = v.loc};
    if (v.node->dt != t.dt) {
        v.node = n_cast(v.node, t.dt);
        v.state = NULL;
    }
    v.weak = t.weak;
    return v;
}

/* ---- lists and numbers as tensors */

typedef VEC(Value) Values;

static bool flat_numbers(Value v, Values *out)
{
    if (v.kind == V_NUM) return PUSH(*out, v), true;
    if (v.kind != V_LIST) return false;
    for (int i = 0; i < v.n; i++) if (!flat_numbers(v.elem[i], out)) return false;
    return true;
}

static Node *number_data(int n, const Value *v, Dt dt, Shape s)
{
    char *bytes = arena_alloc((size_t)n * (size_t)dt_size(dt));
    for (int i = 0; i < n; i++) {
        double x = number_of(v[i]);
        int64_t k = v[i].nk == N_REAL ? 0 : v[i].inum;
        switch (dt) {
        case F32: ((float *)bytes)[i] = (float)x; break;
        case F64: ((double *)bytes)[i] = x; break;
        case I64: ((int64_t *)bytes)[i] = k; break;
        case I32: ((int32_t *)bytes)[i] = (int32_t)k; break;
        default: ((uint8_t *)bytes)[i] = k != 0; break;
        }
    }
    return n_data(dt, s.rank, s.dim, bytes);
}

static Value list_tensor(Value v, Loc at)
{
    Shape s;
    if (v.tuple) {
        error_at(at, "a tensor is needed here, this is %s; [a, b] stacks equal shapes", v_show(v));
        return v_err();
    }
    for (int i = 0; i < v.n; i++) if (v.elem[i].kind == V_ERR) return v_err();
    if (!v.n) {
        error_at(at, "an empty list is no tensor");
        return v_err();
    }
    Values flat = {0};
    if (v_shape(v, &s.rank, s.dim) && flat_numbers(v, &flat)) {
        Dt dt = v_common(flat.n, flat.at, false).dt;
        return v_result(number_data(flat.n, flat.at, dt, s), 0, false, at);
    }
    return v_stack(v.n, v.elem, 0, at);
}

/* As an operand: numbers stay numbers, so that they take the type of what they meet. */
Value v_need(Value v, Loc at)
{
    switch (v.kind) {
    case V_ERR: case V_NUM: case V_TENSOR: return v;
    case V_LIST: return list_tensor(v, at);
    default:
        error_at(at, "a tensor is needed here, this is %s", v_show(v));
        return v_err();
    }
}

Value v_as_tensor(Value v, Loc at)
{
    v = v_need(v, at);
    if (v.kind != V_NUM) return v;
    return v_result(number_node(v, v_dt(v)), 0, false, at);
}

static Value as_type(Value v, Type t, Loc at)
{
    Value r = v_to(v, t);
    r.loc = v.loc.line ? v.loc : at;
    return r;
}

Value v_as_float(Value v, Loc at)
{
    v = v_need(v, at);
    return v.kind == V_ERR ? v : as_type(v, (Type){float_dt(), false}, at);
}

Value v_floats(Value v, Loc at)
{
    v = v_need(v, at);
    return v.kind == V_ERR ? v : as_type(v, v_common(1, &v, true), at);
}

Value v_numeric(Value v, Loc at)
{
    v = v_need(v, at);
    return v.kind == V_ERR ? v : as_type(v, v_arith(1, &v), at);
}

static bool data_whole(const Node *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++) n *= x->dim[i];
    for (int64_t i = 0; i < n; i++) {
        double v = x->dt == F64 ? ((const double *)x->a.data)[i] : (double)((const float *)x->a.data)[i];
        if (v != floor(v)) return false;
    }
    return true;
}

/* Are all entries whole, as the operations tell it that made them? Looks at `steps` nodes at most. */
static bool is_whole(const Node *x, int *steps)
{
    double v;
    if (!dt_float((Dt)x->dt) || x->op == OP_FLOOR || x->op == OP_SIGN || x->op == OP_IDIV || x->op == OP_IOTA) return true;
    if (is_const(x, &v)) return v == floor(v);
    if (x->op == OP_DATA) return data_whole(x);
    int from = x->op == OP_SELECT, to = x->op == OP_GATHER ? 1 : x->nin;
    switch (x->op) {
    case OP_CAST: case OP_NEG: case OP_ABS: case OP_ADD: case OP_SUB: case OP_MUL: case OP_MIN: case OP_MAX: case OP_MOD: case OP_SELECT:
    case OP_BCAST: case OP_PERM: case OP_RESHAPE: case OP_SLICE: case OP_PAD: case OP_WINDOW: case OP_CONCAT: case OP_GATHER:
    case OP_CUMSUM: case OP_SUM: case OP_MAXR: case OP_MARK: case OP_STOP: break;
    default: return false;
    }
    for (int i = from; i < to; i++) if (--*steps < 0 || !is_whole(x->in[i], steps)) return false;
    return true;
}

/* A float becomes a whole number only where it is one. */
static bool tensor_fits(Value v, Dt dt, Loc at)
{
    int steps = 200;
    if (v.kind != V_TENSOR || dt_float(dt) || dt == BOOL || is_whole(v.node, &steps)) return true;
    error_at(at, "%s of %s does not become %s by itself: floor(x) cuts it down, floor(x + 0.5) rounds it", v_show(v), dt_name((Dt)v.node->dt), dt_name(dt));
    return false;
}

/* A number that an integer type cannot hold is an error. */
static bool number_fits(Value v, Dt dt, Loc at)
{
    static const double lo[NDT] = {[I32] = -0x1p31, [I64] = -0x1p63};
    static const double hi[NDT] = {[I32] = 0x1p31, [I64] = 0x1p63, [U8] = 0x1p8, [U32] = 0x1p32};
    double x = number_of(v);
    if (dt_float(dt) || dt == BOOL || (x >= lo[dt] && x < hi[dt] && x == floor(x))) return true;
    if (dt == I64 && v.nk == N_INT) return true;
    error_at(at, "%s does not fit into %s", v_show(v), dt_name(dt));
    return false;
}

Value v_convert(Value v, Dt dt, Loc at)
{
    v = v_need(v, at);
    if (v.kind == V_ERR || (v.kind == V_NUM && !number_fits(v, dt, at)) || !tensor_fits(v, dt, at)) return v_err();
    return as_type(v, (Type){dt, false}, at);
}

/* ---- shapes meet */

uint16_t v_union(int n, const Value *v)
{
    uint16_t set = 0;
    for (int i = 0; i < n; i++) if (v[i].kind == V_TENSOR) set |= v[i].axes;
    return set;
}

enum { MAX_BITS = 40 };                               /* a tensor has fewer than 2^40 elements */

bool v_fits(uint16_t set, int rank, const int32_t *dim, Loc at)
{
    int all = v_naxes(set) + rank;
    double n = 1;
    if (all > MAXDIM) {
        error_at(at, "this has %d axes, with those that it is mapped over; %d are possible", all, MAXDIM);
        return false;
    }
    for (int i = 0; i < axes.n; i++) if (set >> i & 1) n *= axes.size[i];
    for (int i = 0; i < rank; i++) n *= dim[i];
    if (n < ldexp(1, MAX_BITS)) return true;
    error_at(at, "this makes a tensor of %.3g elements, which is too large", n);
    return false;
}

static const char *axis_from_end(int j)
{
    if (!j) return "the last axis";
    return j == 1 ? "the last axis but one" : arena_printf("the last axis but %d", j);
}

/* Shapes align at the last axis; axes of size 1 and missing leading axes stretch. */
bool v_meet(int n, const Value *v, Shape *s, Loc at)
{
    int32_t size[MAXDIM];
    int from[MAXDIM] = {0};
    s->rank = 0;
    for (int j = 0; j < MAXDIM; j++) size[j] = 1;
    for (int i = 0; i < n; i++) {
        int rank = v_rank(v[i]);
        if (rank > s->rank) s->rank = rank;
        for (int j = 0; j < rank; j++) {
            int32_t d = v_dim(v[i])[rank - 1 - j];
            if (d == size[j] || d == 1) continue;
            if (size[j] != 1) {
                Value a = v[from[j]], b = v[i];
                error_at(at, "shapes %s and %s do not meet: sizes %d and %d at %s", v_dims(a), v_dims(b), size[j], d,
                         axis_from_end(j));
                v_places(a, b, at);
                return false;
            }
            size[j] = d;
            from[j] = i;
        }
    }
    for (int j = 0; j < s->rank; j++) s->dim[s->rank - 1 - j] = size[j];
    return v_fits(v_union(n, v), s->rank, s->dim, at);
}

/* Logical axes of size 1 that are to stretch vanish first: a broadcast only adds axes. */
static Node *without_stretched(Node *x, int k, int lead, const int32_t *dim, bool *gone)
{
    int32_t left[MAXDIM];
    int n = 0;
    for (int i = 0; i < x->rank; i++) {
        gone[i] = i >= k && x->dim[i] == 1 && dim[lead + i - k] != 1;
        if (!gone[i]) left[n++] = x->dim[i];
    }
    return n == x->rank ? x : n_reshape(x, n, left);
}

Node *v_full(Value v, uint16_t want, int rank, const int32_t *dim)
{
    Node *x = v.kind == V_NUM ? number_node(v, v_dt(v)) : v.node;
    uint16_t have = v.kind == V_NUM ? 0 : v.axes;
    int k = v_naxes(have), lead = rank - (x->rank - k), n = 0, next = 0;
    bool gone[MAXDIM] = {0}, same = true;
    int32_t full[MAXDIM];
    int8_t map[MAXDIM];
    x = without_stretched(x, k, lead, dim, gone);
    for (int i = 0; i < axes.n; i++) {
        if (!(want >> i & 1)) continue;
        full[n] = axes.size[i];
        map[n++] = have >> i & 1 ? (int8_t)next++ : -1;
    }
    for (int j = 0; j < rank; j++) {
        full[n] = dim[j];
        map[n++] = j < lead || gone[k + j - lead] ? -1 : (int8_t)next++;
    }
    for (int i = 0; i < n; i++) same = same && map[i] == i;
    return same && n == x->rank ? x : n_bcast(x, n, full, map);
}

/* A scalar without map axes needs no stretching: n_bin does that. */
static Node *operand(Value v, uint16_t want, const Shape *s)
{
    return v.node->rank ? v_full(v, want, s->rank, s->dim) : v.node;
}

Value v_zip(Op op, Value a, Value b, Type t, Loc at)
{
    Value v[2] = {v_to(a, t), v_to(b, t)};
    Shape s;
    if (!v_meet(2, v, &s, at)) return v_err();
    uint16_t set = v_union(2, v);
    return v_result(n_bin(op, operand(v[0], set, &s), operand(v[1], set, &s)), set, t.weak, at);
}

Value v_stretch(Value v, int rank, const int32_t *dim, Loc at, const char *what)
{
    v = v_need(v, at);
    if (v.kind == V_ERR) return v;
    int have = v_rank(v);
    bool ok = have <= rank;
    for (int j = 0; ok && j < have; j++) {
        int32_t d = v_dim(v)[j];
        ok = d == 1 || d == dim[rank - have + j];
    }
    if (!ok) {
        error_at(at, "%s has shape %s, and %s does not stretch to it", what, shape_text(rank, dim), v_show(v));
        if (real_place(at, v.loc)) note_at(v.loc, "this is %s", v_show(v));
        return v_err();
    }
    uint16_t set = v.kind == V_TENSOR ? v.axes : 0;
    if (!v_fits(set, rank, dim, at)) return v_err();
    Value r = v_result(v_full(v, set, rank, dim), set, v.weak && v.kind == V_TENSOR, v.loc.line ? v.loc : at);
    if (v.kind == V_TENSOR && r.node == v.node) r.state = v.state;
    return r;
}

/* ---- map axes: the innermost one stands directly in front of the logical axes, so only the count of axes changes */

Value v_lower_axis(Value v, int axis)
{
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = v_lower_axis(v.elem[i], axis);
        v.elem = e;
        return v;
    }
    if (v.kind != V_TENSOR && v.kind != V_NUM) return v;
    Shape s = v_shape_of(v);
    uint16_t bit = (uint16_t)(1u << axis), have = v.kind == V_TENSOR ? v.axes : 0;
    if (!v_fits(have | bit, s.rank, s.dim, v.loc)) return v_err();
    Node *x = v_full(v, have | bit, s.rank, s.dim);
    return v_result(x, have & (uint16_t)~bit, v.kind == V_TENSOR && v.weak, v.loc);
}

Value v_raise_axis(Value v, int axis)
{
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = v_raise_axis(v.elem[i], axis);
        v.elem = e;
        return v;
    }
    if (v.kind != V_TENSOR) return v;
    v.axes |= (uint16_t)(1u << axis);
    v.state = NULL;
    return v;
}

/* ---- elementwise operations of one operand */

static double fold_unary(Op op, double x)
{
    switch (op) {
    case OP_EXP: return exp(x);
    case OP_LOG: return log(x);
    case OP_SQRT: return sqrt(x);
    case OP_SIN: return sin(x);
    case OP_COS: return cos(x);
    case OP_TANH: return tanh(x);
    case OP_SIGMOID: return 1 / (1 + exp(-x));
    case OP_ERF: return erf(x);
    case OP_FLOOR: return floor(x);
    case OP_ABS: return fabs(x);
    case OP_SIGN: return x > 0 ? 1 : x < 0 ? -1 : x;
    default: return -x;
    }
}

Value v_elem(Op op, Value a, Loc at)
{
    graph_loc = at;
    a = v_need(a, at);
    if (a.kind == V_ERR) return a;
    if (a.kind == V_NUM) return placed(v_real(fold_unary(op, number_of(a))), at);
    Type t = v_common(1, &a, true);
    return v_result(n_un(op, v_to(a, t).node), a.axes, t.weak, at);
}

static Value negate(Value a, Loc at)
{
    a = v_need(a, at);
    if (a.kind == V_ERR) return a;
    if (a.kind == V_NUM && a.nk == N_REAL) return placed(v_real(-a.num), at);
    if (a.kind == V_NUM) return v_binary('-', v_int(0), a, at);
    Type t = v_arith(1, &a);
    return v_result(n_un(OP_NEG, v_to(a, t).node), a.axes, t.weak, at);
}

static Value invert(Value a, Loc at)
{
    a = v_need(a, at);
    if (a.kind == V_ERR) return a;
    if (a.kind == V_NUM) return placed(v_bool(number_of(a) == 0), at);
    return v_result(n_un(OP_NOT, to_bool(a).node), a.axes, a.weak, at);
}

static Value transpose(Value a, Loc at)
{
    a = v_need(a, at);
    if (a.kind == V_ERR) return a;
    if (v_rank(a) < 2) {
        error_at(at, "' swaps the last two axes, and this is %s", v_show(a));
        if (real_place(at, a.loc)) note_at(a.loc, "this is %s", v_show(a));
        return v_err();
    }
    int n = a.node->rank;
    int8_t map[MAXDIM] = {0};
    for (int i = 0; i < n; i++) map[i] = (int8_t)i;
    map[n - 2] = (int8_t)(n - 1);
    map[n - 1] = (int8_t)(n - 2);
    return v_result(n_perm(a.node, map), a.axes, a.weak, at);
}

Value v_unary(int op, Value a, Loc at)
{
    graph_loc = at;
    if (op == '-') return negate(a, at);
    return op == 'n' ? invert(a, at) : transpose(a, at);
}

/* ---- operators */

typedef enum { ARITH, REAL, POWER, COMPARE, LOGIC } Group;
typedef struct { int op; const char *sign; Group group; Op node; bool swap, negate; } Operator;

static const Operator operators[] = {
    {'+', "+", ARITH, OP_ADD, false, false},   {'-', "-", ARITH, OP_SUB, false, false},
    {'*', "*", ARITH, OP_MUL, false, false},   {'/', "/", REAL, OP_DIV, false, false},
    {'d', "//", ARITH, OP_IDIV, false, false}, {'%', "%", ARITH, OP_MOD, false, false},
    {'^', "^", POWER, OP_POW, false, false},   {'<', "<", COMPARE, OP_LT, false, false},
    {'>', ">", COMPARE, OP_LT, true, false},   {'l', "<=", COMPARE, OP_LE, false, false},
    {'g', ">=", COMPARE, OP_LE, true, false},  {'e', "==", COMPARE, OP_EQ, false, false},
    {'x', "!=", COMPARE, OP_EQ, false, true},  {'&', "and", LOGIC, OP_AND, false, false},
    {'|', "or", LOGIC, OP_OR, false, false},
};

static const Operator *find_operator(int op)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) if (operators[i].op == op) return &operators[i];
    return NULL;
}

/* ---- numbers known when compiling */

/* base^exponent, exponent >= 0; false on overflow */
static bool integer_power(int64_t base, int64_t exponent, int64_t *out)
{
    int64_t r = 1;
    while (exponent) {
        if (exponent & 1 && __builtin_mul_overflow(r, base, &r)) return false;
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return false;
    }
    *out = r;
    return true;
}

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
static int64_t floor_modulo(int64_t a, int64_t b) { return a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0); }

static double real_modulo(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* false: does not fit into 64 bits */
static bool integer_fold(int op, int64_t a, int64_t b, int64_t *r)
{
    switch (op) {
    case '+': return !__builtin_add_overflow(a, b, r);
    case '-': return !__builtin_sub_overflow(a, b, r);
    case '*': return !__builtin_mul_overflow(a, b, r);
    case '^': return integer_power(a, b, r);
    case 'd': return b == -1 ? !__builtin_sub_overflow(0, a, r) : (*r = floor_divide(a, b), true);
    default: *r = b == -1 ? 0 : floor_modulo(a, b); return true;
    }
}

static Value integer_arithmetic(const Operator *o, int64_t a, int64_t b, Loc at)
{
    int64_t r = 0;
    if ((o->op == 'd' || o->op == '%') && !b) {
        error_at(at, "%lld %s 0: division by zero", (long long)a, o->sign);
        return v_err();
    }
    if (!integer_fold(o->op, a, b, &r)) {
        error_at(at, "%lld %s %lld does not fit into 64 bits; write one of them with a point to compute in floats",
                 (long long)a, o->sign, (long long)b);
        return v_err();
    }
    return v_int(r);
}

static double real_arithmetic(int op, double a, double b)
{
    switch (op) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '/': return a / b;
    case 'd': return floor(a / b);
    case '%': return real_modulo(a, b);
    default: return pow(a, b);
    }
}

static bool compare(int op, double a, double b)
{
    switch (op) {
    case '<': return a < b;
    case '>': return a > b;
    case 'l': return a <= b;
    case 'g': return a >= b;
    case 'e': return a == b;
    default: return a != b;
    }
}

static bool compare_integers(int op, int64_t a, int64_t b) { return compare(op, (a > b) - (a < b), 0); }

static Value number_binary(const Operator *o, Value a, Value b, Loc at)
{
    bool exact = a.nk != N_REAL && b.nk != N_REAL;
    double x = number_of(a), y = number_of(b);
    if (o->group == LOGIC) return v_bool(o->op == '&' ? x != 0 && y != 0 : x != 0 || y != 0);
    if (o->group == COMPARE) return v_bool(exact ? compare_integers(o->op, a.inum, b.inum) : compare(o->op, x, y));
    if (exact && o->group != REAL && !(o->op == '^' && b.inum < 0)) return integer_arithmetic(o, a.inum, b.inum, at);
    return v_real(real_arithmetic(o->op, x, y));
}

/* ---- powers: x^2 is x*x, x^0.5 a square root; with a written exponent integers stay integers */

static Node *node_power(Node *x, int64_t k)
{
    Node *r = NULL;
    for (; k; k >>= 1) {
        if (k & 1) r = r ? n_bin(OP_MUL, r, x) : x;
        if (k > 1) x = n_bin(OP_MUL, x, x);
    }
    return r;
}

static Value power(Value a, Value b, Loc at)
{
    Value v[2] = {a, b};
    double e = b.kind == V_NUM ? number_of(b) : NAN;
    bool whole = e == floor(e) && fabs(e) <= 16, exact = whole && e >= 0 && b.nk != N_REAL;
    Type t = exact ? v_arith(2, v) : v_common(2, v, true);
    if (a.kind == V_NUM || (!whole && fabs(e) != 0.5)) return v_zip(OP_POW, a, b, v_common(2, v, true), at);
    Node *x = v_to(a, t).node, *r;
    if (!e) r = n_bin(OP_ADD, n_zeros_like(x), v_to(v_int(1), t).node);
    else r = whole ? node_power(x, (int64_t)fabs(e)) : n_un(OP_SQRT, x);
    if (e < 0) r = n_bin(OP_DIV, v_to(v_int(1), t).node, r);
    return v_result(r, a.axes, t.weak, at);
}

static Value elementwise(const Operator *o, Value a, Value b, Loc at)
{
    Value v[2] = {o->swap ? b : a, o->swap ? a : b};
    Type t = o->group == REAL ? v_common(2, v, true) : o->group == ARITH ? v_arith(2, v) : v_common(2, v, false);
    if (o->group == LOGIC) t.dt = BOOL;
    if (o->node == OP_LT || o->node == OP_LE) t = v_arith(2, v);
    Value r = v_zip(o->node, v[0], v[1], t, at);
    if (o->negate && r.kind != V_ERR) r.node = n_un(OP_NOT, r.node);
    return r;
}

Value v_binary(int op, Value a, Value b, Loc at)
{
    graph_loc = at;
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    const Operator *o = find_operator(op);
    a = v_need(a, at);
    b = v_need(b, at);
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    if (op == '@') return v_product(a, b, at);
    if (a.kind == V_NUM && b.kind == V_NUM) return placed(number_binary(o, a, b, at), at);
    return o->group == POWER ? power(a, b, at) : elementwise(o, a, b, at);
}

/* max(a, b) is b where a < b: of equal ones the first, and not-a-number stays. */
static Value number_maximum(bool least, Value a, Value b)
{
    double x = number_of(a), y = number_of(b);
    if (a.nk != N_REAL && b.nk != N_REAL) return v_int((least ? b.inum < a.inum : a.inum < b.inum) ? b.inum : a.inum);
    return v_real((least ? y < x : x < y) || isnan(y) ? y : x);
}

Value v_maximum(bool least, Value a, Value b, Loc at)
{
    a = v_need(a, at);
    b = v_need(b, at);
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    if (a.kind == V_NUM && b.kind == V_NUM) return placed(number_maximum(least, a, b), at);
    Value v[2] = {a, b};
    return v_zip(least ? OP_MIN : OP_MAX, a, b, v_arith(2, v), at);
}

/* ---- selection and sums */

static Value number_select(Value c, Value a, Value b)
{
    bool real = a.nk == N_REAL || b.nk == N_REAL, same = a.nk == b.nk;
    Value r = number_of(c) != 0 ? a : b;
    if (real) return v_real(number_of(r));
    return same ? r : v_int(r.inum);
}

Value v_select(Value c, Value a, Value b, Loc at)
{
    graph_loc = at;
    Value v[3] = {v_need(c, at), v_need(a, at), v_need(b, at)};
    for (int i = 0; i < 3; i++) if (v[i].kind == V_ERR) return v_err();
    bool strong = false, numbers = v[1].kind == V_NUM && v[2].kind == V_NUM;
    if (numbers && v[0].kind == V_NUM) return placed(number_select(v[0], v[1], v[2]), at);
    Type t = v_common(2, v + 1, false);
    for (int i = 0; i < 3; i++) strong = strong || (v[i].kind == V_TENSOR && !v[i].weak);
    if (numbers && v[0].weak) t = (Type){dt_float(t.dt) ? F64 : t.dt == BOOL ? BOOL : I64, true};
    bool weak = !strong && (t.weak || numbers);
    if (t.weak && strong) t = (Type){dt_float(t.dt) ? float_dt() : t.dt, false};
    Shape s;
    Value w[3] = {to_bool(v[0]), v_to(v[1], t), v_to(v[2], t)};
    if (!v_meet(3, w, &s, at)) return v_err();
    uint16_t set = v_union(3, w);
    Node *n[3];
    for (int i = 0; i < 3; i++) n[i] = v_full(w[i], set, s.rank, s.dim);
    if (v[0].kind == V_NUM) return v_result(n[number_of(v[0]) != 0 ? 1 : 2], set, weak, at);
    return v_result(n_select(n[0], n[1], n[2]), set, weak, at);
}

Value v_sum_all(Value a, Loc at)
{
    a = v_need(a, at);
    if (a.kind == V_ERR || a.kind == V_NUM) return a;
    a = v_numeric(a, at);
    uint32_t mask = 0;
    for (int i = v_naxes(a.axes); i < a.node->rank; i++) mask |= 1u << i;
    return v_result(mask ? n_sum(a.node, mask) : a.node, a.axes, a.weak, at);
}
