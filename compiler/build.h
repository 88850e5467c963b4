/* build.h: one constructor for every rule of the grammar (build.c). Each takes the parts that the rule names, in its
   order. */
#ifndef BUILD_H
#define BUILD_H
#include "parse.h"

void build_begin(void);          /* before a file */

AstVec *one(Ast *a);
AstVec *push(AstVec *v, Ast *a);

Ast *build_name(const Token *t);
Ast *build_number(const Token *t);
Ast *build_percent(Loc at, const Token *t);
Ast *build_text(const Token *t);
Ast *build_unary(int op, Loc at, Ast *a);
Ast *build_binary(int op, Loc at, Ast *a, Ast *b);
Ast *build_unary_node(AstKind kind, Loc at, Ast *a);
Ast *build_binary_node(AstKind kind, Loc at, Ast *a, Ast *b);
Ast *build_window(Loc at, Ast *stream, Ast *n, Ast *step, int op);
Ast *build_field(Loc at, Ast *a, const Token *name);
Ast *build_index(Loc at, Ast *a, const AstVec *indices);
Ast *build_at(Ast *a);
Ast *build_slice(Loc at, Ast *from, Ast *to);
Ast *build_call(Ast *a, const AstVec *arguments);
Ast *build_argument(Loc at, Ast *name, Ast *value);
Ast *build_pair(Loc at, Ast *key, Ast *value);
Ast *build_for(Loc at, Ast *e, Ast *target, Ast *list);
Ast *build_list(AstKind kind, Loc at, const AstVec *elements);
Ast *build_bracketed(Loc at, const AstVec *elements);
Ast *build_parenthesised(Loc at, const AstVec *elements, bool comma);
Ast *build_type(Loc at, const Token *element, const AstVec *dims);

Ast *build_target(Loc at, const AstVec *names, bool tuple);
Ast *build_events(Loc at, const AstVec *names);
Ast *build_bind(Loc at, Ast *left, Ast *value);
Ast *build_move(Loc at, Ast *left, Ast *value);
Ast *build_learn(int kind, Loc at, Ast *target, Ast *type, Ast *value, bool drawn, Clauses *cl);
Ast *build_default(Loc at, Clauses *cl);
Ast *build_minimize(Loc at, Ast *name, Ast *e, Ast *wrt);
Ast *build_report(Loc at, Ast *name, Ast *e);
Ast *build_named(AstKind kind, Loc at, const Token *name);
Ast *build_if(Loc at, Ast *c, const AstVec *yes, const AstVec *no);
Ast *build_with_body(AstKind kind, Loc at, Ast *a, const AstVec *body);
Ast *build_for_body(Loc at, Ast *target, Ast *list, const AstVec *body);
Ast *build_level(Loc at, const Token *name, Ast *target, Ast *context, Clauses *cl, const AstVec *body);

Ast *build_param(Loc at, const Token *name, Ast *type, Ast *value, Ast *where);
Ast *build_const(Loc at, const Token *name, Ast *type, Ast *value);
Ast *build_fn(Loc at, const Token *name, const AstVec *params, Ast *value, const AstVec *body);
Ast *build_block(Loc at, const Token *name, const AstVec *params, const AstVec *inputs, Ast *types, const AstVec *body);
Ast *build_rule(Loc at, const Token *name, const AstVec *params, const AstVec *tensors, const AstVec *body);
Ast *build_model(Loc at, const Token *name, const AstVec *params, const AstVec *fields, const AstVec *body);
Ast *build_stream_from(Loc at, const AstVec *fields, Ast *source);
Ast *build_stream(Loc at, const Token *name, const AstVec *params, Ast *from, Ast *value, const AstVec *outputs,
                  const AstVec *body);

Ast *build_train(AstKind kind, Loc at, Ast *models, Ast *stream, SchedClauses *sc);
Ast *build_live(Loc at, const Token *model, const AstVec *states);
Ast *build_table(Loc at, Ast *e, SchedClauses *sc);

Clauses *clause_every(Clauses *c, Loc at, Ast *n, int mode, Ast *block);
Clauses *clause_when(Clauses *c, Loc at, Ast *event, bool sum);
Clauses *clause_with(Clauses *c, Loc at, Ast *rule);
Clauses *clause_from(Clauses *c, Loc at, Ast *file, const AstVec *map);
Clauses *clause_for(Clauses *c, Loc at, Ast *target, Ast *list);
Clauses *clause_keep(Clauses *c, Loc at, Ast *in);
Clauses *clause_truncate(Clauses *c, Loc at, Ast *n);

SchedClauses *clause_batch(SchedClauses *c, Loc at, Ast *n);
SchedClauses *clause_flag(SchedClauses *c, Loc at, const char *word, bool *flag);
SchedClauses *clause_count(SchedClauses *c, Loc at, Ast *n, bool epochs);
SchedClauses *clause_until(SchedClauses *c, Loc at, Ast *e);
SchedClauses *clause_learning(SchedClauses *c, Loc at, const AstVec *states);
SchedClauses *clause_each(SchedClauses *c);
SchedClauses *clause_rows(SchedClauses *c, const Token *name);
SchedClauses *clause_cols(SchedClauses *c, const Token *name);
SchedClauses *clause_cells(SchedClauses *c, const Token *name);
SchedClauses *clause_lower(SchedClauses *c);
#endif
