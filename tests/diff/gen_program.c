/* gen_program.c: writes a random program of the language: gen_program SEED > prog.nl. Shapes, operations, blocks, frequencies, rules, streams,
   schedules are drawn; the same seed gives the same text. tests/diff/programs.sh runs each by the evaluator and as machine code. */
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

enum { MAXVAR = 64, MAXSTATE = 32 };
typedef struct { char name[16]; int rank, dim[3]; } Var;

static Var var[MAXVAR];
static int nvar, nname;
static char body[1 << 16], decl[1 << 15];
static int sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 16, 17 };

static int size(void) { return sizes[below((int)(sizeof sizes / sizeof *sizes))]; }

static void add(char *to, size_t cap, const char *text)
{
    if (strlen(to) + strlen(text) + 1 < cap) strcat(to, text);
}
#define BODY(...) do { char t_[600]; snprintf(t_, sizeof t_, __VA_ARGS__); add(body, sizeof body, t_); } while (0)
#define DECL(...) do { char t_[600]; snprintf(t_, sizeof t_, __VA_ARGS__); add(decl, sizeof decl, t_); } while (0)

static const char *shape(const Var *v)
{
    static char t[4][40];
    static int k;
    char *s = t[k++ & 3];
    s[0] = 0;
    for (int i = 0; i < v->rank; i++) sprintf(s + strlen(s), "%s%d", i ? ", " : "", v->dim[i]);
    return s;
}

static Var *make(int rank, int a, int b, int c)
{
    if (nvar == MAXVAR) nvar--;
    Var *v = &var[nvar++];
    snprintf(v->name, sizeof v->name, "v%d", nname++);
    v->rank = rank; v->dim[0] = a; v->dim[1] = b; v->dim[2] = c;
    return v;
}

static Var pick(void) { return var[chance(60) ? nvar - 1 - below(nvar < 3 ? nvar : 3) : below(nvar)]; }

static Var pick_rank(int least)
{
    for (int i = 0; i < 40; i++) { Var v = pick(); if (v.rank >= least) return v; }
    for (int i = nvar - 1; i >= 0; i--) if (var[i].rank >= least) return var[i];
    return var[0];
}

/* ---- rules and clocks */

static const char *rule(int depth)
{
    static char t[8][200];
    static int k;
    char *s = t[k++ & 7];
    double lr = 0.001 * between(1, 60);
    switch (below(depth ? 11 : 14)) {
    case 0: sprintf(s, "gd(%g)", lr); break;
    case 1: sprintf(s, "gd(%g, retain = 0.99)", lr); break;
    case 2: sprintf(s, "momentum(%g, 0.8)", lr / 4); break;
    case 3: sprintf(s, "nesterov(%g, 0.7)", lr / 4); break;
    case 4: sprintf(s, "adam(%g)", lr / 4); break;
    case 5: sprintf(s, "adamw(%g, decay = 0.1)", lr / 4); break;
    case 6: sprintf(s, "rmsprop(%g, eps = 1e-3)", lr / 8); break;
    case 7: sprintf(s, "adagrad(%g, eps = 1e-3)", lr / 4); break;
    case 8: sprintf(s, "slow_fast(%g, %d)", lr, between(1, 4)); break;
    case 9: sprintf(s, "fading(%g)", lr); break;
    case 10: sprintf(s, "gd(%g * cosine_decay(step, 20))", lr); break;
    case 11: { const char *in = rule(1); sprintf(s, "clip(%g, %s)", 0.1 * between(1, 30), in); break; }
    case 12: { const char *a = rule(1), *b = rule(1); sprintf(s, "by_rank(%s, %s)", a, b); break; }
    default: { const char *in = rule(1); sprintf(s, "halved(%s)", in); break; }
    }
    return s;
}

static const char *clauses(void)
{
    static char t[300];
    t[0] = 0;
    if (chance(40)) sprintf(t, "  every %d%s", between(1, 5), chance(50) ? " mean" : "");
    if (chance(40)) { const char *r = rule(0); sprintf(t + strlen(t), "  with %s", r); }
    return t;
}

static Var weight(int rank, int a, int b)
{
    Var w = { .rank = rank, .dim = { a, b, 1 } };
    snprintf(w.name, sizeof w.name, "w%d", nname++);
    if (chance(85)) DECL("    learn %s : [%s] ~ normal(%g)%s\n", w.name, shape(&w), 0.1 * between(1, 8), clauses());
    else DECL("    learn %s : [%s] = %g%s\n", w.name, shape(&w), 0.1 * between(-5, 5), clauses());
    return w;
}

/* ---- one statement */

static void unary(void)
{
    static const char *const f[] = { "tanh(%s)", "sigmoid(%s)", "relu(%s)", "sin(%s)", "cos(%s)", "log(1 + abs(%s))", "sqrt(abs(%s) + 0.1)", "exp(clamp(%s, -2, 2))",
                                     "erf(%s)", "gelu(%s)", "-%s", "%s^2 * 0.3", "%s / 2", "silu(%s)", "softplus(%s)", "clamp(%s, -0.7, 0.9)", "abs(%s)^1.5" };
    Var a = pick();
    char t[100];
    snprintf(t, sizeof t, f[below((int)(sizeof f / sizeof *f))], a.name);
    Var *r = make(a.rank, a.dim[0], a.dim[1], a.dim[2]);
    BODY("    %s = %s\n", r->name, t);
}

static void binary(void)
{
    static const char *const f[] = { "%s + %s", "%s - %s", "%s * %s", "max(%s, %s)", "min(%s, %s)", "%s / (1 + abs(%s))", "where(%s > 0.1, %s, 0.2)" };
    Var a = pick(), b = { .rank = 0 };
    for (int i = 0; i < nvar && b.name[0] == 0; i++) {    /* a shape that meets a's at the last axes */
        Var *c = &var[nvar - 1 - i];
        int ok = c->rank <= a.rank;
        for (int k = 0; ok && k < c->rank; k++) { int d = c->dim[c->rank - 1 - k]; ok = d == 1 || d == a.dim[a.rank - 1 - k]; }
        if (ok && (chance(50) || i == nvar - 1)) b = *c;
    }
    if (!b.name[0]) b = a;
    if (b.rank == a.rank && chance(25)) b = weight(a.rank, a.dim[0], a.rank > 1 ? a.dim[1] : 1);
    if (a.rank > 2 && b.name[0] == 'w') b = a;
    Var *r = make(a.rank, a.dim[0], a.dim[1], a.dim[2]);
    char t[120];
    snprintf(t, sizeof t, f[below((int)(sizeof f / sizeof *f))], a.name, b.name);
    BODY("    %s = %s\n", r->name, t);
}

static void product(void)
{
    Var a = pick_rank(1);
    int last = a.dim[a.rank - 1], o = size();
    if (a.rank == 1) {
        Var w = weight(2, chance(50) ? o : last, last);
        Var *r = make(1, w.dim[0], 1, 1);
        switch (below(3)) {
        case 0: BODY("    %s = %s @ %s\n", r->name, w.name, a.name); break;
        case 1: BODY("    %s = %s(%s)\n", r->name, w.name, a.name); break;
        default: BODY("    %s = %s @ %s'\n", r->name, a.name, w.name); break;
        }
    } else if (a.rank == 2) {
        Var w = weight(2, last, o);
        Var *r = make(2, a.dim[0], o, 1);
        if (chance(50)) BODY("    %s = %s @ %s\n", r->name, a.name, w.name);
        else BODY("    %s = (%s' @ %s')'\n", r->name, w.name, a.name);
    } else {
        Var *r = make(3, a.dim[0], a.dim[1], a.dim[1]);
        BODY("    %s = %s @ %s'  / %d\n", r->name, a.name, a.name, last);
    }
}

static void reduce(void)
{
    static const char *const f[] = { "sum", "mean", "max", "min", "norm", "sq" };
    Var a = pick_rank(1);
    int ax = below(a.rank), d[3] = { 1, 1, 1 }, k = 0;
    for (int i = 0; i < a.rank; i++) if (i != ax) d[k++] = a.dim[i];
    Var *r = make(a.rank - 1, d[0], d[1], d[2]);
    BODY("    %s = %s(%s, axis = %d) * %g\n", r->name, f[below(6)], a.name, chance(30) ? ax - a.rank : ax, 0.1 * between(1, 10));
}

static void shaped(void)
{
    static const char *const f[] = { "softmax", "normalize", "cumsum", "rms" };
    Var a = pick_rank(1);
    int last = a.dim[a.rank - 1];
    switch (below(8)) {
    case 0: case 1: { Var *r = make(a.rank, a.dim[0], a.dim[1], a.dim[2]); BODY("    %s = %s(%s)\n", r->name, f[below(4)], a.name); break; }
    case 2: if (a.rank == 2) { Var *r = make(2, a.dim[1], a.dim[0], 1); BODY("    %s = %s'\n", r->name, a.name); } break;
    case 3: if (a.rank == 1) { int k = between(1, last); Var *r = make(1, k, 1, 1); BODY("    %s = %s[%d:]\n", r->name, a.name, last - k); } break;
    case 4: if (a.rank == 1 && last <= 17) { Var *r = make(1, 2 * last, 1, 1); BODY("    %s = concat(%s, %s)\n", r->name, a.name, a.name); } break;
    case 5: if (a.rank <= 2) { Var *r = make(a.rank + 1, 2, a.dim[0], a.rank > 1 ? a.dim[1] : 1); BODY("    %s = [%s, 0.5*%s]\n", r->name, a.name, a.name); } break;
    case 6: if (a.rank == 1 && last <= 9) { Var *r = make(2, last, last, 1); BODY("    %s = outer(%s, %s)\n", r->name, a.name, a.name); } break;
    default: if (a.rank == 2) { Var *r = make(1, a.dim[1], 1, 1); BODY("    %s = %s[argmax(sum(%s, axis = 1))]\n", r->name, a.name, a.name); } break;
    }
}

static void block(void)
{
    Var a = pick_rank(1);
    if (a.rank > 2) return;
    int last = a.dim[a.rank - 1], o = chance(50) ? last : size();
    char name[16];
    snprintf(name, sizeof name, "f%d", nname++);
    switch (below(a.rank == 1 ? 3 : 2)) {            /* Pair moves a state, so it is called once an item */
    case 0: DECL("    learn %s = Linear(%d, %d)%s\n", name, last, o, clauses()); break;
    case 1: DECL("    learn %s = Mlp(%d, %d, %d, %s)%s\n", name, last, size(), o, chance(50) ? "tanh" : "silu", clauses()); break;
    default: DECL("    learn %s = Pair(%d, %d)%s\n", name, last, o, clauses()); break;
    }
    Var *r = make(a.rank, a.rank == 1 ? o : a.dim[0], o, 1);
    BODY("    %s = tanh(%s(%s))\n", r->name, name, a.name);
}

static void pooled(void)
{
    Var a = pick_rank(1);
    if (a.rank != 1) return;
    char name[16];
    snprintf(name, sizeof name, "s%d", nname++);
    DECL("    state %s : [%d] = %g%s\n", name, a.dim[0], 0.1 * between(0, 5), chance(60) ? chance(50) ? "  every 2" : "  every 3" : "");
    BODY("    %s <- 0.7*%s + 0.3*pool(%s)\n", name, name, a.name);
    Var *r = make(1, a.dim[0], 1, 1);
    BODY("    %s = %s + 0.5*stop(%s)\n", r->name, a.name, name);
}

static void statement(void)
{
    static void (*const f[])(void) = { unary, unary, binary, binary, product, product, reduce, shaped, shaped, block, pooled };
    f[below((int)(sizeof f / sizeof *f))]();
}

/* ---- a model */

static void scalars(const char *how, Var v, char *out)
{
    if (v.rank) sprintf(out, "%s(%s)", how, v.name);
    else sprintf(out, "%s", v.name);
}

static void model(int k, int d, int rows, int classes)
{
    body[0] = decl[0] = 0;
    nvar = 0;
    Var *x = &var[nvar++];
    strcpy(x->name, "x");
    x->rank = rows ? 2 : 1; x->dim[0] = rows ? rows : d; x->dim[1] = rows ? d : 1;
    int n = between(3, 9);
    for (int i = 0; i < n; i++) statement();
    product();
    Var last = var[nvar - 1];
    char e[100];
    scalars("mean", last, e);
    printf("model M%d over (x : [%s], y : i32[], c : []) {\n    default with %s\n%s%s", k, shape(x), rule(0), decl, body);
    printf("    all = 0\n");                              /* every state has a part in the objective */
    for (int i = 1; i < nvar; i++) {
        char one[100];
        scalars("mean", var[i], one);
        printf("    all = all + %s\n", one);
    }
    if (last.rank == 1 && last.dim[0] >= classes && chance(60)) printf("    minimize xent(%s, y) + 0.01*all^2\n", last.name);
    else if (last.rank) printf("    minimize 0.5*mean((%s - 0.3*c)^2) + 0.01*all\n", last.name);
    else printf("    minimize 0.5*(%s - 0.3*c)^2 + 0.01*all\n", last.name);
    Var r = pick();
    char b[100];
    scalars("sum", r, b);
    printf("    report loss, a = %s, b = exp(avg(0.1*%s)), w = avg(%s, y + 1)\n}\n\n", b, e, e);
}

int main(int argc, char **argv)
{
    rng = 88172645463325252u + (argc > 1 ? strtoull(argv[1], NULL, 10) * 7919u : 0);
    for (int i = 0; i < 8; i++) next32();
    int d = size(), rows = chance(40) ? size() : 0, classes = between(2, 4), models = between(1, 3);
    printf("use nn\nuse optim\nuse schedules\n\n");
    printf("rule slow_fast(lr, f) (W, g) {\n    learn a = zeros(W)  with gd(0.5, retain = 0.9)\n    learn b = W  every f mean  with gd(0.2)\n"
           "    state n : [] = 0\n    minimize dot(a, g) + 0.5*sq(b - W)\n    n <- n + 1\n    every f { n <- n * 0.5 }\n    W <- W + lr*a + 0.01*lr*(b - W)/(1 + n)\n}\n");
    printf("rule fading(lr) (W, g) {\n    state v = ones(W)\n    v <- 0.9*v + 0.1*g^2\n    if rank(W) >= 2 { W <- W - lr*g/sqrt(v + 0.1) } else { W <- W - lr*g/t }\n}\n");
    printf("rule halved(then) (W, g) { then(W, 0.5*g) }\n\n");
    printf("block Pair(i, o) (x : [i]) -> [o] {\n    learn A : [o, i] ~ normal(0.4)\n    state seen : [] = 0  every 2\n    seen <- 0.9*seen + 0.1*pool(mean(x))\n    A(x) + 0.1*stop(seen)\n}\n\n");
    if (rows) printf("stream draw(k) -> (x : [%d, %d], y : i32[], c : []) {\n    x = normal([%d, %d]) + 0.1*k\n", rows, d, rows, d);
    else printf("stream draw(k) -> (x : [%d], y : i32[], c : []) {\n    x = normal([%d]) + 0.1*k\n", d, d);
    printf("    y = randint(%d);  c = uniform(-1, 1)\n}\n", classes);
    char shape_x[32];
    if (rows) snprintf(shape_x, sizeof shape_x, "%d, %d", rows, d);
    else snprintf(shape_x, sizeof shape_x, "%d", d);
    printf("stream turned(src, k) over (x, y, c) in src when c > -0.8 -> (x : [%s], y : i32[], c : []) {\n", shape_x);
    printf("    q = permutation(%d) key k\n    x = %s;  y = y;  c = c * 0.9\n}\n\n", d, rows ? "x[:, q]" : "x[q]");
    for (int k = 0; k < models; k++) model(k, d, rows, classes);
    printf("schedule {\n");
    int cut = between(9, 23), batch = between(1, 8);
    for (int k = 0; k < models; k++) {
        const char *shuffled = chance(50) ? " shuffled" : "";
        if (chance(30)) printf("    test M%d on draw(1)[0:5]\n", k);
        if (chance(50)) printf("    train M%d on draw(0) batch %d for %d steps\n", k, batch, between(1, 9));
        printf("    train M%d on turned(draw(2)[0:%d], %d) batch %d for %d %s%s\n", k, cut, between(0, 3), batch, between(1, 3), chance(60) ? "epochs" : "steps", shuffled);
        printf("    test M%d on each (draw(0)[3:11], turned(draw(1)[0:20], 2)) batch %d\n", k, between(1, 6));
    }
    printf("    table loss rows model cols stream\n}\n");
    return 0;
}
