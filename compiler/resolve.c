/* resolve.c: files and names.

   Requires: the tree of the main file, without syntax errors.
   Does: reads the files that it uses, and theirs; reports in every definition, used or not, statements where they
   cannot stand, names that are defined twice and names that nothing binds.
   Guarantees: find_definition answers for every file of the program. What a name stands for is found by elab.c, which
   knows the order of statements; here a name is known if anything in its definition binds it, so that a typing error in
   a definition that nobody uses yet is an error all the same, and a correct program never is. */
#define _POSIX_C_SOURCE 200809L
#include "nlc.h"
#include "ast.h"
#include "elab.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ---- sets of interned names */

typedef struct {
    const char **slot;
    int size, n;
    VEC(const char *) list;                           /* the same names, for suggestions */
} NameSet;

static int slot_of(const NameSet *s, const char *name)
{
    uint64_t h = (uint64_t)(uintptr_t)name * 0x9e3779b97f4a7c15u;
    int i = (int)(h >> 32 & (unsigned)(s->size - 1));
    while (s->slot[i] && s->slot[i] != name) i = (i + 1) & (s->size - 1);
    return i;
}

static bool set_has(const NameSet *s, const char *name)
{
    return s->size && s->slot[slot_of(s, name)] == name;
}

static void set_add(NameSet *s, const char *name)
{
    if (!name || set_has(s, name)) return;
    if (2 * (s->n + 1) > s->size) {
        s->size = s->size ? 2 * s->size : 64;
        s->slot = NEWN(const char *, s->size);
        for (int i = 0; i < s->list.n; i++) s->slot[slot_of(s, s->list.at[i])] = s->list.at[i];
    }
    s->slot[slot_of(s, name)] = name;
    s->n++;
    PUSH(s->list, name);
}

static void set_add_all(NameSet *s, const NameSet *more)
{
    for (int i = 0; i < more->list.n; i++) set_add(s, more->list.at[i]);
}

/* ---- files */

typedef struct {
    SourceFile base;                                  /* first: source_file gives a pointer to it */
    NameSet defined;
    NameSet reported, fields, learned;                /* what schedules name: reports, fields, states of models */
    int entered;                                      /* the place in the chain of uses that is being read; 0: done */
    Loc use;                                          /* the `use` through which it was entered */
    bool broken;                                      /* it has syntax errors: not all that it defines is known */
} File;

static VEC(File *) files;
static int chain;                                     /* how many files are being entered */

static File *file_find(int file)
{
    for (int i = 0; i < files.n; i++)
        if (files.at[i]->base.file == file) return files.at[i];
    return NULL;
}

const SourceFile *source_file(int file)
{
    File *f = file_find(file);
    return f ? &f->base : NULL;
}

void resolve_reset(void)
{
    memset(&files, 0, sizeof files);
    chain = 0;
}

static bool is_readable(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

static const char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? arena_strndup(path, (size_t)(slash - path) + 1) : "";
}

static const char *stdlib_folder(void)
{
    return opt.libdir ? arena_printf("%s/stdlib/", opt.libdir) : NULL;
}

/* NAME.nl beside the file, else in the standard library; NULL if there is none. The file itself is never meant. */
static const char *path_of_use(int file, const char *name)
{
    const char *beside = arena_printf("%s%s.nl", folder_of(source_name(file)), name);
    bool itself = !strcmp(beside, source_name(file));
    if (!itself && (source_find(beside) >= 0 || is_readable(beside))) return beside;
    if (!opt.libdir) return itself ? beside : NULL;
    const char *folders[] = { stdlib_folder(), arena_printf("%s/", opt.libdir) };
    for (int i = 0; i < 2; i++) {
        const char *path = arena_printf("%s%s.nl", folders[i], name);
        if (source_find(path) >= 0 || is_readable(path)) return path;
    }
    return itself ? beside : NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the .nl files of a folder, sorted. */
static void list_folder(const char *folder, NameSet *out)
{
    DIR *d = folder ? opendir(*folder ? folder : ".") : NULL;
    if (!d) return;
    int first = out->list.n;
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 3 && !strcmp(e->d_name + n - 3, ".nl")) set_add(out, intern(arena_strndup(e->d_name, n - 3)));
    }
    closedir(d);
    if (out->list.n > first) qsort(out->list.at + first, (size_t)(out->list.n - first), sizeof *out->list.at, by_name);
}

static void no_such_file(int file, const Ast *use)
{
    NameSet all = {0};
    list_folder(folder_of(source_name(file)), &all);
    list_folder(stdlib_folder(), &all);
    const char *near = nearest(use->name, all.list.at, all.list.n);
    const char *hint = near ? arena_printf("; did you mean '%s'?", near) : "";
    error_at(use->loc, "there is no '%s.nl' beside this file or in the standard library%s", use->name, hint);
}

/* ---- the definitions of a file */

static bool is_named_definition(const Ast *d)
{
    return d->kind == D_CONST || d->kind == D_FN || d->kind == D_BLOCK || d->kind == D_RULE || d->kind == D_STREAM ||
           d->kind == D_MODEL;
}

static Ast *own_definition(const File *f, const char *name)
{
    if (!set_has(&f->defined, name)) return NULL;
    for (int i = 0; i < f->base.tree->nbody; i++) {
        Ast *d = f->base.tree->body[i];
        if (is_named_definition(d) && d->name == name) return d;
    }
    return NULL;
}

static void check_twice(File *f)
{
    const Ast *schedule = NULL;
    for (int i = 0; i < f->base.tree->nbody; i++) {
        const Ast *d = f->base.tree->body[i];
        if (d->kind == D_SCHEDULE) {
            if (schedule) {
                error_at(d->loc, "a file has one schedule");
                note_at(schedule->loc, "the first one is here");
            } else {
                schedule = d;
            }
        }
        if (!is_named_definition(d)) continue;
        if (set_has(&f->defined, d->name)) {
            error_at(d->loc, "'%s' is defined twice in this file", d->name);
            note_at(own_definition(f, d->name)->loc, "the first definition is here");
        }
        set_add(&f->defined, d->name);
    }
}

Ast *find_definition(int file, const char *name, Loc at)
{
    File *f = file_find(file);
    name = intern(name);
    Ast *found = f ? own_definition(f, name) : NULL;
    if (!f || found) return found;
    for (int i = 0; i < f->base.uses.n; i++) {
        Ast *d = own_definition(file_find(f->base.uses.at[i]), name);
        if (d && found && at.line) {
            error_at(at, "'%s' is defined in two of the files that this one uses", name);
            note_at(found->loc, "here, in '%s'", source_name(found->loc.file));
            note_at(d->loc, "and here, in '%s'", source_name(d->loc.file));
            return found;
        }
        if (!found) found = d;
    }
    return found;
}

static File *file_enter(Ast *tree, Loc use);

static void uses_in_circle(const File *back, const Ast *use)
{
    const char *name = source_name(back->base.file);
    if (back->entered == chain) error_at(use->loc, "a file cannot use itself");
    else error_at(use->loc, "'use %s' goes round in a circle: '%s' uses this file", use->name, name);
    for (int k = back->entered + 1; k <= chain; k++)
        for (int i = 0; i < files.n; i++) {
            const File *f = files.at[i];
            if (f->entered == k) note_at(f->use, "'%s' is used here", source_name(f->base.file));
        }
}

static void read_use(File *f, const Ast *use)
{
    const char *path = path_of_use(f->base.file, use->name);
    if (!path) {
        no_such_file(f->base.file, use);
        return;
    }
    int file = source_find(path);
    File *used = file >= 0 ? file_find(file) : NULL;
    if (used && used->entered) {
        uses_in_circle(used, use);
        return;
    }
    if (!used) {
        if (file < 0 && (file = source_add(path)) < 0) return;
        int errors = error_count();
        Ast *tree = parse_file(file);
        bool broken = error_count() > errors;
        used = file_enter(tree, use->loc);
        used->broken = broken;
    }
    for (int i = 0; i < f->base.uses.n; i++)
        if (f->base.uses.at[i] == file) return;
    PUSH(f->base.uses, file);
}

static File *file_enter(Ast *tree, Loc use)
{
    File *f = NEW(File);
    f->base.file = tree->file;
    f->base.tree = tree;
    f->entered = ++chain;
    f->use = use;
    PUSH(files, f);
    check_twice(f);
    for (int i = 0; i < tree->nbody; i++)
        if (tree->body[i]->kind == D_USE) read_use(f, tree->body[i]);
    f->entered = 0;
    chain--;
    return f;
}

/* ---- which statement may stand where */

typedef enum {
    IN_FILE = 1, IN_FN = 2, IN_BLOCK = 4, IN_RULE = 8, IN_STREAM = 16, IN_MODEL = 32, IN_LEVEL = 64, IN_SCHEDULE = 128
} Place;

enum { LEARNS = IN_BLOCK | IN_RULE | IN_MODEL | IN_LEVEL, BODIES = LEARNS | IN_FN | IN_STREAM };

static const struct {
    AstKind kind;
    int places;
    const char *what, *belongs;
} statements[] = {
    { S_BIND, BODIES | IN_SCHEDULE, "a binding", "in a body; a name for the whole file is a 'const'" },
    { S_IF, BODIES | IN_SCHEDULE, "'if'", "in a body" },
    { S_FOR, BODIES | IN_SCHEDULE, "'for'", "in a body" },
    { S_EXPR, BODIES, "an expression", "in the body of a definition, as its result" },
    { S_MOVE, LEARNS, "'<-'", "in a level, model, block or rule" },
    { S_LEARN, LEARNS, "'learn'", "in a level, model, block or rule" },
    { S_STATE, LEARNS, "'state'", "in a level, model, block or rule" },
    { S_DEFAULT, LEARNS, "'default'", "in a level or a model" },
    { S_MINIMIZE, LEARNS, "'minimize'", "in a level, model, block or rule" },
    { S_LEVEL, LEARNS | IN_STREAM, "'level'", "in a level, model, block, rule or stream" },
    { S_EMIT, IN_MODEL | IN_LEVEL, "'emit'", "in a level or a model" },
    { S_REPORT, IN_MODEL, "'report'", "in a model" },
    { S_EVENT, IN_MODEL, "'event'", "in a model" },
    { S_EVERY, IN_RULE, "'every' with a body", "in a rule" },
    { S_TRAIN, IN_SCHEDULE, "'train'", "in a schedule" },
    { S_TEST, IN_SCHEDULE, "'test'", "in a schedule" },
    { S_LIVE, IN_SCHEDULE, "'stream .. learning ..'", "in a schedule" },
    { S_TICK, IN_SCHEDULE, "'tick'", "in a schedule" },
    { S_TABLE, IN_SCHEDULE, "'table'", "in a schedule" },
    { S_REPEAT, IN_SCHEDULE, "'repeat'", "in a schedule" },
    { D_USE, IN_FILE, "'use'", "outside all definitions" },
    { D_CONST, IN_FILE, "'const'", "outside all definitions" },
    { D_FN, IN_FILE, "'fn'", "outside all definitions" },
    { D_BLOCK, IN_FILE, "'block'", "outside all definitions" },
    { D_RULE, IN_FILE, "'rule'", "outside all definitions" },
    { D_STREAM, IN_FILE, "'stream'", "outside all definitions" },
    { D_MODEL, IN_FILE, "'model'", "outside all definitions" },
    { D_SCHEDULE, IN_FILE, "'schedule'", "outside all definitions" },
};

static const char *place_name(Place p)
{
    switch (p) {
    case IN_FILE:     return "outside all definitions";
    case IN_FN:       return "in a function";
    case IN_BLOCK:    return "in a block";
    case IN_RULE:     return "in a rule";
    case IN_STREAM:   return "in a stream";
    case IN_MODEL:    return "in a model";
    case IN_LEVEL:    return "in a level";
    case IN_SCHEDULE: return "in a schedule";
    }
    return "here";
}

static Place place_of(const Ast *a, Place around)
{
    switch (a->kind) {
    case D_FN:       return IN_FN;
    case D_BLOCK:    return IN_BLOCK;
    case D_RULE:     return IN_RULE;
    case D_STREAM:   return IN_STREAM;
    case D_MODEL:    return IN_MODEL;
    case D_SCHEDULE: return IN_SCHEDULE;
    case S_LEVEL:    return IN_LEVEL;
    default:         return around;
    }
}

static void check_places(Ast *const *body, int n, Place place)
{
    for (int i = 0; i < n; i++) {
        const Ast *s = body[i];
        for (size_t k = 0; k < sizeof statements / sizeof *statements; k++)
            if (statements[k].kind == s->kind && !(statements[k].places & place))
                error_at(s->loc, "%s cannot stand %s; it belongs %s", statements[k].what, place_name(place),
                         statements[k].belongs);
        Place inside = place_of(s, place);
        check_places(s->body, s->nbody, inside);
        check_places(s->body2, s->nbody2, inside);
    }
}

/* ---- every node below a node */

typedef void (*Visit)(void *context, Ast *a);

static void visit_list(Ast *const *list, int n, Visit visit, void *context)
{
    for (int i = 0; i < n; i++) visit(context, list[i]);
}

static void visit_one(Ast *a, Visit visit, void *context)
{
    if (a) visit(context, a);
}

/* Calls visit for all parts of a, but the names that it binds. */
static void visit_parts(Ast *a, Visit visit, void *context)
{
    visit_list(a->params, a->nparams, visit, context);
    visit_list(a->inputs, a->ninputs, visit, context);
    visit_one(a->type, visit, context);
    visit_one(a->a, visit, context);
    visit_one(a->b, visit, context);
    visit_one(a->c, visit, context);
    visit_list(a->list, a->n, visit, context);
    const Clauses *c = a->cl;
    if (c) {
        Ast *const all[] = { c->every, c->block, c->when, c->with, c->from, c->in, c->keep_in, c->truncate };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) visit_one(all[i], visit, context);
        visit_list(c->map, c->nmap, visit, context);
    }
    if (a->sc) {
        Ast *const all[] = { a->sc->batch, a->sc->count, a->sc->until };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) visit_one(all[i], visit, context);
        visit_list(a->sc->learning, a->sc->nlearning, visit, context);
    }
    visit_list(a->body, a->nbody, visit, context);
    visit_list(a->body2, a->nbody2, visit, context);
}

/* ---- what a definition binds */

/* Parameters, and the dimension names of their shapes: a name alone in a shape is one. */
static void collect_params(NameSet *bound, Ast *const *params, int n)
{
    for (int i = 0; i < n; i++) {
        set_add(bound, params[i]->name);
        const Ast *type = params[i]->type;
        for (int k = 0; type && k < type->n; k++)
            if (type->list[k]->kind == E_NAME) set_add(bound, type->list[k]->name);
    }
}

static void collect(void *context, Ast *a)
{
    NameSet *bound = context;
    collect_params(bound, a->params, a->nparams);
    collect_params(bound, a->inputs, a->ninputs);
    for (int i = 0; i < a->nnames; i++) set_add(bound, a->names[i]->name);
    if (a->cl)
        for (int i = 0; i < a->cl->nvars; i++) set_add(bound, a->cl->vars[i]->name);
    if (a->kind == S_LEVEL || a->kind == S_MINIMIZE) set_add(bound, a->name);
    if (a->kind == S_REPORT)
        for (int i = 0; i < a->n; i++) set_add(bound, a->list[i]->name);
    visit_parts(a, collect, bound);
}

static void check_params(const Ast *d)
{
    NameSet seen = {0};
    for (int i = 0; i < d->nparams + d->ninputs; i++) {
        const Ast *p = i < d->nparams ? d->params[i] : d->inputs[i - d->nparams];
        if (set_has(&seen, p->name)) error_at(p->loc, "two parameters of '%s' are called '%s'", d->name, p->name);
        set_add(&seen, p->name);
    }
    for (int i = 0; d->kind == D_STREAM && i < d->n; i++)
        for (int k = 0; k < i; k++)
            if (d->list[k]->name == d->list[i]->name) {
                error_at(d->list[i]->loc, "two fields of '%s' are called '%s'", d->name, d->list[i]->name);
                break;
            }
}

/* What schedules call by name: reports and states of models, fields of streams. */
static void collect_reports(void *context, Ast *a)
{
    NameSet *reported = context;
    if (a->kind == S_MINIMIZE) set_add(reported, a->name);
    if (a->kind == S_REPORT)
        for (int i = 0; i < a->n; i++) {
            const Ast *r = a->list[i];
            if (r->name) set_add(reported, r->name);
            else if (r->a->kind == E_NAME) set_add(reported, r->a->name);
        }
    visit_parts(a, collect_reports, reported);
}

static void collect_public(File *f)
{
    for (int i = 0; i < f->base.tree->nbody; i++) {
        Ast *d = f->base.tree->body[i];
        if (d->kind == D_MODEL) {
            collect_reports(&f->reported, d);
            collect(&f->learned, d);
        }
        if (d->kind == D_BLOCK) collect(&f->learned, d);
        if (d->kind == D_STREAM || d->kind == D_MODEL)
            for (int k = 0; k < d->ninputs; k++) set_add(&f->fields, d->inputs[k]->name);
        if (d->kind == D_STREAM)
            for (int k = 0; k < d->n; k++) set_add(&f->fields, d->list[k]->name);
    }
}

/* ---- checking */

/* Names with a meaning of their own that are no builtin functions: what elab.c and its neighbours read from the text.
   */
static const char *const words[] = {
    "step", "t", "loss", "inf", "pi", "true", "false", "pool", "avg", "past", "given", "stop", "total", "file",
    "chunks", "join", "mix", "text", "lines", "csv", "json", "idx", "npy", "tokens", "records", "bytes",
    "words", "class",
    "normal", "uniform", "randint", "permutation",
};
enum { NWORDS = sizeof words / sizeof *words };

typedef struct {
    File *file;
    NameSet bound, said;                              /* said: unknown names that were reported */
    const NameSet *extra;                             /* more names that are known in this expression; NULL: none */
} Checker;

static bool is_word(const char *name)
{
    for (int i = 0; i < NWORDS; i++)
        if (!strcmp(words[i], name)) return true;
    return false;
}

/* A file of the standard library that defines the name, without its .nl; NULL if none does. It is looked for in the
   text alone. */
static const char *stdlib_file_with(const char *name)
{
    static const char *const kinds[] = { "fn", "block", "rule", "stream", "model", "const" };
    NameSet all = {0};
    list_folder(stdlib_folder(), &all);
    const char *hit = NULL;
    diag_quiet(true);
    for (int i = 0; i < all.list.n && !hit; i++) {
        const char *path = arena_printf("%s%s.nl", stdlib_folder(), all.list.at[i]);
        int file = source_find(path);
        if (file < 0) file = source_add(path);
        for (size_t k = 0; file >= 0 && k < sizeof kinds / sizeof *kinds && !hit; k++) {
            const char *line = arena_printf("\n%s %s", kinds[k], name);
            const char *at = strstr(source_text(file), line);
            if (at && strchr(" (\n", at[strlen(line)])) hit = all.list.at[i];
        }
    }
    diag_quiet(false);
    return hit;
}

static const char *suggestion(const Checker *c, const char *name)
{
    NameSet all = {0};
    int n;
    const char *const *builtins = builtin_names(&n);
    set_add_all(&all, &c->bound);
    if (c->extra) set_add_all(&all, c->extra);
    set_add_all(&all, &c->file->defined);
    for (int i = 0; i < c->file->base.uses.n; i++) set_add_all(&all, &file_find(c->file->base.uses.at[i])->defined);
    for (int i = 0; i < n; i++) set_add(&all, intern(builtins[i]));
    for (int i = 0; i < NWORDS; i++) set_add(&all, intern(words[i]));
    return nearest(name, all.list.at, all.list.n);
}

/* A name that is unknown is said once in a definition. */
static void check_name(Checker *c, const Ast *a)
{
    if (set_has(&c->bound, a->name) || set_has(&c->said, a->name) || (c->extra && set_has(c->extra, a->name))) return;
    if (find_definition(c->file->base.file, a->name, a->loc) || builtin_find(a->name) || is_word(a->name)) return;
    const char *there = stdlib_file_with(a->name), *near = there ? NULL : suggestion(c, a->name);
    const char *hint = there ? arena_printf("; it is in the standard library: 'use %s'", there) :
                       near  ? arena_printf("; did you mean '%s'?", near) : "";
    error_at(a->loc, "nothing here is called '%s'%s", a->name, hint);
    set_add(&c->said, a->name);
}

static void check(void *context, Ast *a);

static void check_with(Checker *c, Ast *a, const NameSet *extra)
{
    const NameSet *before = c->extra;
    if (!a) return;
    c->extra = extra;
    check(c, a);
    c->extra = before;
}

/* The names of both, where a condition stands in a place that knows some already. */
static const NameSet *both(const NameSet *a, const NameSet *b)
{
    if (!a) return b;
    NameSet *s = NEW(NameSet);
    set_add_all(s, a);
    set_add_all(s, b);
    return s;
}

/* A key names tensors of something else, `near.Wk: "file.name"`, or is a number. */
static bool is_path(const Ast *a)
{
    while (a->kind == E_FIELD || a->kind == E_INDEX) a = a->a;
    return a->kind == E_NAME;
}

static void check(void *context, Ast *a)
{
    Checker *c = context;
    switch (a->kind) {
    case E_NAME:
        check_name(c, a);
        return;
    case E_PAIR:
        if (!is_path(a->a)) check(c, a->a);
        check(c, a->b);
        return;
    case E_WHEN:                                      /* the fields of the items are known in the condition */
        check(c, a->a);
        check_with(c, a->b, both(c->extra, &c->file->fields));
        return;
    case S_TABLE:
        check_with(c, a->a, &c->file->reported);
        return;
    case S_TRAIN:
    case S_TEST:
    case S_LIVE:
        check(c, a->a);
        if (a->b) check(c, a->b);
        if (a->sc->batch) check(c, a->sc->batch);
        if (a->sc->count) check(c, a->sc->count);
        check_with(c, a->sc->until, &c->file->reported);
        for (int i = 0; i < a->sc->nlearning; i++) check_with(c, a->sc->learning[i], &c->file->learned);
        return;
    default:
        visit_parts(a, check, c);
    }
}

static void check_definition(File *f, Ast *d)
{
    Checker c = { .file = f };
    check_params(d);
    collect(&c.bound, d);
    visit_parts(d, check, &c);
}

/* Schedules see the models and streams of used files too. */
static void see_used(File *f)
{
    for (int i = 0; i < f->base.uses.n; i++) {
        File *used = file_find(f->base.uses.at[i]);
        set_add_all(&f->reported, &used->reported);
        set_add_all(&f->fields, &used->fields);
        set_add_all(&f->learned, &used->learned);
    }
}

static bool is_known(const File *f)
{
    bool known = !f->broken;
    for (int i = 0; i < f->base.uses.n; i++) known = known && !file_find(f->base.uses.at[i])->broken;
    return known;
}

void resolve(struct Ast *tree)
{
    resolve_reset();
    file_enter(tree, (Loc){0});
    for (int i = 0; i < files.n; i++) collect_public(files.at[i]);
    for (int i = 0; i < files.n; i++) see_used(files.at[i]);
    for (int i = 0; i < files.n; i++) {
        const Ast *t = files.at[i]->base.tree;
        if (!is_known(files.at[i])) continue;
        check_places(t->body, t->nbody, IN_FILE);
        for (int k = 0; k < t->nbody; k++) {
            Ast *d = t->body[k];
            if (is_named_definition(d) || d->kind == D_SCHEDULE) check_definition(files.at[i], d);
        }
    }
}
