/* explain.h: what elaboration tells `nlc explain`: how nodes are called in the source, and what each `minimize` makes of its states.
   Every function here does nothing unless `explaining` is set before elaboration begins; then a model is elaborated for one item,
   without the axis of its batch. */
#ifndef EXPLAIN_H
#define EXPLAIN_H
#include "elab_int.h"

extern bool explaining;

/* ---- explain.c: records */
void explain_model(Elabmodel *em, int64_t batch, bool train);    /* a version of it begins */
void explain_level(Lvl *l);                              /* the body of an inner level begins, and ends */
void explain_level_end(Lvl *l);
void explain_objective(Ast *st, Node *e, int n, Var *const *var, Node *const *w, Node **g);    /* st moves these states; may replace gradients by marks */
void explain_unit(Var *v, Value rule);                   /* what follows moves v */
void explain_sleeper(Var *v, Value rule);                /* what follows is what an event does to v and its rule */
void explain_event(Elabmodel *em, const Event *e);       /* its version begins */
void explain_line(Var *v, Node *old);                    /* v has just moved */
const char *explain_period(const char *what, int64_t n); /* "sum over n items of" */
void explain_assign(Var *v, Ast *st);                    /* the same by a level's own `<-` */
void explain_clock(const char *clock);                   /* what follows happens when this says; NULL: always */

const char *level_context(const Lvl *l);                 /* "xt in x" */
const char *state_clock(const Var *v);                   /* "every 1 anchor 16" */

/* ---- elab_graph.c: the level graph */
void graph_states(Lvl *l, int items);
void graph_emits(Lvl *l);
void graph_rule(Var *v, const char *rule);
void graph_read(Var *v);
void graph_start(Lvl *l, const char *path, Value start);
void graph_result(Lvl *l, Value result);
void graph_ended(Lvl *l, const Var *v);                  /* level.M is read */
void graph_objective(const char *name, Node *e);

/* ---- explain_term.c: what nodes are called */
void explain_name(Value v, const char *name, Inst *in, const Scope *scope);     /* bound to a name in the body of in; NULL: in a function or a rule */
void explain_always(Value v, const char *name);          /* t, step */
void explain_call(Value result, const char *name, Inst *in, int n, const Value *arg, const char *const *argname);
void explain_state(Node *x, const State *st, bool start);        /* a value of the state; that at the start of its block */
void explain_item(Node *formal, Node *operand);          /* formal is one item of operand's first axis */
void explain_sum(Node *sum, const char *words, Node *one, const State *st);    /* "sum over 16 items of" one: the gradient of st */
void explain_gradient(Node *g, const State *st, bool opaque);     /* of the objective at work */
void explain_objective_is(const char *text);
Value explain_pool(Value v, const char *name, Value arg);        /* v behind a mark: gradients through it are no closed form of one item */
bool  explain_through_pool(Node *e, Node *w);

/* Where formulas are printed. */
typedef struct Term Term;
typedef struct { const char *level; Inst *inst; const char *model; } Place;
void formulas_begin(Place at, bool alone);               /* formulas that are printed together share their `where` lines; alone: one state moves */
Term *formula_term(Node *x, uint32_t hidden);            /* hidden: bits of axes that are not shown */
void formulas_count(Term *t);
void formula_first(Term *t, const State *st);
const char *formula_text(Term *t);
void formula_moved(const State *st, Node *old);          /* this value of st is old(..) from here on; NULL: forget all */
bool formula_where(int i, const char **name, const char **text);     /* what was named; false: no more */
const char *place_path(const char *path);
#endif
