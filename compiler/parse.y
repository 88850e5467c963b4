/* parse.y: tokens to the tree of ast.h.

   Requires: a source (diag.c).  Does: parses all definitions of a file, going on after each error at the next
   statement.
   Guarantees: a D_FILE, in which statements with errors are missing; no tree is deeper than AST_MAX_DEPTH, so that
   every later pass may recurse. The grammar accepts some sentences that mean nothing (a definition in a body, `train`
   in a block): resolve.c says so in better words than a grammar can. tokens.c sees to the ends of statements and to
   balanced brackets. */

%code top {
#define _POSIX_C_SOURCE 200809L
}

%code requires {
#include "nlc.h"
#include "ast.h"
#include "lex.h"
typedef VEC(Ast *) AstVec;
typedef struct Parser {
    int file;
    TokenVec tokens;
    int i;                       /* the next token */
    const Token *last;           /* that the parser took: the one in its way when it complains */
} Parser;
}

%code {
#include "build.h"
#include <string.h>

#define YYMAXDEPTH 10000
#define YYSTACK_USE_ALLOCA 0     /* the parser's stack lives on the heap */
#define YYLLOC_DEFAULT(Cur, Rhs, N) \
    ((Cur) = (N) ? loc_span(YYRHSLOC(Rhs, 1), YYRHSLOC(Rhs, N)) : loc_after(YYRHSLOC(Rhs, 0)))

static Loc loc_after(Loc l);
static int yylex(YYSTYPE *value, Loc *at, Parser *p);
static void yyerror(const Loc *at, Parser *p, AstVec *file, const char *text);
}

%define api.pure full
%define api.location.type {Loc}
%define api.token.prefix {T_}
%define api.value.type union
%define parse.error custom
%define parse.lac full           /* the expected tokens of a message are the true ones */
%locations
%expect 0
%param {Parser *p}
%parse-param {AstVec *file}

%token END 0 "the end of the file"
%token LINE "the end of the statement"
%token RAW_LINE                  /* of the scanner only */
%token <const Token *> NAME "a name" NUM "a number" STR "a text"

/* definitions */
%token USE "use" CONST "const" FN "fn" BLOCK "block" RULE "rule" STREAM "stream" MODEL "model" SCHEDULE "schedule"
/* statements */
%token LEARN "learn" STATE "state" LEVEL "level" MINIMIZE "minimize" EMIT "emit" REPORT "report" DEFAULT "default"
%token IF "if" ELSE "else" FOR "for" EVENT "event" TRAIN "train" TEST "test" TICK "tick" TABLE "table" REPEAT "repeat"
/* clauses */
%token EVERY "every" WITH "with" WHEN "when" OVER "over" IN "in" ON "on" EACH "each" AT "at" MEAN "mean" SUM "sum"
%token ANCHOR "anchor" FROZEN "frozen" FROM "from" WRT "wrt" KEEP "keep" TRUNCATE "truncate" BATCH "batch" LANES "lanes"
%token STEPS "steps" EPOCHS "epochs" SHUFFLED "shuffled" CARRY "carry" UNTIL "until" LEARNING "learning" SEEDS "seeds"
%token ROWS "rows" COLS "cols" CELLS "cells" LOWER "lower"
/* signs and operators */
%token ARROW "->" MOVE "<-" DOTDOT ".." DSLASH "//" EQ "==" NE "!=" LE "<=" GE ">=" PERCENT "a share in percent"
%token AND "and" OR "or" NOT "not" KEY "key" WINDOW "window" STEP "step" ANYWHERE "anywhere"

%left WHEN WINDOW
%precedence STEP ANYWHERE
%nonassoc ".."
%left OR
%left AND
%precedence NOT
%left '<' '>' "<=" ">=" "==" "!="
%left '+' '-'
%left '*' '/' "//" '%'
%left '@'
%precedence NEGATIVE
%right '^'
%left KEY

%type <Ast *> item definition stream_from stream_value model learn level if schedule_statement
%type <Ast *> target param type type_opt types default_opt at_opt wrt_opt report
%type <Ast *> expr operand argument pair index index_expr
%type <AstVec *> lines body body_opt else_opt params params_opt param_list names expr_list type_list
%type <AstVec *> arguments arguments_opt pairs indices reports outputs_opt
%type <Clauses *> clauses
%type <SchedClauses *> schedule_clauses table_clauses
%type <int> learn_or_state

%%

start: lines END                        { (void)yynerrs; *file = *$lines; };    /* bison counts errors, diag.c too */

/* ---- what has lines of its own: definitions and statements */

lines:
  %empty                                { $$ = NEW(AstVec); }
| lines item LINE                       { $$ = push($1, $item); }
| lines error LINE                      { $$ = $1; yyerrok; }
| lines error body LINE                 { $$ = $1; yyerrok; }
| lines error body ELSE body LINE       { $$ = $1; yyerrok; }
;

body: '{' lines '}'                     { $$ = $lines; };

item: definition | learn | level | if | schedule_statement
| expr                                  { $$ = build_unary_node(S_EXPR, @$, $1); }
| expr '=' expr                         { $$ = build_bind(@$, $1, $3); }
| expr "<-" expr                        { $$ = build_move(@$, $1, $3); }
| DEFAULT clauses                       { $$ = build_default(@$, $clauses); }
| MINIMIZE expr wrt_opt                 { $$ = build_minimize(@$, NULL, $expr, $wrt_opt); }
| MINIMIZE expr[name] '=' expr[e] wrt_opt   { $$ = build_minimize(@$, $name, $e, $wrt_opt); }
| EMIT expr_list                        { $$ = build_list(S_EMIT, @$, $expr_list); }
| REPORT reports                        { $$ = build_list(S_REPORT, @$, $reports); }
| EVERY expr body                       { $$ = build_with_body(S_EVERY, @$, $expr, $body); }
| EVERY WHEN expr body                  { $$ = build_with_body(S_EVERY, @$, $expr, $body); $$->op = 'w'; }
| EVENT names                           { $$ = build_events(@$, $names); }
| FOR target IN expr body               { $$ = build_for_body(@$, $target, $expr, $body); }
;

wrt_opt:
  %empty                                { $$ = NULL; }
| WRT expr                              { $$ = $expr; }
;

reports:
  report                                { $$ = one($1); }
| reports ',' report                    { $$ = push($1, $3); }
;

report:
  expr                                  { $$ = build_report(@$, NULL, $1); }
| expr '=' expr                         { $$ = build_report(@$, $1, $3); }
;

if:
  IF expr body else_opt                 { $$ = build_if(@$, $expr, $body, $else_opt); }
;

else_opt:
  %empty                                { $$ = NULL; }
| ELSE body                             { $$ = $body; }
| ELSE if                               { $$ = one($if); }
;

/* ---- definitions */

definition:
  USE NAME                              { $$ = build_named(D_USE, @NAME, $NAME); }
| CONST NAME type_opt '=' expr          { $$ = build_const(@NAME, $NAME, $type_opt, $expr); }
| FN NAME params '=' expr               { $$ = build_fn(@NAME, $NAME, $params, $expr, NULL); }
| FN NAME params body                   { $$ = build_fn(@NAME, $NAME, $params, NULL, $body); }
| BLOCK NAME params[own] params[inputs] "->" types body
    { $$ = build_block(@NAME, $NAME, $own, $inputs, $types, $body); }
| RULE NAME params[own] params[tensors] body    { $$ = build_rule(@NAME, $NAME, $own, $tensors, $body); }
| STREAM NAME params_opt stream_from stream_value outputs_opt body_opt
    { $$ = build_stream(@NAME, $NAME, $params_opt, $stream_from, $stream_value, $outputs_opt, $body_opt); }
| model
| SCHEDULE body                         { $$ = build_with_body(D_SCHEDULE, @1, NULL, $body); }
;

model: MODEL NAME params_opt OVER params[fields] body
    { $$ = build_model(@NAME, $NAME, $params_opt, $fields, $body); }
;

stream_from:
  %empty                                { $$ = NULL; }
| OVER params IN expr                   { $$ = build_stream_from(@$, $params, $expr); }
;

stream_value:
  %empty                                { $$ = NULL; }
| '=' expr                              { $$ = $expr; }
;

outputs_opt:
  %empty                                { $$ = NULL; }
| "->" params                           { $$ = $params; }
;

body_opt:
  %empty                                { $$ = NULL; }
| body
;

params_opt:
  %empty                                { $$ = NULL; }
| params
;

params:
  '(' ')'                               { $$ = NEW(AstVec); }
| '(' param_list comma_opt ')'          { $$ = $2; }
;

param_list:
  param                                 { $$ = one($1); }
| param_list ',' param                  { $$ = push($1, $3); }
;

param: NAME type_opt default_opt at_opt { $$ = build_param(@NAME, $NAME, $type_opt, $default_opt, $at_opt); };

default_opt:
  %empty                                { $$ = NULL; }
| '=' expr                              { $$ = $expr; }
;

at_opt:
  %empty                                { $$ = NULL; }
| AT expr                               { $$ = $expr; }
;

type_opt:
  %empty                                { $$ = NULL; }
| ':' type                              { $$ = $type; }
;

type:
  '[' ']'                               { $$ = build_type(@$, NULL, NULL); }
| '[' expr_list comma_opt ']'           { $$ = build_type(@$, NULL, $2); }
| NAME '[' ']'                          { $$ = build_type(@$, $NAME, NULL); }
| NAME '[' expr_list comma_opt ']'      { $$ = build_type(@$, $NAME, $3); }
;

types:
  type
| '(' type_list comma_opt ')'           { $$ = build_list(E_TUPLE, @$, $2); }
;

type_list:
  type                                  { $$ = one($1); }
| type_list ',' type                    { $$ = push($1, $3); }
;

comma_opt: %empty | ',';

/* ---- state and levels; which clauses may stand where is for build.c to say */

learn:
  learn_or_state target type_opt clauses            { $$ = build_learn($1, @$, $2, $3, NULL, false, $4); }
| learn_or_state target type_opt '=' expr clauses   { $$ = build_learn($1, @$, $2, $3, $5, false, $6); }
| learn_or_state target type_opt '~' expr clauses   { $$ = build_learn($1, @$, $2, $3, $5, true, $6); }
;

learn_or_state:
  LEARN                                 { $$ = S_LEARN; }
| STATE                                 { $$ = S_STATE; }
;

level: LEVEL NAME OVER target IN expr clauses body
    { $$ = build_level(@$, $NAME, $target, $expr, $clauses, $body); }
;

target:
  names                                 { $$ = build_target(@$, $names, false); }
| '(' names comma_opt ')'               { $$ = build_target(@$, $names, true); }
;

names:
  NAME                                  { $$ = one(build_name($1)); }
| names ',' NAME                        { $$ = push($1, build_name($3)); }
;

clauses:
  %empty                                { $$ = NEW(Clauses); }
| clauses EVERY expr                    { $$ = clause_every($1, loc_span(@2, @3), $3, 0, NULL); }
| clauses EVERY expr MEAN               { $$ = clause_every($1, loc_span(@2, @4), $3, 'm', NULL); }
| clauses EVERY expr ANCHOR expr[c]     { $$ = clause_every($1, loc_span(@2, @5), $3, 'a', $c); }
| clauses EVERY expr FROZEN expr[c]     { $$ = clause_every($1, loc_span(@2, @5), $3, 'f', $c); }
| clauses EVERY WHEN expr               { $$ = clause_when($1, loc_span(@2, @4), $4, false); }
| clauses EVERY WHEN expr SUM           { $$ = clause_when($1, loc_span(@2, @5), $4, true); }
| clauses WITH expr                     { $$ = clause_with($1, loc_span(@2, @3), $3); }
| clauses FROM STR '(' pairs comma_opt ')'  { $$ = clause_from($1, @2, build_text($STR), $pairs); }
| clauses FROM NAME '(' pairs comma_opt ')' { $$ = clause_from($1, @2, build_name($NAME), $pairs); }
| clauses FROM STR                      { $$ = clause_from($1, @2, build_text($STR), NULL); }
| clauses FROM NAME                     { $$ = clause_from($1, @2, build_name($NAME), NULL); }
| clauses FOR target IN expr            { $$ = clause_for($1, @2, $target, $expr); }
| clauses KEEP                          { $$ = clause_keep($1, @2, NULL); }
| clauses KEEP IN NAME                  { $$ = clause_keep($1, @2, build_name($NAME)); }
| clauses TRUNCATE expr                 { $$ = clause_truncate($1, @2, $3); }
;

pairs:
  pair                                  { $$ = one($1); }
| pairs ',' pair                        { $$ = push($1, $3); }
;

pair: expr ':' expr                     { $$ = build_pair(@$, $1, $3); };

/* ---- the statements of a schedule */

schedule_statement:
  TRAIN expr schedule_clauses                       { $$ = build_train(S_TRAIN, @$, $2, NULL, $3); }
| TRAIN expr ON expr[stream] schedule_clauses       { $$ = build_train(S_TRAIN, @$, $2, $stream, $5); }
| TRAIN expr ON EACH expr[stream] schedule_clauses  { $$ = build_train(S_TRAIN, @$, $2, $stream, clause_each($6)); }
| TEST expr schedule_clauses                        { $$ = build_train(S_TEST, @$, $2, NULL, $3); }
| TEST expr ON expr[stream] schedule_clauses        { $$ = build_train(S_TEST, @$, $2, $stream, $5); }
| TEST expr ON EACH expr[stream] schedule_clauses   { $$ = build_train(S_TEST, @$, $2, $stream, clause_each($6)); }
| STREAM NAME LEARNING expr_list                     { $$ = build_live(@$, $2, $4); }
| TICK expr                                         { $$ = build_unary_node(S_TICK, @$, $2); }
| TABLE expr table_clauses                          { $$ = build_table(@$, $2, $3); }
| REPEAT expr SEEDS body                            { $$ = build_with_body(S_REPEAT, @$, $2, $4); }
;

schedule_clauses:
  %empty                                { $$ = NEW(SchedClauses); }
| schedule_clauses BATCH expr           { $$ = clause_batch($1, @2, $3); }
| schedule_clauses LANES                { $$ = clause_flag($1, @2, "lanes", &$1->lanes); }
| schedule_clauses SHUFFLED             { $$ = clause_flag($1, @2, "shuffled", &$1->shuffled); }
| schedule_clauses CARRY                { $$ = clause_flag($1, @2, "carry", &$1->carry); }
| schedule_clauses FOR expr STEPS       { $$ = clause_count($1, @2, $3, false); }
| schedule_clauses FOR expr EPOCHS      { $$ = clause_count($1, @2, $3, true); }
| schedule_clauses UNTIL expr           { $$ = clause_until($1, @2, $3); }
| schedule_clauses LEARNING expr_list   { $$ = clause_learning($1, @2, $3); }
;

table_clauses:
  %empty                                { $$ = NEW(SchedClauses); }
| table_clauses ROWS NAME               { $$ = clause_rows($1, $3); }
| table_clauses COLS NAME               { $$ = clause_cols($1, $3); }
| table_clauses CELLS NAME              { $$ = clause_cells($1, $3); }
| table_clauses LOWER                   { $$ = clause_lower($1); }
;

/* ---- expressions */

expr_list:
  expr                                  { $$ = one($1); }
| expr_list ',' expr                    { $$ = push($1, $3); }
;

expr:
  operand
| '-' expr  %prec NEGATIVE              { $$ = build_unary('-', @$, $2); }
| NOT expr                              { $$ = build_unary('n', @$, $2); }
| expr '^' expr                         { $$ = build_binary('^', @$, $1, $3); }
| expr '@' expr                         { $$ = build_binary('@', @$, $1, $3); }
| expr '*' expr                         { $$ = build_binary('*', @$, $1, $3); }
| expr '/' expr                         { $$ = build_binary('/', @$, $1, $3); }
| expr "//" expr                        { $$ = build_binary('d', @$, $1, $3); }
| expr '%' expr                         { $$ = build_binary('%', @$, $1, $3); }
| expr '+' expr                         { $$ = build_binary('+', @$, $1, $3); }
| expr '-' expr                         { $$ = build_binary('-', @$, $1, $3); }
| expr '<' expr                         { $$ = build_binary('<', @$, $1, $3); }
| expr '>' expr                         { $$ = build_binary('>', @$, $1, $3); }
| expr "<=" expr                        { $$ = build_binary('l', @$, $1, $3); }
| expr ">=" expr                        { $$ = build_binary('g', @$, $1, $3); }
| expr "==" expr                        { $$ = build_binary('e', @$, $1, $3); }
| expr "!=" expr                        { $$ = build_binary('x', @$, $1, $3); }
| expr AND expr                         { $$ = build_binary('&', @$, $1, $3); }
| expr OR expr                          { $$ = build_binary('|', @$, $1, $3); }
| expr ".." expr                        { $$ = build_binary_node(E_RANGE, @$, $1, $3); }
| expr KEY expr                         { $$ = build_binary_node(E_KEY, @$, $1, $3); }
| expr WHEN expr                        { $$ = build_binary_node(E_WHEN, @$, $1, $3); }
| expr WINDOW expr  %prec WINDOW                                { $$ = build_window(@$, $1, $3, NULL, 0); }
| expr WINDOW expr ANYWHERE  %prec WINDOW                       { $$ = build_window(@$, $1, $3, NULL, 'a'); }
| expr WINDOW expr STEP expr[step]  %prec WINDOW                { $$ = build_window(@$, $1, $3, $step, 0); }
| expr WINDOW expr STEP expr[step] ANYWHERE  %prec WINDOW       { $$ = build_window(@$, $1, $3, $step, 'a'); }
;

operand:
  NAME                                  { $$ = build_name($1); }
| NUM                                   { $$ = build_number($1); }
| STR                                   { $$ = build_text($1); }
| operand '\''                          { $$ = build_unary('\'', @$, $1); }
| operand '.' NAME                      { $$ = build_field(@$, $1, $3); }
| operand '[' indices comma_opt ']'     { $$ = build_index(@$, $1, $3); }
| operand '(' arguments_opt ')'         { $$ = build_call($1, $3); }
| '[' arguments_opt ']'                 { $$ = build_bracketed(@$, $2); }
| '(' ')'                               { $$ = build_list(E_TUPLE, @$, NEW(AstVec)); }
| '(' arguments ')'                     { $$ = build_parenthesised(@$, $2, false); }
| '(' arguments ',' ')'                 { $$ = build_parenthesised(@$, $2, true); }
;

arguments_opt:
  %empty                                { $$ = NEW(AstVec); }
| arguments comma_opt
;

arguments:
  argument                              { $$ = one($1); }
| arguments ',' argument                { $$ = push($1, $3); }
;

argument:
  expr
| pair
| expr FOR target IN expr[list]                 { $$ = build_for(@$, $1, $target, $list); }
| expr '=' expr[value]                          { $$ = build_argument(@$, $1, $value); }
| expr '=' expr[e] FOR target IN expr[list]
    { $$ = build_argument(@$, $1, build_for(loc_span(@e, @list), $e, $target, $list)); }
;

indices:
  index                                 { $$ = one($1); }
| indices ',' index                     { $$ = push($1, $3); }
;

index:
  index_expr                            { $$ = build_at($1); }
| ':'                                   { $$ = build_slice(@$, NULL, NULL); }
| index_expr ':'                        { $$ = build_slice(@$, $1, NULL); }
| ':' index_expr                        { $$ = build_slice(@$, NULL, $2); }
| index_expr ':' index_expr             { $$ = build_slice(@$, $1, $3); }
;

index_expr:
  expr
| NUM PERCENT                           { $$ = build_percent(@$, $NUM); }
;

%%

static Loc loc_after(Loc l)
{
    l.col = l.ecol;
    return l;
}

static int yylex(YYSTYPE *value, Loc *at, Parser *p)
{
    const Token *t = &p->tokens.at[p->i];
    if (p->i + 1 < p->tokens.n) p->i++;
    p->last = t;
    *at = t->loc;
    value->T_NAME = t;
    return t->kind;
}

static void yyerror(const Loc *at, Parser *p, AstVec *file, const char *text)
{
    (void)p, (void)file, (void)text;
    error_at(*at, "this is nested too deeply; the rest of the file was not read");
}

/* ---- messages: what was expected, in the user's words */

typedef struct {
    const Token *t, *first;      /* where the parser stopped; the first token of the statement */
    yysymbol_kind_t expected[YYNTOKENS];
    int n;
} Trouble;

static bool expects(const Trouble *w, yysymbol_kind_t kind)
{
    for (int i = 0; i < w->n; i++)
        if (w->expected[i] == kind) return true;
    return false;
}

static bool expects_sign(const Trouble *w, const char *sign)
{
    for (int i = 0; i < w->n; i++)
        if (!strcmp(yysymbol_name(w->expected[i]), sign)) return true;
    return false;
}

static const char *quoted(const char *s)
{
    return strcmp(s, "'") ? arena_printf("'%s'", s) : "the sign ' (transpose)";
}

/* What stands there. */
static const char *found(const Token *t)
{
    if (t->kind == T_LINE || t->kind == T_END) return t->text;
    if (t->kind == T_STR) return "a text";
    return quoted(t->text);
}

/* A symbol of the grammar as the user writes it. */
static const char *symbol_text(yysymbol_kind_t kind)
{
    const char *name = yysymbol_name(kind);
    if (kind == YYSYMBOL_NAME || kind == YYSYMBOL_NUM || kind == YYSYMBOL_STR || kind == YYSYMBOL_LINE) return name;
    return name[0] == '\'' ? name : quoted(name);
}

/* What can go on after a whole operand and is worth a mention: a list of all operators and clauses helps nobody. */
static bool worth_saying(const Trouble *w, yysymbol_kind_t kind)
{
    static const char *const few[] = {
        "->", "':'", "','", "')'", "']'", "'{'", "'='", "in", "on", "over", "seeds", "steps", "epochs", "'('",
    };
    const char *name = yysymbol_name(kind);
    bool operators = expects(w, YYSYMBOL_KEY);
    bool closing = expects(w, YYSYMBOL_LINE) || expects_sign(w, "')'") || expects_sign(w, "']'");
    bool names = !strcmp(name, "'='") || !strcmp(name, "':'");
    if (operators && (!strcmp(name, "'('") || (closing && names))) return false;
    if (kind == YYSYMBOL_LINE || kind == YYSYMBOL_NAME || kind == YYSYMBOL_STR) return true;
    for (size_t i = 0; i < sizeof few / sizeof *few; i++)
        if (!strcmp(few[i], name)) return true;
    return false;
}

/* "an operator, ',' or ')'"; NULL if there is nothing to say. */
static const char *list_expected(const Trouble *w)
{
    const char *text = expects(w, YYSYMBOL_KEY) ? "an operator" : NULL;
    yysymbol_kind_t last = YYSYMBOL_YYEMPTY;
    for (int i = 0; i < w->n; i++) {
        if (!worth_saying(w, w->expected[i])) continue;
        if (last != YYSYMBOL_YYEMPTY) text = text ? arena_printf("%s, %s", text, symbol_text(last)) : symbol_text(last);
        last = w->expected[i];
    }
    if (last == YYSYMBOL_YYEMPTY) return text;
    return text ? arena_printf("%s or %s", text, symbol_text(last)) : symbol_text(last);
}

static const char *similar_statement(const char *name)
{
    int n;
    const char *const *words = statement_words(&n);
    return nearest(name, words, n);
}

/* A keyword that is expected and nearly written so. */
static const char *similar_keyword(const Trouble *w)
{
    const char *words[YYNTOKENS];
    int n = 0;
    for (int i = 0; i < w->n; i++) {
        const char *name = yysymbol_name(w->expected[i]);
        if (name[0] >= 'a' && name[0] <= 'z' && !strchr(name, ' ')) words[n++] = name;
    }
    return nearest(w->t->text, words, n);
}

/* Mistakes that have words of their own; false: none of them. */
static bool explain_known(const Trouble *w)
{
    const Token *t = w->t;
    const char *near;
    if (w->first->kind == T_NAME && t == w->first + 1 && (near = similar_statement(w->first->text))) {
        error_at(w->first->loc, "no statement begins with '%s'; did you mean '%s'?", w->first->text, near);
        return true;
    }
    if (t->kind == '=' && expects(w, YYSYMBOL_KEY)) {
        error_at(t->loc, "'=' binds a name; to compare, write '=='");
        return true;
    }
    if (t->kind == T_MOVE && expects(w, YYSYMBOL_KEY)) {
        error_at(t->loc, "'<-' moves a state; to compare with a negative number, write '< -' with a space");
        return true;
    }
    if (t->kind == T_ELSE && expects(w, YYSYMBOL_LEARN)) {
        error_at(t->loc, "there is no 'if' for this 'else'");
        return true;
    }
    if (t->kind == T_NAME && (near = similar_keyword(w))) {
        error_at(t->loc, "'%s' cannot stand here; did you mean '%s'?", t->text, near);
        return true;
    }
    return false;
}

static void explain(const Parser *p, const Trouble *w)
{
    const Token *t = w->t;
    bool word = t->text[0] >= 'a' && t->text[0] <= 'z' && t->kind != T_NAME && t->kind != T_LINE && t->kind != T_END &&
                t->kind != T_STR;
    const char *what = t->kind == T_LINE || t->kind == T_END ? "before" : "instead of";
    if (expects(w, YYSYMBOL_LEARN)) {
        bool goes_on = t->kind < 256 ? strchr("+*/%^@<>,:.=", t->kind) != NULL : t->kind == T_AND || t->kind == T_OR;
        error_at(t->loc, "a statement cannot begin with %s%s", found(t),
                 goes_on && t != p->tokens.at ? "; it goes on in the next line only inside ( ) and [ ]" : "");
    } else if (word && expects(w, YYSYMBOL_NAME)) {
        error_at(t->loc, "'%s' is a word of the language and cannot %s", t->text,
                 expects(w, YYSYMBOL_NUM) ? "stand in an expression" : "be a name");
    } else if (expects(w, YYSYMBOL_NUM)) {
        error_at(t->loc, "expected an expression %s %s", what, found(t));
    } else {
        const char *list = list_expected(w);
        if (list) error_at(t->loc, "expected %s %s %s", list, what, found(t));
        else error_at(t->loc, "%s cannot stand here", found(t));
    }
}

static const Token *first_of_statement(const Parser *p, const Token *t)
{
    while (t > p->tokens.at && t[-1].kind != T_LINE && t[-1].kind != '{') t--;
    return t;
}

static int yyreport_syntax_error(const yypcontext_t *context, Parser *p, AstVec *file)
{
    (void)file;
    Trouble w = { .t = p->last };
    if (w.t->silent) return 0;
    w.first = first_of_statement(p, w.t);
    w.n = yypcontext_expected_tokens(context, w.expected, YYNTOKENS);
    if (!explain_known(&w)) explain(p, &w);
    return 0;
}

Ast *parse_file(int file)
{
    Parser p = { .file = file };
    AstVec items = {0};
    tokenize(file, &p.tokens);
    build_begin();
    yyparse(&p, &items);
    Ast *tree = build_list(D_FILE, (Loc){ .file = (uint16_t)file, .line = 1, .col = 1, .ecol = 1 }, NULL);
    tree->body = items.at;
    tree->nbody = items.n;
    tree->file = file;
    return tree;
}
