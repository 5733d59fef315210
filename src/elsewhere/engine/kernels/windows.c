/* Windows copied out of images, and distances of pairs of a window and a query. */

#include "vectors.h"

#define LANES FLOATS

/* Windows whose pixels are prefetched before they are copied. */
#define AHEAD 16

#define PAIRS(name, type)                                                                                               \
    static void name(const type *keys, int64_t width, const double *roots, const double *queries, const int64_t *query, \
                     int64_t count, double *squares) {                                                                  \
        for (int64_t pair = 0; pair < count; pair++, keys += width) {                                                   \
            const double *q = queries + query[pair] * width;                                                            \
            double sums[LANES] = {0}, all = 0;                                                                          \
            int64_t i = 0;                                                                                              \
            for (; i + LANES <= width; i += LANES)                                                                      \
                for (int lane = 0; lane < LANES; lane++) {                                                              \
                    const double off = keys[i + lane] * roots[i + lane] - q[i + lane];                                  \
                    sums[lane] += off * off;                                                                            \
                }                                                                                                       \
            for (; i < width; i++) all += (keys[i] * roots[i] - q[i]) * (keys[i] * roots[i] - q[i]);                    \
            for (int lane = 0; lane < LANES; lane++) all += sums[lane];                                                 \
            squares[pair] = all;                                                                                        \
        }                                                                                                               \
    }
PAIRS(pairs_of_bytes, uint8_t)
PAIRS(pairs_of_floats, float)

/* |r k - q|^2 of pairs of a key and a query: keys as pixels are stored (count, width), r the square roots of the metric's
 * weights (width), queries (Q, width), `query` which of them each key is paired with (count). */
void pair_distances(const void *keys, int64_t is_byte, int64_t width, const double *roots, const double *queries,
                    const int64_t *query, int64_t count, double *squares) {
    if (is_byte)
        pairs_of_bytes(keys, width, roots, queries, query, count, squares);
    else
        pairs_of_floats(keys, width, roots, queries, query, count, squares);
}

/* Copy a line of up to 16 bytes as one or two whole words, where as many bytes may be read, and are written again later. */
INLINE void copy_line(const char *from, char *into, int64_t line, int64_t readable, int64_t writable) {
    if (line <= 8 && readable >= 8 && writable >= 8)
        memcpy(into, from, 8);
    else if (line <= 16 && readable >= 16 && writable >= 16)
        memcpy(into, from, 16);
    else
        memcpy(into, from, line);
}

/* Copy windows out of images into rows. `places` are counted through images and the rows and columns of a grid, whose first
 * window begins `corner` numbers into an image. */
void copy_windows(const void *pixels, int64_t bytes, const int64_t *shape, const int64_t *grid, const int64_t *window,
                  int64_t corner, const int64_t *places, int64_t count, void *copies) {
    const int64_t channels = shape[0], height = shape[1], width = shape[2], line = window[1] * bytes, all = window[0] * line;
    const char *starts[AHEAD];
    for (int64_t i = 0; i < count + AHEAD; i++) {
        if (i >= AHEAD)
            for (int64_t c = 0; c < channels; c++) {
                const char *from = starts[i % AHEAD] + c * height * width * bytes;
                for (int64_t done = 0; done < all; done += line, from += width * bytes, copies += line)
                    /* The image may end behind the last line. */
                    copy_line(from, copies, line, done + line < all ? width * bytes : line, all - done);
            }
        if (i >= count) continue;
        /* Windows lie far apart in memory: prefetch them. */
        const int64_t image = places[i] / (grid[0] * grid[1]), row = places[i] / grid[1] % grid[0], column = places[i] % grid[1];
        const char *start = (const char *)pixels + (((image * channels * height) + row) * width + column + corner) * bytes;
        for (int64_t y = 0; y < window[0]; y++) __builtin_prefetch(start + y * width * bytes);
        starts[i % AHEAD] = start;
    }
}
