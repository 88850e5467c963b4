/* parse_test.c: scanner, ends of statements, words, grammar, trees, places and messages. */
#define _POSIX_C_SOURCE 200809L
#include "ast.h"
#include "elab.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

Options opt;

static void begin(void)
{
    resolve_reset();
    diag_reset();
    arena_free_all();
}

TestSuite(parse, .init = begin, .fini = begin);

static Ast *parse(const char *text)
{
    return parse_file(source_add_text("test.nl", text));
}

/* Everything that the run has to say. */
static char *said(void)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    diag_flush(f);
    fclose(f);
    char *copy = arena_strdup(text);
    free(text);
    return copy;
}

static Ast *parse_well(const char *text)
{
    Ast *tree = parse(text);
    cr_assert_eq(error_count(), 0, "%s\n%s", text, said());
    return tree;
}

/* The expression of `const A = TEXT`. */
static Ast *expression(const char *text)
{
    return parse_well(arena_printf("const A = %s\n", text))->body[0]->a;
}

/* The tree with all its parentheses. */
static char *shown(const Ast *a)
{
    switch (a->kind) {
    case E_BIN: {
        const char c[2] = { (char)a->op, 0 };
        return arena_printf("(%s%s%s)", shown(a->a), c, shown(a->b));
    }
    case E_UN:
        if (a->op == '\'') return arena_printf("(%s')", shown(a->a));
        return arena_printf("(%c%s)", a->op, shown(a->a));
    case E_RANGE: return arena_printf("(%s..%s)", shown(a->a), shown(a->b));
    case E_KEY:   return arena_printf("(%s key %s)", shown(a->a), shown(a->b));
    case E_WHEN:  return arena_printf("(%s when %s)", shown(a->a), shown(a->b));
    case E_WINDOW:
        return arena_printf("(%s window %s%s%s%s)", shown(a->a), shown(a->b), a->c ? " step " : "",
            a->c ? shown(a->c) : "",
                            a->op == 'a' ? " anywhere" : "");
    default:      return ast_text(a);
    }
}

Test(parse, precedence)
{
    static const struct { const char *text, *tree; } rows[] = {
        { "a + b*c", "(a+(b*c))" },           { "a - b - c", "((a-b)-c)" },
        { "a*b @ c", "(a*(b@c))" },           { "-a @ b", "((-a)@b)" },
        { "-a^b", "(-(a^b))" },               { "a^-b^c", "(a^(-(b^c)))" },
        { "a^b^c", "(a^(b^c))" },             { "d^-0.5*e", "((d^(-0.5))*e)" },
        { "a'^b", "((a')^b)" },               { "u' @ x'", "((u')@(x'))" },
        { "a < b and c or d", "(((a<b)&c)|d)" }, { "not a == b", "(n(aeb))" },
        { "not a and b", "((na)&b)" },        { "a or not b", "(a|(nb))" },
        { "0..n - 1", "(0..(n-1))" },         { "a // b % c", "((adb)%c)" },
        { "p + q(3) key 0", "(p+(q(3) key 0))" }, { "-q(3) key t[0]", "(-(q(3) key t[0]))" },
        { "s when y // 15 == d", "(s when ((yd15)ed))" }, { "a + b when c", "((a+b) when c)" },
        { "s[:90%] window 257 step 256", "(s[:90%] window 257 step 256)" },
        { "s window 3 anywhere when c", "((s window 3 anywhere) when c)" },
        { "s window 3 window 4", "((s window 3) window 4)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *tree = shown(expression(rows[i].text));
        cr_assert_str_eq(tree, rows[i].tree, "%s gives %s", rows[i].text, tree);
    }
}

Test(parse, numbers)
{
    Ast *a = expression("1..6");
    cr_assert(a->kind == E_RANGE && a->a->isint && a->a->inum == 1 && a->b->inum == 6);
    a = expression("[1.5, .5, 2., 1e-3, 3E2, 10]");
    static const double want[] = { 1.5, 0.5, 2, 1e-3, 300, 10 };
    for (int i = 0; i < 6; i++) cr_assert(a->list[i]->num == want[i] && a->list[i]->isint == (i == 5));
    cr_assert(expression("9223372036854775807")->inum == INT64_MAX);
    a = expression("x.0.1");
    cr_assert(a->kind == E_FIELD && !strcmp(a->name, "1") && a->a->kind == E_FIELD && !strcmp(a->a->name, "0"));
    a = expression("[x, .5]");
    cr_assert(a->n == 2 && a->list[1]->num == 0.5);
    a = expression("s[10%:90%, n % 3]");
    cr_assert(a->list[0]->kind == E_SLICE && a->list[0]->a->percent && a->list[0]->b->num == 90);
    cr_assert(a->list[1]->kind == E_BIN && a->list[1]->op == '%');
}

Test(parse, brackets_and_tuples)
{
    cr_assert(expression("(a)")->kind == E_NAME);
    cr_assert(expression("()")->kind == E_TUPLE && expression("()")->n == 0);
    cr_assert(expression("(a,)")->n == 1);
    cr_assert(expression("(a, b,)")->n == 2);
    Ast *pair = expression("(a: b)");
    cr_assert(pair->kind == E_TUPLE && pair->n == 1 && pair->list[0]->kind == E_PAIR);
    cr_assert(expression("[]")->kind == E_LIST);
    Ast *all = expression("sum(x for x in a..b, axis = 0)");
    cr_assert(all->kind == E_CALL && all->n == 2 && all->list[0]->kind == E_FOR && all->list[0]->b->kind == E_RANGE);
    cr_assert(all->list[1]->kind == E_ARG && !strcmp(all->list[1]->name, "axis"));
    Ast *named = expression("f(x = i^2 for (i, j) in (a, b))")->list[0];
    cr_assert(named->kind == E_ARG && named->a->kind == E_FOR && named->a->nnames == 2 && named->a->tuple);
    Ast *index = expression("x[:, new, -1, a:b]");
    cr_assert(index->list[0]->kind == E_SLICE && !index->list[0]->a && index->list[1]->kind == E_NEWAX);
}

Test(parse, text_is_read_back)
{
    static const char *const rows[] = {
        "a + b*c - -d", "(a + b)*c", "a - (b - c)", "(a^b)^c", "a^(b^c)", "(-a)^b", "-(a + b)", "not (a or b)",
        "(not a) == b", "x'[0].m(y)'",
        "(a + b)'", "f(x, k = 3, \"t\\n\\\"\\\\\")", "[x^2 for x in 1..n]", "(a, b)", "(a,)", "(a: b)", "()",
        "x[a:b, :, new, 90%:]",
        "mix(0.85: s when y // 3 == 1, 0.15: t)", "(s when c) window 3 step 2 anywhere", "1e-3", "p(3) key (a + b)",
        "(a..b)", "a @ b @ c", "a @ (b @ c)",
        "a // b % c", "2*(a // b)", "s window (a..b)",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *once = arena_strdup(ast_text(expression(rows[i])));
        cr_assert_str_eq(shown(expression(once)), shown(expression(rows[i])), "%s became %s", rows[i], once);
        cr_assert_str_eq(ast_text(expression(once)), once);
    }
}

Test(parse, ends_of_statements)
{
    Ast *f = parse_well("fn f(x) { y = x; z = g(x,\n    y);; ;\n\n  w = [1,\n2] # comment (\n z }\n"
                        "fn g(x) = x\n")->body[0];
    cr_assert_eq(f->nbody, 4);
    cr_assert_eq(parse_well("fn f(x) { if x { 1 } else { 2 }; 3 }")->body[0]->nbody, 2);
    cr_assert_eq(parse_well("fn f(x) { if x { 1 }\n else { 2 } 3 }")->body[0]->nbody, 2);
    Ast *chain = parse_well("fn f(x) {\n if a {\n 1 } else if b { 2 } else { 3\n }\n}\n")->body[0]->body[0];
    cr_assert(chain->nbody2 == 1 && chain->body2[0]->kind == S_IF && chain->body2[0]->nbody2 == 1);
    cr_assert_eq(parse_well("")->nbody, 0);
    cr_assert_eq(parse_well("\n;;\n# nothing\n")->nbody, 0);
    cr_assert_eq(parse_well("const A = 1;const B = 2\r\nconst C = (3,\r\n 4)")->nbody, 3);
}

/* Words of clauses are names wherever a name can stand. */
Test(parse, words_as_names)
{
    static const char *const words[] = {
        "over", "in", "on", "each", "key", "at", "window", "step", "anywhere", "mean", "sum", "anchor", "frozen",
        "from", "wrt", "keep", "truncate",
        "batch", "lanes", "steps", "epochs", "shuffled", "carry", "until", "learning", "seeds", "rows", "cols",
        "cells", "lower", "t", "loss", "new",
        "train", "test", "tick", "table", "repeat", "event",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *w = words[i];
        parse_well(arena_printf("fn f(%s) = %s\nfn g(a, %s = 3) { %s = a*%s; %s }\n", w, w, w, w, w, w));
        parse_well(arena_printf("model M over (x : [2]) {\n learn %s : [2] = 0 every 1 with gd(%s)\n"
                                " state %s, b : [%s]\n x.%s\n }\n", w, w, w, w, w));
        parse_well(arena_printf("rule r(%s) (W, g at %s) { %s <- W*%s\n %s = g\n f(%s = 2, -%s)\n }\n", w, w, w, w, w,
            w, w));
        parse_well(arena_printf("fn f(x) { for %s in (a, %s) { x = %s' }\n level %s over %s in %s { } }\n", w, w, w,
            w, w, w));
        parse_well(arena_printf("schedule { table %s rows %s cols %s\n train M on %s for %s steps }\n", w, w, w, w, w));
    }
}

Test(parse, clauses)
{
    Ast *m = parse_well("model M over (x : [2]) {\n"
                        " learn blocks = Mlp(D, 4*D) for i in 1..6 every 8 mean with gd(1)\n"
                        " learn (Mk, Mv) = (k0, v0) every 1 frozen 16 with (W2: dgd(eta), other: gd(1)) keep in L\n"
                        " state v, o2 = zeros(W)\n"
                        " learn W : [2, n] ~ normal(0.1) every when c sum keep\n"
                        " learn f = B(3) from \"a\" (near.Wk: \"l.{i}\", b: \"c\",) for (i, j) in (p, q)\n"
                        " minimize l = sum(x) wrt (b.cms for b in net)\n"
                        " default every 2 anchor 4\n}\n")->body[0];
    Clauses *c = m->body[0]->cl;
    cr_assert(c->mean && c->every->inum == 8 && c->nvars == 1 && c->in->kind == E_RANGE && c->with->kind == E_CALL);
    c = m->body[1]->cl;
    cr_assert(c->mode == 'f' && c->block->inum == 16 && c->with->kind == E_TUPLE && c->with->n == 2 && c->keep &&
        !strcmp(c->keep_in->name, "L"));
    cr_assert(m->body[1]->tuple && m->body[1]->nnames == 2 && m->body[2]->kind == S_STATE &&
        m->body[2]->nnames == 2 && !m->body[2]->tuple);
    c = m->body[3]->cl;
    cr_assert(m->body[3]->drawn && m->body[3]->type->n == 2 && c->when && c->when_sum && c->keep && !c->keep_in &&
        !c->every);
    c = m->body[4]->cl;
    cr_assert(c->from->kind == E_STR && c->nmap == 2 && c->map[0]->a->kind == E_FIELD && c->nvars == 2);
    cr_assert(!strcmp(m->body[5]->name, "l") && m->body[5]->b->kind == E_FOR);
    cr_assert(m->body[6]->cl->mode == 'a');
}

Test(parse, definitions)
{
    Ast *f = parse_well("stream s(a) over (x, y) in t when y > a -> (z : u8[2, 3]) { z = x }\n"
                        "stream c = csv(\"f\") -> (x : [2])\n"
                        "block B(d, h = 4*d) (x : [T, d], y : []) -> ([T, d], i32[]) { (x, y) }\n"
                        "rule r(lr) (W : [o, i], g at 2*W, x, u, w) { }\n"
                        "fn f(x : [n], k = 3) = x\nconst C : [2] = [1, 2]\nmodel M(a) over () { }\n")->body[0];
    cr_assert(f->nparams == 1 && f->ninputs == 2 && f->b->kind == E_NAME && f->c->kind == E_BIN && f->n == 1 &&
        !strcmp(f->list[0]->type->name, "u8"));
}

Test(parse, schedules)
{
    Ast *s = parse_well("schedule {\n train (A, B) on each (s, t) batch 10 lanes for 2*n epochs shuffled"
                        " until a < 1 carry learning p, q.r\n"
                        " train M for 5 steps\n test M\n test M on s batch 3\n tick m.end\n"
                        " table 100*a rows b cols stream cells model lower\n"
                        " repeat 5 seeds { x = 3 }\n}\n")->body[0];
    SchedClauses *c = s->body[0]->sc;
    cr_assert(c->each && c->lanes && c->epochs && c->shuffled && c->carry && c->until && c->nlearning == 2 &&
        c->batch->inum == 10);
    cr_assert(!s->body[1]->b && !s->body[1]->sc->epochs && !s->body[2]->b && s->body[3]->sc->batch);
    cr_assert(!strcmp(s->body[5]->sc->cols, "stream") && !strcmp(s->body[5]->sc->cells, "model") &&
        s->body[5]->sc->lower);
}

Test(parse, places)
{
    Ast *f = parse_well("# é\n\tconst A = \"é\" + foo(1)\n")->body[0];
    cr_assert(f->loc.line == 2 && f->loc.col == 8 && f->loc.ecol == 9);
    cr_assert(f->a->loc.col == 12 && f->a->loc.ecol == 24);
    cr_assert(f->a->b->loc.col == 18 && f->a->b->loc.ecol == 21);
}

Test(parse, depth_is_bounded)
{
    static const struct { const char *one, *last, *close; } chains[] = {
        { "(", "1", ")" }, { "[", "1", "]" }, { "-", "1", "" }, { "not ", "1", "" }, { "1^", "1", "" },
        { "1+", "1", "" }, { "f(", "1", ")" },
        { "x[", "1", "]" }, { "", "f", "(1)" }, { "", "f", "'" }, { "", "f", ".a" }, { "", "f", "[1]" },
        { "1 when ", "1", "" },
    };
    enum { N = 20000 };
    for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) {
        char *text = malloc(N * 16 + 32), *p = text + sprintf(text, "const A = ");
        for (int i = 0; i < N; i++) p += sprintf(p, "%s", chains[k].one);
        p += sprintf(p, "%s", chains[k].last);
        for (int i = 0; i < N; i++) p += sprintf(p, "%s", chains[k].close);
        Ast *tree = parse(text);
        cr_assert_gt(error_count(), 0);
        cr_assert_leq(tree->depth, AST_MAX_DEPTH + 1);
        free(text);
        begin();
    }
}

Test(parse, all_errors_in_one_run)
{
    parse("const A =\nfn f(x) = x +\nblock B(d) (x : [d]) -> [d] {\n  y = )x\n  z = (\n}\nconst B = * 3\n");
    char *text = said();
    cr_assert_eq(error_count(), 5, "%s", text);
    const char *first = strstr(text, "test.nl:1:10"), *last = strstr(text, "test.nl:7:11");
    cr_assert(first && last && first < last);
}

/* Any beginning and any one byte lost or changed: some tree, no crash, and messages that can be printed. */
static void try_variants(const char *text, size_t n, size_t stride)
{
    static const char odd[] = "(){}[]\"';:=,.#\n\0\xff~@1x ";
    char *copy = malloc(n + 1);
    for (size_t i = 0; i < n; i += stride) {
        for (int how = 0; how < 3; how++) {
            memcpy(copy, text, n);
            size_t m = n;
            if (how == 0) m = i;
            if (how == 1) copy[i] = odd[i / stride % (sizeof odd - 1)];
            if (how == 2) memmove(copy + i, copy + i + 1, --m - i);
            Ast *tree = parse_file(source_add_bytes("test.nl", copy, m));
            cr_assert_eq(tree->kind, D_FILE);
            if (!error_count()) resolve(tree);
            said();
            begin();
        }
    }
    free(copy);
}

/* Every program of a folder: it parses, its trees print and its expressions are read back as they were. */
static void each_expression(const Ast *a)
{
    if (!a) return;
    if (a->kind <= E_FOR && a->kind != E_ARG && a->kind != E_PAIR && a->kind != E_SLICE && a->kind != E_NEWAX &&
        a->kind != E_FOR && !a->percent) {
        char *text = ast_text(a);
        Ast *again = parse(arena_printf("const A = %s\n", text));
        cr_assert(again->nbody == 1 && again->body[0]->a, "%s", text);
        cr_assert_str_eq(ast_text(again->body[0]->a), text);
    }
    each_expression(a->a);
    each_expression(a->b);
    for (int i = 0; i < a->n; i++) each_expression(a->list[i]);
    for (int i = 0; i < a->nbody; i++) each_expression(a->body[i]);
}

static int try_folder(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (len < 4 || strcmp(e->d_name + len - 3, ".nl")) continue;
        begin();
        int file = source_add(arena_printf("%s/%s", folder, e->d_name));
        Ast *tree = parse_file(file);
        cr_assert_eq(error_count(), 0, "%s", said());
        each_expression(tree);
        size_t size = source_size(file);
        char *text = malloc(size + 1);
        memcpy(text, source_text(file), size);
        begin();
        try_variants(text, size, size / 40 + 1);
        free(text);
        n++;
    }
    if (d) closedir(d);
    return n;
}

Test(parse, programs, .timeout = 120)
{
    const char *top = getenv("top_srcdir");
    int n = 0;
    static const char *const folders[] = { "stdlib", "tests/lang", "../shared/design/programs" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", top ? top : ".", folders[i]);
        n += try_folder(path);
    }
    if (n == 0) cr_skip_test("no programs to read");
}

/* ---- diag.c and arena.c */

TestSuite(diag, .init = begin, .fini = begin);

static Loc at(int file, uint32_t line, uint16_t col, uint16_t ecol)
{
    return (Loc){ .file = (uint16_t)file, .line = line, .col = col, .ecol = ecol };
}

Test(diag, drawn_sorted_and_once)
{
    int f = source_add_text("a.nl", "one two\n\tthree é four\n");
    error_at(at(f, 2, 8, 9), "second");
    note_at(at(f, 1, 1, 4), "look");
    warn_at(at(f, 1, 5, 8), "first");
    error_at(at(f, 2, 8, 9), "again");
    note_at(at(f, 1, 1, 4), "lost");
    error_at((Loc){0}, "no place");
    cr_assert_str_eq(said(), "nlc: error: no place\n"
                             "a.nl:1:5: warning: first\n    1 | one two\n      |     ^~~\n"
                             "a.nl:2:8: error: second\n    2 | \tthree é four\n      | \t      ^\n"
                             "a.nl:1:1: note: look\n    1 | one two\n      | ^~~\n");
    cr_assert_eq(error_count(), 3);
    cr_assert_str_empty(said());
}

Test(diag, quiet_nests)
{
    diag_quiet(true);
    diag_quiet(true);
    error_at((Loc){0}, "unheard");
    cr_assert_eq(error_count(), 1);
    diag_quiet(false);
    error_at((Loc){0}, "unheard");
    note_at((Loc){0}, "unheard");
    cr_assert_eq(error_count(), 1);
    diag_quiet(false);
    cr_assert_eq(error_count(), 0);
    cr_assert_str_empty(said());
}

Test(diag, long_and_odd_lines)
{
    char *line = malloc(100001);
    memset(line, 'x', 100000);
    line[100000] = '\0';
    line[500] = '\033';
    int f = source_add_text("a.nl", line);
    free(line);
    error_at(at(f, 1, 490, 520), "far \001 right");
    error_at(at(f, 1, UINT16_MAX, UINT16_MAX), "beyond");
    error_at(at(f, 77, 3, 4), "no such line");
    char *text = said();
    cr_assert_lt(strlen(text), 1500);
    cr_assert(!strchr(text, '\033') && !strchr(text, '\001'));
}

Test(diag, spans)
{
    int f = source_add_text("a.nl", "abc def\nghi\n");
    Loc s = loc_span(at(f, 1, 2, 3), at(f, 1, 5, 8));
    cr_assert(s.col == 2 && s.ecol == 8 && s.line == 1);
    s = loc_span(at(f, 1, 2, 3), at(f, 2, 1, 4));
    cr_assert(s.col == 2 && s.ecol == 8);
    s = loc_span((Loc){0}, at(f, 2, 1, 4));
    cr_assert(s.line == 2);
}

Test(diag, near_names)
{
    static const char *const names[] = { "adamw", "gd", "momentum", "W", "learn", "softmax" };
    static const struct { const char *name, *near; } rows[] = {
        { "adamv", "adamw" }, { "momentun", "momentum" }, { "w", "W" }, { "lern", "learn" }, { "laern", "learn" },
        { "sofmx", "softmax" },
        { "gdd", "gd" }, { "x", NULL }, { "adamw", NULL }, { "something", NULL }, { "", NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *near = nearest(rows[i].name, names, 6);
        cr_assert(near == rows[i].near || (near && rows[i].near && !strcmp(near, rows[i].near)), "%s: %s",
            rows[i].name, near);
    }
    char long_name[500];
    memset(long_name, 'a', 499);
    long_name[499] = '\0';
    cr_assert_null(nearest(long_name, names, 6));
}

Test(diag, files)
{
    cr_assert_eq(source_add("no-such-file.nl"), -1);
    cr_assert_eq(source_add("."), -1);
    cr_assert_eq(error_count(), 2);
    int f = source_add_bytes("z.nl", "\xef\xbb\xbf" "a\0b", 6);
    cr_assert_eq(source_size(f), 3);
    cr_assert_eq(source_find("z.nl"), f);
    cr_assert_eq(source_find("y.nl"), -1);
    cr_assert_str_empty(source_text(77));
}

Test(diag, memory)
{
    for (size_t n = 0; n < 3000; n += 7) {
        char *p = arena_alloc(n);
        cr_assert_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) cr_assert_eq(p[i], 0);
        memset(p, 1, n);
    }
    VEC(int) v = {0};
    for (int i = 0; i < 100000; i++) PUSH(v, i);
    for (int i = 0; i < 100000; i++) cr_assert_eq(v.at[i], i);
    const char *names[3000];
    for (int i = 0; i < 3000; i++) names[i] = intern(arena_printf("n%d", i));
    for (int i = 0; i < 3000; i++) cr_assert_eq(names[i], intern(arena_printf("n%d", i)));
    cr_assert_str_eq(arena_printf("%s-%d", "a", 3), "a-3");
}

/* ---- resolve.c: what files see */

Test(parse, definitions_are_found)
{
    Ast *tree = parse_well("const A = 1\nfn f(x) = x + A\nschedule { }\n");
    resolve(tree);
    cr_assert_eq(error_count(), 0, "%s", said());
    const SourceFile *f = source_file(tree->file);
    cr_assert(f && f->tree == tree && f->uses.n == 0);
    cr_assert_eq(find_definition(tree->file, "f", (Loc){0}), tree->body[1]);
    cr_assert_null(find_definition(tree->file, "g", (Loc){0}));
    cr_assert_null(find_definition(tree->file + 1, "f", (Loc){0}));
}
