/* The CPU engine's C interface: plain C, no dependency on torch or Python.
 *
 * A *plan* is one time step of a recurrent network as a list of stages; `ost_run` repeats it over T steps and B
 * sequences. Plans are immutable and may be run from several threads at once. Nothing here throws or aborts: every
 * function returns a code, and `ost_message` says what was wrong in the calling thread's last failing call.
 *
 * A plan is described by 64-bit integers ("words"), so that any language can write one:
 *
 *   plan    := MAGIC VERSION bytes(4|8) n_arrays n_weights n_stages  array* weight* stage*
 *   array   := kind size depth alias          size: elements of one step of one sequence
 *   weight  := G K N                          G products of [K] by [K, N]
 *   stage   := GEMM length  m  a weight init target        a, init, target := ref; m outer repeats
 *            | MAP length  d0 d1 d2 n  n_slots n_refs n_instructions  mapref* instruction*
 *            | REDUCE length  operation  d0 d1 d2 n  r  from to
 *   `length` counts the words that follow it.
 *   ref     := array delay offset             array -1: absent (init only)
 *   mapref  := array delay offset s0 s1 s2 s3 strides, in elements, along d0 d1 d2 n
 *   instruction := opcode target a b c        operand: 0 <= i < n_slots a tile slot, n_slots + j the mapref j,
 *                                             -1 absent, -2 - k the constant k
 *
 * Array kinds. X: given, another value at each step. Q: given, one value for each sequence. P: given, one value for
 * all. STATE: carried; depth past steps can be read (delay 1..depth), delay 0 is this step's value, which a stage
 * must write. EMIT: written at each step (delay 0), readable later in the same step. SCRATCH: readable later in the
 * same step. FLAGS_X, FLAGS_Q, FLAGS_EMIT: as X, Q, EMIT, of one byte an element (0 or 1). A STATE with alias e >= 0 is
 * kept in the EMIT array e, of the same size: nothing is written to the STATE array itself. That EMIT
 * needs memory for depth steps more, before its first step (after its last in reverse), where a run puts the initial
 * values; and it cannot be ragged.
 *
 * GEMM: for i < m, g < G:  target[offset + (i*G + g)*N ..] = init[same] + a[offset + (i*G + g)*K ..] @ weight[g].
 * MAP: for each point of d0 x d1 x d2 x n, the instructions in order. A slot holds a value within one tile only.
 * REDUCE: to[d0, d1, d2, n] = sum or max over r of from, r steps of `from`'s fifth stride apart.
 *          from := array delay offset s0 s1 s2 s3 sr      to := array delay offset s0 s1 s2 s3
 */
#ifndef OSTINATO_H
#define OSTINATO_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define OST_PUBLIC __declspec(dllexport)
#else
#define OST_PUBLIC __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OST_MAGIC 0x4F5354
#define OST_VERSION 4 /* rises with any change of a struct, a word or their meaning */

enum ost_code { OST_OK = 0, OST_INVALID = 1, OST_MEMORY = 2, OST_UNSUPPORTED = 3 };
enum ost_array_kind { OST_X, OST_Q, OST_P, OST_STATE, OST_EMIT, OST_SCRATCH, OST_FLAGS_X, OST_FLAGS_Q, OST_FLAGS_EMIT };
enum ost_stage_kind { OST_GEMM, OST_MAP, OST_REDUCE };
enum ost_reduction { OST_SUM, OST_MAX };

/* Runs `task(data)` on up to `threads` threads at once and returns when all are done: GOMP_parallel's signature. */
typedef void (*ost_parallel)(void (*task)(void *), void *data, unsigned threads, unsigned flags);

/* Where an array is: the element of step t and sequence b is at `at + t*step + b*row` (in elements); with `sizes`,
 * `at + (first[t] + b)*row`, first[t] the sum of the sizes before t. `at` is NULL for STATE and SCRATCH. */
typedef struct { void *at; int64_t step, row; } ost_place;

/* Where a weight is: element (g, k, n) at `at + g*group + k*in + n*out`. */
typedef struct { const void *at; int64_t group, in, out; } ost_matrix;

typedef struct ost_plan ost_plan;
typedef struct ost_packed ost_packed;

OST_PUBLIC const char *ost_message(void);

/* OST_VERSION as it was compiled. */
OST_PUBLIC int64_t ost_version(void);

/* The instruction set in use ("baseline", "avx2", "avx512", "neon"), and all that this machine can run, separated by
 * spaces. OSTINATO_ISA forces one; when it cannot run here, every other call returns OST_UNSUPPORTED. */
OST_PUBLIC const char *ost_isa(void);
OST_PUBLIC const char *ost_isas(void);

/* The names of the opcodes, the number of an opcode being its place; NULL after the last. */
OST_PUBLIC const char *ost_opcode(int64_t opcode);

OST_PUBLIC int ost_plan_make(const int64_t *words, int64_t n_words, const double *constants, int64_t n_constants,
                             ost_plan **plan);
OST_PUBLIC void ost_plan_free(ost_plan *plan);

/* Weights laid out for the kernels: made once, run often. A packed set belongs to plans with the same weights.
 * With `halves` they are rounded to bfloat16, half as much to read (sums stay float); only for plans of 4 bytes. */
OST_PUBLIC int ost_pack(const ost_plan *plan, const ost_matrix *weights, int64_t halves, ost_packed **packed);
OST_PUBLIC void ost_packed_free(ost_packed *packed);

/* One run. */
typedef struct {
    int64_t steps, batch;
    const int64_t *sizes;      /* NULL, or how many sequences each step has, never growing: ragged, longest first */
    int64_t reverse;           /* from the last step to the first */
    int64_t threads;
    ost_parallel parallel;     /* NULL: one thread */
    const ost_place *arrays;   /* n_arrays */
    const ost_matrix *weights; /* n_weights, or NULL with `packed` */
    const ost_packed *packed;
    const void *const *initial; /* for each STATE in order: [depth, batch, size], oldest first */
    void *const *finals;        /* the same shape, may be `initial` itself */
} ost_call;
OST_PUBLIC int ost_run(const ost_plan *plan, const ost_call *call);

/* C[m, n] = init[m, n] + sum over k of A[m, k] B[k, n], for several B that share an A, which is read once. Strides in
 * elements; init NULL for zero, with row stride 0 for a bias. `bytes` is 4 or 8. `sums`, where given, receives the sum
 * over k of A[m, k]. */
typedef struct {
    int64_t n;
    const void *b; int64_t b_k, b_n;
    const void *init; int64_t init_m;
    void *c; int64_t c_m;
} ost_right;
typedef struct {
    int64_t bytes, m, k;
    const void *a; int64_t a_m, a_k;
    int64_t rights;
    const ost_right *right;
    void *sums;
    int64_t threads;
    ost_parallel parallel;
} ost_product;
OST_PUBLIC int ost_multiply(const ost_product *product);

/*
 * Words of texts, counted and numbered. A text is bytes (UTF-8); table[b] is what byte b counts as, or OST_SEPARATOR.
 * The texts of a call lie one after the other, `gap` bytes between them; text i ends before data[ends[i]]. A lexicon is
 * used by one thread at a time.
 */
#define OST_SEPARATOR 256
typedef struct ost_lexicon ost_lexicon;
OST_PUBLIC int ost_lexicon_make(ost_lexicon **lexicon);
OST_PUBLIC void ost_lexicon_free(ost_lexicon *lexicon);
/* Count the words of texts; new ones get the next number, from 0. */
OST_PUBLIC int ost_lexicon_count(ost_lexicon *lexicon, const uint8_t *data, const int64_t *ends, int64_t n_texts,
                                 int64_t gap, const uint16_t *table);
/* How many words there are, and how many bytes they take together. */
OST_PUBLIC int64_t ost_lexicon_size(const ost_lexicon *lexicon);
OST_PUBLIC int64_t ost_lexicon_bytes(const ost_lexicon *lexicon);
/* By number: the words end to end, where each ends, how often it came, in how many texts. */
OST_PUBLIC void ost_lexicon_read(const ost_lexicon *lexicon, uint8_t *words, int64_t *ends, int64_t *counts,
                                 int64_t *texts);
/* numbers[w] of each word w of texts, `other` of a word that is not there; negative ones are left out. The result has
 * room for one number a byte; text i's end before result[result_ends[i]]. */
OST_PUBLIC int ost_lexicon_encode(const ost_lexicon *lexicon, const uint8_t *data, const int64_t *ends,
                                  int64_t n_texts, int64_t gap, const uint16_t *table, const int64_t *numbers,
                                  int64_t other, int64_t *result, int64_t *result_ends);

#ifdef __cplusplus
}
#endif
#endif
