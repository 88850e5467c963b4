/* emit_kernel.h: kernels of the plan as LLVM functions. */
#ifndef EMIT_KERNEL_H
#define EMIT_KERNEL_H
#include "plan.h"

/* emit_elem.c: one elementwise operation on registers; dt: of the result, in_dt: of the first operand. BITS takes (seed, step, item, element, site). */
LLVMValueRef emit_elem(Em *em, const Ins *x, Dt in_dt, LLVMValueRef *in);
LLVMValueRef emit_reduce2(Em *em, int op, Dt dt, LLVMValueRef a, LLVMValueRef b);      /* SUM: a + b, MAXR: the larger */
LLVMValueRef emit_reduce_start(Em *em, int op, Dt dt, int lanes);
LLVMValueRef emit_reduce_lanes(Em *em, int op, Dt dt, LLVMValueRef v);                 /* halves, quarters, ...: one scalar */
void emit_reduce_rows(Em *em, int op, Dt dt, int rows, LLVMValueRef *v);               /* the same, of several (2^k) vectors: each becomes its scalar */

LLVMValueRef emit_nest(Em *em, const Nest *n, const char *name);                       /* emit_nest.c */
LLVMValueRef emit_join(Em *em, const Kernel *k, const char *name);
LLVMValueRef emit_move(Em *em, const Kernel *k, const char *name);                     /* emit_move.c */
void emit_bad_index(Em *em, LLVMValueRef status, uint64_t site, LLVMValueRef index, int64_t limit);
#endif
