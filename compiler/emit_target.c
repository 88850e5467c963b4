/* emit_target.c: which CPU the code is for, what that CPU offers, and the way from a module to an object file.

   On x86 the machine at hand is rounded down to a level (x86-64-v2, v3, v4), so that an executable runs on every machine of
   the level and what it needs can be said exactly; LLVM tunes for the machine's own name. Elsewhere, name and features of the
   host are taken as they are. What a CPU can do is not looked up by name: a probe is compiled and its code read. */
#include "emit.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { const char *cpu, *needs; } Level;

/* Best first. */
static const Level levels[] = {
    { "x86-64-v4", "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,+avx2,+fma,+bmi,+bmi2" },
    { "x86-64-v3", "+avx2,+fma,+bmi,+bmi2" },
    { "x86-64-v2", "+sse4.2,+popcnt" },
    { "x86-64", "" },
};

static bool features_include(const char *have, const char *needs)
{
    char *list = arena_strdup(needs), *save = NULL;
    size_t n = strlen(have);
    for (char *f = strtok_r(list, ",", &save); f; f = strtok_r(NULL, ",", &save)) {
        const char *at = have;
        size_t len = strlen(f);
        for (;; at += len) {
            at = strstr(at, f);
            if (!at)
                return false;
            bool starts = at == have || at[-1] == ',', ends = at + len == have + n || at[len] == ',';
            if (starts && ends)
                break;
        }
    }
    return true;
}

static void host_cpu(Target *t, const char *triple)
{
    char *name = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
    t->tune = arena_strdup(name);
    t->cpu = arena_strdup(name);
    t->features = arena_strdup(features);
    t->needs = "";
    if (!strncmp(triple, "x86_64", 6))
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
            if (features_include(features, levels[i].needs)) {
                t->cpu = arena_strdup(levels[i].cpu);
                t->features = "";
                t->needs = levels[i].needs;
                break;
            }
    LLVMDisposeMessage(name);
    LLVMDisposeMessage(features);
}

static LLVMTargetMachineRef machine_new(const Target *t)
{
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(t->triple, &target, &message)) {
        fprintf(stderr, "nlc: error: LLVM has no code generator for %s: %s\n", t->triple, message);
        LLVMDisposeMessage(message);
        return NULL;
    }
    return LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features, LLVMCodeGenLevelDefault, LLVMRelocPIC,
                                   LLVMCodeModelDefault);
}

/* The C API does not say which names LLVM knows, but LLVM complains, on stderr, when it meets another one. */
static bool cpu_known(const Target *t)
{
    char line[200] = "";
    FILE *said = tmpfile();
    int keep = dup(STDERR_FILENO);
    if (!said || keep < 0)
        return true;
    fflush(stderr);
    dup2(fileno(said), STDERR_FILENO);
    LLVMTargetMachineRef tm = machine_new(t);
    dup2(keep, STDERR_FILENO);
    close(keep);
    if (tm)
        LLVMDisposeTargetMachine(tm);
    rewind(said);
    bool known = tm && !(fgets(line, sizeof line, said) && strstr(line, "not a recognized processor"));
    fclose(said);
    return known;
}

/* Compiles  p[0..15] = fma(p[0..15], ..)  and reads what came out: the registers' width and whether there is an fma. */
static bool probe(Target *t)
{
    Em *em = em_new(t, "probe");
    if (!em)
        return false;
    LLVMValueRef p[1], tid, nt;
    em_kernel(em, "probe", 1, p, &tid, &nt);
    LLVMValueRef v = em_load(em, F32, 16, p[0], NULL);
    LLVMValueRef w = em_load(em, F32, 16, p[0], em_int(em, 16));
    LLVMValueRef args[3] = { v, w, w };
    em_store(em, F32, em_call(em, "llvm.fma", LLVMTypeOf(v), 3, args), p[0], NULL);
    em_kernel_end(em);
    LLVMMemoryBufferRef text;
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(em->tm, em->mod, LLVMAssemblyFile, &message, &text)) {
        fprintf(stderr, "nlc: error: LLVM cannot make code for the CPU %s: %s\n", t->cpu, message);
        LLVMDisposeMessage(message);
        em_free(em);
        return false;
    }
    char *s = arena_strndup(LLVMGetBufferStart(text), LLVMGetBufferSize(text));
    bool x86 = !strncmp(t->triple, "x86_64", 6);
    t->vbytes = strstr(s, "zmm") ? 64 : strstr(s, "ymm") ? 32 : 16;
    t->masks = t->vbytes == 64;
    t->vregs = x86 && t->vbytes < 64 ? 16 : 32;
    t->fma = x86 ? strstr(s, "vfmadd") != NULL : strstr(s, "fmaf") == NULL;
    LLVMDisposeMemoryBuffer(text);
    em_free(em);
    return true;
}

static void cache_sizes(Target *t)
{
    t->l1 = 32 << 10;
    t->l2 = 512 << 10;
}

static void quiet_diagnostics(LLVMDiagnosticInfoRef info, void *context)
{
    (void)info;
    (void)context;
}

bool target_find(Target *t, const char *cpu)
{
    memset(t, 0, sizeof *t);
    if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter()) {
        fprintf(stderr, "nlc: error: LLVM was built without a code generator for this machine\n");
        return false;
    }
    char *triple = LLVMGetDefaultTargetTriple();
    t->triple = arena_strdup(triple);
    LLVMDisposeMessage(triple);
    if (cpu && strcmp(cpu, "native")) {
        t->cpu = t->tune = arena_strdup(cpu);
        t->features = "";
        t->needs = "";
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
            if (!strcmp(cpu, levels[i].cpu))
                t->needs = levels[i].needs;
        if (!cpu_known(t)) {
            fprintf(stderr, "nlc: error: LLVM knows no processor `%s` for %s; `llc -mcpu=help` lists those it knows\n", cpu, t->triple);
            return false;
        }
    } else {
        host_cpu(t, t->triple);
    }
    cache_sizes(t);
    return probe(t);
}

Em *em_new(const Target *t, const char *name)
{
    Em *em = NEW(Em);
    em->t = t;
    em->tm = machine_new(t);
    if (!em->tm)
        return NULL;
    em->cx = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(em->cx, quiet_diagnostics, NULL);
    em->mod = LLVMModuleCreateWithNameInContext(name, em->cx);
    em->b = LLVMCreateBuilderInContext(em->cx);
    LLVMSetTarget(em->mod, t->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(em->tm);
    LLVMSetModuleDataLayout(em->mod, layout);
    LLVMDisposeTargetData(layout);
    em->i1 = LLVMInt1TypeInContext(em->cx);
    em->i8 = LLVMInt8TypeInContext(em->cx);
    em->i32 = LLVMInt32TypeInContext(em->cx);
    em->i64 = LLVMInt64TypeInContext(em->cx);
    em->f32 = LLVMFloatTypeInContext(em->cx);
    em->f64 = LLVMDoubleTypeInContext(em->cx);
    em->ptr = LLVMPointerTypeInContext(em->cx, 0);
    em->none = LLVMVoidTypeInContext(em->cx);
    return em;
}

void em_free(Em *em)
{
    LLVMDisposeBuilder(em->b);
    LLVMDisposeModule(em->mod);
    LLVMContextDispose(em->cx);
    LLVMDisposeTargetMachine(em->tm);
}

static bool run_passes(Em *em)
{
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef e = LLVMRunPasses(em->mod, "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg)", em->tm, options);
    LLVMDisposePassBuilderOptions(options);
    if (!e)
        return true;
    char *message = LLVMGetErrorMessage(e);
    fprintf(stderr, "nlc: error: LLVM: %s\n", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

bool em_finish(Em *em, const char *obj)
{
    char *message = NULL;
    bool ok = true;
    if (opt.verify && LLVMVerifyModule(em->mod, LLVMReturnStatusAction, &message)) {
        fprintf(stderr, "nlc: error: the code made is not well formed: %s\n", message);
        ok = false;
    }
    LLVMDisposeMessage(message);
    message = NULL;
    ok = ok && run_passes(em);
    if (ok && LLVMTargetMachineEmitToFile(em->tm, em->mod, obj, LLVMObjectFile, &message)) {
        fprintf(stderr, "nlc: error: cannot write %s: %s\n", obj, message);
        LLVMDisposeMessage(message);
        ok = false;
    }
    em_free(em);
    return ok;
}
