/* gen_levels.c: random programs about levels, for comparing one reading of the language with another.

   gen_levels SEED [NAME] prints a model without data, or writes it with a schedule to NAME.nl. It has levels within levels, over sequences, chunks that do not divide, and ranges;
   several states with clocks of their own (every n, mean, anchor, frozen, when), rules with and without state, reads above and below
   the write, past(), step, keep, truncate; the outer level may stand in a block that is called twice or over rows. Its report has
   the outputs, states, and after a step of gd(1) the parameters, which moved by minus their gradients. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 3 };
static uint64_t seed;
static int dim, counter;
static char after[4000];         /* reads of states below the levels */

static uint32_t next(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static int below(int n) { return (int)(next() % (uint32_t)n); }
static int chance(int percent) { return below(100) < percent; }
static double small(void) { return (double)(below(2001) - 1000) / 1000; }

static void indent(int depth) { printf("%*s", 4 * depth, ""); }

static void line(int depth, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    indent(depth);
    vprintf(format, ap);
    putchar('\n');
    va_end(ap);
}

static void numbers(int n)
{
    printf("[");
    for (int i = 0; i < n; i++) printf("%s%.3f", i ? ", " : "", small());
    printf("]");
}

static void rows(int m, int n)
{
    printf("[");
    for (int i = 0; i < m; i++) { if (i) printf(", "); numbers(n); }
    printf("]");
}

/* ---- a level */

typedef enum { MATRIX, VECTOR, BLOCK } Shape;
typedef struct { char name[16]; Shape shape; int every; char mode; } State;

/* What may be read at this depth: matrices by which starts and projections are made. */
typedef struct { char matrix[8][16]; int nm; } Known;

static const char *rule(State *s, const char *id)
{
    static char text[200];
    int n = below(s->shape == MATRIX ? 10 : 8);
    double lr = 0.05 + 0.01 * below(20), keep = 0.7 + 0.01 * below(30);
    char rate[80];
    if (s->every == 1 && chance(50)) snprintf(rate, sizeof rate, "%.2f*sigmoid(dot(wv, x%s))", lr, id);
    else snprintf(rate, sizeof rate, "%.2f", lr);
    switch (n) {
    case 0: snprintf(text, sizeof text, "gd(%s)", rate); break;
    case 1: case 2:
        if (s->every) snprintf(text, sizeof text, "by_rank(Descent(%s, retain = %.2f), gd(%s))", rate, n == 1 ? 1 : keep, rate);
        else snprintf(text, sizeof text, "gd(%s, retain = %.2f)", rate, keep);
        break;
    case 3: snprintf(text, sizeof text, "momentum(%s, %.2f)", rate, keep); break;
    case 4: snprintf(text, sizeof text, "surprise(%s, momentum = %.2f, forget = %.2f)", rate, keep, 1 - keep); break;
    case 5: snprintf(text, sizeof text, "adamw(%.2f)", lr); break;
    case 6: snprintf(text, sizeof text, s->mode == 'a' ? "gd(%s, %.2f)" : "decayed(%s, %.2f)", rate, keep); break;
    case 7: snprintf(text, sizeof text, "ticking(%s, %.2f)", rate, keep); break;
    case 8: if (s->every == 1) { snprintf(text, sizeof text, "dgd(%s, %.2f, k%s)", rate, keep, id); break; } /* fall through */
    default: snprintf(text, sizeof text, "first_order(gd(%.2f))", lr);
    }
    return text;
}

/* What a clock may tick on: a number of items, what flows in, the state itself. */
static void condition(const State *s, const char *id, char *out, size_t size)
{
    switch (below(4)) {
    case 0: snprintf(out, size, "step %% %d == %d", 2 + below(2), below(2)); return;
    case 1: snprintf(out, size, "sum(x%s) > %.2f", id, 0.3 * small()); return;
    case 2: snprintf(out, size, "k%s[0] < 0.2 or step == 2", id); return;
    default: snprintf(out, size, s->shape == BLOCK ? "sq(%s.W1) < 1" : "sq(%s) < 1", s->name);
    }
}

static void clock_text(State *s, const char *id, char *out, size_t size)
{
    char when[60];
    s->every = 1; s->mode = 0;
    switch (below(9)) {
    case 7: condition(s, id, when, sizeof when); snprintf(out, size, "every when %s", when); return;
    case 8: condition(s, id, when, sizeof when); s->every = 0; snprintf(out, size, "every when %s sum", when); return;
    case 0: s->every = 2 + below(4); snprintf(out, size, "every %d", s->every); return;
    case 1: s->every = 2 + below(4); snprintf(out, size, "every %d mean", s->every); return;
    case 2: s->mode = 'a'; snprintf(out, size, "every 1 anchor %d", 1 + below(4)); return;
    case 3: s->mode = 'f'; snprintf(out, size, "every 1 frozen %d", 1 + below(4)); return;
    default: snprintf(out, size, "every 1"); return;
    }
}

static void declare(int depth, State *s, const char *id, Known *known)
{
    char when[80], start[40];
    clock_text(s, id, when, sizeof when);
    if (s->shape == BLOCK) snprintf(start, sizeof start, "= f0");
    else if (s->shape == MATRIX && chance(70)) snprintf(start, sizeof start, "= %s", known->matrix[below(known->nm)]);
    else if (s->shape == VECTOR && chance(50)) snprintf(start, sizeof start, "= wv");
    else snprintf(start, sizeof start, s->shape == MATRIX ? ": [D, D] = %d" : ": [D] = %d", below(2));
    const char *with = rule(s, id);
    if (s->shape == BLOCK && !strncmp(with, "dgd", 3)) with = "gd(0.1)";
    line(depth, "learn %s %s  %s  with %s", s->name, start, when, with);
}

static void read_state(const State *s, const char *arg, char *out, size_t size)
{
    if (s->shape == VECTOR) snprintf(out, size, "%s * %s", s->name, arg);
    else snprintf(out, size, "%s(%s)", s->name, arg);
}

/* One term of the objective. */
static void term(const State *s, const char *id, char *out, size_t size)
{
    char y[60], k[20], window[60];
    int wide = s->shape != VECTOR && chance(20);
    snprintf(k, sizeof k, "k%s", id);
    if (wide) {
        snprintf(window, sizeof window, "past(k%s, 3)", id);
        read_state(s, window, y, sizeof y);
        snprintf(out, size, "0.5*sum(sq(%s - past(v%s, 3), axis = 1))", y, id);
        return;
    }
    read_state(s, k, y, sizeof y);
    switch (below(4)) {
    case 0: snprintf(out, size, "-dot(%s, v%s)", y, id); break;
    case 1: snprintf(out, size, "sum(abs(%s - v%s)^3)", y, id); break;
    case 2: snprintf(out, size, "dot(%s, given(tanh(%s - v%s)))", y, y, id); break;
    default: snprintf(out, size, "0.5*sq(%s - v%s)", y, id);
    }
}

static void level(int depth, int nest, const char *context, const char *other, int t, int chunked, Known known, const char *path);

/* A level inside, over rows of the chunk, or a range; its output is made a vector named u. */
static void inner(int depth, int nest, const char *id, int chunked, int len, Known *known, const char *path)
{
    char name[8], context[40];
    snprintf(name, sizeof name, "l%d", counter);
    if (chunked) snprintf(context, sizeof context, "c%s", id);
    else snprintf(context, sizeof context, "1..%d", 1 + below(4));
    level(depth, nest + 1, context, id, chunked ? len : 0, 0, *known, path);
    line(depth, "u%s = mean(%s, axis = 0)", id, name);
}

static void emit_text(int depth, const char *id, State *s, int n, int nested, int bound)
{
    char y[60], x[20];
    snprintf(x, sizeof x, "x%s", id);
    indent(depth);
    printf("emit ");
    for (int i = 0; i < n; i++) { read_state(&s[i], x, y, sizeof y); printf("%s%s", i ? " + " : "", y); }
    if (nested) printf(" + 0.3*u%s", id);
    if (bound) printf(" + 0.1*r%s", id);
    printf("\n");
}

/* context: a sequence, or a range, of which the items are made with the item of the level `other`. */
static void level(int depth, int nest, const char *context, const char *other, int t, int chunks, Known known, const char *path)
{
    char id[8], terms[3][160], self[80];
    State s[3];
    int n = 1 + below(3), self_no = counter++, range = t == 0;
    int nested = nest < DEEPEST && chance(nest == 1 ? 55 : 30), early = chance(40), keep = nest > 1 && chance(35);
    int length = chunks, bound = chance(30), stepping = chance(20);
    snprintf(id, sizeof id, "%d", self_no);
    snprintf(self, sizeof self, "%s", path);
    indent(depth);
    printf("level l%s over ", id);
    if (range) printf("j%s in %s", id, context);
    else if (chunks) printf("c%s in chunks(%s, %d)", id, context, length);
    else printf("x%s in %s", id, context);
    if (keep) printf(" keep");
    if (chance(15)) printf(" truncate %d", 1 + below(3));
    printf(" {\n");
    for (int i = 0; i < n; i++) {
        s[i].shape = (Shape)below(3);
        snprintf(s[i].name, sizeof s[i].name, "%c%s%c", s[i].shape == MATRIX ? 'M' : s[i].shape == VECTOR ? 's' : 'F', id, 'a' + i);
        declare(depth + 1, &s[i], id, &known);
    }
    int counts = chance(25);
    if (counts) line(depth + 1, chance(40) ? "state c%sz : [D] = 0" : chance(50) ? "state c%sz : [D] = 0.5  every 2" : "state c%sz : [D] = 0.5  every when sum(x%s) > 0", id, id);
    if (range) line(depth + 1, "x%s = x%s * (0.5 + 0.2*j%s)", id, other, id);
    if (chunks) line(depth + 1, "x%s = mean(c%s, axis = 0)", id, id);
    line(depth + 1, "k%s = tanh(P @ x%s);  v%s = %s @ x%s", id, id, id, known.matrix[below(known.nm)], id);
    if (counts) line(depth + 1, "c%sz <- 0.5*c%sz + k%s", id, id, id);
    if (bound) {
        char y[60], k[20];
        snprintf(k, sizeof k, "k%s", id);
        read_state(&s[0], k, y, sizeof y);
        line(depth + 1, chance(30) ? "r%s = sum(past(%s, 2), axis = 0)" : "r%s = %s", id, y);
    }
    for (int i = 0; i < n; i++) if (s[i].shape == MATRIX && known.nm < 8) memcpy(known.matrix[known.nm++], s[i].name, sizeof s[i].name);
    int in = counter;
    if (nested) inner(depth + 1, nest, id, chunks, length, &known, self);
    if (early) emit_text(depth + 1, id, s, n, nested, bound);
    for (int i = 0; i < n; i++) term(&s[i], id, terms[i], sizeof terms[i]);
    if (n > 1 && chance(25)) {
        for (int i = 0; i < n; i++) line(depth + 1, "minimize %s  wrt %s", terms[i], s[i].name);
    } else {
        indent(depth + 1);
        printf("minimize ");
        if (stepping) printf("1/step * (");
        for (int i = 0; i < n; i++) printf("%s%s", i ? " + " : "", terms[i]);
        if (stepping) printf(")");
        if (nested) printf(" + 0.1*dot(u%s, v%s)", id, id);
        printf("\n");
    }
    if (!early) emit_text(depth + 1, id, s, n, nested, bound);
    (void)in;
    line(depth, "}");
    for (int i = 0; i < n && nest == 1; i++) {
        size_t used = strlen(after);
        if (s[i].shape == BLOCK) snprintf(after + used, sizeof after - used, ", e%s%d = %sl%s.%s.W1", id, i, path, id, s[i].name);
        else snprintf(after + used, sizeof after - used, ", e%s%d = %sl%s.%s", id, i, path, id, s[i].name);
    }
}

/* ---- the program */

static void parameters(int depth, const char *clause)
{
    static const char *const names[] = { "P", "Q", "M0" };
    for (int i = 0; i < 3; i++) {
        indent(depth);
        printf("learn %s : [D, D] = ", names[i]);
        rows(dim, dim);
        printf("%s\n", clause);
    }
    indent(depth);
    printf("learn wv : [D] = ");
    numbers(dim);
    printf("%s\n", clause);
    indent(depth);
    printf("learn f0 = Two(D, W1 = ");
    rows(dim, 2);
    printf(", W2 = ");
    rows(2, dim);
    printf(")%s\n", clause);
}

static void decay(const char *path)
{
    printf(" + 0.01*(sq(%sP) + sq(%sQ) + sq(%sM0) + sq(%swv) + sq(%sf0.W1) + sq(%sf0.W2))\n", path, path, path, path, path, path);
}

int main(int argc, char **argv)
{
    Known known = { .matrix = { "P", "Q", "M0" }, .nm = 3 };
    seed = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * 0x9E3779B97F4A7C15u + 7;
    for (int i = 0; i < 5; i++) next();
    dim = 1 + below(3);
    if (argc > 2) {
        char file[300];
        snprintf(file, sizeof file, "%s.nl", argv[2]);
        if (!freopen(file, "w", stdout)) { perror(file); return 1; }
    }
    int t = 1 + below(8), block = chance(60), chunks = chance(35) ? 1 + below(4) : 0, r = 1 + below(7), how = block ? below(5) : 0;
    printf("use optim\nuse memory\n\nconst D = %d\n", dim);
    printf("block Two(d) (x : [d]) -> [d] {\n    learn W1 : [d, 2] = 0.3\n    learn W2 : [2, d] = 0.2\n    W1(tanh(W2(x)))\n}\n\n");
    printf("rule seen(lr, retain) (W, g, x, u, w) { W <- retain*W - lr * (u' * w) @ x }\nconst Descent = gd\n\n");
    printf("rule ticking(lr, b) (W, g) {\n    learn m = zeros(W)  every when sum(g) > 0 sum  with gd(1 - b, retain = b)\n"
           "    state c = zeros(W)  every when t %% 2 == 1\n    minimize -dot(m, g)\n    c <- c + g\n    every when sum(m) < 0.3 { W <- 0.9*W }\n"
           "    every 2 { c <- 0.5*c }\n    W <- W - lr*m - 0.1*lr*c\n}\n\n");
    if (block) {
        printf("block Mem() (x : [T, D]) -> [%d, D] {\n", chunks ? (t + chunks - 1) / chunks : t);
        parameters(1, "");
        level(1, 1, "x", "", t, chunks, known, "b.");
        printf("}\n\n");
    }
    printf("model M over () {\n");
    if (block) line(1, "learn b = Mem()  with gd(1)");
    else parameters(1, "  with gd(1)");
    if (how >= 2) {
        printf("    x = [");
        for (int i = 0; i < r; i++) { if (i) printf(", "); rows(t, dim); }
        printf("]\n");
    } else { printf("    x = "); rows(t, dim); printf("\n"); }
    if (!block) { level(1, 1, "x", "", t, chunks, known, ""); line(1, "y = l0"); }
    else if (how == 1 && !chunks) line(1, "y = b(b(x))");
    else line(1, "y = b(x)");
    printf("    minimize (0.5*sum(y^2) + sum(y)) / %d", how >= 2 ? r : 1);
    decay(block ? "b." : "");
    const char *p = block ? "b." : "";
    int many = how >= 2 && r * t * dim > 64;
    printf("    report y = %s%s\n", many ? "sum(y^2)" : "y", how >= 2 ? "" : after);
    printf("    report pP = %sP, pQ = %sQ, pM = %sM0, pw = %swv, pF = %sf0.W1, pG = %sf0.W2\n}\n", p, p, p, p, p, p);
    if (argc > 2) printf("schedule {\n    train M for 2 steps\n    test M\n}\n");
    return ferror(stdout) || fclose(stdout);
}
