/* emit_elem.c: elementwise operations on registers, as kernels.c defines them; one row per operation. */
#include "emit_kernel.h"
#include "philox.h"
#include <assert.h>
#include <string.h>

typedef LLVMValueRef V;
typedef struct { Em *em; const Ins *x; Dt dt, in_dt; V *in; } Args;

static bool is_signed(Dt dt) { return dt == I32 || dt == I64; }

static V same_num(const Args *a, Dt dt, double num, int64_t inum)
{
    int lanes = em_width(a->in[0]);
    return dt_float(dt) ? em_num(a->em, dt, lanes, num) : em_inum(a->em, dt, lanes, inum);
}

/* llvm.NAME overloaded on the types of result and operand. */
static V convert_call(Em *em, const char *name, LLVMTypeRef to, V v)
{
    LLVMTypeRef over[2] = { to, LLVMTypeOf(v) };
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    V f = LLVMGetIntrinsicDeclaration(em->mod, id, over, 2);
    return LLVMBuildCall2(em->b, LLVMIntrinsicGetType(em->cx, id, over, 2), f, &v, 1, "");
}

static V intrinsic1(const Args *a, const char *name)
{
    return em_call(a->em, name, LLVMTypeOf(a->in[0]), 1, a->in);
}

/* ---- unary */

static V neg(const Args *a)
{
    return dt_float(a->dt) ? LLVMBuildFNeg(a->em->b, a->in[0], "") : LLVMBuildNeg(a->em->b, a->in[0], "");
}

static V less(Em *em, Dt dt, V a, V b)
{
    if (dt_float(dt))
        return LLVMBuildFCmp(em->b, LLVMRealOLT, a, b, "");
    return LLVMBuildICmp(em->b, is_signed(dt) ? LLVMIntSLT : LLVMIntULT, a, b, "");
}

static V absolute(const Args *a)
{
    V x = a->in[0];
    if (dt_float(a->dt))
        return intrinsic1(a, "llvm.fabs");
    if (!is_signed(a->dt))
        return x;
    return LLVMBuildSelect(a->em->b, less(a->em, a->dt, x, same_num(a, a->dt, 0, 0)), LLVMBuildNeg(a->em->b, x, ""), x, "");
}

/* x > 0 ? 1 : x < 0 ? -1 : x */
static V sign(const Args *a)
{
    V x = a->in[0], zero = same_num(a, a->dt, 0, 0);
    V low = LLVMBuildSelect(a->em->b, less(a->em, a->dt, x, zero), same_num(a, a->dt, -1, -1), x, "");
    return LLVMBuildSelect(a->em->b, less(a->em, a->dt, zero, x), same_num(a, a->dt, 1, 1), low, "");
}

static V floor_of(const Args *a) { return dt_float(a->dt) ? intrinsic1(a, "llvm.floor") : a->in[0]; }
static V square_root(const Args *a) { return intrinsic1(a, "llvm.sqrt"); }
static V math(const Args *a) { return emit_math(a->em, (Op)a->x->op, a->in[0]); }
static V not(const Args *a) { return LLVMBuildNot(a->em->b, a->in[0], ""); }

static V cast_from_float(const Args *a, LLVMTypeRef to)
{
    V x = a->in[0];
    if (a->dt == F64)
        return LLVMBuildFPExt(a->em->b, x, to, "");
    if (a->dt == F32)
        return LLVMBuildFPTrunc(a->em->b, x, to, "");
    if (a->dt == BOOL)
        return LLVMBuildFCmp(a->em->b, LLVMRealUNE, x, same_num(a, a->in_dt, 0, 0), "");
    return convert_call(a->em, is_signed(a->dt) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", to, x);
}

static V cast(const Args *a)
{
    LLVMTypeRef to = em_type(a->em, a->dt, em_width(a->in[0]));
    LLVMBuilderRef b = a->em->b;
    V x = a->in[0];
    if (a->dt == a->in_dt)
        return x;
    if (dt_float(a->in_dt))
        return cast_from_float(a, to);
    if (dt_float(a->dt))
        return is_signed(a->in_dt) ? LLVMBuildSIToFP(b, x, to, "") : LLVMBuildUIToFP(b, x, to, "");
    if (a->dt == BOOL)
        return LLVMBuildICmp(b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
    if (a->in_dt != BOOL && dt_size(a->dt) < dt_size(a->in_dt))
        return LLVMBuildTrunc(b, x, to, "");
    if (a->in_dt != BOOL && dt_size(a->dt) == dt_size(a->in_dt))
        return x;
    return is_signed(a->in_dt) ? LLVMBuildSExt(b, x, to, "") : LLVMBuildZExt(b, x, to, "");
}

/* ---- binary */

#define BINARY(name, F, I) \
    static V name(const Args *a) \
    { return dt_float(a->dt) ? F(a->em->b, a->in[0], a->in[1], "") : I(a->em->b, a->in[0], a->in[1], ""); }
BINARY(add, LLVMBuildFAdd, LLVMBuildAdd)
BINARY(sub, LLVMBuildFSub, LLVMBuildSub)
BINARY(mul, LLVMBuildFMul, LLVMBuildMul)
static V divide(const Args *a) { return LLVMBuildFDiv(a->em->b, a->in[0], a->in[1], ""); }
static V power(const Args *a) { return emit_math2(a->em, OP_POW, a->in[0], a->in[1]); }
static V both(const Args *a) { return LLVMBuildAnd(a->em->b, a->in[0], a->in[1], ""); }
static V either(const Args *a) { return LLVMBuildOr(a->em->b, a->in[0], a->in[1], ""); }

/* y if x < y (or y < x) or y is no number; else x */
static V pick(Em *em, Dt dt, V below, V above, V x, V y)
{
    V c = less(em, dt, below, above);
    if (dt_float(dt))
        c = LLVMBuildOr(em->b, c, LLVMBuildFCmp(em->b, LLVMRealUNO, y, y, ""), "");
    return LLVMBuildSelect(em->b, c, y, x, "");
}

static V larger(const Args *a) { return pick(a->em, a->dt, a->in[0], a->in[1], a->in[0], a->in[1]); }
static V smaller(const Args *a) { return pick(a->em, a->dt, a->in[1], a->in[0], a->in[0], a->in[1]); }

/* Rounds down; by 0: 0. */
static V int_quotient(const Args *a)
{
    LLVMBuilderRef b = a->em->b;
    V x = a->in[0], y = a->in[1], zero = same_num(a, a->dt, 0, 0), one = same_num(a, a->dt, 0, 1), minus = same_num(a, a->dt, 0, -1);
    V by_zero = LLVMBuildICmp(b, LLVMIntEQ, y, zero, "");
    if (!is_signed(a->dt)) {
        V q = LLVMBuildUDiv(b, x, LLVMBuildSelect(b, by_zero, one, y, ""), "");
        return LLVMBuildSelect(b, by_zero, zero, q, "");
    }
    V by_minus = LLVMBuildICmp(b, LLVMIntEQ, y, minus, "");
    V safe = LLVMBuildSelect(b, LLVMBuildOr(b, by_zero, by_minus, ""), one, y, "");
    V q = LLVMBuildSDiv(b, x, safe, ""), rest = LLVMBuildSub(b, x, LLVMBuildMul(b, q, safe, ""), "");
    V uneven = LLVMBuildICmp(b, LLVMIntNE, rest, zero, "");
    V differ = LLVMBuildICmp(b, LLVMIntSLT, LLVMBuildXor(b, x, safe, ""), zero, "");
    q = LLVMBuildSelect(b, LLVMBuildAnd(b, uneven, differ, ""), LLVMBuildSub(b, q, one, ""), q, "");
    q = LLVMBuildSelect(b, by_minus, LLVMBuildNeg(b, x, ""), q, "");
    return LLVMBuildSelect(b, by_zero, zero, q, "");
}

static V quotient(const Args *a)
{
    if (!dt_float(a->dt))
        return int_quotient(a);
    V q = divide(a);
    return em_call(a->em, "llvm.floor", LLVMTypeOf(q), 1, &q);
}

static V rest(const Args *a)
{
    LLVMBuilderRef b = a->em->b;
    V q = quotient(a), zero = same_num(a, a->dt, 0, 0);
    if (dt_float(a->dt))
        return LLVMBuildFSub(b, a->in[0], LLVMBuildFMul(b, q, a->in[1], ""), "");
    V r = LLVMBuildSub(b, a->in[0], LLVMBuildMul(b, q, a->in[1], ""), "");
    return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntEQ, a->in[1], zero, ""), zero, r, "");
}

static V lt(const Args *a) { return less(a->em, a->in_dt, a->in[0], a->in[1]); }

static V le(const Args *a)
{
    if (dt_float(a->in_dt))
        return LLVMBuildFCmp(a->em->b, LLVMRealOLE, a->in[0], a->in[1], "");
    return LLVMBuildICmp(a->em->b, is_signed(a->in_dt) ? LLVMIntSLE : LLVMIntULE, a->in[0], a->in[1], "");
}

static V eq(const Args *a)
{
    if (dt_float(a->in_dt))
        return LLVMBuildFCmp(a->em->b, LLVMRealOEQ, a->in[0], a->in[1], "");
    return LLVMBuildICmp(a->em->b, LLVMIntEQ, a->in[0], a->in[1], "");
}

static V choose(const Args *a) { return LLVMBuildSelect(a->em->b, a->in[0], a->in[1], a->in[2], ""); }

/* ---- Philox (philox.h), all lanes at once */

static V low(Em *em, V x64, int lanes) { return LLVMBuildTrunc(em->b, x64, em_type(em, U32, lanes), ""); }
static V high(Em *em, V x64, int lanes) { return low(em, LLVMBuildLShr(em->b, x64, em_inum(em, I64, lanes, 32), ""), lanes); }

static V wide_product(Em *em, V x, uint32_t by, int lanes)
{
    V w = LLVMBuildZExt(em->b, x, em_type(em, I64, lanes), "");
    return LLVMBuildMul(em->b, w, em_inum(em, I64, lanes, by), "");
}

static V xor3(Em *em, V a, V b, V c) { return LLVMBuildXor(em->b, LLVMBuildXor(em->b, a, b, ""), c, ""); }

static V draw(const Args *a)
{
    Em *em = a->em;
    int n = em_width(a->in[3]);
    V seed = a->in[0], step = a->in[1], site = a->in[4];
    V k0 = LLVMBuildXor(em->b, low(em, seed, n), high(em, site, n), "");
    V k1 = LLVMBuildXor(em->b, high(em, seed, n), low(em, site, n), "");
    V c[4] = { low(em, a->in[3], n), low(em, a->in[2], n), low(em, step, n), high(em, step, n) };
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        V p0 = wide_product(em, c[0], PHILOX_M0, n), p1 = wide_product(em, c[2], PHILOX_M1, n);
        V c1 = c[1], c3 = c[3];
        c[0] = xor3(em, high(em, p1, n), c1, k0);
        c[1] = low(em, p1, n);
        c[2] = xor3(em, high(em, p0, n), c3, k1);
        c[3] = low(em, p0, n);
        k0 = LLVMBuildAdd(em->b, k0, em_inum(em, U32, n, PHILOX_W0), "");
        k1 = LLVMBuildAdd(em->b, k1, em_inum(em, U32, n, PHILOX_W1), "");
    }
    return c[a->x->limit];
}

static V (*const rows[NOPS])(const Args *) = {
    [OP_NEG] = neg, [OP_ABS] = absolute, [OP_SIGN] = sign, [OP_FLOOR] = floor_of, [OP_SQRT] = square_root, [OP_EXP] = math,
    [OP_LOG] = math, [OP_SIN] = math, [OP_COS] = math, [OP_TANH] = math, [OP_SIGMOID] = math, [OP_ERF] = math, [OP_NOT] = not,
    [OP_CAST] = cast, [OP_ADD] = add, [OP_SUB] = sub, [OP_MUL] = mul, [OP_DIV] = divide, [OP_POW] = power, [OP_MIN] = smaller,
    [OP_MAX] = larger, [OP_IDIV] = quotient, [OP_MOD] = rest, [OP_LT] = lt, [OP_LE] = le, [OP_EQ] = eq, [OP_AND] = both,
    [OP_OR] = either, [OP_SELECT] = choose, [OP_BITS] = draw,
};

LLVMValueRef emit_elem(Em *em, const Ins *x, Dt in_dt, LLVMValueRef *in)
{
    Args a = { em, x, (Dt)x->dt, in_dt, in };
    assert(x->op < NOPS && rows[x->op]);
    return rows[x->op](&a);
}

/* ---- reductions */

LLVMValueRef emit_reduce2(Em *em, int op, Dt dt, LLVMValueRef a, LLVMValueRef b)
{
    if (op == OP_MAXR)
        return pick(em, dt, a, b, a, b);
    return dt_float(dt) ? LLVMBuildFAdd(em->b, a, b, "") : LLVMBuildAdd(em->b, a, b, "");
}

LLVMValueRef emit_reduce_start(Em *em, int op, Dt dt, int lanes)
{
    if (dt_float(dt))
        return em_num(em, dt, lanes, op == OP_MAXR ? -__builtin_inf() : 0);
    return em_inum(em, dt, lanes, op != OP_MAXR || !is_signed(dt) ? 0 : dt == I32 ? INT32_MIN : INT64_MIN);
}

LLVMValueRef emit_reduce_lanes(Em *em, int op, Dt dt, LLVMValueRef v)
{
    for (int n = em_width(v) / 2; n > 0; n /= 2)
        v = emit_reduce2(em, op, dt, em_part(em, v, 0, n), em_part(em, v, n, n));
    return v;
}

/* a and b hold runs of 2n lanes, a sum each. Into one vector go the first halves of all runs, into another the second: first
   those of a and then those of b, or, in pieces of 128 bits, turn by turn (shuffles that CPUs have). */
static void halves(Em *em, LLVMValueRef a, LLVMValueRef b, int n, LLVMValueRef *half)
{
    int lanes = em_width(a);
    for (int h = 0; h < 2; h++) {
        LLVMValueRef m[64];
        for (int k = 0; k < lanes; k++) {
            int from = k / n * 2 * n + k % n, turn = k / n % 2 * lanes + k / (2 * n) * 2 * n + k % n;
            m[k] = LLVMConstInt(em->i32, (unsigned)((n >= 4 ? from : turn) + h * n), false);
        }
        half[h] = LLVMBuildShuffleVector(em->b, a, b, LLVMConstVector(m, (unsigned)lanes), "");
    }
}

/* Where a's (other: b's) run that began at lane `at` begins then. */
static int run_after(int lanes, int n, int at, bool other)
{
    return n >= 4 ? at / 2 + (other ? lanes / 2 : 0) : at + (other ? n : 0);
}

static LLVMValueRef second_halves(Em *em, LLVMValueRef a, int n)
{
    LLVMValueRef m[64];
    int lanes = em_width(a);
    for (int k = 0; k < lanes; k++)
        m[k] = LLVMConstInt(em->i32, (unsigned)(k ^ n), false);
    return LLVMBuildShuffleVector(em->b, a, LLVMGetUndef(LLVMTypeOf(a)), LLVMConstVector(m, (unsigned)lanes), "");
}

/* Two vectors whose runs of lanes are one sum each become one with runs half as long, until there is one vector. */
void emit_reduce_rows(Em *em, int op, Dt dt, int rows, LLVMValueRef *v)
{
    int lanes = em_width(v[0]), left = rows, in[64], at[64];
    LLVMValueRef half[2], joined[64];
    if (rows == 1) {
        v[0] = emit_reduce_lanes(em, op, dt, v[0]);
        return;
    }
    for (int r = 0; r < rows; r++)
        in[r] = r, at[r] = 0;
    for (int n = lanes / 2; n > 0; n /= 2) {
        for (int i = 0; i < (left + 1) / 2; i++) {
            if (left > 1)
                halves(em, v[2 * i], v[2 * i + 1], n, half);
            else
                half[1] = second_halves(em, half[0] = v[0], n);
            v[i] = emit_reduce2(em, op, dt, half[0], half[1]);
        }
        for (int r = 0; left > 1 && r < rows; r++) {
            at[r] = run_after(lanes, n, at[r], in[r] % 2);
            in[r] /= 2;
        }
        left = (left + 1) / 2;
    }
    memcpy(joined, v, sizeof *v * (size_t)left);
    for (int r = 0; r < rows; r++)
        v[r] = em_lane(em, joined[in[r]], at[r]);
}
