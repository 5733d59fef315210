/* Sets of keys cut in two along the principal axis of each: see search/build.py. */

#include "vectors.h"

#define LANES FLOATS
#define NAME(x) x
#include "lanes.h"

INLINE void swap(float *along, int64_t *keys, int64_t a, int64_t b) {
    const float other = along[a];
    const int64_t key = keys[a];
    along[a] = along[b], keys[a] = keys[b];
    along[b] = other, keys[b] = key;
}

/* Partition keys so that the `first` smallest projections come first (Hoare's selection). */
static void bring_forward(float *along, int64_t *keys, int64_t count, int64_t first) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        /* The median of three: keys that are sorted already do not cost quadratic time. */
        const int64_t middle = low + (high - low) / 2;
        if (along[middle] < along[low]) swap(along, keys, middle, low);
        if (along[high] < along[low]) swap(along, keys, high, low);
        if (along[high] < along[middle]) swap(along, keys, high, middle);
        const float pivot = along[middle];
        int64_t up = low, down = high;
        while (up <= down) {
            while (along[up] < pivot) up++;
            while (along[down] > pivot) down--;
            if (up <= down) swap(along, keys, up++, down--);
        }
        if (first <= down)
            high = down;
        else if (first > up)
            low = up;
        else
            return;
    }
}

/* Partition keys, positions in a table (rows, width) of finite numbers, so that the `first` smallest projections on their
 * principal axis come first. The axis is found by `steps` steps of the power method, which starts at the farthest key.
 * Returns 0, or 1 where there is not enough memory. */
int split_keys(const float *table, int64_t width, int64_t *keys, int64_t count, int64_t first, int64_t steps) {
    const int64_t size = (width + LANES - 1) / LANES;
    weights *rows = vectors((size_t)count * size * sizeof *rows), *mean = vectors(size * sizeof *mean);
    weights *direction = vectors(size * sizeof *direction), *next = vectors(size * sizeof *next);
    float *along = vectors((size_t)count * sizeof *along);
    const int enough = rows && mean && direction && next && along;
    if (enough) {
        const weights nothing = {0};
        for (int64_t v = 0; v < size; v++) mean[v] = nothing;
        for (int64_t i = 0; i < count; i++) {
            weights *row = rows + i * size;
            row[size - 1] = nothing;
            memcpy(row, table + keys[i] * width, width * sizeof(float));
            for (int64_t v = 0; v < size; v++) mean[v] += row[v];
        }
        for (int64_t v = 0; v < size; v++) mean[v] /= (float)count;
        float farthest = -1;
        for (int64_t i = 0; i < count; i++) {
            weights *row = rows + i * size, squares = nothing;
            for (int64_t v = 0; v < size; v++) row[v] -= mean[v], squares += row[v] * row[v];
            const float square = sum_of(squares);
            if (square > farthest) farthest = square, memcpy(direction, row, size * sizeof *row);
        }
        for (int64_t step = 0; step <= steps; step++) {
            for (int64_t v = 0; v < size; v++) next[v] = nothing;
            for (int64_t i = 0; i < count; i++) {
                const weights *row = rows + i * size;
                weights products = nothing;
                for (int64_t v = 0; v < size; v++) products += row[v] * direction[v];
                along[i] = sum_of(products);
                for (int64_t v = 0; v < size; v++) next[v] += row[v] * along[i];
            }
            if (step == steps) break;
            weights squares = nothing;
            for (int64_t v = 0; v < size; v++) squares += next[v] * next[v];
            const float norm = sqrtf(sum_of(squares)), scale = 1 / (norm > 1e-20f ? norm : 1e-20f);
            for (int64_t v = 0; v < size; v++) direction[v] = next[v] * scale;
        }
        bring_forward(along, keys, count, first);
    }
    free(rows), free(mean), free(direction), free(next), free(along);
    return !enough;
}
