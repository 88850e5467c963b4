/* lex.h: tokens, between lex.l (bytes to tokens), tokens.c (ends of statements, brackets, words that are keywords in
   one place and names in another) and parse.y. */
#ifndef LEX_H
#define LEX_H
#include "nlc.h"

typedef struct {
    int kind;                    /* of parse.h; T_RAW_LINE: the end of a line, between lex.l and tokens.c only */
    bool silent;                 /* made up after an error that was reported: no further message about it */
    Loc loc;
    const char *text;            /* as written (interned); a text without quotes and escapes */
} Token;
typedef VEC(Token) TokenVec;

typedef struct { const char *text; int kind; } Word;

/* lex.l: all tokens of a file, ends of lines among them; what is no token is reported. */
void scan(int file, TokenVec *out);
/* tokens.c: the same as parse.y takes them: brackets balanced, an end after every statement. */
void tokenize(int file, TokenVec *out);
/* tokens.c: what a statement or definition can begin with, for suggestions. */
const char *const *statement_words(int *n);
#endif
