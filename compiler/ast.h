/* ast.h: the syntax tree. One node type; the table below says for each kind which fields are valid. */
#ifndef AST_H
#define AST_H
#include "nlc.h"

typedef struct Ast Ast;
typedef enum {
    /* expressions */
    E_NUM,      /* num; inum, isint (written without . and e); percent: written 90% (slices of streams only) */
    E_STR,      /* name: the text, escapes done (interned) */
    E_NAME,     /* name                                                    (all names are interned) */
    E_UN,       /* op a         op: '-' negation, 'n' not, '\'' transpose */
    E_BIN,      /* a op b       op: '+' '-' '*' '/' 'd'(//) '%' '^' '@' '<' '>' 'l'(<=) 'g'(>=) 'e'(==) 'x'(!=) '&'(and) '|'(or) */
    E_CALL,     /* a(list)      list of expressions, E_ARG (name = value) and E_PAIR (key: value) */
    E_ARG,      /* name = a     a named argument; in S_REPORT name may be NULL (then a is a name or an expression) */
    E_PAIR,     /* a : b        `W2: dgd(..)`, `up: "layers.{i}"`, `0.85: stream` */
    E_INDEX,    /* a[list]      items: expression, E_SLICE or E_NEW */
    E_SLICE,    /* a:b          either may be NULL; only inside E_INDEX */
    E_NEWAX,    /* new          only inside E_INDEX */
    E_FIELD,    /* a.name       also a.0 : name is the digits */
    E_LIST,     /* [list] */
    E_TUPLE,    /* (list)       n != 1; a parenthesised single expression is that expression; (a: b) is a tuple of one E_PAIR */
    E_FOR,      /* a for names in b      names: list of E_NAME; in calls, brackets and parentheses */
    E_RANGE,    /* a..b */
    E_KEY,      /* a key b      a draw that depends on b alone */
    E_WHEN,     /* a when b     a stream's items for which b holds */
    E_WINDOW,   /* a window b [step c] [anywhere]    op = 'a' if anywhere */
    E_TYPE,     /* element type and dimensions: name = "f32" "f64" "i32" "bool" "u8" ... or NULL; list: dimension expressions ([] has n 0) */

    /* statements */
    S_BIND,     /* names = a            names: one E_NAME, or several for (x, y) = a; tuple says which */
    S_MOVE,     /* b <- a               b: E_NAME or E_FIELD (W.m) */
    S_LEARN,    /* learn names [: type] [= a | ~ a] clauses;   drawn: `~`;  one name or `learn a, b : ..`; tuple: `learn (a, b) = ..` */
    S_STATE,    /* state ...            the same */
    S_DEFAULT,  /* default [every] [with]     in cl */
    S_MINIMIZE, /* minimize [name =] a [wrt b] */
    S_EMIT,     /* emit list */
    S_REPORT,   /* report list          of E_ARG */
    S_IF,       /* if a { body } else { body2 }     else-if nests in body2 */
    S_FOR,      /* for names in a { body } */
    S_LEVEL,    /* level name over names in list { body }; tuple: (a, b) in (x, y): list has as many; cl: keep, truncate */
    S_EVERY,    /* every a { body }     in rules: a number or an event; op = 'w': every when a { body } */
    S_EVENT,    /* event names */
    S_EXPR,     /* a                    result of a body, or a call for what it moves */

    /* definitions */
    D_FILE,     /* body: definitions and the schedule, in order */
    D_USE,      /* name */
    D_CONST,    /* name [: type] = a */
    D_FN,       /* name (params) = a   or { body };   params are typed or not */
    D_BLOCK,    /* name (params) (inputs) -> types { body };  `type`: E_TYPE or E_TUPLE of E_TYPE */
    D_RULE,     /* name (params) (inputs) { body };  inputs: W, g [at a], x, u, w */
    D_STREAM,   /* name [(params)] [over (inputs) in b [when c]] [= a] [-> (outputs)] [{ body }];
                   a: the stream expression after `=`; inputs: field names; list: outputs as P_PARAM */
    D_MODEL,    /* name [(params)] over (inputs) { body } */
    D_SCHEDULE, /* body */
    P_PARAM,    /* name [: type] [= a] [at b]     a parameter, an input or a field */

    /* schedule statements (also S_BIND, S_FOR, S_IF) */
    S_TRAIN,    /* train a on b [batch ..] ...    in sc */
    S_TEST,     /* test a [on [each] b] ...       in sc */
    S_LIVE,     /* stream a learning ..           in sc */
    S_TICK,     /* tick a               m.end */
    S_TABLE,    /* table a [rows name] [cols name] [cells name] [lower]     in sc */
    S_REPEAT,   /* repeat a seeds { body } */
} AstKind;

/* Clauses of learn, state, level, default; NULL where absent. */
typedef struct {
    Ast *every; bool mean;              /* every n [mean] */
    char mode; Ast *block;              /* 'a' anchor C, 'f' frozen C, 0 */
    Ast *when; bool when_sum;           /* every when c [sum] */
    Ast *with;                          /* a rule: E_NAME, E_CALL, or E_TUPLE of E_PAIR */
    Ast *from; Ast **map; int nmap;     /* from FILE (path: "name", ..): E_PAIRs */
    Ast **vars; int nvars; Ast *in;     /* for i in LIST */
    bool keep; Ast *keep_in;            /* keep [in L] */
    Ast *truncate;                      /* level ... truncate n */
    Loc every_loc, with_loc;
} Clauses;

/* Clauses of train, test, table. */
typedef struct {
    Ast *batch; bool lanes, shuffled, carry, each;
    Ast *count; bool epochs;            /* for N steps|epochs */
    Ast *until;
    Ast **learning; int nlearning;      /* names or paths */
    const char *rows, *cols, *cells; Loc rows_loc, cols_loc, cells_loc; bool lower;
} SchedClauses;

struct Ast {
    AstKind kind;
    int op;
    Loc loc;                            /* the whole node; for definitions and calls: the name */
    const char *name;
    double num; int64_t inum;
    bool isint, percent, tuple, drawn;
    Ast *a, *b, *c, *type;
    Ast **list; int n;                  /* arguments, elements, outputs, .. */
    Ast **names; int nnames;            /* bound names (E_NAME) */
    Ast **params; int nparams;          /* P_PARAM: first parentheses */
    Ast **inputs; int ninputs;          /* P_PARAM: second parentheses, fields */
    Ast **body; int nbody;
    Ast **body2; int nbody2;
    Clauses *cl;
    SchedClauses *sc;
    int file;                           /* D_FILE: its source */
    int depth;                          /* of the tree below, 1 for a leaf, at most AST_MAX_DEPTH: recursion is safe */
};
enum { AST_MAX_DEPTH = 400 };

Ast *ast_new(AstKind kind, Loc loc);
void ast_print(const Ast *a, FILE *to);               /* --dump=parse: one node a line, indented */
char *ast_text(const Ast *a);                         /* the expression as written, for labels and messages */

/* ---- resolve.c: the files of a program, and what each of them sees: its own definitions, then those of the files it uses. */
typedef struct SourceFile {
    int file;
    Ast *tree;
    VEC(int) uses;                                    /* source indices, each once, in the order of the `use`s */
} SourceFile;
const SourceFile *source_file(int file);              /* NULL: no file that resolve has seen */
/* The definition of a name as seen from `file`, NULL if there is none; def->loc.file is the file it stands in. A name that two
   used files define is an error at `at` (line 0: silently the first). */
Ast *find_definition(int file, const char *name, Loc at);
void resolve_reset(void);                             /* forgets the files: before arena_free_all, or between tests */
#endif
