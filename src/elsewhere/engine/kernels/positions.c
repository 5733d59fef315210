/* The sliding-window kernel for few training images: every window of x against every window of a training image, one shift
 * at a time, with neighbouring positions of x side by side in a vector.
 *
 * sliding.c holds the same pixel of LANES training images in a vector, which leaves most of it empty where there are few.
 * Here a shift (dy, dx) pairs rows: x k - |k|^2 / 2 of a row of key pixels k and the pixels x that they meet form an image,
 * whose window sums are the log-weights of all pairs of this shift, but for |x|^2 / 2, which all keys of a query share.
 *
 * Sums along a row are made of sums of a few columns, afresh for every window. Those of the rows of a window are a running sum
 * in double, whose rounding does not matter. Tapered windows are boxes of boxes along the row, and sums of their second
 * differences down the columns.
 *
 * The averaging pass keeps an online softmax for every position: an anchor near the largest log-weight so far, the total and
 * the weighted sums. The pasting pass reads the results, and pastes patches around the centres of windows where they overlap:
 * at one shift, the weights with which a row of key pixels is pasted are sums of the weights of the windows around them.
 *
 * positions.h is compiled twice: with products in float, and in double, where their rounding would matter. */

#include "vectors.h"

/* Adjacent shifts along the rows that are weighed together: the sums of a position are loaded once for them. */
#ifndef TOGETHER
#define TOGETHER 4
#endif
/* Weights that are summed in float before the sums are moved to double: rounding then stays near 1e-7 of them. */
#define FLOAT_TERMS 128
/* Log-weights of pairs that do not exist, relative to the anchor, and anchors of positions that have met no key: finite, since
 * infinity minus infinity is NaN. */
#define NO_PAIR -1e38f
#define NO_KEY -1e300
/* An anchor is raised to the log-weights that exceed it by more nats than this: rarely, and sums of e^16 fit in float. */
#define HEADROOM 16.0f
/* Log-weights below the anchor by so many nats are skipped: e^-32 is less than float32 rounding of the sum. */
#define NEGLIGIBLE -32.0f

enum { AVERAGING, PASTING, FINDING };

#define LANES FLOATS
#define NAME(x) x##_of_lanes
#include "lanes.h"
#undef NAME
#undef weights
#undef integers
#undef words

/* Floats of a register, and half as many, which are as many doubles of a register. */
typedef weights_of_lanes block;
typedef float half __attribute__((vector_size(LANES / 2 * sizeof(float))));
typedef double wide __attribute__((vector_size(LANES / 2 * sizeof(double))));

/* Loads and stores at any address. */
#define ACCESS(type, number)                                                                                           \
    INLINE type load_##type(const number *from) {                                                                      \
        type loaded;                                                                                                   \
        memcpy(&loaded, from, sizeof loaded);                                                                          \
        return loaded;                                                                                                 \
    }                                                                                                                  \
    INLINE void store_##type(number *into, type value) { memcpy(into, &value, sizeof value); }
ACCESS(block, float)
ACCESS(half, float)
ACCESS(wide, double)

/* GCC makes two conversions and a shuffle of each of these. */
INLINE wide wide_from_floats(const float *from) {
#if defined(__AVX512F__)
    return (wide)_mm512_cvtps_pd((__m256)load_half(from));
#else
    return __builtin_convertvector(load_half(from), wide);
#endif
}

/* As many numbers as whole blocks have, at least `count`. */
INLINE int in_blocks(int count) { return (count + LANES - 1) / LANES * LANES; }

/* A row of weights that is pasted on another, and how much it counts there. */
typedef struct {
    const float *weights;
    const uint8_t *holds;
    float weight;
} row_of_weights;

/* Columns of x, some of which stand for others: those from `from` to `to` - 1 have their sums `back` columns before. */
typedef struct {
    int from, to, back;
} columns_part;

/* Columns `from` to `to` - 1, before those where x repeats itself (part 0) or behind (part 1). */
INLINE columns_part part_of(const sliding_task *t, int part, int from, int to) {
    if (part) return (columns_part){at_least(from, t->repeat_column), to, t->period_columns};
    return (columns_part){from, at_most(to, t->repeat_column), 0};
}

/* The column of x with which the blocks of a part begin: where those of the sums do. */
INLINE int first_block(columns_part part) { return (part.from - part.back) / LANES * LANES + part.back; }

/* How far along a row the patches of an overlap reach: at the edges of the canvas, where few patches are, all of it. */
INLINE int reach_along(const sliding_task *t, const axis_overlap *overlap) {
    const int first = overlap->start + overlap->shift, end = overlap->stop + overlap->shift;
    return first >= t->first_query_column + t->near && end <= t->end_query_column - t->near ? t->near : t->reach;
}

/* How far down and up patches reach that are pasted on a row of x. */
INLINE int reach_down(const sliding_task *t, int row) {
    return row >= t->first_query_row && row < t->end_query_row ? t->near : t->reach;
}

/* Whether the next TOGETHER overlaps have consecutive shifts and nearly the same columns. */
static int are_together(const axis_overlap *overlap, const axis_overlap *end) {
    if (end - overlap < TOGETHER) return 0;
    for (int s = 1; s < TOGETHER; s++)
        if (overlap[s].shift != overlap->shift + s || abs(overlap[s].start - overlap->start) > s ||
            abs(overlap[s].stop - overlap->stop) > s)
            return 0;
    return 1;
}

#define REAL float
#define NAME(x) x##_float
#define WIDE_FROM(address) wide_from_floats(address)
#include "positions.h"
#undef REAL
#undef NAME
#undef WIDE_FROM

#define REAL double
#define NAME(x) x##_double
#define WIDE_FROM(address) load_wide(address)
#include "positions.h"
