/* emit.h: what the files that make LLVM code share: the context, typed loads and stores, loops, kernels' building blocks.

   A kernel is a function  void k(ptr noalias operand.., i64 tid, i64 nthreads)  called by every thread of the team; it does
   the part of the work that belongs to tid (fixed ranges; bits never depend on nthreads) and has no barrier inside.
   Registers: BOOL is i1, F32 float, ..., U32 i32, U8 i8; a vector of `lanes` elements, or the scalar type for lanes == 1.
   Memory: BOOL is a byte. Every address is element index times the size of the type; alignment is that of the element. */
#ifndef EMIT_H
#define EMIT_H
#include "graph.h"
#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

/* What code may use on the CPU it is for. */
typedef struct {
    const char *triple, *cpu, *features, *tune;   /* as LLVM wants them; tune: the CPU to schedule for */
    const char *needs;           /* "+avx2,+fma": what the runtime has to check */
    int vbytes, vregs;           /* bytes of a vector register (16, 32, 64), and how many there are (16, 32) */
    bool fma, masks;             /* fused multiply-add; masked loads and stores cost no more than plain ones (AVX-512) */
    int64_t l1, l2;              /* bytes of cache to count on */
} Target;

/* One module under construction; `b` stands in block of function `fn`. Variables: em_var (an alloca in the entry block; sroa makes phis). */
typedef struct Em {
    const Target *t;
    LLVMContextRef cx; LLVMModuleRef mod; LLVMBuilderRef b;
    LLVMTargetMachineRef tm;
    LLVMValueRef fn;
    LLVMTypeRef i1, i8, i32, i64, f32, f64, ptr, none;
} Em;

/* ---- emit_target.c */
bool target_find(Target *t, const char *cpu);                    /* NULL: this machine; false after a message */
Em  *em_new(const Target *t, const char *name);                  /* an empty module */
void em_free(Em *em);
bool em_finish(Em *em, const char *obj);                         /* passes, object file; frees em; false after a message */

/* ---- emit_base.c */
LLVMTypeRef  em_type(Em *em, Dt dt, int lanes);                  /* the type in registers */
int          em_lanes(Em *em, Dt dt);                            /* elements of dt in one vector register */
LLVMValueRef em_int(Em *em, int64_t v);                          /* i64 */
LLVMValueRef em_num(Em *em, Dt dt, int lanes, double v);         /* a constant of a float type, in every lane */
LLVMValueRef em_inum(Em *em, Dt dt, int lanes, int64_t v);       /* of another type */
LLVMValueRef em_num_like(Em *em, LLVMValueRef like, double v);   /* a constant of like's type (float or vector of float) */
LLVMValueRef em_splat(Em *em, LLVMValueRef scalar, int lanes);
LLVMValueRef em_index(Em *em, LLVMValueRef i, int64_t stride, LLVMValueRef plus);   /* plus + i * stride, folding 0 and 1; plus may be NULL */
LLVMValueRef em_at(Em *em, Dt dt, LLVMValueRef base, LLVMValueRef i);               /* address of element i (NULL: 0) */
LLVMValueRef em_load(Em *em, Dt dt, int lanes, LLVMValueRef base, LLVMValueRef i);  /* elements i, i+1, .. */
LLVMValueRef em_load_part(Em *em, Dt dt, int lanes, int n, LLVMValueRef base, LLVMValueRef i);   /* the first n (constant); zeros behind */
LLVMValueRef em_load_strided(Em *em, Dt dt, int lanes, int n, LLVMValueRef base, LLVMValueRef i, int64_t stride);
void         em_store(Em *em, Dt dt, LLVMValueRef v, LLVMValueRef base, LLVMValueRef i);
void         em_store_part(Em *em, Dt dt, LLVMValueRef v, int n, LLVMValueRef base, LLVMValueRef i);   /* the first n lanes */
void         em_store_strided(Em *em, Dt dt, LLVMValueRef v, int n, LLVMValueRef base, LLVMValueRef i, int64_t stride);
LLVMValueRef em_part(Em *em, LLVMValueRef v, int from, int n);    /* lanes from .. from+n-1 */
LLVMValueRef em_lane(Em *em, LLVMValueRef v, int k);             /* lane k of a vector (or the scalar itself) */
LLVMValueRef em_fma(Em *em, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);        /* a * b + c: fused if the target can, else mul, add */
LLVMValueRef em_call(Em *em, const char *intrinsic, LLVMTypeRef over, int n, LLVMValueRef *arg);   /* "llvm.sqrt" overloaded on `over` */
LLVMValueRef em_libm(Em *em, const char *name, LLVMValueRef x, LLVMValueRef y);     /* double f(double[, double]) on every lane; y may be NULL */
int          em_width(LLVMValueRef v);                           /* lanes of a value (1: scalar) */
LLVMTypeRef  em_elem(LLVMValueRef v);                            /* its element type */
LLVMValueRef em_var(Em *em, LLVMTypeRef t, LLVMValueRef init);   /* a variable (address); init may be NULL. Load and store with LLVMBuildLoad2/Store or: */
LLVMValueRef em_get(Em *em, LLVMValueRef var);
void         em_set(Em *em, LLVMValueRef var, LLVMValueRef v);
LLVMBasicBlockRef em_block(Em *em, const char *name);            /* appended to fn */

/* for (i = from; i < to; i += step).  `at_least_once`: the test stands at the end only. */
typedef struct { LLVMValueRef i, to; LLVMBasicBlockRef head, exit; int64_t step; } EmLoop;
EmLoop em_loop(Em *em, LLVMValueRef from, LLVMValueRef to, int64_t step, bool at_least_once);
void   em_loop_end(Em *em, EmLoop *l);

/* The part [*lo, *hi) of 0..n-1 that thread tid of nthreads does; cuts fall on multiples of `grain`. */
void em_range(Em *em, int64_t n, int64_t grain, LLVMValueRef tid, LLVMValueRef nthreads, LLVMValueRef *lo, LLVMValueRef *hi);

/* A new kernel with nptr operands; em->fn is it, the builder stands at its start. Ends with em_kernel_end (return, new em->fn = NULL). */
LLVMValueRef em_declare(Em *em, const char *name, int nptr);      /* a kernel of another object: nptr pointers, thread, threads */
LLVMValueRef em_kernel(Em *em, const char *name, int nptr, LLVMValueRef *operand, LLVMValueRef *tid, LLVMValueRef *nthreads);
void         em_kernel_end(Em *em);

/* ---- emit_math.c: EXP LOG SIN COS TANH SIGMOID ERF (and whatever else is a call) of a float, a double, or a vector of them.
   f32: inline polynomials, every lane and width alike; f64: libm lane by lane. */
LLVMValueRef emit_math(Em *em, Op op, LLVMValueRef x);
LLVMValueRef emit_math2(Em *em, Op op, LLVMValueRef x, LLVMValueRef y);     /* POW, and MOD on floats */

/* ---- emit_contract.c: one product with constant extents and strides, operands (a, b, c, epilogue operands.., scratch).
     c[batch, m, n] = sum over k (ascending, last loop innermost) of a[batch, m, k] * b[batch, k, n]
   Each of batch, m, n, k is a list of loops, outermost first, already merged where strides allow; empty lists mean extent 1.
   The caller has swapped a and b such that, if c has an axis of stride 1, it is the last loop of n. sa is 0 for n loops, sb for m loops,
   sc for k loops. Sizes of 1 do not occur in lists. c is never read; it overlaps no operand. */
typedef struct { int64_t n, sa, sb, sc; } Ext;                   /* extent; strides in elements */
typedef struct ContractSpec ContractSpec;
struct ContractSpec {
    Dt dt;                       /* F32, F64; I32, I64 (plain loops) */
    int nbatch, nm, nn, nk;
    Ext batch[MAXDIM], m[MAXDIM], n[MAXDIM], k[MAXDIM];
    int nextra;                  /* epilogue operands: pointers after c */
    /* Called for finished elements instead of the store to c, when not NULL: v holds `n` valid elements (of em_width(v) lanes) at
       (batch, m, n .. n+lanes-1), indices flat over the lists (i64); operand[0] is c, operand[1..] the extra ones. */
    void (*epilogue)(Em *em, const ContractSpec *s, LLVMValueRef v, int valid, LLVMValueRef batch, LLVMValueRef m, LLVMValueRef n,
                     const LLVMValueRef *operand);
    void *env;                   /* the epilogue's own */
};
LLVMValueRef emit_contract(Em *em, const ContractSpec *s, const char *name);    /* the kernel */
int64_t contract_scratch(const Target *t, const ContractSpec *s);              /* bytes of scratch per thread (the last operand; 0: it is not used) */
bool contract_small(const ContractSpec *s);                                    /* so little work that thread 0 does it all (depends on shapes only) */
#endif
