/* ast.c: making, printing and quoting trees.

   Requires: trees as parse.y builds them.  Guarantees: ast_text of an expression, read again, is the same expression;
   ast_print shows every field that is set. */
#include "ast.h"
#include <stdlib.h>
#include <string.h>

Ast *ast_new(AstKind kind, Loc loc)
{
    Ast *a = NEW(Ast);
    a->kind = kind;
    a->loc = loc;
    a->depth = 1;
    return a;
}

/* ---- names of kinds, as --dump=parse prints them */

static const char *const kind_names[] = {
    [E_NUM] = "number", [E_STR] = "text", [E_NAME] = "name", [E_UN] = "unary", [E_BIN] = "binary", [E_CALL] = "call",
    [E_ARG] = "argument", [E_PAIR] = "pair", [E_INDEX] = "index", [E_SLICE] = "slice", [E_NEWAX] = "new",
    [E_FIELD] = "field", [E_LIST] = "list", [E_TUPLE] = "tuple", [E_FOR] = "comprehension", [E_RANGE] = "range",
    [E_KEY] = "key", [E_WHEN] = "when", [E_WINDOW] = "window", [E_TYPE] = "type",
    [S_BIND] = "bind", [S_MOVE] = "move", [S_LEARN] = "learn", [S_STATE] = "state", [S_DEFAULT] = "default",
    [S_MINIMIZE] = "minimize", [S_EMIT] = "emit", [S_REPORT] = "report", [S_IF] = "if", [S_FOR] = "for",
    [S_LEVEL] = "level", [S_EVERY] = "every", [S_EVENT] = "event", [S_EXPR] = "expression",
    [D_FILE] = "file", [D_USE] = "use", [D_CONST] = "const", [D_FN] = "fn", [D_BLOCK] = "block", [D_RULE] = "rule",
    [D_STREAM] = "stream", [D_MODEL] = "model", [D_SCHEDULE] = "schedule", [P_PARAM] = "param",
    [S_TRAIN] = "train", [S_TEST] = "test", [S_LIVE] = "stream learning", [S_TICK] = "tick", [S_TABLE] = "table", [S_REPEAT] = "repeat",
};

/* ---- operators: how they are written and how tightly they bind */

typedef struct {
    int op;
    const char *text;            /* with the spaces around it */
    int level;
} Operator;

enum {
    LV_FOR = 1, LV_WHEN, LV_RANGE, LV_OR, LV_AND, LV_NOT, LV_COMPARE, LV_SUM, LV_PRODUCT, LV_MATRIX, LV_MINUS, LV_POWER,
    LV_KEY, LV_OPERAND
};

static const Operator operators[] = {
    { '|', " or ", LV_OR }, { '&', " and ", LV_AND },
    { '<', " < ", LV_COMPARE }, { '>', " > ", LV_COMPARE }, { 'l', " <= ", LV_COMPARE }, { 'g', " >= ", LV_COMPARE },
    { 'e', " == ", LV_COMPARE }, { 'x', " != ", LV_COMPARE },
    { '+', " + ", LV_SUM }, { '-', " - ", LV_SUM },
    { '*', "*", LV_PRODUCT }, { '/', "/", LV_PRODUCT }, { 'd', " // ", LV_PRODUCT }, { '%', " % ", LV_PRODUCT },
    { '@', " @ ", LV_MATRIX }, { '^', "^", LV_POWER },
};

static const Operator *operator_of(int op)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (operators[i].op == op) return &operators[i];
    return &operators[0];
}

static int level_of(const Ast *a)
{
    switch (a->kind) {
    case E_BIN:   return operator_of(a->op)->level;
    case E_UN:    return a->op == '-' ? LV_MINUS : a->op == 'n' ? LV_NOT : LV_OPERAND;
    case E_RANGE: return LV_RANGE;
    case E_KEY:   return LV_KEY;
    case E_FOR:   return LV_FOR;
    case E_WHEN:
    case E_WINDOW: return LV_WHEN;
    default:      return LV_OPERAND;
    }
}

/* ---- the text of an expression */

typedef VEC(char) Text;

static void add(Text *t, const char *s)
{
    for (; *s; s++) PUSH(*t, *s);
}

static void write_expr(Text *t, const Ast *a, int level);

static void write_list(Text *t, Ast *const *list, int n)
{
    for (int i = 0; i < n; i++) {
        if (i) add(t, ", ");
        write_expr(t, list[i], 0);
    }
}

static void write_string(Text *t, const char *s)
{
    static const char from[] = "\n\t\r\"\\", to[] = "ntr\"\\";
    add(t, "\"");
    for (; *s; s++) {
        const char *p = strchr(from, *s);
        if (p) PUSH(*t, '\\');
        PUSH(*t, p ? to[p - from] : *s);
    }
    add(t, "\"");
}

static void write_names(Text *t, const Ast *a)
{
    if (a->tuple) add(t, "(");
    write_list(t, a->names, a->nnames);
    if (a->tuple) add(t, ")");
}

static void write_binary(Text *t, const Ast *a)
{
    const Operator *o = operator_of(a->op);
    if (a->op == '^') {                              /* from the right; its exponent may begin with a minus */
        write_expr(t, a->a, LV_KEY);
        add(t, o->text);
        write_expr(t, a->b, LV_MINUS);
        return;
    }
    write_expr(t, a->a, o->level);
    add(t, o->text);
    write_expr(t, a->b, o->level + 1);
}

static void write_unary(Text *t, const Ast *a)
{
    if (a->op == '\'') {
        write_expr(t, a->a, LV_OPERAND);
        add(t, "'");
    } else {
        add(t, a->op == '-' ? "-" : "not ");
        write_expr(t, a->a, level_of(a));
    }
}

static void write_between(Text *t, const Ast *a, const char *word, int left, int right)
{
    write_expr(t, a->a, left);
    add(t, word);
    write_expr(t, a->b, right);
}

static void write_window(Text *t, const Ast *a)
{
    write_between(t, a, " window ", LV_WHEN, LV_RANGE);
    if (a->c) {
        add(t, " step ");
        write_expr(t, a->c, LV_RANGE);
    }
    if (a->op == 'a') add(t, " anywhere");
}

static void write_bracketed(Text *t, const Ast *a)
{
    add(t, a->kind == E_TUPLE ? "(" : "[");
    write_list(t, a->list, a->n);
    if (a->kind == E_TUPLE && a->n == 1 && a->list[0]->kind != E_PAIR) add(t, ",");
    add(t, a->kind == E_TUPLE ? ")" : "]");
}

static void write_number(Text *t, const Ast *a)
{
    add(t, a->name ? a->name : a->isint ? arena_printf("%lld", (long long)a->inum) : arena_printf("%.17g", a->num));
    if (a->percent) add(t, "%");
}

static void write_plain(Text *t, const Ast *a)
{
    switch (a->kind) {
    case E_NUM:   write_number(t, a); break;
    case E_STR:   write_string(t, a->name); break;
    case E_NAME:  add(t, a->name); break;
    case E_UN:    write_unary(t, a); break;
    case E_BIN:   write_binary(t, a); break;
    case E_CALL:  write_expr(t, a->a, LV_OPERAND); add(t, "("); write_list(t, a->list, a->n); add(t, ")"); break;
    case E_ARG:
        if (a->name) {
            add(t, a->name);
            add(t, " = ");
        }
        write_expr(t, a->a, 0);
        break;
    case E_PAIR:  write_between(t, a, ": ", 0, 0); break;
    case E_INDEX: write_expr(t, a->a, LV_OPERAND); add(t, "["); write_list(t, a->list, a->n); add(t, "]"); break;
    case E_SLICE:
        if (a->a) write_expr(t, a->a, 0);
        add(t, ":");
        if (a->b) write_expr(t, a->b, 0);
        break;
    case E_NEWAX: add(t, "new"); break;
    case E_FIELD: write_expr(t, a->a, LV_OPERAND); add(t, "."); add(t, a->name); break;
    case E_LIST:
    case E_TUPLE: write_bracketed(t, a); break;
    case E_FOR:
        write_expr(t, a->a, 0);
        add(t, " for ");
        write_names(t, a);
        add(t, " in ");
        write_expr(t, a->b, 0);
        break;
    case E_RANGE: write_between(t, a, "..", LV_OR, LV_OR); break;
    case E_KEY:   write_between(t, a, " key ", LV_KEY, LV_OPERAND); break;
    case E_WHEN:  write_between(t, a, " when ", LV_WHEN, LV_RANGE); break;
    case E_WINDOW: write_window(t, a); break;
    case E_TYPE:  if (a->name) add(t, a->name); add(t, "["); write_list(t, a->list, a->n); add(t, "]"); break;
    default:      add(t, kind_names[a->kind]); break;
    }
}

static void write_expr(Text *t, const Ast *a, int level)
{
    bool parentheses = level_of(a) < level;
    if (parentheses) add(t, "(");
    write_plain(t, a);
    if (parentheses) add(t, ")");
}

char *ast_text(const Ast *a)
{
    Text t = {0};
    write_expr(&t, a, 0);
    PUSH(t, '\0');
    return t.at;
}

/* ---- the tree, one node a line */

typedef struct {
    FILE *to;
    int indent;
} Printer;

static void print_node(Printer *p, const char *label, const Ast *a);

static void print_list(Printer *p, const char *label, Ast *const *list, int n)
{
    for (int i = 0; i < n; i++) print_node(p, label, list[i]);
}

static void print_names(Printer *p, Ast *const *names, int n)
{
    for (int i = 0; i < n; i++) fprintf(p->to, "%s%s", i ? ", " : " ", names[i]->name);
}

static void print_flag(Printer *p, bool on, const char *word)
{
    if (on) fprintf(p->to, " %s", word);
}

static void print_clauses(Printer *p, const Clauses *c)
{
    print_node(p, "every", c->every);
    print_node(p, c->mode == 'a' ? "anchor" : "frozen", c->block);
    print_node(p, c->when_sum ? "every when .. sum" : "every when", c->when);
    print_node(p, "with", c->with);
    print_node(p, "from", c->from);
    print_list(p, "from", c->map, c->nmap);
    print_list(p, "for", c->vars, c->nvars);
    print_node(p, "in", c->in);
    print_node(p, "keep in", c->keep_in);
    print_node(p, "truncate", c->truncate);
}

static void print_sched(Printer *p, const SchedClauses *c)
{
    print_node(p, "batch", c->batch);
    print_node(p, c->epochs ? "epochs" : "steps", c->count);
    print_node(p, "until", c->until);
    print_list(p, "learning", c->learning, c->nlearning);
}

static void print_own(Printer *p, const Ast *a)
{
    if (a->kind == E_NUM) {
        Text t = {0};
        write_number(&t, a);
        fprintf(p->to, " %.*s", t.n, t.at);
    } else if (a->kind == E_STR) {
        Text t = {0};
        write_string(&t, a->name);
        fprintf(p->to, " %.*s", t.n, t.at);
    } else if (a->kind == E_BIN) {
        fprintf(p->to, " %s", operator_of(a->op)->text + (operator_of(a->op)->text[0] == ' '));
    } else if (a->kind == E_UN) {
        fprintf(p->to, " %s", a->op == 'n' ? "not" : a->op == '-' ? "-" : "'");
    } else if (a->name) {
        fprintf(p->to, " %s", a->name);
    }
    print_flag(p, a->kind == E_WINDOW && a->op == 'a', "anywhere");
    print_names(p, a->names, a->nnames);
    print_flag(p, a->tuple, "(tuple)");
    print_flag(p, a->drawn, "(drawn)");
    if (a->cl) {
        print_flag(p, a->cl->mean, "(mean)");
        print_flag(p, a->cl->keep, "(keep)");
    }
    if (!a->sc) return;
    print_flag(p, a->sc->lanes, "lanes");
    print_flag(p, a->sc->shuffled, "shuffled");
    print_flag(p, a->sc->carry, "carry");
    print_flag(p, a->sc->each, "each");
    if (a->sc->rows) fprintf(p->to, " rows %s", a->sc->rows);
    if (a->sc->cols) fprintf(p->to, " cols %s", a->sc->cols);
    if (a->sc->cells) fprintf(p->to, " cells %s", a->sc->cells);
    print_flag(p, a->sc->lower, "lower");
}

static void print_node(Printer *p, const char *label, const Ast *a)
{
    if (!a) return;
    fprintf(p->to, "%*s%s%s%s", 2 * p->indent, "", label, *label ? ": " : "", kind_names[a->kind]);
    print_own(p, a);
    if (a->loc.line) fprintf(p->to, "  @%u:%u", (unsigned)a->loc.line, (unsigned)a->loc.col);
    fputc('\n', p->to);
    p->indent++;
    bool binary = a->kind == E_BIN || a->kind == E_UN;
    print_list(p, "param", a->params, a->nparams);
    print_list(p, "input", a->inputs, a->ninputs);
    print_node(p, "type", a->type);
    print_node(p, binary ? "" : "a", a->a);
    print_node(p, binary ? "" : "b", a->b);
    print_node(p, "c", a->c);
    print_list(p, "", a->list, a->n);
    if (a->cl) print_clauses(p, a->cl);
    if (a->sc) print_sched(p, a->sc);
    print_list(p, "", a->body, a->nbody);
    print_list(p, "else", a->body2, a->nbody2);
    p->indent--;
}

void ast_print(const Ast *a, FILE *to)
{
    Printer p = { to, 0 };
    print_node(&p, "", a);
}
