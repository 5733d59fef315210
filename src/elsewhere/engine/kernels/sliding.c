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
 * The first pass computes the peak, the total and the weighted sum of every pixel. The other passes read peak and total.
 * The attribution pass computes the share of every training image and the windows with the largest weights; the pasting
 * pass averages patches around the centres of the windows, where they overlap.
 *
 * Images of one and of three channels have functions of their own, in which the compiler unrolls the loops over channels;
 * any other number of channels is a number at run time.
 *
 * sliding.h and the headers that it includes are compiled twice: with float sums, and with double sums. */

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
/* Least log of a weight in an entropy, of pairs that do not exist: weights are e^-80 or more, and their product nothing. */
#define LEAST_LOG -100.0f
/* Log-weights below the peak by so many nats are skipped: e^-32 is less than float32 rounding of the sum. */
#define NEGLIGIBLE -32.0f
/* Rows whose largest weight is below this are not pasted: float32 rounding of a sum of weights that is one is larger. */
#define LEAST_PASTED 1e-12f

enum { AVERAGING, ATTRIBUTING, PASTING };

/* Weight along one axis of a pixel `offset` from the centre of a tapered window. */
INLINE int taper_weight(int radius, int offset) { return radius + 1 - (offset < 0 ? -offset : offset); }

/* Rows of products that sums over tapered windows need at the same time. */
INLINE int tapered_rows(const sliding_task *t) { return t->radius < t->height / 2 ? 2 * t->radius + 3 : t->height; }

HEAP(replace_least, float)

/* Whether the next ADJACENT overlaps have consecutive shifts, and a column of x that meets all of them. */
static int are_adjacent(const axis_overlap *overlap, const axis_overlap *end) {
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
#include "sliding.h"
#undef HAS_AFRESH
#undef REAL
#undef LANES
#undef NAME

#define REAL double
#define LANES (FLOATS / 2)
#define NAME(x) x##_double
#include "sliding.h"
