/* Included by all compiled kernels. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <immintrin.h>
#endif

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define APART __attribute__((noinline))

/* Floats of a register: for wider vectors compilers make code that is several times slower. */
#if defined(__AVX512F__)
#define FLOATS 16
#elif defined(__AVX__)
#define FLOATS 8
#else
#define FLOATS 4
#endif

INLINE int at_least(int a, int b) { return a > b ? a : b; }
INLINE int at_most(int a, int b) { return a < b ? a : b; }

INLINE void *vectors(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

/* Defines a function that replaces the least entry of a heap, which comes first. */
#define HEAP(name, type)                                                                                               \
    static void name(type *logs, int64_t *keys, int top, type log, int64_t key) {                                      \
        int hole = 0;                                                                                                  \
        for (int below = 1; below < top; below = 2 * hole + 1) {                                                       \
            if (below + 1 < top && logs[below + 1] < logs[below]) below++;                                             \
            if (logs[below] >= log) break;                                                                             \
            logs[hole] = logs[below], keys[hole] = keys[below];                                                        \
            hole = below;                                                                                              \
        }                                                                                                              \
        logs[hole] = log, keys[hole] = key;                                                                            \
    }
