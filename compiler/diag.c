/* diag.c: source texts, places and messages.

   Requires: nothing.  Does: keeps the sources of a run with a table of their lines; collects messages.
   Guarantees: diag_flush prints every message once, in source order, with its line and a caret under the place; the
   text of a source never reaches the terminal with control characters or broken UTF-8 in it. */
#define _POSIX_C_SOURCE 200809L
#include "nlc.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- sources */

#define MAX_SOURCE ((size_t)64 << 20)
#define MAX_SOURCES 65535

typedef struct {
    const char *name, *text;
    size_t size;
    size_t *line;                       /* where each line begins; one more: the end */
    uint32_t nlines;
} Source;

static VEC(Source) sources;

static void find_lines(Source *s)
{
    uint32_t n = 1;
    for (size_t i = 0; i < s->size; i++) n += s->text[i] == '\n';
    s->line = NEWN(size_t, (size_t)n + 1);
    s->nlines = n;
    uint32_t k = 1;
    for (size_t i = 0; i < s->size; i++)
        if (s->text[i] == '\n') s->line[k++] = i + 1;
    s->line[n] = s->size;
}

static int source_keep(const char *name, const char *text, size_t size)
{
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {  /* a byte order mark is no character of the text */
        text += 3;
        size -= 3;
    }
    if (sources.n >= MAX_SOURCES) {
        error_at((Loc){0}, "too many source files");
        return -1;
    }
    Source s = { .name = arena_strdup(name), .text = text, .size = size };
    find_lines(&s);
    PUSH(sources, s);
    return sources.n - 1;
}

int source_add_text(const char *name, const char *text)
{
    return source_keep(name, arena_strdup(text), strlen(text));
}

int source_add_bytes(const char *name, const char *text, size_t size)
{
    return source_keep(name, arena_strndup(text, size), size);
}

/* The whole file, zero-terminated; NULL and errno, or errno 0 when it is too big. */
static char *read_whole(FILE *f, size_t *size)
{
    size_t cap = 1 << 16, n = 0;
    char *text = malloc(cap);
    while (text) {
        n += fread(text + n, 1, cap - n, f);
        if (n < cap) break;
        if (cap > MAX_SOURCE) break;
        char *more = realloc(text, 2 * cap);
        if (!more) free(text);
        text = more;
        cap *= 2;
    }
    if (text && ferror(f)) {
        free(text);
        text = NULL;
    }
    if (text && n > MAX_SOURCE) {
        free(text);
        text = NULL;
        errno = 0;
    }
    *size = n;
    return text;
}

int source_add(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        error_at((Loc){0}, "cannot read '%s': %s", path, strerror(errno));
        return -1;
    }
    size_t size;
    char *text = read_whole(f, &size);
    int why = errno;
    fclose(f);
    if (!text) {
        if (why) error_at((Loc){0}, "cannot read '%s': %s", path, strerror(why));
        else error_at((Loc){0}, "cannot read '%s': a source file has at most 64 MB", path);
        return -1;
    }
    int file = source_keep(path, arena_strndup(text, size), size);
    free(text);
    return file;
}

static const Source *source_at(int file)
{
    return file >= 0 && file < sources.n ? &sources.at[file] : NULL;
}

const char *source_name(int file)
{
    const Source *s = source_at(file);
    return s ? s->name : "nlc";
}

const char *source_text(int file)
{
    const Source *s = source_at(file);
    return s ? s->text : "";
}

size_t source_size(int file)
{
    const Source *s = source_at(file);
    return s ? s->size : 0;
}

int source_find(const char *path)
{
    for (int i = 0; i < sources.n; i++)
        if (!strcmp(sources.at[i].name, path)) return i;
    return -1;
}

/* Line n (from 1) without its end; "" if there is none. */
static const char *source_line(int file, uint32_t n, size_t *len)
{
    const Source *s = source_at(file);
    *len = 0;
    if (!s || n < 1 || n > s->nlines) return "";
    const char *text = s->text + s->line[n - 1];
    size_t l = s->line[n] - s->line[n - 1];
    while (l && (text[l - 1] == '\n' || text[l - 1] == '\r')) l--;
    *len = l;
    return text;
}

/* ---- characters: a column is one UTF-8 character; a broken byte counts as a character of its own */

static size_t char_length(const char *s, size_t n)
{
    unsigned char c = (unsigned char)s[0];
    size_t want = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (want == 0 || want > n) return 0;
    for (size_t i = 1; i < want; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 0;
    unsigned char d = want > 1 ? (unsigned char)s[1] : 0;
    bool too_long = (c == 0xe0 && d < 0xa0) || (c == 0xf0 && d < 0x90);
    bool no_character = (c == 0xed && d >= 0xa0) || (c == 0xf4 && d >= 0x90);
    if (too_long || no_character) return 0;
    return want;
}

size_t utf8_length(const char *s, size_t n)
{
    return n ? char_length(s, n) : 0;
}

Loc loc_span(Loc a, Loc b)
{
    if (a.line == 0) return b;
    if (b.line == 0 || b.file != a.file || b.line < a.line) return a;
    if (b.line == a.line) {
        if (b.ecol > a.ecol) a.ecol = b.ecol;
        return a;
    }
    size_t len, chars = 0;
    const char *text = source_line(a.file, a.line, &len);
    for (size_t i = 0; i < len && chars < UINT16_MAX; chars++) {
        size_t l = char_length(text + i, len - i);
        i += l ? l : 1;
    }
    size_t ecol = chars + 1 > UINT16_MAX ? UINT16_MAX : chars + 1;
    if (ecol > a.ecol) a.ecol = (uint16_t)ecol;
    return a;
}

/* ---- messages */

typedef enum { SAY_ERROR, SAY_WARNING, SAY_NOTE } Severity;

typedef struct {
    Severity severity;
    Loc at;
    const char *text;
    int order;                          /* as collected: equal places keep it */
    int first_note, nnotes;             /* in `notes` */
} Message;

static VEC(Message) messages;
static VEC(Message) notes;
static int nerrors, quiet;
static VEC(int) errors_before;          /* one for each diag_quiet(true): what was tried in silence is forgotten */

static const char *format(const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) n = 0;
    char *s = arena_alloc((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    return s;
}

static void say(Severity severity, Loc at, const char *text)
{
    Message m = { .severity = severity, .at = at, .text = text, .order = messages.n, .first_note = notes.n };
    PUSH(messages, m);
}

void error_at(Loc at, const char *fmt, ...)
{
    nerrors++;
    if (quiet) return;
    va_list ap;
    va_start(ap, fmt);
    say(SAY_ERROR, at, format(fmt, ap));
    va_end(ap);
}

void warn_at(Loc at, const char *fmt, ...)
{
    if (quiet) return;
    va_list ap;
    va_start(ap, fmt);
    say(SAY_WARNING, at, format(fmt, ap));
    va_end(ap);
}

void note_at(Loc at, const char *fmt, ...)
{
    if (quiet || messages.n == 0) return;
    va_list ap;
    va_start(ap, fmt);
    Message m = { .severity = SAY_NOTE, .at = at, .text = format(fmt, ap) };
    va_end(ap);
    PUSH(notes, m);
    messages.at[messages.n - 1].nnotes++;
}

int error_count(void)
{
    return nerrors;
}

void diag_quiet(bool on)
{
    if (on) {
        PUSH(errors_before, nerrors);
        quiet++;
    } else if (quiet) {
        quiet--;
        nerrors = errors_before.at[--errors_before.n];
    }
}

void diag_reset(void)
{
    memset(&messages, 0, sizeof messages);
    memset(&notes, 0, sizeof notes);
    memset(&sources, 0, sizeof sources);
    memset(&errors_before, 0, sizeof errors_before);
    nerrors = quiet = 0;
}

/* ---- drawing */

#define WIDTH 160                       /* characters of a source line that are shown */
#define LEAD 40                         /* of them before the caret, where the line is longer */

static const struct { const char *word, *colour; } severities[] = {
    [SAY_ERROR]   = { "error",   "\033[1;31m" },
    [SAY_WARNING] = { "warning", "\033[1;35m" },
    [SAY_NOTE]    = { "note",    "\033[1;36m" },
};

typedef struct {
    FILE *to;
    bool colour;
} Pen;

static const char *ink(const Pen *p, const char *code)
{
    return p->colour ? code : "";
}

static void draw_text(const char *text, size_t len, FILE *to)
{
    for (size_t i = 0; i < len;) {
        size_t l = char_length(text + i, len - i);
        unsigned char c = (unsigned char)text[i];
        bool plain = l == 1 && (c == '\t' || (c >= ' ' && c != 0x7f));
        if (l > 1) plain = !(c == 0xc2 && (unsigned char)text[i + 1] < 0xa0);
        if (plain) fwrite(text + i, 1, l, to);
        else fputc('?', to);
        i += l ? l : 1;
    }
}

/* The source line, and under it `^~~~` from at.col to at.ecol; tabs are kept, so that both lines agree. */
static void draw_place(const Pen *p, Loc at)
{
    size_t len;
    const char *text = source_line(at.file, at.line, &len);
    size_t from = 0, upto = 0;
    unsigned col = 1, first = at.col > WIDTH - LEAD ? (unsigned)at.col - LEAD : 1;
    while (from < len && col < first) {
        size_t l = char_length(text + from, len - from);
        from += l ? l : 1;
        col++;
    }
    size_t caret = from;
    for (upto = from; upto < len && col < first + WIDTH; col++) {
        if (col <= at.col) caret = upto;
        size_t l = char_length(text + upto, len - upto);
        upto += l ? l : 1;
    }
    if (col <= at.col) caret = upto;                     /* the place is the line's end */
    unsigned end = at.ecol > at.col ? at.ecol : (unsigned)at.col + 1;
    if (end > col && col > at.col) end = col;
    int gutter = fprintf(p->to, "%5u", (unsigned)at.line);
    fprintf(p->to, " | %s", from ? "..." : "");
    draw_text(text + from, upto - from, p->to);
    fprintf(p->to, "%s\n%*s | %s", upto < len ? "..." : "", gutter, "", from ? "   " : "");
    for (size_t i = from; i < caret;) {
        size_t l = char_length(text + i, caret - i);
        fputc(text[i] == '\t' ? '\t' : ' ', p->to);
        i += l ? l : 1;
    }
    fprintf(p->to, "%s^", ink(p, "\033[1;32m"));
    for (unsigned c = (unsigned)at.col + 1; c < end; c++) fputc('~', p->to);
    fprintf(p->to, "%s\n", ink(p, "\033[0m"));
}

static void draw(const Pen *p, const Message *m)
{
    const char *plain = ink(p, "\033[0m"), *bold = ink(p, "\033[1m");
    const char *file = m->at.line ? source_name(m->at.file) : "nlc";
    fprintf(p->to, "%s%s:", bold, file);
    if (m->at.line) fprintf(p->to, "%u:%u:", (unsigned)m->at.line, (unsigned)m->at.col);
    fputc(' ', p->to);
    fprintf(p->to, "%s%s:%s%s ", ink(p, severities[m->severity].colour), severities[m->severity].word, plain, bold);
    draw_text(m->text, strlen(m->text), p->to);
    fprintf(p->to, "%s\n", plain);
    if (m->at.line) draw_place(p, m->at);
}

static int by_place(const void *pa, const void *pb)
{
    const Message *a = pa, *b = pb;
    if (a->at.line == 0 || b->at.line == 0) {
        if (a->at.line != b->at.line) return a->at.line == 0 ? -1 : 1;
        return a->order - b->order;
    }
    if (a->at.file != b->at.file) return a->at.file < b->at.file ? -1 : 1;
    if (a->at.line != b->at.line) return a->at.line < b->at.line ? -1 : 1;
    if (a->at.col != b->at.col) return a->at.col < b->at.col ? -1 : 1;
    if (a->severity != b->severity) return a->severity < b->severity ? -1 : 1;
    return a->order - b->order;
}

/* Two errors at one place: the second one is most often a consequence of the first. */
static bool says_again(const Message *a, const Message *b)
{
    if (a->severity != b->severity || a->at.line != b->at.line) return false;
    if (a->at.line == 0) return !strcmp(a->text, b->text);
    return a->at.file == b->at.file && a->at.col == b->at.col;
}

void diag_flush(FILE *to)
{
    bool terminal = isatty(fileno(to)) && !getenv("NO_COLOR");
    Pen p = { to, terminal };
    if (messages.n) qsort(messages.at, (size_t)messages.n, sizeof *messages.at, by_place);
    for (int i = 0; i < messages.n; i++) {
        const Message *m = &messages.at[i];
        if (i && says_again(m - 1, m)) continue;
        draw(&p, m);
        for (int k = 0; k < m->nnotes; k++) draw(&p, &notes.at[m->first_note + k]);
    }
    messages.n = notes.n = 0;
}

/* ---- near names */

#define LONGEST 64

/* Edits (insert, remove, replace, swap two neighbours) that make a of b; letters of different case are half an edit.
   Twice the number. */
static int distance(const char *a, const char *b)
{
    int row[3][LONGEST + 1];
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > LONGEST || m > LONGEST) return 2 * LONGEST;
    int *before = row[0], *last = row[1], *now = row[2];
    for (int j = 0; j <= m; j++) last[j] = 2 * j;
    for (int i = 1; i <= n; i++) {
        now[0] = 2 * i;
        for (int j = 1; j <= m; j++) {
            bool alike = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            int d = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : alike ? 1 : 2);
            if (last[j] + 2 < d) d = last[j] + 2;
            if (now[j - 1] + 2 < d) d = now[j - 1] + 2;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 2 < d) d = before[j - 2] + 2;
            now[j] = d;
        }
        int *t = before;
        before = last;
        last = now;
        now = t;
    }
    return last[m];
}

const char *nearest(const char *name, const char *const *names, int n)
{
    size_t len = strlen(name);
    if (len > LONGEST) return NULL;
    int limit = len <= 2 ? 1 : len <= 4 ? 2 : 4;         /* in halves of an edit: short names have many neighbours */
    const char *best = NULL;
    for (int i = 0; i < n; i++) {
        if (!names[i] || !strcmp(names[i], name)) continue;
        int d = distance(name, names[i]);
        if (d <= limit) {
            best = names[i];
            limit = d - 1;
        }
    }
    return best;
}
