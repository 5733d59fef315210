/* The attribution pass of the search: which keys weigh most for each query, and how much of the weight of each image drawn
 * belongs to each training image. */

#include "tiles.h"

/* Weights of less than this are not credited: a million of them are lost in rounding. */
#define NEGLIGIBLE 1e-12f

HEAP(replace_least, double)

/* The first merged key that is not before `key`. */
static int64_t merged_from(const key_sources *from, int64_t key) {
    int64_t low = 0, high = from->merged_count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (from->merged[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

INLINE int64_t image_of(const key_sources *from, int64_t key) {
    const int64_t place = !from->kept     ? key
                          : from->is_wide ? ((const int64_t *)from->kept)[key]
                                          : ((const int32_t *)from->kept)[key];
    return place / from->each;
}

/* Credit the weights of the keys of a range, for one image drawn, to their training images. */
static void credit(const attribution_task *t, int64_t first, int64_t count, const float *sums, int64_t drawn) {
    int64_t row = merged_from(&t->from, first);
    for (int64_t i = 0; i < count; i++) {
        const int64_t key = first + i;
        const int is_merged = row < t->from.merged_count && t->from.merged[row] == key;
        row += is_merged;
        if (!(sums[i] > NEGLIGIBLE)) continue;
        if (!is_merged) {
            t->shares[image_of(&t->from, key) * t->batch + drawn] += sums[i];
            continue;
        }
        for (int64_t at = t->from.bounds[row - 1]; at < t->from.bounds[row]; at++)
            t->shares[t->from.images[at] * t->batch + drawn] += (double)sums[i] * t->from.shares[at];
    }
}

/* Put keys of a range among the heaviest of a query. */
static void keep_largest(const attribution_task *t, const key_tiles *s, int q, int64_t query, int64_t first) {
    const weights *logs = (const weights *)s->logs + q * s->tiles * ACROSS;
    double *best = t->logs + query * t->top;
    for (int64_t v = 0; v < s->tiles * ACROSS; v++) {
        if (!any_above(logs[v], (float)*best)) continue;
        for (int lane = 0; lane < LANES; lane++)
            if (logs[v][lane] > *best && logs[v][lane] > -NOWHERE / 2)
                replace_least(best, t->keys + query * t->top, t->top, logs[v][lane], first + v * LANES + lane);
    }
}

/* Weigh the ranges again. Returns 0, or 1 where there is not enough memory. */
int attribute_keys(const attribution_task *t) {
    key_tiles s = {0};
    int64_t most = 0;
    for (int64_t range = 0; range < t->ranges; range++)
        most = t->end[range] - t->first[range] > most ? t->end[range] - t->first[range] : most;
    weights *sums = vectors(tiles_of(most) * TILE * sizeof(float));
    const int enough = sums && make_tiles(&t->in, &s, most);
    for (int64_t range = 0; enough && range < t->ranges; range++) {
        const int64_t first = t->first[range], count = t->end[range] - first, begin = t->bounds[range];
        const int64_t requests = t->bounds[range + 1] - begin;
        int64_t drawn = -1;
        load_keys(&t->in, &s, first, count);
        for (int64_t start = 0; start < requests; start += DOWN) {
            int64_t queries[DOWN];
            float highest[DOWN];
            for (int q = 0; q < DOWN; q++) queries[q] = t->queries[begin + (start + q < requests ? start + q : requests - 1)];
            weigh(&t->in, &s, queries, highest);
            for (int q = 0; q < DOWN && start + q < requests; q++) {
                if (highest[q] > t->logs[queries[q] * t->top]) keep_largest(t, &s, q, queries[q], first);
                if (t->image[queries[q]] != drawn) {
                    if (drawn >= 0) credit(t, first, count, (const float *)sums, drawn);
                    drawn = t->image[queries[q]];
                    memset(sums, 0, s.tiles * TILE * sizeof(float));
                }
                weights total = {0};
                for (int64_t v = 0; v < s.tiles * ACROSS; v++) {
                    const weights some = exponential(((const weights *)s.logs)[q * s.tiles * ACROSS + v]);
                    sums[v] += some, total += some;
                }
                t->read[queries[q]] += sum_of(total);
            }
        }
        if (drawn >= 0) credit(t, first, count, (const float *)sums, drawn);
    }
    free(sums);
    free_tiles(&s);
    return !enough;
}

/* Spread weights evenly over the windows of ranges of keys: `weights_of` (ranges, batch) is that of one window of each, and
 * `counts` the number of windows that each merged key stands for. Shares are (training images, batch). */
void spread_weights(const key_sources *from, int64_t ranges, const int64_t *first, const int64_t *end, const double *weights_of,
                    const double *counts, int64_t batch, double *shares) {
    for (int64_t range = 0; range < ranges; range++) {
        const double *one = weights_of + range * batch;
        int64_t row = merged_from(from, first[range]);
        for (int64_t key = first[range]; key < end[range]; key++) {
            if (row < from->merged_count && from->merged[row] == key) {
                for (int64_t at = from->bounds[row]; at < from->bounds[row + 1]; at++)
                    for (int64_t b = 0; b < batch; b++)
                        shares[from->images[at] * batch + b] += one[b] * counts[row] * from->shares[at];
                row++;
                continue;
            }
            double *into = shares + image_of(from, key) * batch;
            for (int64_t b = 0; b < batch; b++) into[b] += one[b];
        }
    }
}
