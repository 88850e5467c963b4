/* gen_program.c: writes a random program of the language: gen_program SEED NAME writes NAME.nl, and NAME.csv or NAME.txt if
   the program reads one. Shapes, operations, blocks, frequencies, rules, streams and schedules are drawn; the same seed gives
   the same files. tests/diff/programs.sh runs each by the evaluator and as machine code and compares what comes out.

   What would compare noise is left out: signs of gradients, quotients by roots of what may cancel to 0 (so every eps is
   1e-3), maxima of what is equal by construction, products with weights that are all alike. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rng;
static uint32_t next32(void)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33);
}
static int below(int n) { return (int)(next32() % (uint32_t)n); }
static int between(int a, int b) { return a + below(b - a + 1); }
static int chance(int percent) { return below(100) < percent; }

enum { MAXVAR = 96, MAXRANK = 4, MAXLEARN = 48 };
typedef struct { char name[16]; int rank, dim[MAXRANK], high; } Var;     /* high: integers are 0 .. high - 1 */
typedef struct { Var at[MAXVAR]; int n; } Vars;

/* What a program is made around; the same for all its models. */
enum { POINTS, ROWS, WINDOWS, FILE_CSV, FILE_TEXT };
static struct { int kind, d, rows, classes, models, large, ticks; const char *name; } g;

static Vars tensors, ints, bools;
static char learned[MAXLEARN][16];                   /* of the model: names that `wrt` and `learning` may give */
static char moved[MAXLEARN][16];                     /* its states that `<-` moves */
static int nlearned, nmoved, nname;
static char *body, *decl;
static size_t nbody, ndecl;
static FILE *out;

static const int small_sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 16, 17 }, large_sizes[] = { 1, 3, 8, 31, 33, 64, 65, 100, 129 };
static int size(void) { return g.large ? large_sizes[below(9)] : small_sizes[below(10)]; }

static void append(char **to, size_t *n, const char *fmt, va_list ap)
{
    char text[2000];
    int k = vsnprintf(text, sizeof text, fmt, ap);
    *to = realloc(*to, *n + (size_t)k + 1);
    memcpy(*to + *n, text, (size_t)k + 1);
    *n += (size_t)k;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)                /* a statement of the model's body */
{
    va_list ap;
    va_start(ap, fmt);
    append(&body, &nbody, fmt, ap);
    va_end(ap);
}

static void declare(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void declare(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    append(&decl, &ndecl, fmt, ap);
    va_end(ap);
}

/* A text that lives for the next 255 calls. */
static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *fmt, ...)
{
    static char t[256][400];
    static int k;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t[k = (k + 1) % 256], sizeof t[0], fmt, ap);
    va_end(ap);
    return t[k];
}

static const char *shape(const Var *v)
{
    const char *s = "";
    for (int i = 0; i < v->rank; i++) s = text("%s%s%d", s, i ? ", " : "", v->dim[i]);
    return s;
}

static long count(const Var *v)
{
    long n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    return n;
}

static int last(const Var *v) { return v->rank ? v->dim[v->rank - 1] : 1; }

static Var *new_in(Vars *to, const Var *like, const char *prefix)
{
    if (to->n == MAXVAR) to->n--;
    Var *v = &to->at[to->n++];
    Var copy = *like;
    *v = copy;
    snprintf(v->name, sizeof v->name, "%s%d", prefix, nname++);
    return v;
}

static Var *make(Var like) { return new_in(&tensors, &like, "v"); }
static Var shaped_like(int rank, int a, int b, int c) { return (Var){ .rank = rank, .dim = { a, b, c, 1 } }; }

static Var with_last(Var v, int n)
{
    v.dim[v.rank - 1] = n;
    return v;
}

static Var without(Var v, int axis)
{
    for (int i = axis; i + 1 < v.rank; i++) v.dim[i] = v.dim[i + 1];
    v.rank--;
    return v;
}

static Var in_front(int n, Var v)
{
    for (int i = v.rank; i > 0; i--) v.dim[i] = v.dim[i - 1];
    v.dim[0] = n;
    v.rank++;
    return v;
}

static Var pick(void)
{
    int n = tensors.n;
    return tensors.at[chance(60) ? n - 1 - below(n < 3 ? n : 3) : below(n)];
}

static Var pick_rank(int least, int most)
{
    for (int i = 0; i < 60; i++) {
        Var v = pick();
        if (v.rank >= least && v.rank <= most) return v;
    }
    for (int i = tensors.n - 1; i >= 0; i--)
        if (tensors.at[i].rank >= least && tensors.at[i].rank <= most) return tensors.at[i];
    Var one = shaped_like(least, 2, 2, 2);           /* none there: a plain one of the least rank */
    Var *v = make(one);
    say("    %s = 0.1*iota(2) + zeros([%s])\n", v->name, shape(v));
    return *v;
}

/* ---- rules and clocks */

static const char *rule(int depth)
{
    double lr = 0.001 * between(1, 60);
    switch (depth > 1 ? below(15) : depth ? between(1, 19) : below(20)) {
    case 0: return text("gd(%g)", lr);
    case 1: return text("gd(%g, retain = 0.99)", lr);
    case 2: return text("momentum(%g, 0.8)", lr / 4);
    case 3: return text("nesterov(%g, 0.7)", lr / 4);
    case 4: return text("adam(%g, eps = 1e-3)", lr / 4);
    case 5: return text("adamw(%g, eps = 1e-3, decay = 0.1)", lr / 4);
    case 6: return text("rmsprop(%g, eps = 1e-3)", lr / 8);
    case 7: return text("adagrad(%g, eps = 1e-3)", lr / 4);
    case 8: return text("slow_fast(%g, %d)", lr, between(1, 4));
    case 9: return text("fading(%g)", lr);
    case 10: return text("gd(%g * cosine_decay(step, 20))", lr);
    case 11: return text("three_decays(%g)", lr);
    case 12: return text("adamw_frequency(%d, %g, eps = 1e-3)", between(1, 3), lr / 4);
    case 13: return text("generalized_momentum(%g, 0.8, pull)", lr / 4);
    case 14: return text("momentum_ema(%g * warmup(step, %d), 0.6)", lr, between(1, 9));
    case 15: return depth ? "gd(0.02)" : text("clip(%g, %s)", 0.1 * between(1, 30), rule(depth + 1));   /* total() stands outermost */
    case 16: { const char *a = rule(depth + 1); return text("by_rank(%s, %s)", a, rule(depth + 1)); }
    case 17: return text("by_rank(delta_momentum(%g, 0.8), %s)", lr / 8, rule(depth + 1));
    case 18: return text("by_rank(learned_preconditioner(%g, 0.01), %s)", lr / 8, rule(depth + 1));
    default: return text("halved(%s)", rule(depth + 1));
    }
}

static const char *clock_clause(int percent)
{
    if (!chance(percent)) return "";
    if (g.ticks && chance(40)) return text("  every done%s", chance(50) ? " mean" : "");
    if (chance(25)) return text("  every when step %% %d == %d%s", between(2, 4), below(2), chance(50) ? " sum" : "");
    return text("  every %d%s", between(1, 5), chance(50) ? " mean" : "");
}

static const char *clauses(void)
{
    const char *every = clock_clause(40);
    return chance(40) ? text("%s  with %s", every, rule(0)) : every;
}

static void learns(const char *name)
{
    if (nlearned < MAXLEARN) strcpy(learned[nlearned++], name);
}

static Var weight(int rank, int a, int b)
{
    Var w = shaped_like(rank, a, b, 1);
    snprintf(w.name, sizeof w.name, "w%d", nname++);
    learns(w.name);
    declare("    learn %s : [%s] ~ normal(%g)%s\n", w.name, shape(&w), 0.1 * between(1, 8), clauses());
    return w;
}

static Var offset(Var like)                          /* all alike, so it is only added */
{
    snprintf(like.name, sizeof like.name, "w%d", nname++);
    learns(like.name);
    declare("    learn %s : [%s] = %g%s\n", like.name, shape(&like), 0.1 * between(-5, 5), clauses());
    return like;
}

/* ---- element by element */

static void unary(void)
{
    static const char *const f[] = {
        "tanh(%s)", "sigmoid(%s)", "relu(%s)", "sin(%s)", "cos(%s)", "log(1 + abs(%s))", "sqrt(abs(%s) + 0.1)", "exp(clamp(%s, -2, 2))",
        "erf(%s)", "gelu(%s)", "-%s", "%s^2 * 0.3", "%s / 2", "silu(%s)", "softplus(%s)", "clamp(%s, -0.7, 0.9)", "abs(%s)^1.5", "%s * 1",
        "stop(%s)", "given(%s) * 0.5", "%s - floor(%s * 0 + 0.5)", "mish(%s)", "elu(%s)", "1 / (1 + exp(-%s))", "%s / (1 + 0.1*step)", "0 - %s",
    };
    Var a = pick(), *r = make(a);
    const char *form = f[below((int)(sizeof f / sizeof *f))], *at = strstr(form, "%s"), *second = at ? strstr(at + 2, "%s") : NULL;
    say("    %s = %.*s%s", r->name, (int)(at - form), form, a.name);
    if (second) say("%.*s%s%s\n", (int)(second - at - 2), at + 2, a.name, second + 2);
    else say("%s\n", at + 2);
}

/* Does c stretch to a? */
static int meets(const Var *c, const Var *a)
{
    if (c->rank > a->rank) return 0;
    for (int k = 1; k <= c->rank; k++) {
        int d = c->dim[c->rank - k];
        if (d != 1 && d != a->dim[a->rank - k]) return 0;
    }
    return 1;
}

static Var partner(Var a)
{
    if (chance(15)) return offset(chance(50) && a.rank ? without(a, 0) : a);
    for (int i = 0; i < 20; i++) {
        Var c = pick();
        if (meets(&c, &a) && strcmp(c.name, a.name)) return c;
    }
    return a;
}

static void binary(void)
{
    static const char *const f[] = { "%s + %s", "%s - 0.5*%s", "%s * %s", "%s / (1 + abs(%s))", "where(%s > 0.1, 0.3*%s, 0.2)", "0.5*%s + %s", "max(%s, 0.3 - %s)", "min(%s, 1.1*%s + 0.1)" };
    Var a = pick(), b = partner(a), *r = make(a);
    const char *form = f[below(8)], *at = strstr(form, "%s"), *second = strstr(at + 2, "%s");
    say("    %s = %.*s%s%.*s%s%s\n", r->name, (int)(at - form), form, a.name, (int)(second - at - 2), at + 2, b.name, second + 2);
}

static void noise(void)
{
    Var a = pick(), *r = make(a);
    if (chance(50)) say("    %s = %s + normal([%s], 0.1)\n", r->name, a.name, shape(&a));
    else say("    %s = where(uniform([%s]) < 0.7, %s, 0)\n", r->name, shape(&a), a.name);
}

/* ---- products */

static void product_vector(Var a)
{
    Var w = weight(2, chance(50) ? size() : last(&a), last(&a)), *r = make(shaped_like(1, w.dim[0], 1, 1));
    switch (below(3)) {
    case 0: say("    %s = %s @ %s\n", r->name, w.name, a.name); break;
    case 1: say("    %s = %s(%s)\n", r->name, w.name, a.name); break;
    default: say("    %s = %s @ %s'\n", r->name, a.name, w.name); break;
    }
}

static void product_matrix(Var a)
{
    int o = size();
    Var *r;
    switch (below(5)) {
    case 0: { Var w = weight(2, last(&a), o); r = make(with_last(a, o)); say("    %s = %s @ %s\n", r->name, a.name, w.name); break; }
    case 1: { Var w = weight(2, last(&a), o); r = make(with_last(a, o)); say("    %s = (%s' @ %s')'\n", r->name, w.name, a.name); break; }
    case 2: { Var w = weight(2, o, last(&a)); r = make(with_last(a, o)); say("    %s = %s(%s)\n", r->name, w.name, a.name); break; }
    case 3: { Var w = weight(1, last(&a), 1); r = make(without(a, 1)); say("    %s = %s @ %s\n", r->name, a.name, w.name); break; }
    default: { Var w = weight(1, a.dim[0], 1); r = make(without(a, 0)); say("    %s = %s @ %s\n", r->name, w.name, a.name); break; }
    }
}

static void product_deep(Var a)                      /* rank 3 */
{
    Var *r;
    switch (below(3)) {
    case 0: r = make(with_last(a, a.dim[1])); say("    %s = %s @ %s'  / %d\n", r->name, a.name, a.name, last(&a)); break;
    case 1: { Var w = weight(2, size(), last(&a)); r = make(with_last(a, w.dim[0])); say("    %s = %s(%s)\n", r->name, w.name, a.name); break; }
    default: r = make(without(a, 2)); say("    %s = %s @ (%s[:, 0] * 0.5)\n", r->name, a.name, a.name); break;
    }
}

static void product(void)
{
    Var a = pick_rank(1, 3);
    if (a.rank == 1) product_vector(a);
    else if (a.rank == 2) product_matrix(a);
    else product_deep(a);
}

/* ---- axes */

static void reduce(void)
{
    static const char *const f[] = { "sum", "mean", "max", "min", "norm", "sq", "std" };
    Var a = pick_rank(1, 4);
    int ax = below(a.rank), which = below(7);
    if (which == 6 && a.dim[ax] == 1) which = 0;
    Var *r = make(without(a, ax));
    say("    %s = %s(%s, axis = %d) * %g\n", r->name, f[which], a.name, chance(30) ? ax - a.rank : ax, 0.1 * between(1, 10));
}

static void along(void)
{
    static const char *const f[] = { "softmax", "normalize", "cumsum" };
    Var a = pick_rank(1, 4);
    int ax = chance(50) ? a.rank - 1 : below(a.rank), which = below(4);
    if (which == 1 && a.dim[ax] == 1) which = 2;     /* its gradient there is noise */
    Var *r = make(a);
    if (which == 3) say("    %s = rms(%s)\n", r->name, a.name);
    else say("    %s = %s(%s%s)\n", r->name, f[which], a.name, ax == a.rank - 1 ? "" : text(", axis = %d", ax));
}

static void slice(void)
{
    Var a = pick_rank(1, 4), part = a;
    int ax = below(a.rank), n = a.dim[ax], from = below(n), to = between(from + 1, n);
    const char *before = "";
    for (int i = 0; i < ax; i++) before = text("%s:, ", before);
    if (chance(30)) {                                /* one place of an axis */
        Var *r = make(without(a, ax));
        say("    %s = %s[%s%d]\n", r->name, a.name, before, chance(30) ? from - n : from);
        return;
    }
    if (chance(20)) {
        Var *r = make(in_front(1, a));
        for (int i = 0; i < ax; i++) r->dim[i] = a.dim[i];
        r->dim[ax] = 1;
        for (int i = ax; i < a.rank; i++) r->dim[i + 1] = a.dim[i];
        say("    %s = %s[%snew]\n", r->name, a.name, before);
        return;
    }
    part.dim[ax] = to - from;
    Var *r = make(part);
    if (to == n && chance(50)) say("    %s = %s[%s%d:]\n", r->name, a.name, before, from - n);
    else if (from == 0) say("    %s = %s[%s:%d]\n", r->name, a.name, before, to);
    else say("    %s = %s[%s%d:%d]\n", r->name, a.name, before, from, to);
}

static void arrange(void)
{
    Var a = pick_rank(1, 3);
    long n = count(&a);
    if (n > 3000) return;
    switch (below(9)) {
    case 0: if (a.rank >= 2) { Var *r = make(a); r->dim[a.rank - 1] = a.dim[a.rank - 2]; r->dim[a.rank - 2] = last(&a); say("    %s = %s'\n", r->name, a.name); } break;
    case 1: { int ax = below(a.rank); Var *r = make(a); r->dim[ax] *= 2; say("    %s = concat(%s, 0.5*%s, axis = %d)\n", r->name, a.name, a.name, ax); break; }
    case 2: if (a.rank <= 2) { Var *r = make(in_front(2, a)); say("    %s = [%s, 0.5*%s]\n", r->name, a.name, a.name); } break;
    case 3: if (a.rank == 1 && last(&a) <= 9) { Var *r = make(shaped_like(2, last(&a), last(&a), 1)); say("    %s = outer(%s, tanh(%s))\n", r->name, a.name, a.name); } break;
    case 4: if (n <= 40) { Var *r = make(shaped_like(1, (int)n, 1, 1)); say("    %s = flat(%s)\n", r->name, a.name); } break;
    case 5: if (a.rank == 2) { Var *r = make(shaped_like(2, a.dim[1], a.dim[0], 1)); say("    %s = reshape(%s, [%s])\n", r->name, a.name, shape(r)); } break;
    case 6: if (a.rank == 2) { Var *r = make(a); say("    %s = %s(%s) + 0.1*%s\n", r->name, chance(50) ? "tril" : "triu", a.name, a.name); } break;
    case 7: if (a.rank <= 2) { Var *r = make(in_front(3, a)); say("    %s = stack(%s, sin(%s), -%s)\n", r->name, a.name, a.name, a.name); } break;
    default: if (a.rank == 2 && a.dim[0] == a.dim[1]) { Var *r = make(a); say("    %s = %s @ (%s + eye(%d)) * 0.3\n", r->name, a.name, a.name, last(&a)); } break;
    }
}

/* ---- integers and conditions */

static void integer(void)
{
    Var a = tensors.at[0];                           /* what the stream gave: no noise in it */
    Var *r;
    switch (below(ints.n ? 6 : 2)) {
    case 0: if (a.rank) { r = new_in(&ints, &a, "i"); *r = without(*r, a.rank - 1); r->high = last(&a); say("    %s = argmax(%s)\n", r->name, a.name); } break;
    case 1: { int n = size(); Var v = { .rank = 1, .dim = { n }, .high = n }; r = new_in(&ints, &v, "i"); say("    %s = iota(%d)\n", r->name, n); break; }
    case 2: { Var i = ints.at[below(ints.n)]; r = new_in(&ints, &i, "i"); r->high = (i.high + 1) / 2; say("    %s = %s // 2\n", r->name, i.name); break; }
    case 3: { Var i = ints.at[below(ints.n)]; int m = between(1, 5); r = new_in(&ints, &i, "i"); r->high = m; say("    %s = (%s*3 + 1) %% %d\n", r->name, i.name, m); break; }
    case 4: { Var i = ints.at[below(ints.n)]; r = new_in(&ints, &i, "i"); say("    %s = max(%s, %d) - min(%s, 0)\n", r->name, i.name, below(i.high), i.name); break; }
    default: { Var i = ints.at[below(ints.n)]; r = new_in(&ints, &i, "i"); say("    %s = where(%s > %d, %s, %d)\n", r->name, i.name, below(i.high), i.name, below(i.high)); break; }
    }
}

static void gather(void)
{
    if (!ints.n) return;
    Var i = ints.at[below(ints.n)];
    Var *r;
    int c = between(i.high, i.high + 3);
    if (i.rank > 1) return;
    switch (below(5)) {
    case 0: {                                        /* rows of a table */
        Var E = weight(2, c, size());
        r = make(i.rank ? shaped_like(2, i.dim[0], E.dim[1], 1) : shaped_like(1, E.dim[1], 1, 1));
        say("    %s = %s[%s]\n", r->name, E.name, i.name);
        break;
    }
    case 1: r = make(i.rank ? shaped_like(2, i.dim[0], c, 1) : shaped_like(1, c, 1, 1)); say("    %s = onehot(%s, %d) * 0.5\n", r->name, i.name, c); break;
    case 2: r = make(i); say("    %s = 0.1*%s - 0.2\n", r->name, i.name); break;
    case 3: {
        Var a = pick_rank(1, 2);
        if (a.dim[0] < i.high) return;
        Var rest = without(a, 0);
        r = make(i.rank ? in_front(i.dim[0], rest) : rest);
        say("    %s = %s[%s]\n", r->name, a.name, i.name);
        break;
    }
    default: {
        Var a = pick_rank(i.rank + 1, i.rank + 1);
        if (last(&a) < i.high || (i.rank && a.dim[0] != i.dim[0])) return;
        r = make(i);
        say("    %s = xent(%s, %s) * 0.1\n", r->name, a.name, i.name);
        break;
    }
    }
}

static void condition(void)
{
    Var a = chance(50) ? tensors.at[0] : pick();
    Var *r;
    if (bools.n < 2 || chance(40)) {
        r = new_in(&bools, &a, "b");
        say("    %s = %s %s %g\n", r->name, a.name, chance(50) ? ">" : "<=", 0.1 * between(-9, 9) + 0.03);
        return;
    }
    Var b = bools.at[below(bools.n)], c = bools.at[below(bools.n)];
    switch (below(4)) {
    case 0: r = new_in(&bools, &b, "b"); say("    %s = not %s\n", r->name, b.name); break;
    case 1: if (meets(&c, &b)) { r = new_in(&bools, &b, "b"); say("    %s = %s %s %s\n", r->name, b.name, chance(50) ? "and" : "or", c.name); } break;
    case 2: r = make(b); say("    %s = where(%s, 0.5, -0.3) + 0.1*%s\n", r->name, b.name, b.name); break;
    default: if (meets(&b, &a)) { r = make(a); say("    %s = where(%s, %s, 0.2*%s)\n", r->name, b.name, a.name, a.name); } break;
    }
}

/* ---- functions, comprehensions, blocks */

static void function(void)
{
    Var a = pick_rank(1, 3), *r;
    switch (below(a.rank >= 2 ? 6 : 4)) {
    case 0: r = make(a); say("    %s = centre(%s)\n", r->name, a.name); break;
    case 1: r = make(without(a, a.rank - 1)); say("    %s = spread(%s, %g)\n", r->name, a.name, 0.1 * between(1, 9)); break;
    case 2: { Var *p = make(a), *q = make(a); say("    (%s, %s) = both(%s, f = %s)\n", p->name, q->name, a.name, chance(50) ? "tanh" : "silu"); break; }
    case 3: r = make(a); say("    %s = twice(sin, %s)\n", r->name, a.name); break;
    case 4: r = make(without(without(a, a.rank - 1), a.rank - 2)); say("    %s = corner(%s)\n", r->name, a.name); break;
    default: r = make(a); say("    %s = mixed(%s)\n", r->name, a.name); break;
    }
}

static void comprehension(void)
{
    Var a = pick_rank(1, 3), *r;
    switch (below(6)) {
    case 0: r = make(a); say("    %s = sum(%s*i/%d for i in 1..3)\n", r->name, a.name, between(2, 9)); break;
    case 1: r = make(a); say("    %s = (sin(%s + i) for i in 0..2)[%d]\n", r->name, a.name, below(3)); break;
    case 2: r = make(shaped_like(0, 1, 1, 1)); say("    %s = sum(sq(r)/(1 + sq(r)) for r in %s)\n", r->name, a.name); break;
    case 3: if (last(&a) <= 16) { r = make(with_last(a, 2*last(&a))); say("    %s = concat(%s*i for i in 1..2)\n", r->name, a.name); } break;
    case 4: r = make(a); say("    %s = 0.5*%s;  for i in 1..3 { %s = %s + 0.1*i*tanh(%s) }\n", r->name, a.name, r->name, r->name, r->name); break;
    default: r = make(a); say("    if %d > %d { %s = 0.9*%s } else { %s = -%s }\n", below(3), below(3), r->name, a.name, r->name, a.name); break;
    }
}

static const char *named_rules(const char *first)
{
    if (!chance(40)) return clauses();
    const char *a = rule(1);
    return text("%s  with (%s: %s, other: %s)", clock_clause(30), first, a, rule(1));
}

static void block(void)
{
    Var a = pick_rank(1, 2);
    int l = last(&a), o = chance(50) ? l : size();
    char name[16];
    snprintf(name, sizeof name, "f%d", nname++);
    learns(name);
    const char *f = chance(50) ? "tanh" : "silu";
    switch (below(a.rank == 1 ? 9 : 8)) {            /* Pair moves a state, so it is called once an item */
    case 0: declare("    learn %s = Linear(%d, %d)%s\n", name, l, o, named_rules("W")); break;
    case 1: declare("    learn %s = Mlp(%d, %d, %d, %s)%s\n", name, l, size(), o, f, named_rules("W2")); break;
    case 2: declare("    learn %s = Glu(%d, %d, %d)%s\n", name, l, size(), o, clauses()); break;
    case 3: o = l; declare("    learn %s = Skip(Mid, %d)%s\n", name, l, named_rules("part.m.b1")); break;
    case 4: o = l; declare("    learn %s = Deep(%d, %d)%s\n", name, l, between(1, 3), clauses()); break;
    case 5: o = l; declare("    learn %s = %s(%d)%s\n", name, chance(50) ? "LayerNorm" : "RmsNorm", l, clauses()); break;
    case 6: declare("    learn %s = Two(%d, %d)%s\n", name, l, o, named_rules("a")); break;
    case 7: {
        o = l;
        declare("    learn %s = Linear(%d, %d) for i in 1..%d%s\n", name, l, l, between(1, 3), clauses());
        Var *r = make(a);
        say("    %s = %s;  for b in %s { %s = %s + 0.5*tanh(b(%s)) }\n", r->name, a.name, name, r->name, r->name, r->name);
        return;
    }
    default: declare("    learn %s = Pair(%d, %d)%s\n", name, l, o, clauses()); break;
    }
    Var *r = make(with_last(a, o));
    if (o == l && chance(25)) say("    %s = tanh(%s(%s))\n", r->name, name, a.name);
    else say("    %s = tanh(%s(%s))\n", r->name, name, a.name);
}

/* A level over the rows of a tensor. */
static void memory(void)
{
    static const char *const blocks[] = { "LinearAttention(%d)", "DeltaNet(%d)", "GatedDeltaNet(%d)", "Gla(%d)", "Conv(%d, 3)", "Window(%d, c = 3)", "Titans(%d, b = 3)", "Longhorn(%d)",
                                          "Scan(%d, 1)", "Scan(%d, 2)", "Scan(%d, 3)", "Pieces(%d, 2)", "Pieces(%d, 3)", "Attention(%d)", "TttMlp(%d, b = 2)", "Faster(%d)" };
    Var a = pick_rank(2, 2);
    if (last(&a) < 2 || last(&a) > 17 || a.dim[0] > 20) return;
    char name[16];
    snprintf(name, sizeof name, "f%d", nname++);
    learns(name);
    declare("    learn %s = ", name);
    declare(blocks[below(16)], last(&a));
    declare("%s\n", clauses());
    Var *r = make(a);
    say("    %s = tanh(%s(%s))\n", r->name, name, a.name);
}

static void shared(void)                             /* one instance, called twice */
{
    Var a = pick_rank(1, 2), *r = make(a);
    char name[16];
    snprintf(name, sizeof name, "f%d", nname++);
    learns(name);
    declare("    learn %s = Linear(%d, %d)%s\n", name, last(&a), last(&a), clauses());
    say("    %s = tanh(%s(sin(%s(%s))))\n", r->name, name, name, a.name);
}

static void pooled(void)
{
    Var a = pick_rank(0, 2);
    char name[16];
    snprintf(name, sizeof name, "s%d", nname++);
    if (nmoved < MAXLEARN) strcpy(moved[nmoved++], name);
    const char *every = chance(50) ? text(chance(70) ? "  every %d" : "  every when step %% %d == 1", between(2, 4)) : "";
    Var *r = make(a);
    switch (below(4)) {
    case 0:
        declare("    state %s : i32[] = %d%s\n", name, below(3), every);
        say("    %s <- %s + 1\n    %s = %s/(1 + %s)\n", name, name, r->name, a.name, name);
        break;
    case 1:
        declare("    state %s : bool[] = 1 > 2%s\n", name, every);
        say("    %s <- not %s\n    %s = where(%s, %s, 0.5*%s)\n", name, name, r->name, name, a.name, a.name);
        break;
    default:
        declare("    state %s : [%s] = %g%s\n", name, shape(&a), 0.1 * between(0, 5), every);
        say("    %s <- 0.7*%s + 0.3*pool(%s)\n    %s = %s + 0.5*stop(%s)\n", name, name, a.name, r->name, a.name, name);
    }
}

/* A statement; taken back if what it makes is too large. */
static void statement(void)
{
    static void (*const f[])(void) = { unary, unary, unary, binary, binary, binary, product, product, product, reduce, reduce, along, slice, slice, arrange, arrange,
                                       integer, gather, gather, condition, condition, function, comprehension, block, block, memory, memory, shared, pooled, noise };
    Vars t = tensors, i = ints, b = bools;
    size_t kept_body = nbody, kept_decl = ndecl;
    int kept_learned = nlearned, kept_moved = nmoved;
    f[below((int)(sizeof f / sizeof *f))]();
    Var *v = &tensors.at[tensors.n - 1];
    if (count(v) <= (g.large ? 20000 : 1500) && v->rank < MAXRANK && tensors.n < MAXVAR) return;
    tensors = t, ints = i, bools = b;
    body[nbody = kept_body] = decl[ndecl = kept_decl] = '\0';
    nlearned = kept_learned, nmoved = kept_moved;
}

/* ---- a model */

static const char *scalar(const char *how, const Var *v) { return v->rank ? text("%s(%s)", how, v->name) : text("%s", v->name); }

/* The last shaped tensor, as what is learned; a product with a weight of its own, so that there is something to learn. */
static void objectives(void)
{
    product();
    Var end = tensors.at[tensors.n - 1], move = offset(end);
    say("    %s = %s + %s\n", end.name, end.name, move.name);
    int first = nlearned > 1 && chance(30);          /* the first learned thing goes by an objective of its own */
    fprintf(out, "    all = 0\n");
    for (int i = 0; i < tensors.n; i++) fprintf(out, "    all = all + %s\n", scalar("mean", &tensors.at[i]));
    if (first) fprintf(out, "    minimize side = 0.1*all^2  wrt %s\n", learned[0]);
    const char *e;
    if (end.rank == 1 && last(&end) >= g.classes && g.kind != WINDOWS && g.kind != FILE_TEXT && chance(60)) e = text("xent(%s, y)", end.name);
    else if (g.kind == WINDOWS) e = text("0.5*(%s - mean(0.3*c))^2", scalar("mean", &end));
    else e = text("0.5*(%s - 0.3*c)^2", scalar("mean", &end));
    const char *c = g.kind == WINDOWS ? "mean(c)" : "c";
    if (chance(30)) fprintf(out, "    minimize main = avg(%s, 1 + %s^2) + 0.01*all^2\n", e, c);
    else fprintf(out, "    minimize main = %s + 0.01*all^2\n", e);
    Var r = pick();
    fprintf(out, "    report main%s, a = %s, b = exp(avg(0.1*%s)), w = avg(%s, 1 + %s^2)", first ? ", side" : "", scalar("sum", &r), scalar("mean", &end), scalar("mean", &end), c);
    if (bools.n) fprintf(out, ", hit = mean(%s)", bools.at[bools.n - 1].name);
    if (nmoved && chance(50)) fprintf(out, ", kept = mean(1.0*%s)", moved[0]);
    if (g.ticks) fprintf(out, ", rung");
    fprintf(out, "\n}\n\n");
}

static void fields(void)
{
    Var x = g.kind == FILE_TEXT ? (Var){ "x", 2, { g.rows, g.d }, 0 } : g.rows ? (Var){ "x", 2, { g.rows, g.d }, 0 } : (Var){ "x", 1, { g.d }, 0 };
    tensors.n = ints.n = bools.n = nlearned = nmoved = 0;
    tensors.at[tensors.n++] = x;
    if (g.kind == FILE_TEXT) ints.at[ints.n++] = (Var){ "s", 1, { g.rows }, 128 };
    else if (g.kind == WINDOWS) ints.at[ints.n++] = (Var){ "y", 1, { g.rows }, g.classes };
    else ints.at[ints.n++] = (Var){ "y", 0, { 1 }, g.classes };
}

static const char *x_shape(void) { return g.rows ? text("%d, %d", g.rows, g.d) : text("%d", g.d); }

static void model(int k)
{
    nbody = ndecl = 0;
    g.ticks = chance(30);
    say("%s", g.ticks ? "    rung <- rung + 1\n" : "");
    declare("%s", g.ticks ? "    event done\n    state rung : [] = 0  every done\n" : "");
    fields();
    int n = between(3, 10);
    for (int i = 0; i < n; i++) statement();
    if (g.kind == FILE_TEXT) fprintf(out, "model M%d(k) over (s : i32[%d]) {\n", k, g.rows);
    else if (g.kind == WINDOWS) fprintf(out, "model M%d(k) over (x : [n, %d], y : i32[n], c : [n]) {\n", k, g.d);
    else fprintf(out, "model M%d(k) over (x : [%s], y : i32[], c : []) {\n", k, x_shape());
    const char *clock = chance(20) ? clock_clause(100) : "";
    if (strstr(clock, "every done")) clock = "";           /* a default reaches the states, which are moved by values of items */
    if (g.ticks && chance(60)) fprintf(out, "    default%s with ewc(%g, done, %s)\n", clock, 0.1 * between(1, 9), rule(1));
    else fprintf(out, "    default%s with %s\n", clock, rule(0));
    char *d0 = decl, *b0 = body;
    nbody = ndecl = 0;
    decl = body = NULL;
    /* `objectives` still adds a product: what it declares and says goes behind the rest, so both texts are written around it. */
    say("%s", "");
    declare("%s", "");
    FILE *to = out, *tail = tmpfile();
    out = tail;
    objectives();
    out = to;
    fprintf(out, "%s%s", d0, decl);
    if (g.kind == FILE_TEXT) fprintf(out, "    learn E0 : [128, %d] ~ normal(0.5)\n    x = E0[s];  c = 0.01*s[0] - 0.5\n", g.d);
    fprintf(out, "%s%s", b0, body);
    rewind(tail);
    for (int ch; (ch = fgetc(tail)) != EOF;) fputc(ch, out);
    fclose(tail);
    free(d0);
    free(b0);
}

/* ---- what all programs have */

static void prelude(void)
{
    fprintf(out, "use nn\nuse optim\nuse schedules\nuse memory\n\n"
        "fn pull(m, g) = dot(m, g) + 0.05*sq(m)\n"
        "fn centre(x : [n]) = x - sum(x)/n\n"
        "fn spread(x : [n], by) { m = mean(x);  mean((x - m)^2) * by }\n"
        "fn both(x, f = sin) { s = f(x);  (s, x - 0.3*s) }\n"
        "fn twice(f, x) = f(f(x))\n"
        "fn corner(x : [n, m]) = x[0, 0] + x[n - 1, m - 1]/(n + m)\n"
        "fn mixed(x : [n, m]) { a = softmax(x, axis = 0);  a * x + 1/(n*m) }\n\n"
        "rule slow_fast(lr, f) (W, g) {\n    learn a = zeros(W)  with gd(0.5, retain = 0.9)\n    learn b = W  every f mean  with gd(0.2)\n"
        "    state n : [] = 0\n    minimize dot(a, g) + 0.5*sq(b - W)\n    n <- n + 1\n    every f { n <- n * 0.5 }\n    W <- W + lr*a + 0.01*lr*(b - W)/(1 + n)\n}\n"
        "rule fading(lr) (W, g) {\n    state v = ones(W)\n    v <- 0.9*v + 0.1*g^2\n    if rank(W) >= 2 { W <- W - lr*g/sqrt(v + 0.1) } else { W <- W - lr*g/t }\n}\n"
        "rule halved(then) (W, g) { then(W, 0.5*g) }\n\n"
        "block Pair(i, o) (x : [i]) -> [o] {\n    learn A : [o, i] ~ normal(0.4)\n    state seen : [] = 0  every 2\n    seen <- 0.9*seen + 0.1*pool(mean(x))\n    A(x) + 0.1*stop(seen)\n}\n"
        "block Two(i, o) (x : [i]) -> [o] {\n    learn a = Linear(i, o)  every 2 mean\n    learn b = Mlp(i, 3, o, sin)\n    a(x) + b(x)\n}\n"
        "block Scan(d, n) (x : [T, d]) -> [T, d] {\n    learn W : [d, d] ~ normal(0.3)\n    learn gate : [d] = 0.1\n    level scan over xt in x {\n"
        "        learn M = W  every n mean  with gd(0.1*sigmoid(dot(gate, x[0])))\n        state s : [d] = 0\n        s <- 0.8*s + 0.2*xt\n"
        "        minimize 0.5*sq(M(xt) - s)/d\n        emit M(s) + 0.1*sum(past(xt, 2), axis = 0)\n    }\n}\n"
        "block Pieces(d, c) (x : [T, d]) -> [T, d] {\n    learn mem = Scan(d, 1)  keep in pieces\n    level pieces over s in chunks(x, c) {\n        emit mem(s) + 0.5*s\n    }\n    join(pieces)\n}\n"
        "block Faster(d) (x : [T, d]) -> [T, d] {\n    learn W : [d, d] ~ normal(0.3)\n    level slow over xt in x {\n        learn M = W  with momentum(0.02, 0.5)\n"
        "        level fast over j in 1..3 {\n            learn q = tanh(xt)  with gd(0.2)\n            minimize 0.5*sq(M(q) - xt)/d\n        }\n        minimize 0.5*sq(M(fast.q) - 0.5*xt)/d\n        emit fast.q + M(xt)\n    }\n}\n"
        "block Mid(d) (x : [d]) -> [d] {\n    learn m = Mlp(d, 5, d, tanh)\n    m(x)\n}\n"
        "block Twin(d) (x : [d]) -> [d] {\n    learn t = Two(d, d)\n    t(x)\n}\n"
        "block Deep(d, n) (x : [d]) -> [d] {\n    learn parts = Skip(Twin, d) for i in 1..n\n    learn gain : [d] = 1\n    h = x\n    for p in parts { h = 0.5*p(h) }\n    gain*tanh(h)\n}\n\n");
}

static void csv_file(void)
{
    FILE *f = fopen(text("%s.csv", g.name), "w");
    int n = between(5, 30);
    if (chance(50)) {
        for (int i = 0; i < g.d; i++) fprintf(f, "x%d,", i);
        fprintf(f, "y,c\n");
    }
    for (int r = 0; r < n; r++) {
        for (int i = 0; i < g.d; i++) fprintf(f, "%g,", 0.01 * between(-250, 250));
        fprintf(f, "%d,%g\n", below(g.classes), 0.001 * between(-999, 999));
    }
    fclose(f);
}

static void text_file(void)
{
    FILE *f = fopen(text("%s.txt", g.name), "w");
    for (int i = between(200, 500); i > 0; i--) fputc(chance(15) ? ' ' : chance(5) ? '\n' : 'a' + below(26), f);
    fclose(f);
}

static const char *base_name(void)
{
    const char *slash = strrchr(g.name, '/');
    return slash ? slash + 1 : g.name;
}

/* Each program has `draw(k)`, without an end, and `turned(src, k)`. */
static void streams(void)
{
    const char *xs = g.kind == WINDOWS || g.kind == FILE_CSV ? text("%d", g.d) : x_shape();
    if (g.kind == FILE_TEXT) {
        text_file();
        fprintf(out, "stream corpus = text(\"%s.txt\")\n\n", base_name());
        return;
    }
    fprintf(out, "stream draw(k) -> (x : [%s], y : i32[], c : []) {\n    x = normal([%s]) + 0.1*k\n    y = randint(%d);  c = uniform(-1, 1)\n}\n", xs, xs, g.classes);
    if (g.kind == FILE_CSV) {
        csv_file();
        fprintf(out, "stream file_ = csv(\"%s.csv\") -> (x : [%d], y : i32[], c : [])\n", base_name(), g.d);
    }
    fprintf(out, "stream turned(src, k) over (x, y, c) in src when c > -0.8 -> (x : [%s], y : i32[], c : []) {\n", xs);
    fprintf(out, "    q = permutation(%d) key k\n    x = %s;  y = y;  c = c * 0.9\n}\n\n", g.d, strchr(xs, ',') ? "x[:, q]" : "x[q]");
}

/* A stream of some items; with `end`, one that ends. */
static const char *source(int end)
{
    const char *s, *base = text("draw(%d)", below(3));
    if (g.kind == FILE_TEXT) {
        if (chance(20)) return text("(corpus window %d anywhere)[%d:%d]", g.rows, below(3), between(4, 9));
        s = chance(50) ? text("corpus window %d step %d", g.rows, between(1, 9)) : text("corpus window %d", g.rows);
        return chance(50) ? text("(%s)[%d:%d]", s, below(3), between(4, 9)) : text("(%s)[:80%%]", s);
    }
    int turned = chance(25), when = chance(10);
    int from = below(4), n = between(1, 19) + (turned || when ? 8 : 0) + (g.kind == WINDOWS ? 3*g.rows : 0);
    if (g.kind == FILE_CSV && chance(60)) base = "file_", s = chance(40) ? "file_" : chance(50) ? "file_[:60%]" : "file_[-4:]";
    else if (!end && chance(40)) s = base;
    else s = text("%s[%d:%d]", base, from, from + n);
    if (turned) s = text("turned(%s, %d)", s, below(4));
    if (chance(10) && strchr(s, '[')) s = text("%s + draw(7)[0:%d]", s, between(1, 4));
    else if (chance(10) && !end) s = text("mix(0.7: %s, 0.3: draw(5))", s);
    else if (when) s = text("%s when c > -0.5", s);
    if (g.kind != WINDOWS) return s;
    return chance(50) ? text("(%s) window %d step %d", s, g.rows, between(1, g.rows + 1)) : text("(%s) window %d", s, g.rows);
}

static void train(const char *m, const char *indent)
{
    const char *length = chance(50) ? text("%d epochs%s", between(1, 2), chance(50) ? " shuffled" : "") : text("%d steps%s", between(1, 9), chance(30) ? " shuffled" : "");
    int epochs = strstr(length, "epochs") || strstr(length, "shuffled");
    fprintf(out, "%strain %s on %s", indent, m, source(epochs || g.kind == WINDOWS));
    if (chance(80)) fprintf(out, " batch %d", g.large ? between(8, 40) : between(1, 8));
    fprintf(out, " for %s%s\n", length, chance(10) && !epochs ? " until a > 0.3" : "");
}

static void test(const char *m, const char *learning, const char *indent)
{
    fprintf(out, "%stest %s on %s", indent, m, source(1));
    if (chance(80)) fprintf(out, " batch %d", g.large ? between(8, 40) : between(1, 8));
    fprintf(out, "%s\n", learning);
}

/* One model's life; the names of its states are still known. */
static void life(int k, const char *indent)
{
    const char *m = text("m%d", k);
    fprintf(out, "%s%s = M%d(%d)\n", indent, m, k, k);
    if (chance(30)) test(m, "", indent);
    train(m, indent);
    if (g.ticks) fprintf(out, "%stick %s.done\n", indent, m);
    if (chance(25)) {
        fprintf(out, "%sc%d = %s\n", indent, k, m);
        train(m, indent);
        test(text("(%s, c%d)", m, k), "", indent);
        train(text("(%s, c%d)", m, k), indent);
        if (g.ticks) fprintf(out, "%stick (%s, c%d).done\n", indent, m, k);
        test(text("c%d", k), "", indent);
    }
    if (chance(40)) test(m, nmoved && chance(50) ? text(" learning %s", moved[below(nmoved)]) : nlearned ? text(" learning %s", learned[below(nlearned)]) : "", indent);
    if (chance(30)) {
        fprintf(out, "%sfor task in (%d, %d) {\n", indent, below(3), between(3, 5));
        train(m, text("%s    ", indent));
        if (g.ticks) fprintf(out, "%s    tick %s.done\n", indent, m);
        test(m, "", text("%s    ", indent));
        fprintf(out, "%s}\n", indent);
    }
    test(m, "", indent);
}

int main(int argc, char **argv)
{
    if (argc < 3) return fprintf(stderr, "usage: gen_program SEED NAME\n"), 2;
    uint64_t seed = strtoull(argv[1], NULL, 10);
    g.name = argv[2];
    rng = 88172645463325252u + seed * 7919u;
    for (int i = 0; i < 8; i++) next32();
    g.large = seed % 16 == 0;
    g.kind = below(8) < 2 ? ROWS : below(3) ? POINTS : (int[]){ WINDOWS, FILE_CSV, FILE_TEXT }[below(3)];
    g.d = size();
    g.rows = g.kind == POINTS || g.kind == FILE_CSV ? 0 : g.large ? between(2, 20) : small_sizes[below(8)];
    g.classes = between(2, 4);
    g.models = between(1, 3);
    out = fopen(text("%s.nl", g.name), "w");
    if (!out) return perror(g.name), 1;
    prelude();
    streams();
    FILE *file = out, *lives = tmpfile();
    int repeat = chance(20);
    for (int k = 0; k < g.models; k++) {
        model(k);
        out = lives;
        life(k, repeat ? "        " : "    ");
        out = file;
    }
    fprintf(out, "schedule {\n%s", repeat ? "    repeat 2 seeds {\n" : "");
    rewind(lives);
    for (int ch; (ch = fgetc(lives)) != EOF;) fputc(ch, out);
    fprintf(out, "%s    table main rows model cols stream\n    table 100*b + w rows stream cols model\n}\n", repeat ? "    }\n" : "");
    return fclose(out) ? 1 : 0;
}
