/* main.c: the command line of nlc, and the road of a program through the passes.

   Requires: nothing.  Does: reads the options, finds the standard library and libnlrt.a, calls the passes in the order of nlc.h.
   Guarantees: exit status 0 when all went well, 2 for a wrong command line, 1 for everything else (`run`: the status of the program).
   A file that cannot be finished is not begun: what is written gets its name only when it is whole. */
#define _GNU_SOURCE 1
#include "nlc.h"
#include "ast.h"
#include "program.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

Options opt;

enum { OK = 0, FAILED = 1, USAGE = 2 };

/* ---- what the command line says */

typedef enum { CMD_BUILD, CMD_RUN, CMD_CHECK, CMD_GRAPH, CMD_EXPLAIN, CMD_GRADCHECK } CommandKind;

typedef struct {
    CommandKind kind;
    const char *file;            /* FILE.nl */
    const char *out;             /* -o */
    bool object_only, dot, reference;
    int argc; char **argv;       /* run: the program's own arguments */
} Command;

static const struct { const char *name; CommandKind kind; } commands[] = {
    { "run", CMD_RUN }, { "check", CMD_CHECK }, { "graph", CMD_GRAPH }, { "explain", CMD_EXPLAIN }, { "gradcheck", CMD_GRADCHECK },
};

/* What --dump knows; plan and llvm are printed by emit.c on its way. */
static const char *const dumps[] = { "parse", "loops", "graph", "hoist", "plan", "llvm", "json" };

static const char help[] =
    "usage: nlc [options] FILE.nl [-o OUT]    make an executable (without -o: FILE in the current folder)\n"
    "       nlc run [options] FILE.nl [args]  make it, run it with args, remove it\n"
    "       nlc check [options] FILE.nl       report errors only\n"
    "       nlc graph [options] FILE.nl       print the levels: what learns, from what, how often, by which rule\n"
    "       nlc explain [options] FILE.nl     print each update in closed form, as derived from its objective\n"
    "       nlc gradcheck [options] FILE.nl   compare every objective's gradient with central differences\n"
    "\n"
    "  -o OUT            name of the executable (or, with -c, of the object file)\n"
    "  -c                make an object file only\n"
    "  -D NAME=EXPR      another value for a const of the program\n"
    "  --float=f32|f64   the default element type (f32)\n"
    "  --cpu=NAME        make code for this processor instead of this machine's (\"generic\" runs everywhere)\n"
    "  --clocks=block|item   levels in blocks where their clocks allow it (block), or strictly item by item\n"
    "  --reference       run: evaluate slowly, without making machine code\n"
    "  --dot             graph: for Graphviz\n"
    "  --verify          check the tensor graph after every pass\n"
    "  --dump=PASS       print what came out of a pass: parse, loops, graph, hoist, plan, llvm, json\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0, 1 when the program has errors, 2 for a wrong command line; run: that of the program.\n";

static void usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void usage_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("nlc: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("\nTry `nlc --help`.\n", stderr);
    va_end(ap);
    exit(USAGE);
}

/* The value of `--name=value` or `--name value`; NULL if the argument is another option. */
static const char *option_value(const char *name, int argc, char **argv, int *i)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0) return NULL;
    if (argv[*i][n] == '=') return argv[*i] + n + 1;
    if (argv[*i][n] != '\0') return NULL;
    if (*i + 1 == argc) usage_error("%s needs a value", name);
    return argv[++*i];
}

static void take_define(const char *text)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text || !eq[1]) usage_error("-D takes NAME=EXPR, not `%s`", text);
    const char **all = NEWN(const char *, opt.ndefines + 1);
    if (opt.ndefines) memcpy(all, opt.defines, sizeof *all * (size_t)opt.ndefines);
    all[opt.ndefines++] = text;
    opt.defines = all;
}

static void take_float(const char *name)
{
    if (strcmp(name, "f64") == 0) opt.f64 = true;
    else if (strcmp(name, "f32") == 0) opt.f64 = false;
    else usage_error("--float takes f32 or f64, not `%s`", name);
}

static void take_clocks(const char *name)
{
    if (strcmp(name, "item") && strcmp(name, "block")) usage_error("--clocks is block or item, not `%s`", name);
    opt.item_clocks = strcmp(name, "item") == 0;
}

static void take_dump(const char *name)
{
    int n = sizeof dumps / sizeof *dumps;
    for (int i = 0; i < n; i++)
        if (strcmp(name, dumps[i]) == 0) {
            opt.dump = dumps[i];
            return;
        }
    const char *near = nearest(name, dumps, n);
    if (near) usage_error("there is no pass `%s` to dump; is it `%s`?", name, near);
    usage_error("there is no pass `%s` to dump: parse, graph, hoist, plan, llvm or json", name);
}

/* Options with one dash; true if argv[*i] was one. */
static bool take_short(Command *c, int argc, char **argv, int *i)
{
    const char *a = argv[*i];
    if (strcmp(a, "-c") == 0) {
        c->object_only = true;
        return true;
    }
    if (a[1] != 'o' && a[1] != 'D') return false;
    const char *value = a[2] ? a + 2 : *i + 1 < argc ? argv[++*i] : NULL;
    if (!value) usage_error("%s needs a value", a);
    if (a[1] == 'o') c->out = value;
    else take_define(value);
    return true;
}

static bool take_long(Command *c, int argc, char **argv, int *i)
{
    const struct { const char *name; bool *flag; } flags[] = {
        { "--reference", &c->reference }, { "--dot", &c->dot }, { "--verify", &opt.verify },
    };
    for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
        if (strcmp(argv[*i], flags[k].name) == 0) {
            *flags[k].flag = true;
            return true;
        }
    const char *v;
    if ((v = option_value("--float", argc, argv, i))) take_float(v);
    else if ((v = option_value("--cpu", argc, argv, i))) opt.cpu = v;
    else if ((v = option_value("--clocks", argc, argv, i))) take_clocks(v);
    else if ((v = option_value("--dump", argc, argv, i))) take_dump(v);
    else return false;
    return true;
}

static void check_command(const Command *c)
{
    if (!c->file) usage_error("no source file");
    if (c->out && c->kind != CMD_BUILD) usage_error("-o is for making an executable; this command makes none");
    if (c->object_only && c->kind != CMD_BUILD) usage_error("-c is for making an object file; this command makes none");
    if (c->dot && c->kind != CMD_GRAPH) usage_error("--dot belongs to `nlc graph`");
    if (c->reference && c->kind != CMD_RUN) usage_error("--reference belongs to `nlc run`");
}

static Command read_command_line(int argc, char **argv)
{
    Command c = { .kind = CMD_BUILD };
    int i = 1;
    for (size_t k = 0; argc > 1 && k < sizeof commands / sizeof *commands; k++)
        if (strcmp(argv[1], commands[k].name) == 0) {
            c.kind = commands[k].kind;
            i = 2;
        }
    for (; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            exit(OK);
        }
        if (strcmp(argv[i], "--version") == 0) {
            puts("nlc " NLC_VERSION);
            exit(OK);
        }
        if (argv[i][0] == '-' && argv[i][1]) {
            if (!take_short(&c, argc, argv, &i) && !take_long(&c, argc, argv, &i))
                usage_error("unknown option `%s`", argv[i]);
        } else if (c.file) {
            usage_error("two source files, `%s` and `%s`: a program is one file and what it uses", c.file, argv[i]);
        } else {
            c.file = argv[i];
            if (c.kind == CMD_RUN) break;                /* what follows is the program's */
        }
    }
    if (c.kind == CMD_RUN && i < argc) {
        c.argc = argc - i;
        c.argv = argv + i;
    }
    check_command(&c);
    return c;
}

/* ---- where the standard library and the runtime are: beside nlc in its build tree, or where they were installed */

static bool have_file(const char *path) { return access(path, R_OK) == 0; }

static const char *folder_of_nlc(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return NULL;
    path[n] = '\0';
    return arena_strdup(dirname(path));
}

/* The first of the candidates (NULL: none) in which `name` exists; the last one if there is none, for the message to come. */
static const char *first_with(const char *name, int n, const char *const *folder)
{
    const char *last = NULL;
    for (int i = 0; i < n; i++) {
        if (!folder[i]) continue;
        if (have_file(arena_printf("%s/%s", folder[i], name))) return folder[i];
        last = folder[i];
    }
    return last;
}

static void find_folders(void)
{
    const char *here = folder_of_nlc();
    const char *lib[] = { getenv("NLC_LIBDIR"), here, here ? arena_printf("%s/../share/nlc", here) : NULL, NLC_PKGDATADIR };
    const char *rt[]  = { getenv("NLC_RTDIR"), here ? arena_printf("%s/runtime", here) : NULL,
                          here ? arena_printf("%s/../lib/nlc", here) : NULL, NLC_PKGLIBDIR };
    opt.libdir = first_with("stdlib/nn.nl", sizeof lib / sizeof *lib, lib);
    opt.rtdir  = first_with("libnlrt.a", sizeof rt / sizeof *rt, rt);
    const char *cc = getenv("NLC_CC");
    opt.cc = cc && *cc ? cc : NLC_CC;
}

/* ---- files that come and go */

static char *work_folder;        /* of this compilation, with what is not to stay */
enum { OBJECTS = 8 };            /* processes that make machine code, at most */
static const char *work_file[4 + OBJECTS];
static int nwork;

static void remove_work(void)
{
    for (int i = 0; i < nwork; i++) unlink(work_file[i]);
    if (work_folder) rmdir(work_folder);
    work_folder = NULL;
    nwork = 0;
}

static void on_signal(int sig)
{
    remove_work();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void clean_up_at_the_end(void)
{
    static const int deadly[] = { SIGINT, SIGTERM, SIGHUP };
    atexit(remove_work);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        if (signal(deadly[i], on_signal) == SIG_IGN) signal(deadly[i], SIG_IGN);
}

/* A name in a private folder that goes away with nlc. */
static const char *work_name(const char *name)
{
    if (!work_folder) {
        const char *tmp = getenv("TMPDIR");
        char *folder = arena_printf("%s/nlc-XXXXXX", tmp && *tmp ? tmp : P_tmpdir);
        if (!mkdtemp(folder)) {
            fprintf(stderr, "nlc: cannot make a folder %s: %s\n", folder, strerror(errno));
            exit(FAILED);
        }
        work_folder = folder;
    }
    return work_file[nwork++] = arena_printf("%s/%s", work_folder, name);
}

/* A name beside `out`, on the same file system, so that it can be renamed when the file is whole. */
static const char *name_beside(const char *out)
{
    return work_file[nwork++] = arena_printf("%s.%ld.part", out, (long)getpid());
}

static bool give_name(const char *part, const char *out)
{
    if (rename(part, out) == 0) return true;
    fprintf(stderr, "nlc: cannot write %s: %s\n", out, strerror(errno));
    return false;
}

/* FILE.nl -> FILE, or FILE.o, in the current folder. */
static const char *default_out(const char *file, bool object)
{
    char *name = arena_strdup(basename(arena_strdup(file)));
    size_t n = strlen(name);
    if (n > 3 && strcmp(name + n - 3, ".nl") == 0) name[n - 3] = '\0';
    else if (!object) return arena_printf("%s.out", name);
    return object ? arena_printf("%s.o", name) : name;
}

/* ---- the road */

static bool dumped(const char *pass) { return opt.dump && strcmp(opt.dump, pass) == 0; }

static void dump_entries(Program *p)
{
    for (int i = 0; i < p->entry.n; i++) {
        printf("entry %s\n", p->entry.at[i]->name);
        region_print(p->entry.at[i]->r, stdout);
    }
}

static bool no_errors(void)
{
    bool ok = error_count() == 0;
    diag_flush(stderr);
    return ok;
}

/* -D gives a value to a const that exists. */
static bool defines_exist(int file)
{
    bool ok = true;
    for (int i = 0; i < opt.ndefines; i++) {
        const char *d = opt.defines[i];
        const char *name = intern(arena_strndup(d, (size_t)(strchr(d, '=') - d)));
        Ast *def = find_definition(file, name, (Loc){ 0 });
        if (def && def->kind == D_CONST) continue;
        fprintf(stderr, "nlc: -D %s: the program has no const of this name\n", name);
        ok = false;
    }
    return ok;
}

/* Source to program; NULL after messages. */
static Program *front(const char *path)
{
    int file = source_add(path);
    if (file < 0) return NULL;
    Ast *tree = parse_file(file);
    if (dumped("parse")) ast_print(tree, stdout);
    if (error_count()) return NULL;
    resolve(tree);
    const char *worth = getenv("NLC_DENSE_WORTH");         /* for tests: 0 takes the dense form of a level where it does not pay, too */
    if (worth) dense_worth = atoll(worth);
    if (error_count() || !defines_exist(file)) return NULL;
    Program *p = elaborate(file);
    if (error_count()) return NULL;
    if (p && dumped("graph")) dump_entries(p);
    return p;
}

static void middle(Program *p)
{
    for (int i = 0; i < p->entry.n; i++) {
        Entry *e = p->entry.at[i];
        if (opt.verify) verify_region(e->r, "elaborate");
        optimize(e->r);
        if (opt.verify) verify_region(e->r, "hoist");
    }
    if (dumped("hoist")) dump_entries(p);
    if (dumped("json")) puts(program_json(p));
}

/* Program to executable (or object file). */
static bool back(Program *p, const char *out, bool object_only)
{
    middle(p);
    const char *obj[OBJECTS] = { out };
    for (int i = 0; i < OBJECTS && !object_only; i++) obj[i] = work_name(arena_printf("program%d.o", i));
    int n = emit_program(p, object_only ? 1 : OBJECTS, obj);
    return n && (object_only || link_program(n, obj, out));
}

static int do_build(const Command *c, Program *p)
{
    const char *out = c->out ? c->out : default_out(c->file, c->object_only);
    struct stat st;
    if (stat(out, &st) == 0 && S_ISDIR(st.st_mode)) {
        fprintf(stderr, "nlc: %s is a folder; name the file to write with -o\n", out);
        return FAILED;
    }
    const char *part = name_beside(out);
    return back(p, part, c->object_only) && no_errors() && give_name(part, out) ? OK : FAILED;
}

/* Runs the executable and waits; the terminal's interrupt is the program's affair. */
static int run_program(const char *exe, int argc, char **argv)
{
    char **args = NEWN(char *, argc + 1);
    for (int i = 0; i < argc; i++) args[i] = argv[i];
    signal(SIGINT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        execv(exe, args);
        fprintf(stderr, "nlc: cannot run %s: %s\n", exe, strerror(errno));
        _exit(127);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        fprintf(stderr, "nlc: cannot run %s: %s\n", exe, strerror(errno));
        return FAILED;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int do_run(const Command *c, Program *p)
{
    char **args = NEWN(char *, c->argc + 1);
    for (int i = 0; i < c->argc; i++) args[i] = c->argv[i];
    args[0] = (char *)default_out(c->file, false);
    if (c->reference) {
        middle(p);
        return no_errors() ? reference_run(p, c->argc, args) : FAILED;
    }
    const char *exe = work_name(args[0]);
    if (!back(p, exe, false) || !no_errors()) return FAILED;
    return run_program(exe, c->argc, args);
}

static int do_command(const Command *c)
{
    explain_begin(c->kind == CMD_EXPLAIN);
    graphing = c->kind == CMD_GRAPH;
    explain_begin(c->kind == CMD_EXPLAIN);
    Program *p = front(c->file);
    if (!no_errors() || !p) return FAILED;
    switch (c->kind) {
    case CMD_BUILD: return do_build(c, p);
    case CMD_RUN:   return do_run(c, p);
    case CMD_CHECK: return OK;
    case CMD_GRAPH: levels_print(p, stdout, c->dot); return OK;
    case CMD_EXPLAIN: explain_print(p, stdout); return OK;
    case CMD_GRADCHECK: return gradcheck(p, stdout) == 0 && no_errors() ? OK : FAILED;
    }
    return FAILED;
}

int main(int argc, char **argv)
{
    Command c = read_command_line(argc, argv);
    find_folders();
    clean_up_at_the_end();
    int status = do_command(&c);
    diag_flush(stderr);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "nlc: cannot write the output: %s\n", strerror(errno));
        status = FAILED;
    }
    remove_work();
    arena_free_all();
    return status;
}
