/* tensor.h: what tensor*.c and builtins*.c share: element types of results, the meeting of shapes, products, gathers. */
#ifndef TENSOR_H
#define TENSOR_H
#include "elab.h"

typedef struct { int rank; int32_t dim[MAXDIM]; } Shape;
typedef struct { Dt dt; bool weak; } Type;            /* weak: made of step, t and constants alone (see Value.weak) */

/* ---- tensor.c */
int   v_naxes(uint16_t set);                          /* how many map axes a set holds */
int   v_rank(Value v);                                /* logical rank of a number or tensor */
const int32_t *v_dim(Value v);                        /* logical sizes of a tensor */
Shape v_shape_of(Value v);                            /* of a number or tensor */
const char *shape_text(int rank, const int32_t *dim); /* "[3, 4]" */
Value v_result(Node *n, uint16_t set, bool weak, Loc at);
Type  v_common(int n, const Value *v, bool floats);   /* the type in which numbers and tensors meet; BOOL if all are bool */
Type  v_arith(int n, const Value *v);                 /* the same where bool counts as 0 and 1 */
Value v_to(Value v, Type t);                          /* a number or tensor as a tensor of that type */
Value v_floats(Value v, Loc at);                      /* as a tensor of its own float type; weak integers become f64 */
Value v_numeric(Value v, Loc at);                     /* as a tensor, bool counted as 0 and 1 */
uint16_t v_union(int n, const Value *v);              /* the map axes of any of them */
bool  v_meet(int n, const Value *v, Shape *s, Loc at);/* the shape in which they meet elementwise, or a message */
bool  v_fits(uint16_t set, int rank, const int32_t *dim, Loc at);    /* not too many axes and elements, or a message */
Value v_zip(Op op, Value a, Value b, Type t, Loc at); /* n_bin of two numbers or tensors, converted and stretched */
void  v_places(Value a, Value b, Loc at);             /* notes: where the shapes of an error come from */
Value v_need(Value v, Loc at);                        /* a list becomes a tensor; numbers and tensors stay */
Value v_maximum(bool least, Value a, Value b, Loc at);/* max(a, b), min(a, b) */

/* ---- tensor_index.c */
Value v_stack(int n, const Value *v, int axis, Loc at);          /* equal shapes along a new axis */
Value v_concat(int n, const Value *v, bool last, int axis, Loc at);
Value v_gather(Value x, Value index, int axis, int nbatch, Loc at, const char *of);   /* nbatch leading axes are shared with the index; of: x, in words */
bool  v_is_index(Value v, Loc at);                    /* whole numbers, or a message */
Value v_reshape(Value x, Shape s, Loc at);
Value v_move_axis(Value x, int from, int to);         /* of the logical axes */

/* ---- tensor_product.c */
Value v_product(Value a, Value b, Loc at);            /* a @ b */
Value v_outer(Value a, Value b, Loc at);
Value v_dot(Value a, Value b, bool one, int axis, Loc at);       /* one: along `axis` (>= 0), otherwise along all */

/* ---- builtins_draw.c: rows of the table in builtins.c. n arguments, all positional. */
Value draw_normal(int n, const Value *arg, Loc at);
Value draw_uniform(int n, const Value *arg, Loc at);
Value draw_randint(int n, const Value *arg, Loc at);
Value draw_permutation(int n, const Value *arg, Loc at);

/* ---- builtins.c */
bool  shape_argument(Value v, Shape *s, Loc at);      /* a written list of sizes, or the shape of a tensor */
#endif
