/* levels.c: the level graph as a person reads it (nlc graph): for each model its levels, fastest first: how often they move, what moves, why
   (objective) and how (rule), and the levels that rules hold. Requires an elaborated program. */
#include <string.h>
#include "program.h"
#include "ast.h"

static const char *shape_text(const State *s)
{
    const char *t = arena_printf("%s[", s->dt == (uint8_t)F32 || s->dt == F64 ? "" : dt_name(s->dt));
    for (int i = 0; i < s->rank; i++) t = arena_printf("%s%s%d", t, i ? ", " : "", s->dim[i]);
    return arena_printf("%s]", t);
}

static const char *below_model(const Model *m, const char *path)
{
    size_t n = strlen(m->name);
    return !strncmp(path, m->name, n) && path[n] == '.' ? path + n + 1 : path;
}

static const char *every_text(const State *s)
{
    if (s->every == 1) return "every 1";
    return arena_printf("every %lld%s", (long long)s->every, s->mean ? " mean" : "");
}

/* The states that the rules of a level's states hold. */
static void print_rule_states(const Model *m, const Level *l, FILE *to)
{
    for (int i = 0; i < m->state.n; i++) {
        const State *s = m->state.at[i];
        if (s->kind != ST_RULE || !s->of) continue;
        const State *top = s->of;
        while (top->of) top = top->of;
        if (top->level != l) continue;
        fprintf(to, "        %-28s %-14s %s, held by the rule of %s\n", below_model(m, s->path), shape_text(s), every_text(s), below_model(m, s->of->path));
    }
}

static void print_level(const Model *m, const Level *l, int number, FILE *to)
{
    fprintf(to, "    level %d: %s, every %lld\n", number, l->name, (long long)l->every);
    if (l->objective) fprintf(to, "      minimize  %s\n", l->objective);
    if (l->rule) fprintf(to, "      with      %s\n", l->rule);
    if (!l->learned) fprintf(to, "      moved by  <-\n");
    for (int i = 0; i < m->state.n; i++) {
        const State *s = m->state.at[i];
        if (s->level != l || (s->kind != ST_LEARN && s->kind != ST_STATE)) continue;
        fprintf(to, "      %-6s    %-28s %-14s %s\n", s->kind == ST_LEARN ? "learn" : "state", below_model(m, s->path), shape_text(s), every_text(s));
    }
    print_rule_states(m, l, to);
}

static void print_text(const Program *p, FILE *to)
{
    for (int i = 0; i < p->model.n; i++) {
        const Model *m = p->model.at[i];
        fprintf(to, "%smodel %s, over %s\n", i ? "\n" : "", m->label, m->context);
        for (int k = 0; k < m->level.n; k++) print_level(m, m->level.at[k], k + 1, to);
    }
}

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

static void print_dot(const Program *p, FILE *to)
{
    fprintf(to, "digraph levels {\n  rankdir=BT; node [shape=box, fontname=\"sans-serif\"];\n");
    for (int i = 0; i < p->model.n; i++) {
        const Model *m = p->model.at[i];
        fprintf(to, "  subgraph cluster_%d {\n    label=\"%s\";\n", i, quoted(m->label));
        for (int k = 0; k < m->level.n; k++) {
            const Level *l = m->level.at[k];
            fprintf(to, "    m%d_l%d [label=\"%s\\nevery %lld%s%s%s%s\"];\n", i, k, quoted(l->name), (long long)l->every, l->rule ? "\\nwith " : "",
                    l->rule ? quoted(l->rule) : "", l->objective ? "\\nminimize " : "", l->objective ? quoted(l->objective) : "");
            for (int j = 0; j < m->state.n; j++) {
                const State *s = m->state.at[j], *top = s->of;
                if (s->kind != ST_RULE) continue;
                while (top->of) top = top->of;
                if (top->level != l) continue;
                fprintf(to, "    m%d_s%d [label=\"%s\", style=rounded]; m%d_s%d -> m%d_l%d;\n", i, j, quoted(below_model(m, s->path)), i, j, i, k);
            }
            if (k) fprintf(to, "    m%d_l%d -> m%d_l%d [style=dashed];\n", i, k - 1, i, k);
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
