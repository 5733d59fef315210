/* Every window of x against every window of the training images, one shift between the two at a time.
 *
 * For a shift (dy, dx) the products x[y + dy][x + dx] k[y][x] are summed over windows by sums that run down the columns
 * and then along the rows, so that a pair costs the same whatever the window. Images lie side by side in the lanes of a
 * vector: all sums are of whole vectors. shifts.h holds the code once for sums in float and once in double. Through small
 * windows squared differences may be added up anew instead: twice as fast as sums in double, and as good where keys are near.
 *
 * In a tapered window a pixel d rows and e columns from the centre counts (h - |d|) (h - |e|) times, h being the radius
 * plus one. From one place to the next such a sum changes by the sum of the h pixels ahead less that of the h behind, and
 * that difference by three pixels: again the cost is the same whatever the window.
 *
 * A first pass finds peak, total and weighted sum of every pixel. A second one, which is told peak and total, finds the
 * share of every image in all weights, and the windows that weigh most. */

#include "vectors.h"

/* Weights that a lane adds up before the sum goes on in double. */
#define LONGEST 4096
/* Shifts along the rows that are weighed together: a pixel meets each with another window, and is looked up once. */
#ifndef MOST
#define MOST 2
#endif

/* Where there is no pair its log; of an infinite one no peak could be taken off before it is known. */
#define NOWHERE 1e38f
/* Where there is no image, so far from all others that no square is infinite and nothing counts. */
#define NO_PIXEL 1e17f
/* Logs, less the peak, of weights that rounding would lose anyway: e^-32 of one. */
#define NOTHING -32.0f

/* Where a row or column of x meets one of the training images: rows start to stop - 1 of these, shifted. */
typedef struct {
    int32_t shift, start, stop;
} line;

/* Rows (lines first_row to end_row - 1) and columns that are combined with one another. */
typedef struct {
    int32_t first_row, end_row, first_column, end_column;
} frame;

typedef struct {
    const void *pixels; /* of all images, (N, channels, height, width) */
    int64_t first, count;
    int32_t is_byte, channels, height, width;
    double centre;
    const double *x; /* (batch, channels, rows, columns), in units of the pixels, their centre taken off */
    int32_t batch, rows, columns, radius;
    /* Rows of x from `turn_row` on are those of `period_rows` before once more, and so are columns: for their windows alone. */
    int32_t turn_row, period_rows, turn_column, period_columns;
    int32_t fresh; /* whether squared differences are added up anew for every window, of radius 1 or 2, in float */
    int64_t taper; /* whether pixels count the less the farther they are from the centre */
    const double *precision; /* 1 / sigma^2 in those units, for pixels that count once, (batch) */
    const line *lines;
    const frame *frames;
    int32_t frame_count;
    double *peak, *total; /* (batch, rows * columns), written by the first pass and read by the second */
    double *weighted;     /* (batch, rows * columns, channels), of the first pass */
    int32_t top;          /* 0 makes this a first pass; else how many windows of each pixel to keep */
    const float *log_counts; /* how many windows each stands for, -inf for none, (N, height, width); NULL for 1 each */
    float *logs;             /* the largest log-weights, less the peak: heaps, the least first, (batch, rows * columns, top) */
    int64_t *keys;           /* their windows, counted through (N, height, width), -1 for none */
    double *shares;          /* sums of weights / total, (batch, count) */
} task;

/* How often a pixel counts along one side of a tapered window of a radius, so far from the centre. */
INLINE int counting(int radius, int off) { return radius + 1 - (off < 0 ? -off : off); }

/* Rows that sums over tapered windows need at a time. */
INLINE int tapered_rows(const task *t) { return t->radius < t->height / 2 ? 2 * t->radius + 3 : t->height; }

HEAP(replace_least, float)

/* Whether MOST lines have shifts one after the other, and pixels that meet all of them. */
static int neighbours(const line *across, const line *end) {
    if (end - across < MOST) return 0;
    int from = INT32_MIN, to = INT32_MAX;
    for (int m = 0; m < MOST; m++) {
        if (across[m].shift != across->shift + m) return 0;
        from = at_least(from, across[m].start + across[m].shift), to = at_most(to, across[m].stop + across[m].shift);
    }
    return from < to;
}

#define REAL float
#define LANES FLOATS
#define NAME(x) x##_float
#define FRESH
#include "shifts.h"
#undef FRESH
#undef REAL
#undef LANES
#undef NAME

#define REAL double
#define LANES (FLOATS / 2)
#define NAME(x) x##_double
#include "shifts.h"

/* The size of a task as this library knows it, or 0 where the processor is not one that it was compiled for. */
#if defined(__x86_64__) && !defined(__clang__)
__attribute__((target("arch=x86-64")))
#endif
int64_t shifts_task(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
#ifdef __AVX__
    if (!__builtin_cpu_supports("avx")) return 0;
#endif
#ifdef __FMA__
    if (!__builtin_cpu_supports("fma")) return 0;
#endif
#ifdef __AVX2__
    if (!__builtin_cpu_supports("avx2")) return 0;
#endif
#ifdef __BMI2__
    if (!__builtin_cpu_supports("bmi2")) return 0;
#endif
#ifdef __AVX512F__
    if (!__builtin_cpu_supports("avx512f")) return 0;
#endif
#ifdef __AVX512VL__
    if (!__builtin_cpu_supports("avx512vl")) return 0;
#endif
#ifdef __AVX512DQ__
    if (!__builtin_cpu_supports("avx512dq")) return 0;
#endif
#ifdef __AVX512BW__
    if (!__builtin_cpu_supports("avx512bw")) return 0;
#endif
#ifdef __AVX512VNNI__
    if (!__builtin_cpu_supports("avx512vnni")) return 0;
#endif
#endif
    return sizeof(task);
}
