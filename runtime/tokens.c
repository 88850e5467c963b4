/* tokens.c: a model that predicts the next token, as generate and stream use it.

   The token that was seen last has not been given to the model yet: it is, as soon as the one after it is asked for (tokens_next) or
   known (tokens_add). So a sequence gives the same states and the same predictions in one piece and in many.

   window false: the entry takes one token, and what the model learns in its context stays in its kept states. With lag 1 the entry
   is also given the token that follows, to learn from. When that is not known yet, the prediction is made with another one and the kept
   states are put back, unless the description says that they do not look at it.
   window true: the last tokens are given again for each new one, and kept states stay as they are. */
#include "rt.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put_token(const Tokens *t, int64_t place, int64_t token)
{
    char *at = (char *)t->buffer + (size_t)place * type_size(t->g->type);
    if (t->g->type == T_I64)
        memcpy(at, &token, sizeof token);
    else if (t->g->type == T_U8)
        *at = (char)token;
    else {
        int32_t v = (int32_t)token;
        memcpy(at, &v, sizeof v);
    }
}

static void check(const Tokens *t, const nl_status *st)
{
    const Desc *d = &t->r->desc;
    if (!st->bad)
        return;
    bool known = st->site >= 0 && st->site < d->nsite;
    const char *what = known ? d->site[st->site].what : NULL;
    rt_fail_at(known ? d->site[st->site].line : NULL, "index %lld is outside of %s, which has %lld (model %s, token %lld)", (long long)st->index,
               what ? what : "its tensor", (long long)st->limit, t->in->name, (long long)t->seen);
}

/* The entry on the tokens in the buffer; the logits of row `row` to t->logit. */
static void call(Tokens *t, int64_t row)
{
    const Generate *g = t->g;
    const void *in[1] = {t->buffer};
    void *out[2] = {t->acc, t->raw};
    Call c = {.state = t->in->state, .in = in, .out = out, .count = 1, .seed = run_seed(t->r)};
    nl_status st = team_call(g->entry, &c);
    check(t, &st);
    Type type = t->r->desc.entry[g->entry].out[1].type;
    for (int64_t i = 0; i < g->classes; i++) {
        t->logit[i] = load_number(type, t->raw, row * g->classes + i);
        if (isnan(t->logit[i]))
            rt_fail("the prediction of token %lld is not a number (model %s)", (long long)t->seen + 1, t->in->name);
    }
}

void tokens_begin(Tokens *t, Run *r, int inst, const Generate *g)
{
    const Entry *e = &r->desc.entry[g->entry];
    *t = (Tokens){.r = r, .g = g, .in = &r->inst[inst], .inst = inst, .m = &r->desc.model[g->model], .last = -1};
    t->buffer = rt_alloc(type_size(g->type) * (size_t)(g->rows + g->lag));
    t->acc = rt_alloc(e->out[0].bytes);
    t->raw = rt_alloc(e->out[1].bytes);
    t->logit = rt_alloc(sizeof *t->logit * (size_t)g->classes);
    t->keep = rt_alloc(t->m->bytes);
    t->window = rt_alloc(sizeof *t->window * (size_t)g->rows);
    if (g->fresh >= 0) {
        Call c = {.state = t->in->state, .seed = run_seed(r), .count = 1};
        nl_status st = alone_call(g->fresh, &c, NULL, NULL);
        check(t, &st);
    }
    if (r->memory_load && !memory_put(r, inst))
        rt_fail("%s: it holds no memory of %s", r->memory_load, t->in->name);
    t->last = r->memory[inst].last;
    t->seen = r->memory[inst].tokens;
    if (t->last >= g->classes)
        rt_fail("%s: damaged: its last token is %lld, and %s has %lld", r->memory_load, (long long)t->last, t->in->name, (long long)g->classes);
}

void tokens_end(Tokens *t)
{
    free(t->buffer);
    free(t->acc);
    free(t->raw);
    free(t->logit);
    free(t->keep);
    free(t->window);
}

/* ---- one token after the other */
static void give(Tokens *t, int64_t next)
{
    put_token(t, 0, t->last);
    if (t->g->lag)
        put_token(t, 1, next);
    call(t, 0);
}

static void ask(Tokens *t)
{
    bool again = t->g->lag && t->g->ahead;
    if (again)
        kept_copy(t->m, t->keep, t->in->state);
    give(t, 0);
    if (again)
        kept_copy(t->m, t->in->state, t->keep);
    t->given = !again;
}

/* ---- the whole window */
static void window_push(Tokens *t, int64_t token)
{
    if (t->nwindow == t->g->rows)
        memmove(t->window, t->window + 1, sizeof *t->window * (size_t)--t->nwindow);
    t->window[t->nwindow++] = token;
}

static void ask_window(Tokens *t)
{
    for (int64_t i = 0; i < t->g->rows + t->g->lag; i++)
        put_token(t, i, i < t->nwindow ? t->window[i] : 0);
    kept_copy(t->m, t->keep, t->in->state);
    call(t, t->nwindow - 1);
    kept_copy(t->m, t->in->state, t->keep);
}

/* ---- */
const double *tokens_next(Tokens *t)
{
    if (t->g->window)
        ask_window(t);
    else if (!t->given)
        ask(t);
    return t->logit;
}

const double *tokens_add(Tokens *t, int64_t token)
{
    bool first = t->last < 0;
    if (t->g->window)
        window_push(t, token);
    else if (!first && !t->given)
        give(t, token);
    t->given = false;
    t->last = token;
    t->seen += !first;
    return first || t->g->window ? NULL : t->logit;
}

void tokens_note(Tokens *t)
{
    memory_note(t->r, t->inst);
    t->r->memory[t->inst].last = t->last;
    t->r->memory[t->inst].tokens = t->seen;
}

double tokens_nats(const Tokens *t, int64_t token)
{
    double top = t->logit[0], sum = 0;
    for (int64_t i = 1; i < t->g->classes; i++)
        top = t->logit[i] > top ? t->logit[i] : top;
    for (int64_t i = 0; i < t->g->classes; i++)
        sum += exp(t->logit[i] - top);
    return log(sum) + top - t->logit[token];
}

/* ---- which instance: by its name, or the name of its model */
static const Generate *generate_of(const Desc *d, int model)
{
    for (int i = 0; i < d->ngenerate; i++)
        if (d->generate[i].model == model && !d->generate[i].learning)
            return &d->generate[i];
    return NULL;
}

/* Is the first of the names in `in`, which are separated by commas? */
static bool named_in(const char *name, size_t n, const char *in)
{
    for (; in; in = strchr(in, ',') ? strchr(in, ',') + 1 : NULL) {
        in += strspn(in, " ");
        if (strncmp(in, name, n) == 0 && (!in[n] || strchr(", ", in[n])))
            return true;
    }
    return false;
}

static bool all_named_in(const char *names, const char *in)
{
    for (; names; names = strchr(names, ',') ? strchr(names, ',') + 1 : NULL) {
        names += strspn(names, " ");
        if (!named_in(names, strcspn(names, ", "), in))
            return false;
    }
    return true;
}

const Generate *tokens_learning(const Run *r, const Generate *g, const char *names)
{
    char *all = rt_strdup("");
    for (int i = 0; i < r->desc.ngenerate; i++) {
        const Generate *l = &r->desc.generate[i];
        if (l->model != g->model || !l->learning)
            continue;
        if (all_named_in(names, l->learning) && all_named_in(l->learning, names)) {
            free(all);
            return l;
        }
        char *longer = rt_printf("%s%s--learning %s", all, *all ? ", or " : "", l->learning);
        free(all);
        all = longer;
    }
    const char *model = r->desc.model[g->model].name;
    if (*all)
        rt_usage("--learning %s: the schedule says no `stream %s learning %s`; there is %s", names, model, names, all);
    rt_usage("--learning %s: what may move is compiled in: write `stream %s learning %s` into the schedule", names, model, names);
}

static bool is_called(const Run *r, int inst, const char *name)
{
    const Model *m = &r->desc.model[r->inst[inst].model];
    char *numbered = rt_printf("%s#%d", r->inst[inst].name, inst);
    bool yes = !name || strcmp(name, r->inst[inst].name) == 0 || strcmp(name, m->name) == 0 || strcmp(name, m->label) == 0 || strcmp(name, numbered) == 0;
    free(numbered);
    return yes;
}

/* Where several have one name (repeat), the last one counts. */
int tokens_instance(const Run *r, const char *name, const Generate **g)
{
    char *all = rt_strdup("");
    int found = -1, several = 0, others = 0;
    if (r->desc.ngenerate == 0)
        rt_fail("no model of %s can go on with a sequence: it would be a model over one field of tokens that emits the logits of the next one", r->desc.source);
    for (int i = 0; i < r->desc.ninst; i++) {
        if (!r->inst[i].state || !generate_of(&r->desc, r->inst[i].model))
            continue;
        char *longer = strstr(all, r->inst[i].name) ? rt_strdup(all) : rt_printf("%s%s%s", all, *all ? ", " : "", r->inst[i].name);
        free(all);
        all = longer;
        others++;
        if (!is_called(r, i, name))
            continue;
        several += found >= 0 && strcmp(r->inst[found].name, r->inst[i].name) != 0;
        found = i;
    }
    if (others == 0)
        rt_fail("the checkpoint holds no model that can go on with a sequence");
    if (found < 0)
        rt_usage("--model: there is no %s that can go on with a sequence; there is %s", name, all);
    if (several)
        rt_usage("several models can go on with a sequence; say which one: --model %s", all);
    free(all);
    *g = generate_of(&r->desc, r->inst[found].model);
    return found;
}
