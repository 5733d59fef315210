/* The sliding-window kernel: every window of x against every window of the training images, one shift at a time.
 *
 * A shift (dy, dx) pairs the key window around (y, x) with the query window around (y + dy, x + dx). The products
 * x[y + dy][x + dx] k[y][x] form an image, and the inner products of all these window pairs are its window sums. Running
 * sums, down the columns first and then along each row, give them at a cost that does not depend on the window. A vector
 * holds the same pixel of LANES training images, so that every operation below is on whole vectors.
 *
 * In a tapered window the pixel d rows and e columns from the centre has weight (h - |d|) (h - |e|), where h is the radius
 * plus one. From one window to the next such a sum changes by the sum over the h pixels ahead minus that over the h pixels
 * behind; this difference in turn changes by three pixels only. Again the cost does not depend on the window.
 *
 * Running sums accumulate rounding errors. Where those would matter the sums are double, or, in windows of radius 1 or 2,
 * squared differences are summed afresh for every window in float: twice as fast, and as accurate where keys are near.
 *
 * The first pass computes the peak, the total and the weighted sum of every pixel. The attribution pass reads peak and
 * total, and computes the share of every training image and the windows with the largest weights.
 *
 * Images of one and of three channels have functions of their own, in which the compiler unrolls the loops over channels;
 * any other number of channels is a number at run time.
 *
 * shifts.h and the headers that it includes are compiled twice: with float sums, and with double sums. */

#include "vectors.h"

/* Weights that a lane sums in float32 before the sum is moved to double: rounding then stays near 1e-7 of it (measured on
 * equal windows: 8.5e-6 of x0hat without this limit). */
#define FLOAT_TERMS 4096
/* Adjacent shifts along the rows that are summed together: the sums and the peak of a pixel are loaded once for them. */
#ifndef ADJACENT
#define ADJACENT 2
#endif

/* Minus the log-weight of a pair that does not exist. It is finite: infinity minus a peak that is not known yet is NaN. */
#define NO_PAIR 1e38f
/* Value of all pixels in a lane that has no training image, where squared differences are summed. It is so large that the
 * log-weights of that lane are negligible at every noise level, and so small that e^-80 of it is negligible as well: that
 * is the smallest weight of `exponential`. */
#define ABSENT_PIXEL 1e17f
/* Log-weights below the peak by so many nats are skipped: e^-32 is less than float32 rounding of the sum. */
#define NEGLIGIBLE -32.0f

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


/* Weight along one axis of a pixel `offset` from the centre of a tapered window. */
INLINE int taper_weight(int radius, int offset) { return radius + 1 - (offset < 0 ? -offset : offset); }

/* Rows of products that sums over tapered windows need at the same time. */
INLINE int tapered_rows(const task *t) { return t->radius < t->height / 2 ? 2 * t->radius + 3 : t->height; }

HEAP(replace_least, float)

/* Whether the next ADJACENT overlaps have consecutive shifts, and a column of x that meets all of them. */
static int are_adjacent(const line *overlap, const line *end) {
    if (end - overlap < ADJACENT) return 0;
    int first = INT32_MIN, last = INT32_MAX;
    for (int s = 0; s < ADJACENT; s++) {
        if (overlap[s].shift != overlap->shift + s) return 0;
        first = at_least(first, overlap[s].start + overlap[s].shift);
        last = at_most(last, overlap[s].stop + overlap[s].shift);
    }
    return first < last;
}

#define REAL float
#define LANES FLOATS
#define NAME(x) x##_float
#define HAS_AFRESH
#include "shifts.h"
#undef HAS_AFRESH
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
