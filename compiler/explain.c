/* explain.c: nlc explain. Elaboration, when it is to be explained, records for each model in program order: the levels that begin and end,
   each `minimize`, the states that it moves with their clocks and rules, and every value that a rule gives to a state. explain_print
   shows them as formulas (explain_term.c): the update of each state in closed form, as it was derived from the objective.
   The model is elaborated for one item; a gradient over a batch is named the mean over it. Of several versions of a model (batch
   sizes, shapes, tests) the first one that trains is shown. Levels of several instances of a block that read alike are shown once. */
#include <string.h>
#include "explain.h"

typedef enum { R_LEVEL, R_END, R_MINIMIZE, R_UNIT, R_LINE, R_ASSIGN, R_EVENT } RecordKind;
typedef struct {
    RecordKind kind;
    Ast *st; Loc loc;
    const char *level, *context, *clock, *rule, *text;
    Inst *inst;
    const State *state; Node *value, *old; uint32_t hidden;
    int64_t block;
} Record;

typedef struct { const char *name, *label, *context; Loc loc; Elabmodel *em; int64_t batch; bool train; VEC(Record) rec; } Told;
static VEC(Told *) told;
static Told *now;                                         /* NULL: what happens is not recorded */
static const char *clock_now;                             /* of what is recorded: "every 4", "when c" */

static Record *record(RecordKind kind, Loc loc)
{
    static Record none;
    bool event = kind == R_UNIT || kind == R_LINE || kind == R_ASSIGN || kind == R_EVENT;      /* all that an event's version tells */
    if (!now || (in_event() && !event)) return &none;
    Record r = { .kind = kind, .loc = loc };
    PUSH(now->rec, r);
    return &now->rec.at[now->rec.n - 1];
}

void explain_model(Elabmodel *em, int64_t batch, bool train)
{
    if (!explaining) return;
    Told *t = NULL;
    clock_now = NULL; now = NULL;
    for (int i = 0; i < told.n; i++) if (told.at[i]->em == em) t = told.at[i];
    if (t && (t->train || !train)) return;
    if (!t) {
        t = NEW(Told);
        PUSH(told, t);
    }
    *t = (Told){ .name = em->m->name, .label = em->m->label, .context = em->m->context, .loc = em->m->loc, .em = em, .batch = batch, .train = train };
    now = t;
}

void explain_event(Elabmodel *em, const Event *e)
{
    if (!explaining) return;
    now = NULL; clock_now = NULL;
    for (int i = 0; i < told.n; i++) if (told.at[i]->em == em) now = told.at[i];
    if (now) record(R_EVENT, e->loc)->text = e->name;
}

const char *level_context(const Lvl *l)
{
    Ast *st = l->ast;
    const char *names = "", *of = "";
    for (int i = 0; i < st->nnames; i++) names = arena_printf("%s%s%s", names, i ? ", " : "", st->names[i]->name);
    for (int i = 0; i < st->n; i++) of = arena_printf("%s%s%s", of, i ? ", " : "", ast_text(st->list[i]));
    if (st->nnames > 1) names = arena_printf("(%s)", names);
    if (st->n > 1) of = arena_printf("(%s)", of);
    return arena_printf("%s in %s", names, of);
}

void explain_level(Lvl *l)
{
    if (!now || l->preview) return;
    Record *r = record(R_LEVEL, l->ast->loc);
    r->level = l->path; r->context = level_context(l); r->inst = el.inst;
}

void explain_level_end(Lvl *l) { if (now && !l->preview) record(R_END, l->ast->loc); }

static bool in_rule(void) { return el.lvl && el.lvl->kind == L_RULE; }

/* In a batch the gradient is the mean over it: a mark stands for that. */
void explain_objective(Ast *st, Node *e, int n, Var *const *var, Node *const *w, Node **g)
{
    graph_objective(st->name ? st->name : ast_text(st->a), e);
    if (!explaining || in_rule()) return;
    bool model = el.lvl->kind == L_MODEL;
    explain_objective_is(st->name ? st->name : st->a->kind == E_NAME || !model ? ast_text(st->a) : "loss");
    if (now) record(R_MINIMIZE, st->loc)->st = st;
    for (int i = 0; i < n; i++) {
        explain_gradient(g[i], var[i]->st, model && explain_through_pool(e, w[i]));
        if (!model || el.v->batch == 1 || g[i]->op == OP_CONST) continue;
        Node *mean = n_mark(g[i], graph_uid());
        explain_sum(mean, "mean over the batch of", g[i], var[i]->st);
        g[i] = mean;
    }
}

const char *explain_period(const char *what, int64_t n)
{
    const char *of = in_rule() ? "updates" : el.lvl && el.lvl->kind == L_MODEL ? "steps" : "items";
    return arena_printf("%s over %lld %s of", what, (long long)n, of);
}

static bool in_word(char c) { return c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

const char *state_clock(const Var *v)
{
    const char *t = clock_text(v->st);
    return v->block ? arena_printf("%s %s %lld", t, v->is_frozen ? "frozen" : "anchor", (long long)v->block) : t;
}

/* The rule as written; what a parameter stands for, a rule or a function that makes one, by its own name. */
static const char *rule_text(Var *v, Value rule)
{
    Scope *s;
    Ast *with = var_with(v, &s);
    if (with->kind == E_CALL) {
        Value head = eval_quiet(s, with->a);
        const char *written = ast_text(with), *name = ast_text(with->a);
        if (head.kind == V_DEF && head.clo->def) name = head.clo->def->name;
        return arena_printf("%s%s", name, written + strlen(ast_text(with->a)));
    }
    const char *all = v_text(rule);
    return strchr(all, '%') ? rule.clo->def->name : all;
}

void explain_unit(Var *v, Value rule)
{
    if (in_rule()) return;
    graph_rule(v, rule_text(v, rule));
    if (!now) return;
    Record *r = record(R_UNIT, v->st->loc);
    r->state = v->st; r->clock = state_clock(v); r->rule = rule_text(v, rule); r->block = v->block;
}

void explain_sleeper(Var *v, Value rule)
{
    if (!now || in_rule()) return;
    Record *r = record(R_UNIT, v->st->loc);
    r->state = v->st; r->rule = rule_text(v, rule);
}

static uint32_t first_axes(int n) { return (1u << n) - 1; }

void explain_line(Var *v, Node *old)
{
    if (!now || (in_event() && v->inner)) return;
    Record *r = record(R_LINE, v->st->loc);
    int lanes = 0;
    for (int i = 0; v->frame && i < MAXDIM; i++) lanes += v->axes >> i & 1;
    r->state = v->st; r->value = v->cur.node; r->old = old; r->hidden = first_axes(lanes + v->lead);
    r->clock = clock_now ? clock_now : v->st->kind == ST_RULE && !v->learn && v->st->every != 1 ? clock_text(v->st) : NULL;
}

void explain_assign(Var *v, Ast *st)
{
    if (!now || (in_event() && v->inner)) return;
    Record *r = record(R_ASSIGN, st->loc);
    r->state = v->st; r->st = st; r->clock = v->st->every == 1 ? "" : arena_printf("%s: ", clock_text(v->st));
}

void explain_clock(const char *clock) { clock_now = clock; }

/* ---- printing. A level's text is made first, so that levels that read alike are found. */

static const char *where_in(Loc at)
{
    const char *name = source_name(at.file), *slash = strrchr(name, '/');
    return arena_printf("%s:%u", slash ? slash + 1 : name, (unsigned)at.line);
}

static const char *line(const char *text, int indent, const char *content) { return arena_printf("%s%*s%s\n", text, indent, "", content); }

/* text with the name `from`, where it stands as a whole or before a dot, as `to` */
static const char *renamed(const char *text, const char *from, const char *to)
{
    const char *out = "", *p = text, *hit;
    size_t n = strlen(from);
    while ((hit = strstr(p, from))) {
        bool whole = (hit == text || !in_word(hit[-1])) && (!in_word(hit[n]) || hit[n] == '.');
        out = arena_printf("%s%.*s%s", out, (int)(hit - p), p, whole ? to : from);
        p = hit + n;
    }
    return arena_printf("%s%s", out, p);
}

typedef struct { const Record *unit; const char *path, *head, *lines; } Unit;
typedef VEC(Unit) Units;

static const char *unit_head(const Record *u)
{
    if (u->rule) return u->clock ? arena_printf("%s with %s", u->clock, u->rule) : arena_printf("with %s", u->rule);
    return u->clock;
}

/* The lines of one unit: records i + 1, .. up to the next that is no line. */
static const char *unit_lines(const Told *t, int i)
{
    const char *text = "";
    formula_moved(NULL, NULL);
    for (i++; i < t->rec.n && t->rec.at[i].kind == R_LINE; i++) {
        const Record *r = &t->rec.at[i];
        const char *when = r->clock ? arena_printf("%s: ", r->clock) : "";
        text = line(text, 0, arena_printf("%s%s <- %s", when, place_path(r->state->path), formula_text(formula_term(r->value->in[0], r->hidden))));
        formula_moved(r->state, r->old);
    }
    return text;
}

static const char *indented(const char *text, int indent)
{
    const char *out = "";
    while (*text) {
        const char *end = strchr(text, '\n');
        int n = end ? (int)(end - text) : (int)strlen(text);
        out = arena_printf("%s%*s%.*s\n", out, indent, "", n, text);
        text += n + (end != NULL);
    }
    return out;
}

/* A name for each of several states that is no state's. */
static const char *common_name(const Units *u)
{
    static const char *const names[] = { "W", "S", "Z", "A", "P" };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        bool taken = false;
        for (int i = 0; i < u->n; i++) taken |= !strcmp(u->at[i].path, names[k]);
        if (!taken) return names[k];
    }
    return "_";
}

/* Units that differ in the state's name only are shown once. */
static const char *units_text(const Units *u, int indent)
{
    const char *text = "", *each = common_name(u);
    bool *shown = NEWN(bool, u->n + 1);
    for (int i = 0; i < u->n; i++) {
        const Unit *a = &u->at[i];
        const char *names = a->path;
        int same = 1;
        if (shown[i]) continue;
        for (int j = i + 1; j < u->n; j++) {
            const Unit *b = &u->at[j];
            if (strcmp(a->head, b->head) || strcmp(renamed(a->lines, a->path, each), renamed(b->lines, b->path, each))) continue;
            shown[j] = true;
            names = arena_printf("%s, %s", names, b->path);
            same++;
        }
        if (same > 1) names = arena_printf("each %s of %s", each, names);
        text = line(text, indent, arena_printf("%s: %s", names, a->head));
        text = arena_printf("%s%s", text, indented(same > 1 ? renamed(a->lines, a->path, each) : a->lines, indent + 2));
    }
    return text;
}

static const char *where_text(int indent)
{
    const char *text = "", *name, *what;
    for (int i = 0; formula_where(i, &name, &what); i++)
        text = line(text, indent, arena_printf("%s %s = %s", i ? "     " : "where", name, what));
    return text;
}

/* What start(M) is, for states that have blocks. */
static const char *blocks_text(const Told *t, int from, int to, int indent)
{
    const char *text = "", *names = "";
    int64_t block = 0;
    int n = 0;
    for (int i = from; i < to; i++) {
        const Record *r = &t->rec.at[i];
        if (r->kind != R_UNIT || !r->block) continue;
        if (block && r->block != block) {
            text = line(text, indent, arena_printf("start(%s): at the start of the block of %lld items", names, (long long)block));
            names = ""; n = 0;
        }
        block = r->block;
        names = n++ ? arena_printf("%s), start(%s", names, place_path(r->state->path)) : place_path(r->state->path);
    }
    return n ? line(text, indent, arena_printf("start(%s): at the start of the block of %lld items", names, (long long)block)) : text;
}

/* One minimize: records from i, which is R_MINIMIZE, to the end of its lines. */
static const char *minimize_text(const Told *t, int i, Place at, int indent, int *next)
{
    const Record *m = &t->rec.at[i];
    int end = i + 1, n = 0;
    for (; end < t->rec.n && (t->rec.at[end].kind == R_UNIT || t->rec.at[end].kind == R_LINE); end++) n += t->rec.at[end].kind == R_UNIT;
    *next = end;
    formulas_begin(at, n == 1);
    const char *name = m->st->name ? arena_printf("%s = ", m->st->name) : "";
    const char *wrt = m->st->b ? arena_printf(" wrt %s", ast_text(m->st->b)) : "";
    const char *text = line("", indent, arena_printf("minimize %s%s%s  # %s", name, ast_text(m->st->a), wrt, where_in(m->loc)));
    for (int k = i + 1; k < end; k++)
        if (t->rec.at[k].kind == R_LINE) {
            Term *f = formula_term(t->rec.at[k].value->in[0], t->rec.at[k].hidden);
            formula_first(f, t->rec.at[k].state);
            formulas_count(f);
        }
    Units units = { 0 };
    for (int k = i + 1; k < end; k++) {
        if (t->rec.at[k].kind != R_UNIT) continue;
        Unit u = { &t->rec.at[k], place_path(t->rec.at[k].state->path), unit_head(&t->rec.at[k]), unit_lines(t, k) };
        PUSH(units, u);
    }
    text = arena_printf("%s%s", text, units_text(&units, indent + 2));
    text = arena_printf("%s%s", text, where_text(indent + 2));
    return arena_printf("%s%s", text, blocks_text(t, i, end, indent + 2));
}

/* What happens when an event ticks: records from i, which is R_EVENT, to the end of the model or the next event. */
static const char *event_text(const Told *t, int i, Place at, int indent, int *next)
{
    int end = i + 1;
    while (end < t->rec.n && t->rec.at[end].kind != R_EVENT && t->rec.at[end].kind != R_END) end++;
    *next = end;
    formulas_begin(at, false);
    const char *text = line("", indent, arena_printf("when %s ticks  # %s", t->rec.at[i].text, where_in(t->rec.at[i].loc)));
    Units units = { 0 };
    for (int k = i + 1; k < end; k++) {
        const Record *r = &t->rec.at[k];
        if (r->kind == R_ASSIGN) text = line(text, indent + 2, arena_printf("%s <- %s  # %s", place_path(r->state->path), ast_text(r->st->a), where_in(r->loc)));
        if (r->kind != R_UNIT || k + 1 == end || t->rec.at[k + 1].kind != R_LINE) continue;
        Unit u = { r, place_path(r->state->path), unit_head(r), unit_lines(t, k) };
        PUSH(units, u);
    }
    text = arena_printf("%s%s", text, units_text(&units, indent + 2));
    return arena_printf("%s%s", text, where_text(indent + 2));
}

typedef struct { const char *path, *head, *body; int indent; } Block;

/* Records from i to the end of the level: its text; *next is behind its end. */
static const char *body_text(const Told *t, int i, Place at, int indent, int *next);

static const char *below_text(const char *path, const Told *t)
{
    size_t n = strlen(t->name);
    return !strncmp(path, t->name, n) && path[n] == '.' ? path + n + 1 : path;
}

/* Levels that stand side by side, those that read alike together. */
static const char *levels_text(const Told *t, int i, int indent, int *next)
{
    VEC(Block) all = { 0 };
    while (i < t->rec.n && t->rec.at[i].kind == R_LEVEL) {
        const Record *r = &t->rec.at[i];
        Place at = { r->level, r->inst, t->name };
        Block b = { below_text(r->level, t), arena_printf("over %s  # %s", r->context, where_in(r->loc)), NULL, indent };
        b.body = body_text(t, i + 1, at, indent + 2, &i);
        bool again = false;
        for (int k = 0; k < all.n; k++) again |= !strcmp(all.at[k].path, b.path);
        if (!again) PUSH(all, b);
    }
    *next = i;
    const char *text = "";
    for (int k = 0; k < all.n; k++) {
        if (!all.at[k].path) continue;
        const char *names = all.at[k].path;
        for (int j = k + 1; j < all.n; j++)
            if (all.at[j].path && !strcmp(all.at[j].head, all.at[k].head) && !strcmp(all.at[j].body, all.at[k].body)) {
                names = arena_printf("%s, %s", names, all.at[j].path);
                all.at[j].path = NULL;
            }
        text = line(text, indent, arena_printf("level %s, %s", names, all.at[k].head));
        text = arena_printf("%s%s", text, all.at[k].body);
    }
    return text;
}

static const char *body_text(const Told *t, int i, Place at, int indent, int *next)
{
    const char *text = "";
    while (i < t->rec.n && t->rec.at[i].kind != R_END) {
        const Record *r = &t->rec.at[i];
        if (r->kind == R_LEVEL) text = arena_printf("%s%s", text, levels_text(t, i, indent, &i));
        else if (r->kind == R_MINIMIZE) text = arena_printf("%s%s", text, minimize_text(t, i, at, indent, &i));
        else if (r->kind == R_EVENT) text = arena_printf("%s%s", text, event_text(t, i, at, indent, &i));
        else {
            formulas_begin(at, true);
            if (r->kind == R_ASSIGN)
                text = line(text, indent, arena_printf("%s%s <- %s  # %s", r->clock, place_path(r->state->path), ast_text(r->st->a), where_in(r->loc)));
            i++;
        }
    }
    *next = i + 1;
    return text;
}

void explain_begin(bool on)
{
    explaining = on;
    told.n = 0;
    now = NULL;
}

void explain_print(Program *p, FILE *to)
{
    (void)p;
    if (!told.n) fputs("No model is trained or tested in this file, so there is nothing to explain.\n", to);
    for (int i = 0; i < told.n; i++) {
        Told *t = told.at[i];
        int next;
        Place at = { NULL, t->em->root, t->name };
        fprintf(to, "%smodel %s, over %s  # %s\n", i ? "\n" : "", t->label, t->context, where_in(t->loc));
        fputs(body_text(t, 0, at, 2, &next), to);
    }
}
