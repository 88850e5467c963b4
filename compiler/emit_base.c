/* emit_base.c: the words that kernels are written in: typed loads and stores, loops, ranges. See emit.h. */
#include "emit.h"
#include <assert.h>
#include <string.h>

/* ---- types and constants */

static LLVMTypeRef elem_type(Em *em, Dt dt, bool memory)
{
    switch (dt) {
    case F32: return em->f32;
    case F64: return em->f64;
    case I64: return em->i64;
    case BOOL: return memory ? em->i8 : em->i1;
    case U8: return em->i8;
    default: return em->i32;
    }
}

static LLVMTypeRef lanes_type(LLVMTypeRef t, int lanes)
{
    return lanes > 1 ? LLVMVectorType(t, (unsigned)lanes) : t;
}

LLVMTypeRef em_type(Em *em, Dt dt, int lanes)
{
    return lanes_type(elem_type(em, dt, false), lanes);
}

int em_lanes(Em *em, Dt dt)
{
    return em->t->vbytes / dt_size(dt);
}

LLVMValueRef em_int(Em *em, int64_t v)
{
    return LLVMConstInt(em->i64, (unsigned long long)v, true);
}

static LLVMValueRef const_splat(LLVMValueRef scalar, int lanes)
{
    LLVMValueRef v[64];
    assert(lanes <= 64);
    if (lanes == 1)
        return scalar;
    for (int i = 0; i < lanes; i++)
        v[i] = scalar;
    return LLVMConstVector(v, (unsigned)lanes);
}

LLVMValueRef em_num(Em *em, Dt dt, int lanes, double v)
{
    return const_splat(LLVMConstReal(em_type(em, dt, 1), dt == F32 ? (double)(float)v : v), lanes);
}

LLVMValueRef em_inum(Em *em, Dt dt, int lanes, int64_t v)
{
    if (dt == BOOL)
        v = v != 0;
    return const_splat(LLVMConstInt(em_type(em, dt, 1), (unsigned long long)v, true), lanes);
}

LLVMValueRef em_num_like(Em *em, LLVMValueRef like, double v)
{
    return em_num(em, em_elem(like) == em->f32 ? F32 : F64, em_width(like), v);
}

int em_width(LLVMValueRef v)
{
    LLVMTypeRef t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1;
}

LLVMTypeRef em_elem(LLVMValueRef v)
{
    LLVMTypeRef t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
}

/* A shuffle mask: lanes from .. from+n-1, then `fill` up to `total` (-1: undefined). */
static LLVMValueRef mask_of(Em *em, int from, int step, int n)
{
    LLVMValueRef v[64];
    assert(n <= 64);
    for (int i = 0; i < n; i++)
        v[i] = LLVMConstInt(em->i32, (unsigned long long)(from + i * step), false);
    return LLVMConstVector(v, (unsigned)n);
}

LLVMValueRef em_splat(Em *em, LLVMValueRef scalar, int lanes)
{
    if (lanes == 1)
        return scalar;
    if (LLVMIsConstant(scalar))
        return const_splat(scalar, lanes);
    LLVMValueRef u = LLVMGetUndef(lanes_type(LLVMTypeOf(scalar), lanes));
    LLVMValueRef one = LLVMBuildInsertElement(em->b, u, scalar, LLVMConstInt(em->i32, 0, false), "");
    return LLVMBuildShuffleVector(em->b, one, u, mask_of(em, 0, 0, lanes), "");
}

LLVMValueRef em_lane(Em *em, LLVMValueRef v, int k)
{
    return em_width(v) == 1 ? v : LLVMBuildExtractElement(em->b, v, LLVMConstInt(em->i32, (unsigned)k, false), "");
}

LLVMValueRef em_part(Em *em, LLVMValueRef v, int from, int n)
{
    if (n == 1)
        return em_lane(em, v, from);
    return LLVMBuildShuffleVector(em->b, v, LLVMGetUndef(LLVMTypeOf(v)), mask_of(em, from, 1, n), "");
}

/* ---- memory */

LLVMValueRef em_index(Em *em, LLVMValueRef i, int64_t stride, LLVMValueRef plus)
{
    if (stride == 0 || !i)
        return plus ? plus : em_int(em, 0);
    LLVMValueRef p = stride == 1 ? i : LLVMBuildMul(em->b, i, em_int(em, stride), "");
    if (!plus || (LLVMIsAConstantInt(plus) && LLVMConstIntGetSExtValue(plus) == 0))
        return p;
    return LLVMBuildAdd(em->b, plus, p, "");
}

LLVMValueRef em_at(Em *em, Dt dt, LLVMValueRef base, LLVMValueRef i)
{
    if (!i || (LLVMIsAConstantInt(i) && LLVMConstIntGetSExtValue(i) == 0))
        return base;
    return LLVMBuildInBoundsGEP2(em->b, elem_type(em, dt, true), base, &i, 1, "");
}

static LLVMValueRef to_register(Em *em, Dt dt, LLVMValueRef v)
{
    if (dt != BOOL)
        return v;
    return LLVMBuildICmp(em->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

static LLVMValueRef to_memory(Em *em, Dt dt, LLVMValueRef v)
{
    return dt == BOOL ? LLVMBuildZExt(em->b, v, lanes_type(em->i8, em_width(v)), "") : v;
}

static LLVMValueRef load_raw(Em *em, Dt dt, int lanes, LLVMValueRef p)
{
    LLVMValueRef v = LLVMBuildLoad2(em->b, lanes_type(elem_type(em, dt, true), lanes), p, "");
    LLVMSetAlignment(v, (unsigned)dt_size(dt));
    return v;
}

LLVMValueRef em_load(Em *em, Dt dt, int lanes, LLVMValueRef base, LLVMValueRef i)
{
    return to_register(em, dt, load_raw(em, dt, lanes, em_at(em, dt, base, i)));
}

static LLVMValueRef lane_mask(Em *em, int lanes, int n)
{
    LLVMValueRef v[64];
    for (int i = 0; i < lanes; i++)
        v[i] = LLVMConstInt(em->i1, i < n, false);
    return LLVMConstVector(v, (unsigned)lanes);
}

static LLVMValueRef masked(Em *em, const char *name, LLVMTypeRef vt, int n, LLVMValueRef *arg)
{
    LLVMTypeRef over[2] = { vt, em->ptr };
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(em->mod, id, over, 2);
    return LLVMBuildCall2(em->b, LLVMIntrinsicGetType(em->cx, id, over, 2), f, arg, (unsigned)n, "");
}

LLVMValueRef em_load_part(Em *em, Dt dt, int lanes, int n, LLVMValueRef base, LLVMValueRef i)
{
    if (n >= lanes)
        return em_load(em, dt, lanes, base, i);
    LLVMTypeRef vt = lanes_type(elem_type(em, dt, true), lanes);
    LLVMValueRef arg[4] = { em_at(em, dt, base, i), LLVMConstInt(em->i32, (unsigned)dt_size(dt), false),
                            lane_mask(em, lanes, n), LLVMConstNull(vt) };
    return to_register(em, dt, masked(em, "llvm.masked.load", vt, 4, arg));
}

LLVMValueRef em_load_strided(Em *em, Dt dt, int lanes, int n, LLVMValueRef base, LLVMValueRef i, int64_t stride)
{
    if (lanes == 1)
        return em_load(em, dt, 1, base, i);
    if (stride == 1)
        return em_load_part(em, dt, lanes, n, base, i);
    if (stride == 0)
        return em_splat(em, em_load(em, dt, 1, base, i), lanes);
    LLVMValueRef v = LLVMConstNull(lanes_type(elem_type(em, dt, true), lanes));
    for (int k = 0; k < n; k++) {
        LLVMValueRef p = em_at(em, dt, base, em_index(em, em_int(em, k), stride, i));
        v = LLVMBuildInsertElement(em->b, v, load_raw(em, dt, 1, p), LLVMConstInt(em->i32, (unsigned)k, false), "");
    }
    return to_register(em, dt, v);
}

static void store_raw(Em *em, Dt dt, LLVMValueRef v, LLVMValueRef p)
{
    LLVMSetAlignment(LLVMBuildStore(em->b, v, p), (unsigned)dt_size(dt));
}

void em_store(Em *em, Dt dt, LLVMValueRef v, LLVMValueRef base, LLVMValueRef i)
{
    store_raw(em, dt, to_memory(em, dt, v), em_at(em, dt, base, i));
}

/* Without cheap masks: pieces of 2^k lanes. */
void em_store_part(Em *em, Dt dt, LLVMValueRef v, int n, LLVMValueRef base, LLVMValueRef i)
{
    int lanes = em_width(v);
    if (n >= lanes) {
        em_store(em, dt, v, base, i);
        return;
    }
    v = to_memory(em, dt, v);
    LLVMValueRef p = em_at(em, dt, base, i);
    if (em->t->masks && n > 1) {
        LLVMValueRef arg[4] = { v, p, LLVMConstInt(em->i32, (unsigned)dt_size(dt), false), lane_mask(em, lanes, n) };
        masked(em, "llvm.masked.store", LLVMTypeOf(v), 4, arg);
        return;
    }
    int at = 0;
    for (int piece = 64; piece > 0; piece /= 2)
        if (n & piece) {
            store_raw(em, dt, em_part(em, v, at, piece), em_at(em, dt, p, em_int(em, at)));
            at += piece;
        }
}

void em_store_strided(Em *em, Dt dt, LLVMValueRef v, int n, LLVMValueRef base, LLVMValueRef i, int64_t stride)
{
    if (em_width(v) == 1) {
        em_store(em, dt, v, base, i);
        return;
    }
    if (stride == 1) {
        em_store_part(em, dt, v, n, base, i);
        return;
    }
    for (int k = 0; k < n; k++)
        em_store(em, dt, em_lane(em, v, k), base, em_index(em, em_int(em, k), stride, i));
}

/* ---- calls */

LLVMValueRef em_call(Em *em, const char *intrinsic, LLVMTypeRef over, int n, LLVMValueRef *arg)
{
    unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
    assert(id);
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(em->mod, id, &over, 1);
    return LLVMBuildCall2(em->b, LLVMIntrinsicGetType(em->cx, id, &over, 1), f, arg, (unsigned)n, "");
}

LLVMValueRef em_fma(Em *em, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
    if (!em->t->fma)
        return LLVMBuildFAdd(em->b, LLVMBuildFMul(em->b, a, b, ""), c, "");
    LLVMValueRef arg[3] = { a, b, c };
    return em_call(em, "llvm.fma", LLVMTypeOf(a), 3, arg);
}

static void add_attr(Em *em, LLVMValueRef f, LLVMAttributeIndex at, const char *name, uint64_t value)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    assert(kind);
    LLVMAddAttributeAtIndex(f, at, LLVMCreateEnumAttribute(em->cx, kind, value));
}

static LLVMValueRef libm_function(Em *em, const char *name, LLVMTypeRef type)
{
    LLVMValueRef f = LLVMGetNamedFunction(em->mod, name);
    if (f)
        return f;
    f = LLVMAddFunction(em->mod, name, type);
    add_attr(em, f, LLVMAttributeFunctionIndex, "nounwind", 0);
    add_attr(em, f, LLVMAttributeFunctionIndex, "willreturn", 0);
    add_attr(em, f, LLVMAttributeFunctionIndex, "memory", 0);
    return f;
}

LLVMValueRef em_libm(Em *em, const char *name, LLVMValueRef x, LLVMValueRef y)
{
    LLVMTypeRef args[2] = { em->f64, em->f64 }, type = LLVMFunctionType(em->f64, args, y ? 2 : 1, false);
    LLVMValueRef f = libm_function(em, name, type);
    int lanes = em_width(x);
    LLVMValueRef out = LLVMGetUndef(lanes_type(em->f64, lanes));
    for (int k = 0; k < lanes; k++) {
        LLVMValueRef arg[2] = { em_lane(em, x, k), y ? em_lane(em, y, k) : NULL };
        LLVMValueRef v = LLVMBuildCall2(em->b, type, f, arg, y ? 2 : 1, "");
        if (lanes == 1)
            return v;
        out = LLVMBuildInsertElement(em->b, out, v, LLVMConstInt(em->i32, (unsigned)k, false), "");
    }
    return out;
}

/* ---- variables, blocks, loops */

LLVMValueRef em_var(Em *em, LLVMTypeRef t, LLVMValueRef init)
{
    LLVMBasicBlockRef here = LLVMGetInsertBlock(em->b), entry = LLVMGetEntryBasicBlock(em->fn);
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    if (first)
        LLVMPositionBuilderBefore(em->b, first);
    else
        LLVMPositionBuilderAtEnd(em->b, entry);
    LLVMValueRef v = LLVMBuildAlloca(em->b, t, "");
    LLVMPositionBuilderAtEnd(em->b, here);
    if (init)
        LLVMBuildStore(em->b, init, v);
    return v;
}

LLVMValueRef em_get(Em *em, LLVMValueRef var)
{
    return LLVMBuildLoad2(em->b, LLVMGetAllocatedType(var), var, "");
}

void em_set(Em *em, LLVMValueRef var, LLVMValueRef v)
{
    LLVMBuildStore(em->b, v, var);
}

LLVMBasicBlockRef em_block(Em *em, const char *name)
{
    return LLVMAppendBasicBlockInContext(em->cx, em->fn, name);
}

EmLoop em_loop(Em *em, LLVMValueRef from, LLVMValueRef to, int64_t step, bool at_least_once)
{
    EmLoop l = { .to = to, .step = step, .exit = em_block(em, "end") };
    l.head = em_block(em, "loop");
    if (at_least_once) {
        LLVMBuildBr(em->b, l.head);
    } else {
        LLVMValueRef any = LLVMBuildICmp(em->b, LLVMIntSLT, from, to, "");
        LLVMBuildCondBr(em->b, any, l.head, l.exit);
    }
    LLVMBasicBlockRef before = LLVMGetInsertBlock(em->b);
    LLVMPositionBuilderAtEnd(em->b, l.head);
    l.i = LLVMBuildPhi(em->b, em->i64, "i");
    LLVMAddIncoming(l.i, &from, &before, 1);
    return l;
}

void em_loop_end(Em *em, EmLoop *l)
{
    LLVMValueRef next = LLVMBuildNSWAdd(em->b, l->i, em_int(em, l->step), "");
    LLVMBasicBlockRef last = LLVMGetInsertBlock(em->b);
    LLVMValueRef more = LLVMBuildICmp(em->b, LLVMIntSLT, next, l->to, "");
    LLVMBuildCondBr(em->b, more, l->head, l->exit);
    LLVMAddIncoming(l->i, &next, &last, 1);
    LLVMMoveBasicBlockAfter(l->exit, last);
    LLVMPositionBuilderAtEnd(em->b, l->exit);
}

/* Units of `grain` elements; thread t has units U t / N .. U (t+1) / N - 1. */
static LLVMValueRef cut(Em *em, int64_t n, int64_t grain, LLVMValueRef t, LLVMValueRef nthreads)
{
    int64_t units = (n + grain - 1) / grain;
    LLVMValueRef u = LLVMBuildUDiv(em->b, LLVMBuildMul(em->b, t, em_int(em, units), ""), nthreads, "");
    LLVMValueRef i = grain == 1 ? u : LLVMBuildMul(em->b, u, em_int(em, grain), "");
    if (n % grain == 0)
        return i;
    LLVMValueRef over = LLVMBuildICmp(em->b, LLVMIntSGT, i, em_int(em, n), "");
    return LLVMBuildSelect(em->b, over, em_int(em, n), i, "");
}

void em_range(Em *em, int64_t n, int64_t grain, LLVMValueRef tid, LLVMValueRef nthreads, LLVMValueRef *lo, LLVMValueRef *hi)
{
    *lo = cut(em, n, grain, tid, nthreads);
    *hi = cut(em, n, grain, LLVMBuildAdd(em->b, tid, em_int(em, 1), ""), nthreads);
}

/* ---- kernels */

LLVMValueRef em_declare(Em *em, const char *name, int nptr)
{
    LLVMTypeRef *arg = NEWN(LLVMTypeRef, nptr + 2);
    for (int i = 0; i < nptr; i++)
        arg[i] = em->ptr;
    arg[nptr] = arg[nptr + 1] = em->i64;
    return LLVMAddFunction(em->mod, name, LLVMFunctionType(em->none, arg, (unsigned)nptr + 2, false));
}

LLVMValueRef em_kernel(Em *em, const char *name, int nptr, LLVMValueRef *operand, LLVMValueRef *tid, LLVMValueRef *nthreads)
{
    em->fn = em_declare(em, name, nptr);
    LLVMSetLinkage(em->fn, LLVMInternalLinkage);
    add_attr(em, em->fn, LLVMAttributeFunctionIndex, "nounwind", 0);
    add_attr(em, em->fn, LLVMAttributeFunctionIndex, "noinline", 0);
    if (em->t->tune)
        LLVMAddTargetDependentFunctionAttr(em->fn, "tune-cpu", em->t->tune);
    for (int i = 0; i < nptr; i++) {
        operand[i] = LLVMGetParam(em->fn, (unsigned)i);
        add_attr(em, em->fn, (LLVMAttributeIndex)i + 1, "noalias", 0);
    }
    *tid = LLVMGetParam(em->fn, (unsigned)nptr);
    *nthreads = LLVMGetParam(em->fn, (unsigned)nptr + 1);
    LLVMPositionBuilderAtEnd(em->b, em_block(em, "entry"));
    return em->fn;
}

void em_kernel_end(Em *em)
{
    LLVMBuildRetVoid(em->b);
    em->fn = NULL;
}
