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
