/* levels.c: the level graph as a person reads it (nlc graph). For each model its levels by frequency: how often they move, what moves, why
   (objective) and how (rule), and the levels that rules hold. Levels inside the item stand below it, nested in the level whose items
   they run within, with their lifetimes and the ways in which they exchange knowledge with what is around them. Numbers go from the
   fastest level to the slowest: what is inside is faster. Requires an elaborated program, with the records of elab_graph.c. */
#include <string.h>
#include "program.h"
#include "ast.h"

static const char *shape_text(const State *s)
{
    const char *t = arena_printf("%s[", s->dt == (uint8_t)F32 || s->dt == F64 ? "" : dt_name(s->dt));
    for (int i = 0; i < s->rank; i++) t = arena_printf("%s%s%d", t, i ? ", " : "", s->dim[i]);
    return arena_printf("%s]", t);
}

/* path below `around`, or NULL */
static const char *below(const char *path, const char *around)
{
    size_t n = strlen(around);
    return !strncmp(path, around, n) && path[n] == '.' ? path + n + 1 : NULL;
}

static const char *below_model(const Model *m, const char *path)
{
    const char *t = below(path, m->name);
    return t ? t : path;
}

const char *clock_text(const State *s)
{
    if (!s->every) return s->clock;
    return arena_printf("every %lld%s", (long long)s->every, s->mean && s->every > 1 ? " mean" : "");
}

static const char *level_clock(const Level *l) { return l->every ? arena_printf("every %lld", (long long)l->every) : l->clock; }

static const char *add_name(const char *list, const char *name) { return *list ? arena_printf("%s, %s", list, name) : name; }
static const char *add_line(const char *text, int indent, const char *line) { return arena_printf("%s%*s%s\n", text, indent, "", line); }

/* ---- levels of the model */

/* What the rule of a state holds: "m, v", with a period where it has one. */
static const char *held_by_rule(const Model *m, const State *of)
{
    const char *t = "";
    for (int i = 0; i < m->state.n; i++) {
        const State *s = m->state.at[i], *top = s;
        while (top->of) top = top->of;
        if (s->kind != ST_RULE || top != of) continue;
        const char *name = below(s->path, of->path);
        t = add_name(t, s->every == 1 ? name : arena_printf("%s (%s)", name, clock_text(s)));
    }
    return t;
}

static const char *level_text(const Model *m, const Level *l, int number)
{
    const char *held = NULL, *text = arena_printf("    level %d: %s, %s\n", number, l->name, level_clock(l));
    bool alike = true;
    int states = 0;
    if (l->objective) text = add_line(text, 6, arena_printf("minimize  %s", l->objective));
    if (l->rule) text = add_line(text, 6, arena_printf("with      %s", l->rule));
    if (!l->learned) text = add_line(text, 6, "moved by  <-");
    for (int i = 0; i < m->state.n; i++) {
        if (m->state.at[i]->level != l || m->state.at[i]->kind != ST_LEARN) continue;
        const char *h = held_by_rule(m, m->state.at[i]);
        alike &= !held || !strcmp(held, h);
        held = h;
        states++;
    }
    for (int i = 0; i < m->state.n; i++) {
        const State *s = m->state.at[i];
        if (s->level != l || (s->kind != ST_LEARN && s->kind != ST_STATE)) continue;
        const char *h = held_by_rule(m, s);
        text = add_line(text, 6, arena_printf("%-6s    %-28s %-14s %s", s->kind == ST_LEARN ? "learn" : "state", below_model(m, s->path), shape_text(s), clock_text(s)));
        if (!alike && *h) text = add_line(text, 8, arena_printf("the rule holds %s", h));
    }
    if (alike && held && *held) text = add_line(text, 6, arena_printf("%s   %s", states > 1 ? "each rule holds" : "the rule holds", held));
    return text;
}

static const char *with_period(const Model *m, const Level *l) { return arena_printf("%s (%s)", below_model(m, l->name), level_clock(l)); }

/* The levels that an objective moves, from the k-th on: "M (every 1), M (every 4)"; NULL: all of one frequency. */
static const char *moved_text(const Model *m, int k)
{
    const Level *a = m->level.at[k];
    VEC(const char *) names = { 0 };
    const char *list = "";
    bool differ = false;
    for (; k < m->level.n; k++) {
        const Level *b = m->level.at[k];
        const char *name = with_period(m, b);
        if (!b->objective || strcmp(a->objective, b->objective)) continue;
        differ |= strcmp(level_clock(a), level_clock(b)) != 0;
        bool again = false;
        for (int i = 0; i < names.n; i++) again |= !strcmp(names.at[i], name);
        if (again) continue;
        PUSH(names, name);
        list = add_name(list, name);
    }
    return differ ? list : NULL;
}

/* An objective that moves levels of different frequency ties them. */
static const char *shared_text(const Model *m)
{
    const char *text = "";
    for (int i = 0; i < m->level.n; i++) {
        const Level *a = m->level.at[i];
        bool first = a->learned && a->objective;
        for (int k = 0; k < i && first; k++)
            first = !m->level.at[k]->objective || strcmp(a->objective, m->level.at[k]->objective);
        const char *moved = first ? moved_text(m, i) : NULL;
        if (moved) text = add_line(text, 4, arena_printf("%s moves %s  (backpropagation)", a->objective, moved));
    }
    return text;
}

/* What an event moves: states of its clock, and what rules hold. */
static const char *event_text(const Model *m, const Event *e)
{
    const char *own = "", *held = "", *of = "", *text = add_line("", 4, arena_printf("event %s%s", e->name, e->ticked ? "" : ", which the schedule does not tick"));
    VEC(const char *) names = { 0 };
    VEC(const State *) tops = { 0 };
    for (int i = 0; i < e->moved.n; i++) {
        const State *s = e->moved.at[i], *top = s;
        while (top->of) top = top->of;
        if (s->kind == ST_LEARN || s->kind == ST_STATE) own = add_name(own, below_model(m, s->path));
        if (s->kind != ST_RULE) continue;
        bool again = false, again_of = false;
        const char *name = below(s->path, top->path);
        for (int k = 0; k < names.n; k++) again |= !strcmp(names.at[k], name);
        for (int k = 0; k < tops.n; k++) again_of |= tops.at[k] == top;
        PUSH(names, name);
        PUSH(tops, top);
        if (!again) held = add_name(held, name);
        if (!again_of) of = add_name(of, below_model(m, top->path));
    }
    if (*own) text = add_line(text, 6, arena_printf("moves     %s", own));
    if (*held) text = add_line(text, 6, arena_printf("moves     %s, which the rule holds for %s", held, of));
    return text;
}

/* ---- levels inside the item */

/* A state's name as it reads inside the level: below it, below the block around it, or below the model. */
static const char *name_from(const Model *m, const Level *l, const char *path)
{
    const char *t = below(path, l->name), *dot = strrchr(l->name, '.');
    if (!t && dot) t = below(path, arena_strndup(l->name, (size_t)(dot - l->name)));
    return t ? t : below_model(m, path);
}

static const char *lifetime_text(const Model *m, const Level *l)
{
    if (l->lives && !strcmp(l->lives, m->name)) return arena_printf("kept: lives on from item to item of %s", m->name);
    if (l->lives) return arena_printf("kept: born when the context of %s begins, dies when that ends", below_model(m, l->lives));
    return arena_printf("born when its context begins, at each item of %s; dies when it ends", l->parent ? below_model(m, l->parent->name) : m->name);
}

static const char *inner_states(const Model *m, const Level *l, int indent)
{
    const char *text = "";
    for (int i = 0; i < l->inner.n; i++) {
        const InnerState *s = &l->inner.at[i];
        if (s->st->kind == ST_RULE) continue;
        const char *held = "", *rule = s->rule ? arena_printf(" with %s", s->rule) : "", *keep = s->keep ? ", kept" : "";
        for (int k = 0; k < l->inner.n; k++) {
            const State *r = l->inner.at[k].st, *top = r;
            while (top->of) top = top->of;
            if (r->kind == ST_RULE && top == s->st) held = add_name(held, r->every == 1 ? below(r->path, s->st->path) : arena_printf("%s (%s)", below(r->path, s->st->path), clock_text(r)));
        }
        const char *name = s->st->kind == ST_LEARN ? "learn" : "state";
        text = add_line(text, indent, arena_printf("%s     %-20s %-12s %s%s%s", name, name_from(m, l, s->st->path), shape_text(s->st), s->clock, rule, keep));
        if (*held) text = add_line(text, indent + 2, arena_printf("the rule holds %s", held));
    }
    return text;
}

static const struct { TransferKind kind; const char *before, *name; } ways[] = {
    { TR_INIT, "starts", "initialization" }, { TR_GENERATION, "starts", "generation" }, { TR_PARAMETRIC, "reads", "direct, parametric" },
    { TR_OUTPUT, "gives", "direct, non-parametric" }, { TR_BACKPROP, "through", "backpropagation" },
};

static const char *transfer_text(const Model *m, const Level *l, int way, int indent)
{
    const char *list = "";
    for (int i = 0; i < l->transfer.n; i++) {
        const Transfer *t = &l->transfer.at[i];
        if (t->kind != ways[way].kind) continue;
        const char *what = strcmp(t->what, "its output") && strcmp(t->what, "the item") && t->kind != TR_BACKPROP ? name_from(m, l, t->what) : t->what;
        const char *to = t->to ? below_model(m, t->to) : "";
        if (t->kind == TR_INIT) what = arena_printf("%s as %s", name_from(m, l, t->to), what);
        if (t->kind == TR_GENERATION) what = arena_printf("%s at a value computed from %s", name_from(m, l, t->to), what);
        if (t->kind == TR_OUTPUT) what = arena_printf("%s to %s", what, to);
        if (t->kind == TR_BACKPROP) what = arena_printf("%s of %s", what, to);
        list = add_name(list, what);
    }
    if (!*list) return "";
    if (ways[way].kind == TR_BACKPROP) list = arena_printf("it the gradient of %s", list);
    return add_line("", indent, arena_printf("%-9s %s  (%s)", ways[way].before, list, ways[way].name));
}

typedef struct { const Model *m; int number; } Numbers;

/* The level itself, without its name and what is inside. */
static const char *inner_body(const Model *m, const Level *l, int indent)
{
    const char *text = "";
    if (l->inner.n) text = add_line(text, indent, lifetime_text(m, l));
    if (l->objective) text = add_line(text, indent, arena_printf("minimize  %s", l->objective));
    text = arena_printf("%s%s", text, inner_states(m, l, indent));
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) text = arena_printf("%s%s", text, transfer_text(m, l, (int)k, indent));
    return text;
}

static const char *inner_head(const Level *l)
{
    return arena_printf("over %s, %d item%s%s", l->context, l->items, l->items == 1 ? "" : "s", l->inner.n ? "" : ", without states");
}

static const char *inside_text(Numbers *n, const Level *around, int indent);

static const char *whole_text(Numbers *n, const Level *l, int indent)
{
    return arena_printf("%s\n%s%s", inner_head(l), inner_body(n->m, l, indent + 2), inside_text(n, l, indent + 2));
}

/* The levels directly inside `around` (NULL: the model); those that read alike together. */
static const char *inside_text(Numbers *n, const Level *around, int indent)
{
    const Model *m = n->m;
    const char *text = "", **name = NEWN(const char *, m->inside.n + 1), **body = NEWN(const char *, m->inside.n + 1);
    int *number = NEWN(int, m->inside.n + 1), some = 0;
    for (int i = 0; i < m->inside.n; i++) {
        const Level *l = m->inside.at[i];
        if (l->parent != around) continue;
        int before = n->number;
        name[i] = below_model(m, l->name);
        body[i] = whole_text(n, l, indent + 2);
        bool again = false;
        for (int k = 0; k < i && !again; k++)
            if (body[k] && !strcmp(body[k], body[i])) { name[k] = add_name(name[k], name[i]); body[i] = NULL; n->number = before; again = true; }
        if (!again) number[i] = ++n->number;
        some++;
    }
    if (!some) return "";
    text = add_line(text, indent, arena_printf("inside each item of %s", around ? below_model(m, around->name) : m->name));
    for (int i = 0; i < m->inside.n; i++)
        if (body[i]) text = arena_printf("%s%*slevel %d: %s, %s", text, indent + 2, "", number[i], name[i], body[i]);
    return text;
}

static void print_text(const Program *p, FILE *to)
{
    for (int i = 0; i < p->model.n; i++) {
        const Model *m = p->model.at[i];
        Numbers n = { m, 0 };
        const char *inside = inside_text(&n, NULL, 4);
        fprintf(to, "%smodel %s, over %s\n", i ? "\n" : "", m->label, m->context);
        for (int k = 0; k < m->level.n; k++) fputs(level_text(m, m->level.at[k], n.number + k + 1), to);
        fputs(shared_text(m), to);
        for (int k = 0; k < m->event.n; k++) fputs(event_text(m, m->event.at[k]), to);
        fputs(inside, to);
    }
}

/* ---- Graphviz */

/* Text for a label of Graphviz' language. */
static const char *quoted(const char *s)
{
    char *out = arena_alloc(2 * strlen(s) + 1), *o = out;
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') *o++ = '\\';
        *o++ = *s;
    }
    return out;
}

static const char *label(const char *text, const char *line) { return line ? arena_printf("%s\\n%s", text, quoted(line)) : text; }

static void dot_model_level(const Model *m, int i, int k, FILE *to)
{
    const Level *l = m->level.at[k];
    const char *t = label(quoted(below_model(m, l->name)), level_clock(l));
    if (l->rule) t = label(t, arena_printf("with %s", l->rule));
    if (l->objective) t = label(t, arena_printf("minimize %s", l->objective));
    fprintf(to, "    m%d_l%d [label=\"%s\"];\n", i, k, t);
    for (int j = 0; j < m->state.n; j++) {
        const State *s = m->state.at[j], *top = s->of;
        if (s->kind != ST_RULE || !top) continue;
        while (top->of) top = top->of;
        if (top->level != l) continue;
        fprintf(to, "    m%d_s%d [label=\"%s\", style=rounded]; m%d_s%d -> m%d_l%d;\n", i, j, quoted(below_model(m, s->path)), i, j, i, k);
    }
    if (k) fprintf(to, "    m%d_l%d -> m%d_l%d [style=dashed];\n", i, k - 1, i, k);
}

static void dot_event(const Model *m, int i, int k, FILE *to)
{
    const Event *e = m->event.at[k];
    fprintf(to, "    m%d_e%d [label=\"event %s\", shape=ellipse];\n", i, k, quoted(e->name));
    for (int l = 0; l < m->level.n; l++) {
        bool moves = false;
        for (int j = 0; j < e->moved.n; j++) {
            const State *top = e->moved.at[j];
            while (top->of) top = top->of;
            moves |= top->level == m->level.at[l];
        }
        if (moves) fprintf(to, "    m%d_e%d -> m%d_l%d [style=dotted];\n", i, k, i, l);
    }
}

static int inside_number(const Model *m, const char *path)
{
    for (int i = 0; i < m->inside.n; i++) if (!strcmp(m->inside.at[i]->name, path)) return i;
    return -1;
}

/* The node of the level that has a state, or that is meant by a path. */
static const char *dot_node(const Model *m, int i, const char *path)
{
    int k = inside_number(m, path);
    if (k >= 0) return arena_printf("m%d_i%d", i, k);
    for (k = 0; k < m->inside.n; k++)
        for (int j = 0; j < m->inside.at[k]->inner.n; j++)
            if (!strcmp(m->inside.at[k]->inner.at[j].st->path, path)) return arena_printf("m%d_i%d", i, k);
    for (k = 0; k < m->state.n; k++)
        if (!strcmp(m->state.at[k]->path, path))
            for (int j = 0; j < m->level.n; j++) if (m->level.at[j] == m->state.at[k]->level) return arena_printf("m%d_l%d", i, j);
    return arena_printf("m%d_item", i);
}

static void dot_inside(const Model *m, int i, const Level *around, int indent, FILE *to)
{
    for (int k = 0; k < m->inside.n; k++) {
        const Level *l = m->inside.at[k];
        if (l->parent != around) continue;
        const char *t = label(quoted(below_model(m, l->name)), inner_head(l));
        if (l->objective) t = label(t, arena_printf("minimize %s", l->objective));
        for (int j = 0; j < l->inner.n; j++) {
            const InnerState *s = &l->inner.at[j];
            const char *rule = s->rule ? arena_printf(" with %s", s->rule) : s->st->kind == ST_RULE ? " (of the rule)" : "";
            t = label(t, arena_printf("%s %s%s", name_from(m, l, s->st->path), s->clock, rule));
        }
        fprintf(to, "%*ssubgraph cluster_%d_%d {\n%*slabel=\"\"; style=dotted;\n%*sm%d_i%d [label=\"%s\"];\n", indent, "", i, k, indent + 2, "", indent + 2, "", i, k, t);
        dot_inside(m, i, l, indent + 2, to);
        fprintf(to, "%*s}\n", indent, "");
    }
}

static void dot_transfers(const Model *m, int i, FILE *to)
{
    VEC(const char *) seen = { 0 };
    for (int k = 0; k < m->inside.n; k++)
        for (int j = 0; j < m->inside.at[k]->transfer.n; j++) {
            const Transfer *t = &m->inside.at[k]->transfer.at[j];
            const char *self = arena_printf("m%d_i%d", i, k), *other = dot_node(m, i, t->kind == TR_OUTPUT || t->kind == TR_BACKPROP ? t->to : t->what), *name = "";
            for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) if (ways[w].kind == t->kind) name = ways[w].name;
            bool out = t->kind == TR_OUTPUT, again = false;
            const char *edge = arena_printf("    %s -> %s [label=\"%s\"%s];\n", out ? self : other, out ? other : self, name, t->kind == TR_BACKPROP ? ", style=dotted" : "");
            for (int s = 0; s < seen.n; s++) again |= !strcmp(seen.at[s], edge);
            if (again) continue;
            PUSH(seen, edge);
            fputs(edge, to);
        }
}

static void print_dot(const Program *p, FILE *to)
{
    fprintf(to, "digraph levels {\n  rankdir=BT; node [shape=box, fontname=\"sans-serif\"];\n");
    for (int i = 0; i < p->model.n; i++) {
        const Model *m = p->model.at[i];
        fprintf(to, "  subgraph cluster_%d {\n    label=\"%s\";\n", i, quoted(m->label));
        for (int k = 0; k < m->level.n; k++) dot_model_level(m, i, k, to);
        for (int k = 0; k < m->event.n; k++) dot_event(m, i, k, to);
        if (m->inside.n) {
            fprintf(to, "    m%d_item [label=\"an item of %s\", shape=plaintext];\n", i, quoted(m->name));
            dot_inside(m, i, NULL, 4, to);
            dot_transfers(m, i, to);
        }
        fprintf(to, "  }\n");
    }
    fprintf(to, "}\n");
}

void levels_print(Program *p, FILE *to, bool dot)
{
    if (dot) print_dot(p, to);
    else print_text(p, to);
}
