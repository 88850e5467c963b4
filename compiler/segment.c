/* segment.c: long loops in two, so that the backward pass keeps few states.

   The reverse of a loop of T items needs the state before each of them: T copies. A loop over q segments of a loop of S items keeps the q
   states at the segments' starts, and while the reverse goes through one segment, the S states in it, computed again: q + S, about
   2 sqrt(T), for one more forward pass. The forward numbers are the same. Items that do not fill a segment are a last, shorter loop.
   loop_run() requires a closed region (kinds as n_loop wants them) and gives the value of each result. */
#include <math.h>
#include <string.h>
#include "graph.h"

enum { KEEP_ALL = 64 * 1024 };           /* bytes of states that are kept without a thought: less than a core's first caches */

/* Items of a segment: near sqrt(T), and if possible so that they divide T. */
static int32_t segment_length(int32_t trip)
{
    int32_t s = (int32_t)ceil(sqrt(trip));
    for (int32_t d = 0; d <= s / 3; d++) {
        if (trip % (s + d) == 0) return s + d;
        if (s - d > 1 && trip % (s - d) == 0) return s - d;
    }
    return s;
}

int64_t loop_state_bytes(const Region *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->np; i++) if (r->fkind[i] == K_CARRY && dt_float((Dt)r->formal[i]->dt)) n += n_size(r->formal[i]) * dt_size((Dt)r->formal[i]->dt);
    return n;
}

/* The body with its items counted from `base`, one more formal at the end. */
static Region *counted_from(const Region *r)
{
    Node **formal = NEWN(Node *, r->np + 1), **result = NEWN(Node *, r->nr + 1);
    uint8_t *kind = NEWN(uint8_t, r->np + 1);
    memcpy(formal, r->formal, (size_t)r->np * sizeof *formal);
    memcpy(kind, r->fkind, (size_t)r->np);
    memcpy(result, r->result, (size_t)r->nr * sizeof *result);
    formal[r->np] = n_formal(r->np, I32, 0, NULL);
    kind[r->np] = K_CAPTURE;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] != K_INDEX) continue;
        Node *from = r->formal[i], *to = n_bin(OP_ADD, formal[r->np], from);
        graph_subst(r->nr, result, 1, &from, &to);
    }
    return region_new(r->np + 1, formal, kind, r->nr, result, r->rkind);
}

static Node *rows(Node *x, int32_t from, int32_t n) { return n_slice1(x, 0, from, n, 1); }

/* [n * s, ..] as [n, s, ..], or back (s = 0: the first two axes become one). */
static Node *folded(Node *x, int32_t n, int32_t s)
{
    int32_t dim[MAXDIM] = { 0 };
    if (s) {
        dim[0] = n; dim[1] = s;
        for (int i = 1; i < x->rank; i++) dim[i + 1] = x->dim[i];
        return n_reshape(x, x->rank + 1, dim);
    }
    dim[0] = x->dim[0] * x->dim[1];
    for (int i = 2; i < x->rank; i++) dim[i - 1] = x->dim[i];
    return n_reshape(x, x->rank - 1, dim);
}

/* The loop over segments: its body is the loop over a segment's items. */
static Node *outer_loop(const Region *r, Region *inner, int32_t q, int32_t s, Node *const *operand)
{
    Node **formal = NEWN(Node *, r->np + 1), **in = NEWN(Node *, r->np + 2), **arg = NEWN(Node *, r->np + 2), **result = NEWN(Node *, r->nr + 1);
    uint8_t *kind = NEWN(uint8_t, r->np + 1);
    int np = 0, k = 0;
    Node *index = formal[np] = n_formal(0, I32, 0, NULL);
    kind[np++] = K_INDEX;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] == K_INDEX) continue;
        Node *x = operand[k];
        if (r->fkind[i] == K_ITEM) {
            x = folded(rows(x, 0, q * s), q, s);
            formal[np] = n_formal(np, (Dt)x->dt, x->rank - 1, x->dim + 1);
        } else formal[np] = n_formal(np, (Dt)x->dt, x->rank, x->dim);
        kind[np] = r->fkind[i];
        arg[k] = x;
        in[k++] = formal[np++];
    }
    in[k] = n_bin(OP_MUL, index, n_iconst(I32, s));
    Node *loop = n_loop(s, false, inner, k + 1, in);
    for (int i = 0; i < r->nr; i++) result[i] = n_out(loop, i);
    Region *body = region_new(np, formal, kind, r->nr, result, r->rkind);
    return n_loop(q, false, body, k, arg);
}

/* The items after the last whole segment go on from the states at `carry`. */
static Node *rest_loop(const Region *r, Region *inner, int32_t from, int32_t n, Node *const *operand, Node *const *carry)
{
    Node **in = NEWN(Node *, r->np + 1);
    int k = 0, c = 0;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] == K_INDEX) continue;
        in[k] = r->fkind[i] == K_CARRY ? carry[c++] : r->fkind[i] == K_ITEM ? rows(operand[k], from, n) : operand[k];
        k++;
    }
    in[k] = n_iconst(I32, from);
    return n_loop(n, false, inner, k + 1, in);
}

void loop_run(int32_t trip, Region *r, int nin, Node *const *operand, bool differentiated, Node **out)
{
    int64_t states = loop_state_bytes(r);
    if (!differentiated || trip < 16 || states * trip <= KEEP_ALL) {
        Node *loop = n_loop(trip, false, r, nin, operand);
        for (int i = 0; i < r->nr; i++) out[i] = n_out(loop, i);
        return;
    }
    int32_t s = segment_length(trip), q = trip / s, left = trip - q * s;
    Region *inner = counted_from(r);
    Node *outer = outer_loop(r, inner, q, s, operand), *rest = NULL;
    Node **carry = NEWN(Node *, r->nr + 1);
    int c = 0;
    for (int i = 0; i < r->nr; i++) if (r->rkind[i] == K_CARRY) carry[c++] = n_out(outer, i);
    if (left) rest = rest_loop(r, inner, q * s, left, operand, carry);
    for (int i = 0; i < r->nr; i++) {
        Node *a = n_out(outer, i);
        if (r->rkind[i] == K_STACK) a = folded(a, q, 0);
        if (!rest) out[i] = a;
        else if (r->rkind[i] == K_CARRY) out[i] = n_out(rest, i);
        else if (r->rkind[i] == K_SUM) out[i] = n_bin(OP_ADD, a, n_out(rest, i));
        else out[i] = n_concat(2, (Node *[2]){ a, n_out(rest, i) }, 0);
    }
}
