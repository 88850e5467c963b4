/* tokens.c: what stands between the scanner and the grammar.

   Requires: the tokens of lex.l.  Does three things that a context-free grammar does badly:
   - ends of statements: the end of a line or `;` is a T_LINE where a statement can end, which is not inside ( ) and [
     ]; braces begin anew. Before `}` and after it there is a T_LINE too, so the grammar says `statement T_LINE`,
     always;
   - words: most keywords are keywords only where a name cannot stand. After a whole operand (`x`, `3`, `)`) no name
     can, so there `batch` is the clause; elsewhere it is the user's own name. The few words that begin statements and
     definitions are kept;
   - brackets: what is not closed is reported here, at the bracket, and closed silently.
   Guarantees: brackets are balanced and nested at most MAX_NESTING deep; the last tokens are T_LINE and T_END. */
#include "lex.h"
#include "ast.h"
#include "parse.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 200 };

/* ---- words */

typedef enum {
    ALWAYS,                      /* a keyword everywhere, but after `.`, `rows`, `cols`, `cells` */
    AFTER,                       /* a keyword after an operand */
    FIRST,                       /* a keyword at the beginning of a statement, if an operand follows */
    AFTER_ON,                    /* a keyword after `on`, if an operand follows */
} Where;

typedef struct {
    const char *text;
    int kind;
    Where where;
    bool operand;                /* nothing has to follow: what comes next stands as after an operand */
} Keyword;

static const Keyword keywords[] = {
    { "use", T_USE, ALWAYS, false },           { "const", T_CONST, ALWAYS, false },
    { "fn", T_FN, ALWAYS, false },             { "block", T_BLOCK, ALWAYS, false },
    { "rule", T_RULE, ALWAYS, false },         { "stream", T_STREAM, ALWAYS, false },
    { "model", T_MODEL, ALWAYS, false },       { "schedule", T_SCHEDULE, ALWAYS, false },
    { "learn", T_LEARN, ALWAYS, false },       { "state", T_STATE, ALWAYS, false },
    { "level", T_LEVEL, ALWAYS, false },       { "minimize", T_MINIMIZE, ALWAYS, false },
    { "emit", T_EMIT, ALWAYS, false },         { "report", T_REPORT, ALWAYS, false },
    { "default", T_DEFAULT, ALWAYS, true },   { "if", T_IF, ALWAYS, false },
    { "else", T_ELSE, ALWAYS, false },         { "for", T_FOR, ALWAYS, false },
    { "every", T_EVERY, ALWAYS, false },       { "with", T_WITH, ALWAYS, false },
    { "when", T_WHEN, ALWAYS, false },         { "and", T_AND, ALWAYS, false },
    { "or", T_OR, ALWAYS, false },             { "not", T_NOT, ALWAYS, false },
    { "train", T_TRAIN, FIRST, false },        { "test", T_TEST, FIRST, false },
    { "tick", T_TICK, FIRST, false },          { "table", T_TABLE, FIRST, false },
    { "repeat", T_REPEAT, FIRST, false },      { "event", T_EVENT, FIRST, false },
    { "over", T_OVER, AFTER, false },          { "in", T_IN, AFTER, false },
    { "on", T_ON, AFTER, false },              { "key", T_KEY, AFTER, false },
    { "at", T_AT, AFTER, false },              { "window", T_WINDOW, AFTER, false },
    { "step", T_STEP, AFTER, false },          { "anywhere", T_ANYWHERE, AFTER, true },
    { "mean", T_MEAN, AFTER, true },           { "sum", T_SUM, AFTER, true },
    { "anchor", T_ANCHOR, AFTER, false },      { "frozen", T_FROZEN, AFTER, false },
    { "from", T_FROM, AFTER, false },          { "wrt", T_WRT, AFTER, false },
    { "keep", T_KEEP, AFTER, true },           { "truncate", T_TRUNCATE, AFTER, false },
    { "batch", T_BATCH, AFTER, false },        { "lanes", T_LANES, AFTER, true },
    { "steps", T_STEPS, AFTER, true },         { "epochs", T_EPOCHS, AFTER, true },
    { "shuffled", T_SHUFFLED, AFTER, true },   { "carry", T_CARRY, AFTER, true },
    { "until", T_UNTIL, AFTER, false },        { "learning", T_LEARNING, AFTER, false },
    { "seeds", T_SEEDS, AFTER, true },         { "rows", T_ROWS, AFTER, false },
    { "cols", T_COLS, AFTER, false },          { "cells", T_CELLS, AFTER, false },
    { "lower", T_LOWER, AFTER, true },
    { "each", T_EACH, AFTER_ON, false },
};
enum { NKEYWORDS = sizeof keywords / sizeof *keywords };

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const Keyword *keyword(const char *text)
{
    static const Keyword *sorted[NKEYWORDS];
    static const char *names[NKEYWORDS];
    if (!names[0]) {
        for (int i = 0; i < NKEYWORDS; i++) names[i] = keywords[i].text;
        qsort(names, NKEYWORDS, sizeof *names, by_text);
        for (int i = 0; i < NKEYWORDS; i++)
            for (int k = 0; k < NKEYWORDS; k++)
                if (!strcmp(names[i], keywords[k].text)) sorted[i] = &keywords[k];
    }
    const char **hit = bsearch(&text, names, NKEYWORDS, sizeof *names, by_text);
    return hit ? sorted[hit - names] : NULL;
}

const char *const *statement_words(int *n)
{
    static const char *words[NKEYWORDS];
    static int nwords;
    if (!nwords)
        for (int i = 0; i < NKEYWORDS; i++) {
            int k = keywords[i].kind;
            bool inside = k == T_ELSE || k == T_WITH || k == T_WHEN || k == T_AND || k == T_OR || k == T_NOT;
            bool begins = keywords[i].where == FIRST || (keywords[i].where == ALWAYS && !inside);
            if (begins) words[nwords++] = keywords[i].text;
        }
    *n = nwords;
    return words;
}

static bool begins_definition(int kind)
{
    return kind == T_USE || kind == T_CONST || kind == T_FN || kind == T_BLOCK || kind == T_RULE || kind == T_STREAM ||
           kind == T_MODEL || kind == T_SCHEDULE;
}

static bool begins_statement(int kind)
{
    return begins_definition(kind) || kind == T_LEARN || kind == T_STATE || kind == T_LEVEL || kind == T_MINIMIZE ||
           kind == T_EMIT || kind == T_REPORT || kind == T_DEFAULT;
}

/* ---- the filter */

typedef struct { int kind; Loc loc; } Open;

typedef struct {
    const Token *raw;
    int n, i;
    TokenVec *out;
    VEC(Open) open;
} Filter;

static int last(const Filter *f)
{
    return f->out->n ? f->out->at[f->out->n - 1].kind : 0;
}

static int innermost(const Filter *f)
{
    return f->open.n ? f->open.at[f->open.n - 1].kind : 0;
}

static bool at_first(const Filter *f)
{
    int k = last(f);
    return k == 0 || k == T_LINE || k == '{' || k == '}';
}

static bool after_operand(const Filter *f)
{
    int k = last(f);
    if (k == T_NAME || k == T_NUM || k == T_STR || k == ')' || k == ']' || k == '\'' || k == T_PERCENT) return true;
    for (int i = 0; i < NKEYWORDS; i++)
        if (keywords[i].kind == k) return keywords[i].operand;
    return false;
}

static bool operand_follows(const Filter *f)
{
    const Token *t = &f->raw[f->i + 1 < f->n ? f->i + 1 : f->i];
    const Keyword *w = t->kind == T_NAME ? keyword(t->text) : NULL;
    if (w && w->where == ALWAYS) return w->kind == T_NOT;
    return t->kind == T_NAME || t->kind == T_NUM || t->kind == T_STR || t->kind == '(';
}

static int word_kind(const Filter *f, const char *text)
{
    const Keyword *w = keyword(text);
    int before = last(f);
    if (!w || before == '.' || before == T_ROWS || before == T_COLS || before == T_CELLS) return T_NAME;
    switch (w->where) {
    case ALWAYS: return w->kind;
    case AFTER:  return after_operand(f) ? w->kind : T_NAME;
    case FIRST:  return at_first(f) && operand_follows(f) ? w->kind : T_NAME;
    case AFTER_ON: return before == T_ON && operand_follows(f) ? w->kind : T_NAME;
    }
    return T_NAME;
}

static void put(Filter *f, int kind, Loc loc, const char *text, bool silent)
{
    Token t = { .kind = kind, .silent = silent, .loc = loc, .text = text };
    PUSH(*f->out, t);
}

/* The end of a statement, if there is a statement; `text` is what a message calls it. Ends of lines and files stand
   right after the last token: a comment does not belong to the statement. */
static void end_statement(Filter *f, Loc loc, const char *text)
{
    int k = last(f);
    if (k == 0 || k == T_LINE || k == '{') return;
    if (text[0] == 't') {
        loc = f->out->at[f->out->n - 1].loc;
        loc.col = loc.ecol;
    }
    put(f, T_LINE, loc, text, false);
}

static int closer(int opener)
{
    return opener == '(' ? ')' : opener == '[' ? ']' : '}';
}

static const char *sign(int kind)
{
    const char text[2] = { (char)kind, 0 };
    return intern(text);
}

/* Closes the innermost bracket, which the text forgot. */
static void close_silently(Filter *f, Loc loc)
{
    int kind = closer(innermost(f));
    if (kind == '}') end_statement(f, loc, "'}'");
    put(f, kind, loc, sign(kind), true);
    f->open.n--;
}

/* The innermost bracket should have been closed before `t`. */
static void never_closed(const Filter *f, Loc at, const char *before)
{
    Open o = f->open.at[f->open.n - 1];
    error_at(at, "a '%c' is missing before %s", closer(o.kind), before);
    note_at(o.loc, "this '%c' is never closed", o.kind);
}

/* Round and square brackets that are open where only braces can be. */
static void close_round(Filter *f, const Token *before)
{
    bool said = false;
    while (f->open.n && innermost(f) != '{') {
        if (!said) never_closed(f, before->loc, arena_printf("'%s'", before->text));
        said = true;
        close_silently(f, before->loc);
    }
}

static void open_bracket(Filter *f, const Token *t)
{
    if (t->kind == '{') close_round(f, t);
    Open o = { t->kind, t->loc };
    PUSH(f->open, o);
    put(f, t->kind, t->loc, t->text, t->silent);
}

static void close_bracket(Filter *f, const Token *t)
{
    int at = f->open.n - 1;
    while (at >= 0 && closer(f->open.at[at].kind) != t->kind && (t->kind == '}' || f->open.at[at].kind != '{')) at--;
    if (at < 0 || closer(f->open.at[at].kind) != t->kind) {
        int inner = innermost(f);
        if (t->kind != '}' && (inner == '(' || inner == '[')) {
            error_at(t->loc, "this '%c' cannot close a '%c'", t->kind, inner);
            note_at(f->open.at[f->open.n - 1].loc, "the '%c' is here", inner);
            close_silently(f, t->loc);
        } else {
            error_at(t->loc, "this '%c' closes nothing", t->kind);
        }
        return;
    }
    if (at < f->open.n - 1) never_closed(f, t->loc, arena_printf("'%s'", t->text));
    while (f->open.n - 1 > at) close_silently(f, t->loc);
    if (t->kind == '}') end_statement(f, t->loc, "'}'");
    put(f, t->kind, t->loc, t->text, t->silent);
    f->open.n--;
}

/* A word that begins a statement cannot stand in round brackets, one that begins a definition at the line's begin not
   in any. */
static void check_forgotten(Filter *f, const Token *t, int kind)
{
    bool new_line = f->i > 0 && f->raw[f->i - 1].kind == T_RAW_LINE;
    if (!new_line || !f->open.n || !begins_statement(kind)) return;
    if (innermost(f) != '{') {
        close_round(f, t);
        end_statement(f, t->loc, "the end of the line");
    }
    if (t->loc.col == 1 && begins_definition(kind) && f->open.n) {
        never_closed(f, t->loc, arena_printf("'%s'", t->text));
        while (f->open.n) close_silently(f, t->loc);
        end_statement(f, t->loc, "the end of the line");
    }
}

/* `x.0`, but not `x .5`: in an operand's place it is a number, after an operand a member. */
static bool is_member(const Filter *f, const Token *t)
{
    return t->text[0] == '.' && after_operand(f) && strspn(t->text + 1, "0123456789") == strlen(t->text + 1);
}

static void put_member(Filter *f, const Token *t)
{
    Loc dot = t->loc, name = t->loc;
    dot.ecol = name.col = (uint16_t)(dot.col + (dot.col < UINT16_MAX));
    put(f, '.', dot, sign('.'), false);
    put(f, T_NAME, name, intern(t->text + 1), false);
}

/* `90%` before `:`, `]`, `,` and `)` is a share, no remainder. */
static bool is_percent(const Filter *f)
{
    int k = f->i + 1 < f->n ? f->raw[f->i + 1].kind : T_RAW_LINE;
    return last(f) == T_NUM && (k == ':' || k == ']' || k == ',' || k == ')');
}

/* Inside brackets nothing moves: `a <-1` compares. */
static void put_compared(Filter *f, const Token *t)
{
    Loc less = t->loc, minus = t->loc;
    less.ecol = minus.col = (uint16_t)(less.col + (less.col < UINT16_MAX));
    put(f, '<', less, sign('<'), false);
    put(f, '-', minus, sign('-'), false);
}

static void filter(Filter *f, const Token *t)
{
    int kind = t->kind == T_NAME ? word_kind(f, t->text) : t->kind;
    bool round = f->open.n && innermost(f) != '{';
    if (kind == T_RAW_LINE || kind == ';') {
        if (!round && last(f) != '}') end_statement(f, t->loc, kind == ';' ? "';'" : "the end of the line");
        else if (round && kind == ';') {
            close_round(f, t);
            end_statement(f, t->loc, "';'");
        }
        return;
    }
    if (last(f) == '}' && kind != T_ELSE && kind != '}') end_statement(f, t->loc, "'}'");
    check_forgotten(f, t, kind);
    round = f->open.n && innermost(f) != '{';
    if (kind == '(' || kind == '[' || kind == '{') open_bracket(f, t);
    else if (kind == ')' || kind == ']' || kind == '}') close_bracket(f, t);
    else if (kind == T_NUM && is_member(f, t)) put_member(f, t);
    else if (kind == '%' && is_percent(f)) put(f, T_PERCENT, t->loc, t->text, false);
    else if (kind == T_MOVE && round) put_compared(f, t);
    else put(f, kind, t->loc, t->text, t->silent);
}

void tokenize(int file, TokenVec *out)
{
    TokenVec raw = {0};
    scan(file, &raw);
    Filter f = { .raw = raw.at, .n = raw.n, .out = out };
    for (f.i = 0; f.i < f.n; f.i++) {
        filter(&f, &raw.at[f.i]);
        if (f.open.n > MAX_NESTING) {
            error_at(raw.at[f.i].loc, "brackets are nested more than %d deep; the rest of the file was not read",
                     MAX_NESTING);
            break;
        }
    }
    Loc end = raw.at[f.i < f.n ? f.i : f.n - 1].loc;
    if (f.i == f.n && f.open.n) never_closed(&f, end, "the end of the file");
    while (f.open.n) close_silently(&f, end);
    end_statement(&f, end, "the end of the file");
    put(&f, T_END, end, "the end of the file", false);
}
