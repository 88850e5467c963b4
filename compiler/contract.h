/* contract.h: what the files that make products share: what is decided (contract_plan.c), packing (contract_pack.c),
   the tiles (emit_contract.c). */
#ifndef CONTRACT_H
#define CONTRACT_H
#include "emit.h"

typedef LLVMValueRef V;

enum { SLAB = 4096, DOT_LANES = 16, MAXTILE = 32, MAXVECS = 16 };
enum { BATCH, ROWS, COLS };                      /* the three groups of loops that an element of c has an index in */

typedef struct { Ext e; int group; int64_t weight; } Outer;  /* weight: what a step adds to the group's flat index */

/* What is decided before any code is made. */
typedef struct {
    Outer outer[3 * MAXDIM];
    int nouter;
    int64_t outers;                  /* product of their extents */
    Ext m, vec;                      /* the loop cut into tile rows, the loop laid along vectors (extent 1: none) */
    int64_t m_weight;                /* what a row adds to the flat index of the rows */
    int vec_group;                   /* COLS; BATCH if only a batch loop is contiguous in c */
    const Ext *k;
    int nk;
    int64_t ks;                      /* product of the k extents */
    int lanes, nv;                   /* lanes of a vector; vectors (chain) of a panel, or columns (dot) */
    int64_t panels;                  /* along vec */
    int high, low;                   /* tile heights, low == high - 1 */
    int64_t nhigh, nlow;             /* how many tiles of each, the high ones first */
    bool dot, pack, pack_a;
    int cut;                         /* the k loop that slabs cut; loops outside it make one slab each */
    int64_t step, slab;              /* its iterations in a slab; multiply-adds in a slab */
    bool slabs;                      /* more than one */
} Tiling;

/* ---- contract_plan.c: from shapes and the target only */
Tiling tiling_of(const Target *t, const ContractSpec *s);
/* Scratch, in elements: the packed panel, the sums of slabs so far, the packed A, in this order. */
int64_t pack_elems(const Tiling *p);
int64_t sums_elems(const Tiling *p);
int64_t pack_a_elems(const Tiling *p);

/* ---- emission */

typedef struct {
    Em *em;
    const ContractSpec *s;
    const Tiling *p;
    Dt dt;
    V a, b, c;                       /* operands */
    const V *operand;                /* c and the epilogue's */
    V packed, sums, packed_a;        /* scratch */
    V tile;                          /* a variable that holds a finished tile for the epilogue */
    V lo, hi;                        /* this thread's tiles */
    V ap, bp;                        /* where the panel starts in a and b */
    V coff;                          /* and in c, in elements */
    V flat[3];                       /* flat indices of the panel's first element */
    int nv, valid;                   /* of the current panel: vectors, lanes of the last of them */
} Gen;

static inline V imul(Gen *g, V i, int64_t by) { return em_index(g->em, i, by, NULL); }
static inline V iadd(Gen *g, V a, V b) { return em_index(g->em, a, 1, b); }
static inline int lanes_of(const Gen *g, int v) { return v == g->nv - 1 ? g->valid : g->p->lanes; }
static inline V zero(Gen *g, int lanes) { return LLVMConstNull(em_type(g->em, g->dt, lanes)); }

/* A loop whose body sees pointers that advance, and n values that it changes; trip >= 1, constant. */
typedef struct { EmLoop l; V phi[2 + MAXTILE]; } Chain;

void chain_begin(Gen *g, Chain *c, int64_t trip, int n, V *value);
void chain_end(Gen *g, Chain *c, int n, V *value);
V shuffle(Gen *g, V a, V b, int n, const int *lane);     /* lanes of a, then of b */

/* ---- contract_pack.c */
void pack_panel(Gen *g, int level, int64_t n, V from, V to);
void pack_a(Gen *g);
#endif
