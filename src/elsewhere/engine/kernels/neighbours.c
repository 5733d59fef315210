/* Neighbour propagation: training windows adjacent to those that adjacent queries found, weighed one by one. */

#include "vectors.h"

/* Position of a number in a hash table with free places, or of the free place for it. */
INLINE int64_t place_of(const int64_t *table, int64_t room, int64_t number) {
    uint64_t place = (uint64_t)number * 0x9E3779B97F4A7C15u >> 32 & (uint64_t)(room - 1);
    while (table[place] >= 0 && table[place] != number) place = (place + 1) & (uint64_t)(room - 1);
    return (int64_t)place;
}

/* |r k - q|^2 line by line, until it is more than `most`. */
#define DISTANCE(name, type)                                                                                           \
    static double name(const propagation *t, int64_t start, const double *query, double most) {                             \
        const int64_t height = t->shape[1], width = t->shape[2], lines = t->window[0], across = t->window[1];          \
        const double *root = t->roots;                                                                                 \
        double all = 0;                                                                                                \
        for (int64_t c = 0; c < t->shape[0]; c++)                                                                      \
            for (int64_t y = 0; y < lines && all <= most; y++, query += across, root += across) {                      \
                const type *line = (const type *)t->pixels + start + (c * height + y) * width;                         \
                for (int64_t x = 0; x < across; x++)                                                                   \
                    all += (line[x] * root[x] - query[x]) * (line[x] * root[x] - query[x]);                            \
            }                                                                                                          \
        return all;                                                                                                    \
    }
DISTANCE(of_bytes, uint8_t)
DISTANCE(of_floats, float)

/* Where the window at a place begins among the pixels. */
INLINE int64_t start_of(const propagation *t, int64_t place) {
    const int64_t each = t->grid[0] * t->grid[1], image = place / each, inside = place % each;
    return ((image * t->shape[0] * t->shape[1]) + inside / t->grid[1]) * t->shape[2] + inside % t->grid[1] + t->corner;
}

/* Places adjacent to those that the adjacent queries of a query found, each once, without those that it found itself.
 * `seen` has room for more than all. */
static int64_t adjacent_places(const propagation *t, int64_t q, int64_t *seen, int64_t room, int64_t *places) {
    const int64_t rows = t->grid[0], columns = t->grid[1];
    int64_t count = 0;
    memset(seen, -1, room * sizeof *seen);
    for (int i = 0; i < t->kept; i++) {
        const int64_t own = t->found[q * t->kept + i];
        if (own >= 0) seen[place_of(seen, room, own)] = own;
    }
    for (int side = 0; side < 8; side++) {
        const int64_t there = t->adjacent[q * 8 + side], down = t->sides[side * 2], right = t->sides[side * 2 + 1];
        if (there < 0) continue;
        for (int i = 0; i < t->kept; i++) {
            const int64_t found = t->found[there * t->kept + i];
            if (found < 0) continue;
            const int64_t row = found / columns % rows - down, column = found % columns - right;
            if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
            const int64_t place = found - down * columns - right, entry = place_of(seen, room, place);
            if (seen[entry] == place) continue;
            seen[entry] = places[count++] = place;
        }
    }
    return count;
}

/* Keys propagated to the queries first to end - 1 that weigh enough, as pairs of query and key; there is room for all.
 * Returns how many, or -1 where there is not enough memory. */
int64_t propagate_keys(const propagation *t, int64_t first, int64_t end, int64_t *query_of, int64_t *keys) {
    const int64_t numbers = t->shape[0] * t->window[0] * t->window[1];
    const int64_t bytes = t->is_byte ? 1 : sizeof(float), stride = t->shape[2] * bytes;
    int64_t room = 64, pairs = 0;
    while (room < 18 * (int64_t)t->kept) room *= 2;
    int64_t *seen = malloc(room * sizeof *seen), *places = malloc(8 * t->kept * sizeof *places);
    const int enough = seen && places;
    for (int64_t q = first; enough && q < end; q++) {
        const int64_t count = adjacent_places(t, q, seen, room, places);
        /* Places lie far apart in memory: prefetch them. */
        for (int64_t i = 0; t->numbers && i < count; i++)
            __builtin_prefetch((const char *)t->numbers + places[i] * (t->is_wide ? 8 : 4));
        int64_t known = 0;
        int64_t *here = keys + pairs, *starts = query_of + pairs;
        for (int64_t i = 0; i < count; i++) {
            const int64_t key = !t->numbers  ? places[i]
                                : t->is_wide ? ((const int64_t *)t->numbers)[places[i]]
                                             : ((const int32_t *)t->numbers)[places[i]];
            if (key < t->skipped) continue;
            const int64_t start = start_of(t, places[i]);
            for (int64_t y = 0; y < t->window[0]; y++) __builtin_prefetch((const char *)t->pixels + start * bytes + y * stride);
            here[known] = key, starts[known++] = start;
        }
        const double *query = t->queries + q * numbers;
        for (int64_t i = 0; i < known; i++) {
            const int64_t key = here[i], start = starts[i];
            const double most = (t->least[q] - (t->log_counts ? t->log_counts[key] : 0)) / t->factor;
            const double squares = t->is_byte ? of_bytes(t, start, query, most) : of_floats(t, start, query, most);
            /* Pairs overwrite the beginning of this list, which was read already. */
            if (squares < most) query_of[pairs] = q, keys[pairs++] = key;
        }
    }
    free(seen), free(places);
    return enough ? pairs : -1;
}
