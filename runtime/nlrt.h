/* nlrt.h: the contract between a compiled program and the runtime (libnlrt.a).

   The object file of a program exports one constant, nl_program: the functions (entries), and a description in JSON that
   says what they are: models, states, streams, schedule. The runtime reads it once at start-up.

   An entry is called by every thread of a team with its own nl_call (tid, nthreads); it divides its work by fixed ranges and
   meets at nlrt_barrier(). Results do not depend on nthreads. */
#ifndef NLRT_H
#define NLRT_H
#include <stdint.h>
#include <stddef.h>

typedef struct { int64_t site, index, limit; int32_t bad; } nl_status;   /* bad: 0, or 1: an index was out of range (the lowest site wins) */

typedef struct nl_call {
    char *state;                 /* the instance: state i lies at its offset (see "states") */
    const void *const *in;       /* input buffers, dense, row-major, 64-byte aligned */
    void *const *out;            /* output buffers */
    char *arena;                 /* "arena" bytes, 64-byte aligned, shared by the team; contents do not survive a call */
    char *scratch;               /* "scratch" bytes of this thread */
    int64_t count;               /* items present in the batch (<= batch; the rest are copies of item 0) */
    int64_t index;               /* number of the stream's item */
    uint64_t seed;
    int32_t tid, nthreads;
    nl_status *status;           /* of this thread */
    void *self;                  /* for entries that are interpreted: see nl_entry */
} nl_call;

typedef struct { void (*fn)(const nl_call *); void *self; } nl_entry;

typedef struct {
    uint32_t abi;                /* NL_ABI */
    const char *json;            /* the description below, NUL-terminated */
    const nl_entry *entry;       /* the functions, in the order of "entries" */
    int32_t nentry;
    const char *cpu_features;    /* "+avx2,+fma,...": checked at start-up; "" for any */
} nl_program;
enum { NL_ABI = 1 };

void nlrt_barrier(void);         /* all threads of the team; writes before it are seen after it */
/* For emitted code: out[k] = number of the k-th of n elements x[i * step] in rising (falling) order; equals keep their order, what is
   no number comes last. dt as the compiler numbers element types; scratch: 32 n bytes. */
void nlrt_argsort(int32_t dt, int64_t n, const void *x, int64_t step, int32_t falling, int32_t *out, int64_t out_step, void *scratch);
int  nlrt_main(const nl_program *p, int argc, char **argv);   /* the whole command line; returns the exit status */

/* The description (all numbers are JSON numbers; types are "f32" "f64" "i32" "i64" "u32" "u8" "bool"; -1: none):
 {
  "nlc": version, "source": "notebook.nl", "dir": folder of the source file, "float": "f32", "hash": "16 hex digits" of states and
  schedule shapes (a checkpoint of another hash is refused, naming the first state that differs),
  "models":  [{"name", "label", "bytes": size of an instance, "init": entry (no inputs; writes every state),
               "states": [{"path", "type", "shape", "offset", "kind": "learn|state|rule|count|gsum", "every": n, "count": state or -1,
                           "of": state or -1, "level": index, "rule": text or null, "kept": bool (absent: false)}],
               "levels": [{"name", "every", "objective": text or null, "context": text}]}],
  "entries": [{"name", "arena": bytes, "scratch": bytes, "work": multiply-adds, "in": [{"type","shape"}..], "out": [{"type","shape"}..]}],
             in[k], out[k] describe nl_call.in[k], out[k]; {.., "unused": true}: the code does not look at it; trailing ones may be left out
  "streams": [{"kind": "csv|idx|npy|text|gen|map|slice|when|cat|mix|window", "name", "def", "line": "file:line:col", "paths": [..],
               "fields": [{"name","type","shape"}], "src": [stream..], "weights": [..], "take": [field of src..], "entry", "once",
               "lo","hi","lo_pct","hi_pct","hi_open", "n","step","anywhere"}],
             src of "when", "slice", "cat", "mix", "window" have the fields of their source (window: with a leading axis n);
             "map" and "when" entries get the taken fields of src as in[], item number (of src) in nl_call.index
             "once": an entry without inputs (it sees the seed only), called when the stream is opened and when the seed changes; its
             outputs are inputs of "entry" behind the taken fields (absent or -1: none)
  "schedule": [
     {"do": "new", "inst", "model", "name"}, {"do": "copy", "inst", "from", "name"}, {"do": "seed", "add": n},
     {"do": "train", "inst", "name", "model", "entry", "finish", "accs": n, "reports": [{"name","line"}..], "stream", "batch",
              "for": n, "epochs": bool, "shuffled", "carry", "lanes", "until": entry, "vars": [["task","linear"],..], "repeat": k or -1, "line",
              "fields": [{"name", "from": field of the stream, "type", "shape"}..]},        the entry's in[k] is fields[k], [batch, shape..]
              "fresh": entry (absent: -1): writes the "kept" states anew; called first unless "carry". A test puts them back at its end
     {"do": "test", the same less "for", "epochs", "until", plus "learning": bool},
     {"do": "tick", "inst", "model", "name", "event", "entry", "vars", "repeat", "line"},    the entry moves states; it has no inputs and no outputs
     {"do": "table", "title", "rows", "cols", "cells", "lower", "value": entry, "names": [report..], "line"} ],
  "generate": [{"model", "entry", "fresh", "rows": R, "lag": 0 or 1, "classes": V, "window": bool, "type": type of the tokens,
              "ahead": whether the kept states depend on the token that the lag adds (absent: they may),
              "learning": names, "moves": [state..]: the entry also moves these states of the model, for `stream --learning names` (absent: none)}]  models that can continue a
             sequence of tokens (absent: none). in[0] of the entry = tokens [1, R + lag], out[0] = sums as in a step (acc 1: nats of the lag's
             predictions), out[1] = logits f32 or f64 [R, V] of the tokens after each of the first R. window false: R is 1, tokens come one by one and all inner
             state is kept; window true: the model mixes its whole window, so the last R tokens are given again for every new one (rows
             beyond the tokens that are there are not read, the model being causal)
  "sites": [{"line": "file:line:col", "what": text}]       for nl_status.site
 }
 A step's entry writes out[0] = f64[accs]: sums over the batch's items, to be added up; acc 0 is always the number of items, acc 1 the sum of the
 objective (0 where there is none). `finish` turns sums (in[0] = f64[accs]) into reports (out[0] = f64[reports]); `until`: in[0] = reports -> out[0] bool.
 Loop variables "vars" are from the outermost in; "model" and "stream" are columns of every record. */
#endif
