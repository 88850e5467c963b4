/* dump.c: regions as text: one node a line, numbered from 0 within its region, equal text for equal graphs.
       region (capture %0: f32[2, 3], item %1: f32[3]) {
           %2 = bcast [-1 0] %1: f32[2, 3]
           %3 = mul %0 %2: f32[2, 3]  # notebook.nl:7:12
       } stack %3 */
#include "ops.h"
#include <inttypes.h>
#include <string.h>

typedef struct { FILE *to; const PtrMap *name; int depth; } Dump;
static void print_region(const Region *r, FILE *to, int depth);

const char *node_type(const Node *x)
{
    char s[16 * MAXDIM + 32];
    int n = snprintf(s, sizeof s, "%s[", dt_name(x->dt));
    for (int i = 0; i < x->rank; i++)
        n += snprintf(s + n, sizeof s - (size_t)n, i ? ", %d" : "%d", x->dim[i]);
    snprintf(s + n, sizeof s - (size_t)n, "]");
    return arena_strdup(s);
}

static const char *kind_name(int kind)
{
    static const char *const name[] = { "capture", "index", "item", "carry", "stack", "sum" };
    return kind <= K_SUM ? name[kind] : "?";
}

static long number(const Dump *d, const Node *x) { return (long)(intptr_t)ptrmap_get(d->name, x) - 1; }

static void print_labels(const Dump *d, const int8_t *l, int n)   /* as letters; [] for no axes */
{
    for (int i = 0; i < n; i++)
        fputc('a' + l[i] - 1, d->to);
    if (!n)
        fputs("[]", d->to);
}

static void print_list8(const Dump *d, const int8_t *v, int n)
{
    for (int i = 0; i < n; i++)
        fprintf(d->to, i ? " %d" : " [%d", v[i]);
    fputs(n ? "]" : " []", d->to);
}

static void print_list(const Dump *d, const char *what, const int32_t *v, int n)
{
    fprintf(d->to, " %s", what);
    for (int i = 0; i < n; i++)
        fprintf(d->to, i ? " %d" : " [%d", v[i]);
    fputs(n ? "]" : " []", d->to);
}

static void print_axes(const Dump *d, uint32_t axes)
{
    const char *sep = " [";
    for (int i = 0; i < MAXDIM; i++)
        if (axes >> i & 1) {
            fprintf(d->to, "%s%d", sep, i);
            sep = " ";
        }
    fputs("]", d->to);
}

static void print_const(const Dump *d, const Node *x)
{
    if (dt_float(x->dt))
        fprintf(d->to, x->dt == F32 ? " %.9g" : " %.17g", x->a.num);
    else
        fprintf(d->to, " %" PRId64, x->a.inum);
}

static void print_attrs(const Dump *d, const Node *x)
{
    unsigned has = op_row[x->op].attrs;
    if (has & A_VALUE)
        print_const(d, x);
    if (has & A_AXIS)
        fprintf(d->to, " axis %d", x->a.axis);
    if (has & A_K)
        fprintf(d->to, " %" PRId64, x->a.k);
    if (has & A_AXES)
        print_axes(d, x->a.axes);
    if (has & A_MAP)
        print_list8(d, x->a.map, x->rank);
    if (has & A_RANGE) {
        print_list(d, "start", x->a.start, x->rank);
        print_list(d, "step", x->a.step, x->rank);
    }
    if (has & A_LABELS) {
        fputc(' ', d->to);
        print_labels(d, x->a.la, x->in[0]->rank);
        fputc(',', d->to);
        print_labels(d, x->a.lb, x->in[1]->rank);
        fputs("->", d->to);
        print_labels(d, x->a.lo, x->rank);
    }
    if (x->op == OP_BITS)
        fprintf(d->to, " site %" PRIx64, x->a.site);
    if (x->a.reverse)
        fputs(" reverse", d->to);
}

static void print_node(const Dump *d, const Node *x)
{
    fprintf(d->to, "%*s%%%ld = %s", 4 * d->depth, "", number(d, x), op_row[x->op].name);
    print_attrs(d, x);
    for (int i = 0; i < x->nin; i++)
        fprintf(d->to, " %%%ld", number(d, x->in[i]));
    if (x->a.r[0]) {
        for (int i = 0; i < 2 && x->a.r[i]; i++) {
            fputc(' ', d->to);
            print_region(x->a.r[i], d->to, d->depth);
        }
    } else {
        fprintf(d->to, ": %s", node_type(x));
    }
    if (x->loc.line)
        fprintf(d->to, "  # %s:%u:%u", source_name(x->loc.file), (unsigned)x->loc.line, (unsigned)x->loc.col);
    fputc('\n', d->to);
}

static void print_region(const Region *r, FILE *to, int depth)
{
    Node **order;
    PtrMap name = { 0 };
    Dump d = { to, &name, depth + 1 };
    intptr_t next = 0;
    int n = graph_order(r->nr, r->result, &order);
    fputs("region (", to);
    for (int i = 0; i < r->np; i++) {
        *ptrmap_at(&name, r->formal[i]) = (void *)++next;
        fprintf(to, "%s%s %%%d: %s", i ? ", " : "", kind_name(r->fkind[i]), i, node_type(r->formal[i]));
    }
    fputs(") {\n", to);
    for (int i = 0; i < n; i++) {
        void **slot = ptrmap_at(&name, order[i]);
        if (*slot)
            continue;
        *slot = (void *)++next;
        print_node(&d, order[i]);
    }
    fprintf(to, "%*s}", 4 * depth, "");
    for (int i = 0; i < r->nr; i++)
        fprintf(to, "%s%s %%%ld", i ? ", " : " ", kind_name(r->rkind[i]), number(&d, r->result[i]));
    ptrmap_free(&name);
}

void region_print(const Region *r, FILE *to)
{
    print_region(r, to, 0);
    fputc('\n', to);
}
