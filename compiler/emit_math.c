/* emit_math.c: exp, log, sin, cos, tanh, sigmoid, erf and pow as inline code.

   Requires float or double operands, scalars or vectors of any width. Guarantees that a lane's result depends on that
   lane's operand only, never on the width, so that tails and single elements have the bits of full vectors. f32 is
   computed by polynomials (minimax fits, coefficients rounded to f32; lowest power first), within 2 units in the last
   place with a fused multiply-add; results below FLT_MIN may be flushed to zero. f64 calls libm, lane by lane.
   Branches occur in one place only: sin and cos of arguments beyond 2^16. */
#include "emit.h"
#include <math.h>

typedef LLVMValueRef V;

/* ---- short words */

static V num(Em *em, V like, double v) { return em_num_like(em, like, v); }
static V add(Em *em, V a, V b) { return LLVMBuildFAdd(em->b, a, b, ""); }
static V sub(Em *em, V a, V b) { return LLVMBuildFSub(em->b, a, b, ""); }
static V mul(Em *em, V a, V b) { return LLVMBuildFMul(em->b, a, b, ""); }
static V quot(Em *em, V a, V b) { return LLVMBuildFDiv(em->b, a, b, ""); }
static V cmp(Em *em, LLVMRealPredicate p, V a, V b) { return LLVMBuildFCmp(em->b, p, a, b, ""); }
static V pick(Em *em, V c, V a, V b) { return LLVMBuildSelect(em->b, c, a, b, ""); }
static V bits32(Em *em, V x) { return LLVMBuildBitCast(em->b, x, em_type(em, I32, em_width(x)), ""); }
static V bits64(Em *em, V x) { return LLVMBuildBitCast(em->b, x, em_type(em, I64, em_width(x)), ""); }
static V as_f32(Em *em, V i) { return LLVMBuildBitCast(em->b, i, em_type(em, F32, em_width(i)), ""); }
static V as_f64(Em *em, V i) { return LLVMBuildBitCast(em->b, i, em_type(em, F64, em_width(i)), ""); }
static V int32(Em *em, V like, int64_t v) { return em_inum(em, I32, em_width(like), v); }
static V int64(Em *em, V like, int64_t v) { return em_inum(em, I64, em_width(like), v); }

static V unary(Em *em, const char *intrinsic, V x) { return em_call(em, intrinsic, LLVMTypeOf(x), 1, &x); }
static V absolute(Em *em, V x) { return unary(em, "llvm.fabs", x); }

static V copysign_of(Em *em, V magnitude, V sign)
{
    V arg[2] = { magnitude, sign };
    return em_call(em, "llvm.copysign", LLVMTypeOf(sign), 2, arg);
}

/* Clamps that let NaN through: the comparison with NaN is false. */
static V at_most(Em *em, V x, double hi)
{
    V h = num(em, x, hi);
    return pick(em, cmp(em, LLVMRealOGT, x, h), h, x);
}

static V at_least(Em *em, V x, double lo)
{
    V l = num(em, x, lo);
    return pick(em, cmp(em, LLVMRealOLT, x, l), l, x);
}

/* c[0] + c[1] x + .. + c[n-1] x^(n-1) by Horner's rule. */
static V poly(Em *em, V x, int n, const double *c)
{
    V p = num(em, x, c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        p = em_fma(em, p, x, num(em, x, c[i]));
    return p;
}
#define POLY(em, x, c) poly(em, x, (int)(sizeof(c) / sizeof *(c)), c)

/* ---- exp and what is made of it */

/* (exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 2: for exp, and (one power more) for exp - 1. */
static const double exp_c[] = { 4.999999404e-01, 1.666651666e-01, 4.166810587e-02, 8.369131014e-03, 1.383655006e-03 };
static const double expm1_c[] = { 5.000000000e-01, 1.666666567e-01, 4.166646674e-02, 8.333643898e-03, 1.393510029e-03,
                                  1.966167183e-04 };
/* ln 2 in two parts; the first has 9 bits, so that its product with a small integer is exact. */
static const double ln2_hi = 0.693359375, ln2_lo = -2.12194440e-4;
static const double round32 = 12582912.0;          /* 1.5 * 2^23: adding it leaves the integer in the low bits */
enum { ROUND32_BITS = 0x4b400000 };

/* x = n ln 2 + r; *n as an integer. |x| < 2^22 ln 2. */
static V reduce_ln2(Em *em, V x, V *n)
{
    V t = em_fma(em, x, num(em, x, 1.44269504), num(em, x, round32));
    V f = sub(em, t, num(em, x, round32));
    *n = LLVMBuildSub(em->b, bits32(em, t), int32(em, x, ROUND32_BITS), "");
    V r = em_fma(em, f, num(em, x, -ln2_hi), x);
    return em_fma(em, f, num(em, x, -ln2_lo), r);
}

/* 2^n, -126 <= n <= 127 */
static V power_of_two(Em *em, V n)
{
    V e = LLVMBuildAdd(em->b, n, int32(em, n, 127), "");
    return as_f32(em, LLVMBuildShl(em->b, e, int32(em, n, 23), ""));
}

static V exp_of_rest(Em *em, V r)
{
    V q = em_fma(em, mul(em, r, r), POLY(em, r, exp_c), r);
    return add(em, q, num(em, r, 1));
}

/* 2^n in two factors, since n runs from -151 to 129. */
static V exp32(Em *em, V x)
{
    V n, r = reduce_ln2(em, at_least(em, at_most(em, x, 89), -104), &n);
    V half = LLVMBuildAShr(em->b, n, int32(em, n, 1), "");
    V rest = LLVMBuildSub(em->b, n, half, "");
    V e = mul(em, exp_of_rest(em, r), power_of_two(em, half));
    return mul(em, e, power_of_two(em, rest));
}

/* With e = exp(2|x|) - 1 = 2^n q + (2^n - 1):  tanh |x| = e / (e + 2). No cancellation near 0. */
static V tanh32(Em *em, V x)
{
    V a = at_most(em, absolute(em, x), 10), n;
    V r = reduce_ln2(em, add(em, a, a), &n), s = power_of_two(em, n);
    V q = em_fma(em, mul(em, r, r), POLY(em, r, expm1_c), r);
    V e = em_fma(em, s, q, sub(em, s, num(em, x, 1)));
    return copysign_of(em, quot(em, e, add(em, e, num(em, x, 2))), x);
}

static V sigmoid32(Em *em, V x)
{
    V e = exp32(em, LLVMBuildFNeg(em->b, x, ""));
    return quot(em, num(em, x, 1), add(em, e, num(em, x, 1)));
}

/* |x| < 0.9: x + x S(x^2).  Beyond: 1 - exp(-t - t L(t)), t = min(|x|, 4), L fitted to -log(erfc(t)) / t - 1. */
static V erf32(Em *em, V x)
{
    static const double small[] = { 1.283791363e-01, -3.761240840e-01, 1.128095016e-01, -2.673619799e-02,
                                    4.950024188e-03, -5.778425839e-04 };
    static const double large[] = { 1.286088973e-01, 6.353160739e-01, 1.059580371e-01, -2.351661026e-02,
                                    3.524023108e-03, -2.931194613e-04, 8.213335605e-06 };
    V a = absolute(em, x), near_0 = em_fma(em, POLY(em, mul(em, x, x), small), a, a);
    V t = at_most(em, a, 4), n;
    V r = reduce_ln2(em, LLVMBuildFNeg(em->b, em_fma(em, POLY(em, t, large), t, t), ""), &n);
    V far = sub(em, num(em, x, 1), mul(em, exp_of_rest(em, r), power_of_two(em, n)));
    return copysign_of(em, pick(em, cmp(em, LLVMRealOLT, a, num(em, x, 0.9)), near_0, far), x);
}

/* ---- log: x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2);  log(1 + f) = f - f^2/2 + f^3 L(f) */

static V log32(Em *em, V x)
{
    static const double c[] = { 3.333331347e-01, -2.500000894e-01, 2.000211924e-01, -1.666799486e-01, 1.421955526e-01,
                                -1.240559667e-01, 1.188815385e-01, -1.167560443e-01, 6.746602803e-02 };
    enum { SQRT_HALF = 0x3f3504f3 };
    V i = LLVMBuildSub(em->b, bits32(em, x), int32(em, x, SQRT_HALF), "");
    V mantissa = LLVMBuildAnd(em->b, i, int32(em, x, 0x7fffff), "");
    V f = sub(em, as_f32(em, LLVMBuildAdd(em->b, mantissa, int32(em, x, SQRT_HALF), "")), num(em, x, 1));
    V e = LLVMBuildSIToFP(em->b, LLVMBuildAShr(em->b, i, int32(em, x, 23), ""), LLVMTypeOf(x), "");
    V f2 = mul(em, f, f), y = mul(em, mul(em, f2, f), POLY(em, f, c));
    y = em_fma(em, e, num(em, x, ln2_lo), y);
    y = em_fma(em, f2, num(em, x, -0.5), y);
    y = em_fma(em, e, num(em, x, ln2_hi), add(em, f, y));
    y = pick(em, cmp(em, LLVMRealOLT, x, num(em, x, 0x1p-126)), num(em, x, -INFINITY), y);
    y = pick(em, cmp(em, LLVMRealOLT, x, num(em, x, 0)), num(em, x, NAN), y);
    return pick(em, cmp(em, LLVMRealUGE, x, num(em, x, INFINITY)), x, y);    /* inf and NaN are their own logs */
}

/* ---- sin, cos: x = n pi/2 + r, |r| <= pi/4 */

static const double trig_limit = 65536;            /* up to here n < 2^16 and three parts of pi/2 are enough */

/* With fma every step below is exact or rounded in relation to its result; without it, in f64. */
static V reduce_pi(Em *em, V x, V *n)
{
    V t = em_fma(em, x, num(em, x, 0.636619747), num(em, x, round32));
    V f = sub(em, t, num(em, x, round32));
    *n = LLVMBuildSub(em->b, bits32(em, t), int32(em, x, ROUND32_BITS), "");
    if (em->t->fma) {
        V r = em_fma(em, f, num(em, x, -1.5707963705062866), x);
        r = em_fma(em, f, num(em, x, 4.371138828673793e-08), r);
        return em_fma(em, f, num(em, x, 1.7151245100058819e-15), r);
    }
    LLVMTypeRef wide = em_type(em, F64, em_width(x));
    V d = LLVMBuildFPExt(em->b, f, wide, ""), r = LLVMBuildFPExt(em->b, x, wide, "");
    r = sub(em, r, mul(em, d, num(em, r, 1.5707963267341256)));                 /* 33 bits: the product is exact */
    r = sub(em, r, mul(em, d, num(em, r, 6.077100506506192e-11)));
    return LLVMBuildFPTrunc(em->b, r, LLVMTypeOf(x), "");
}

/* The first 256 bits of 2/pi, lowest word first. */
static const uint64_t two_over_pi[4] = { 0xfe5163abdebbc561, 0xdb6295993c439041, 0xfc2757d1f534ddc0,
                                         0xa2f9836e4e441529 };

/* float x -> i64: n mod 4 above, the bits of r below; for |x| >= 2^16, with as many digits of 2/pi as that takes. |x|
   = m 2^(e-23): of 2/pi, bits worth more than a multiple of 4 drop out, the next 96 make x 2/pi mod 4 to 2^-70. */
static void large_trig_body(Em *em, V x)
{
    LLVMBuilderRef b = em->b;
    LLVMTypeRef i96 = LLVMIntTypeInContext(em->cx, 96), i256 = LLVMIntTypeInContext(em->cx, 256);
    V i = bits32(em, x), e = LLVMBuildAnd(b, LLVMBuildLShr(b, i, int32(em, x, 23), ""), int32(em, x, 255), "");
    V m = LLVMBuildOr(b, LLVMBuildAnd(b, i, int32(em, x, 0x7fffff), ""), int32(em, x, 0x800000), "");
    V shift = LLVMBuildAnd(b, LLVMBuildSub(b, int32(em, x, 185 + 127), e, ""), int32(em, x, 255), "");
    V digits = LLVMConstIntOfArbitraryPrecision(i256, 4, two_over_pi);
    V window = LLVMBuildLShr(b, digits, LLVMBuildZExt(b, shift, i256, ""), "");
    V product = LLVMBuildMul(b, LLVMBuildTrunc(b, window, i96, ""), LLVMBuildZExt(b, m, i96, ""), "");
    V turns = LLVMBuildTrunc(b, LLVMBuildLShr(b, product, LLVMConstInt(i96, 32, false), ""), em->i64, "");   /* 2^-62 */
    V n = LLVMBuildLShr(b, LLVMBuildAdd(b, turns, em_int(em, INT64_C(1) << 61), ""), em_int(em, 62), "");
    V rest = LLVMBuildSub(b, turns, LLVMBuildShl(b, n, em_int(em, 62), ""), "");
    V d = mul(em, LLVMBuildSIToFP(b, rest, em->f64, ""), em_num(em, F64, 1, 0x1.921fb54442d18p-62));
    V negative = LLVMBuildICmp(b, LLVMIntSLT, i, int32(em, x, 0), "");
    V r = LLVMBuildFPTrunc(b, pick(em, negative, LLVMBuildFNeg(b, d, ""), d), em->f32, "");
    r = pick(em, LLVMBuildICmp(b, LLVMIntEQ, e, int32(em, x, 255), ""), num(em, r, NAN), r);
    n = pick(em, negative, LLVMBuildNeg(b, n, ""), n);
    V low = LLVMBuildZExt(b, bits32(em, r), em->i64, "");
    LLVMBuildRet(b, LLVMBuildOr(b, LLVMBuildShl(b, n, em_int(em, 32), ""), low, ""));
}

static V large_trig(Em *em, V x)
{
    LLVMTypeRef type = LLVMFunctionType(em->i64, &em->f32, 1, false);
    V f = LLVMGetNamedFunction(em->mod, "nlc.large_trig");
    if (!f) {
        LLVMBasicBlockRef here = LLVMGetInsertBlock(em->b);
        f = LLVMAddFunction(em->mod, "nlc.large_trig", type);
        LLVMSetLinkage(f, LLVMInternalLinkage);
        LLVMPositionBuilderAtEnd(em->b, LLVMAppendBasicBlockInContext(em->cx, f, ""));
        large_trig_body(em, LLVMGetParam(f, 0));
        LLVMPositionBuilderAtEnd(em->b, here);
    }
    return LLVMBuildCall2(em->b, type, f, &x, 1, "");
}

/* r and n of the lanes that are large are replaced, one lane at a time (in memory, so that the code stays short). */
static void large_lanes(Em *em, V x, V large, V rvar, V nvar)
{
    int lanes = em_width(x);
    V xs = em_var(em, LLVMTypeOf(x), x);
    V hit = em_var(em, em_type(em, I32, lanes), LLVMBuildSExt(em->b, large, em_type(em, I32, lanes), ""));
    EmLoop l = em_loop(em, em_int(em, 0), em_int(em, lanes), 1, true);
    V found = large_trig(em, em_load(em, F32, 1, xs, l.i));
    V is = LLVMBuildICmp(em->b, LLVMIntNE, em_load(em, I32, 1, hit, l.i), int32(em, l.i, 0), "");
    V n = LLVMBuildTrunc(em->b, LLVMBuildLShr(em->b, found, em_int(em, 32), ""), em->i32, "");
    V r = as_f32(em, LLVMBuildTrunc(em->b, found, em->i32, ""));
    em_store(em, F32, pick(em, is, r, em_load(em, F32, 1, rvar, l.i)), rvar, l.i);
    em_store(em, I32, pick(em, is, n, em_load(em, I32, 1, nvar, l.i)), nvar, l.i);
    em_loop_end(em, &l);
}

static V any_lane(Em *em, V mask)
{
    int lanes = em_width(mask);
    if (lanes == 1)
        return mask;
    LLVMTypeRef packed = LLVMIntTypeInContext(em->cx, (unsigned)lanes);
    V word = LLVMBuildBitCast(em->b, mask, packed, "");
    return LLVMBuildICmp(em->b, LLVMIntNE, word, LLVMConstNull(packed), "");
}

static V reduce_trig(Em *em, V x, V *n)
{
    V r = reduce_pi(em, x, n);
    V large = cmp(em, LLVMRealUGT, absolute(em, x), num(em, x, trig_limit));
    LLVMBasicBlockRef slow = em_block(em, "large"), join = em_block(em, "join");
    LLVMBasicBlockRef from[2] = { LLVMGetInsertBlock(em->b) };
    LLVMBuildCondBr(em->b, any_lane(em, large), slow, join);
    LLVMPositionBuilderAtEnd(em->b, slow);
    V rvar = em_var(em, LLVMTypeOf(r), r), nvar = em_var(em, LLVMTypeOf(*n), *n);
    large_lanes(em, x, large, rvar, nvar);
    V rs[2] = { r, em_get(em, rvar) }, ns[2] = { *n, em_get(em, nvar) };
    from[1] = LLVMGetInsertBlock(em->b);
    LLVMBuildBr(em->b, join);
    LLVMMoveBasicBlockAfter(join, from[1]);
    LLVMPositionBuilderAtEnd(em->b, join);
    r = LLVMBuildPhi(em->b, LLVMTypeOf(r), "");
    LLVMAddIncoming(r, rs, from, 2);
    *n = LLVMBuildPhi(em->b, LLVMTypeOf(*n), "");
    LLVMAddIncoming(*n, ns, from, 2);
    return r;
}

/* sin(r + n pi/2); quarter is 0 for sin, 1 for cos. */
static V trig32(Em *em, V x, int quarter)
{
    static const double sin_c[] = { -1.666666716e-01, 8.333329111e-03, -1.983930852e-04, 2.718084033e-06 };
    static const double cos_c[] = { 4.166664556e-02, -1.388730947e-03, 2.443232734e-05 };
    V n, r = reduce_trig(em, x, &n), r2 = mul(em, r, r);
    V s = em_fma(em, mul(em, r2, r), POLY(em, r2, sin_c), r);
    V c = em_fma(em, mul(em, r2, r2), POLY(em, r2, cos_c), em_fma(em, r2, num(em, x, -0.5), num(em, x, 1)));
    if (quarter)
        n = LLVMBuildAdd(em->b, n, int32(em, x, quarter), "");
    V odd = LLVMBuildICmp(em->b, LLVMIntNE, LLVMBuildAnd(em->b, n, int32(em, x, 1), ""), int32(em, x, 0), "");
    V sign = LLVMBuildShl(em->b, LLVMBuildAnd(em->b, n, int32(em, x, 2), ""), int32(em, x, 30), "");
    return as_f32(em, LLVMBuildXor(em->b, bits32(em, pick(em, odd, c, s)), sign, ""));
}

static V sin32(Em *em, V x)
{
    V s = trig32(em, x, 0);
    return pick(em, cmp(em, LLVMRealOEQ, x, num(em, x, 0)), x, s);     /* -0 stays */
}

static V cos32(Em *em, V x) { return trig32(em, x, 1); }

/* ---- pow: |x|^y = 2^(y log2 |x|) in f64, then C's rules for signs and special values */

/* 1 if y is an odd integer, as a mask; *whole: y is an integer. */
static V is_odd(Em *em, V y, V *whole)
{
    V half = mul(em, y, num(em, y, 0.5));
    *whole = cmp(em, LLVMRealOEQ, unary(em, "llvm.trunc", y), y);
    V even = cmp(em, LLVMRealOEQ, unary(em, "llvm.trunc", half), half);
    return LLVMBuildAnd(em->b, *whole, LLVMBuildNot(em->b, even, ""), "");
}

/* log2 of a positive f64: x = 2^e m, sqrt(1/2) <= m < sqrt(2), s = (m-1)/(m+1), log2 m = s L(s^2). */
static V log2_64(Em *em, V x)
{
    static const double c[] = { 2.88539008177785, 0.9617966941133076, 0.5770779423764847, 0.4122092510837413,
                                0.3199057539425682, 0.28289929715439477 };
    const int64_t sqrt_half = 0x3fe6a09e667f3bcd, magic = 0x4330000000000000;  /* 2^52: its low bits count ones */
    V i = LLVMBuildAdd(em->b, bits64(em, x), int64(em, x, 0x3ff0000000000000 - sqrt_half), "");
    V exponent = LLVMBuildOr(em->b, LLVMBuildLShr(em->b, i, int64(em, x, 52), ""), int64(em, x, magic), "");
    V e = sub(em, as_f64(em, exponent), num(em, x, 0x1p52 + 1023));
    V mantissa = LLVMBuildAnd(em->b, i, int64(em, x, 0xfffffffffffff), "");
    V m = as_f64(em, LLVMBuildAdd(em->b, mantissa, int64(em, x, sqrt_half), ""));
    V s = quot(em, sub(em, m, num(em, x, 1)), add(em, m, num(em, x, 1)));
    V l = em_fma(em, s, POLY(em, mul(em, s, s), c), e);
    l = pick(em, cmp(em, LLVMRealOEQ, x, num(em, x, 0)), num(em, x, -INFINITY), l);
    return pick(em, cmp(em, LLVMRealUGE, x, num(em, x, INFINITY)), x, l);
}

/* 2^x in f64 for what fits f32: clamped to +-300, which is inf or 0 there. */
static V exp2_64(Em *em, V x)
{
    static const double c[] = { 0.9999999999997623, 0.6931471805465143, 0.24022650698880424, 0.05550410939341166,
                                0.009618128542845779, 0.001333345206270295, 0.00015403851761587058,
                                1.530973731948207e-05, 1.3175855300943717e-06 };
    const double round64 = 0x1.8p52;
    V t = add(em, at_least(em, at_most(em, x, 300), -300), num(em, x, round64));
    V p = POLY(em, sub(em, at_least(em, at_most(em, x, 300), -300), sub(em, t, num(em, x, round64))), c);
    V n = LLVMBuildShl(em->b, LLVMBuildAdd(em->b, bits64(em, t), int64(em, x, 1023), ""), int64(em, x, 52), "");
    return mul(em, p, as_f64(em, n));
}

static V pow32(Em *em, V x, V y)
{
    LLVMTypeRef wide = em_type(em, F64, em_width(x));
    V one = num(em, x, 1), zero = num(em, x, 0), inf = num(em, x, INFINITY), a = absolute(em, x), whole;
    V l = mul(em, LLVMBuildFPExt(em->b, y, wide, ""), log2_64(em, LLVMBuildFPExt(em->b, a, wide, "")));
    V r = LLVMBuildFPTrunc(em->b, exp2_64(em, l), LLVMTypeOf(x), "");
    V odd = is_odd(em, y, &whole);
    r = pick(em, odd, copysign_of(em, r, x), r);
    V negative = LLVMBuildAnd(em->b, cmp(em, LLVMRealOLT, x, zero), cmp(em, LLVMRealOGT, x, num(em, x, -INFINITY)), "");
    r = pick(em, LLVMBuildAnd(em->b, negative, LLVMBuildNot(em->b, whole, ""), ""), num(em, x, NAN), r);
    V y_inf = cmp(em, LLVMRealOEQ, absolute(em, y), inf);
    V unit = LLVMBuildAnd(em->b, y_inf, cmp(em, LLVMRealOEQ, a, one), "");      /* (-1)^(+-inf) = 1 */
    V ones = LLVMBuildOr(em->b, cmp(em, LLVMRealOEQ, y, zero), cmp(em, LLVMRealOEQ, x, one), "");
    return pick(em, LLVMBuildOr(em->b, unit, ones, ""), one, r);
}

/* ---- f64: libm */

static V sigmoid64(Em *em, V x)
{
    V e = em_libm(em, "exp", LLVMBuildFNeg(em->b, x, ""), NULL);
    return quot(em, num(em, x, 1), add(em, e, num(em, x, 1)));
}

/* ---- the table */

typedef struct { V (*f32)(Em *em, V x); V (*f64)(Em *em, V x); const char *libm; } MathRow;

static const MathRow rows[NOPS] = {
    [OP_EXP] = { exp32, NULL, "exp" },
    [OP_LOG] = { log32, NULL, "log" },
    [OP_SIN] = { sin32, NULL, "sin" },
    [OP_COS] = { cos32, NULL, "cos" },
    [OP_TANH] = { tanh32, NULL, "tanh" },
    [OP_ERF] = { erf32, NULL, "erf" },
    [OP_SIGMOID] = { sigmoid32, sigmoid64, NULL },
};

V emit_math(Em *em, Op op, V x)
{
    const MathRow *row = &rows[op];
    if (em_elem(x) == em->f32)
        return row->f32(em, x);
    return row->f64 ? row->f64(em, x) : em_libm(em, row->libm, x, NULL);
}

/* x mod y has the sign of y: the exact remainder, plus y where the signs differ. */
static V float_mod(Em *em, V x, V y)
{
    V r = LLVMBuildFRem(em->b, x, y, ""), zero = num(em, x, 0);
    V differ = LLVMBuildXor(em->b, cmp(em, LLVMRealOLT, r, zero), cmp(em, LLVMRealOLT, y, zero), "");
    V moved = LLVMBuildAnd(em->b, differ, cmp(em, LLVMRealUNE, r, zero), "");
    return pick(em, moved, add(em, r, y), r);
}

V emit_math2(Em *em, Op op, V x, V y)
{
    if (op == OP_MOD)
        return float_mod(em, x, y);
    return em_elem(x) == em->f32 ? pow32(em, x, y) : em_libm(em, "pow", x, y);
}
