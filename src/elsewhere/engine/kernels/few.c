/* The few keys that matter to each query, where the noise is low: near keys are guessed, positions.c finds all that weigh more
 * than a share of these, and here they are weighed exactly and their patches pasted.
 *
 * near_keys is PatchMatch (Barnes et al. 2009): neighbours try the keys of one another, moved as they are, and keys at random
 * in ever smaller surroundings. What it finds is a bound that saves work: no answer depends on it. */

#include "vectors.h"

#define LANES FLOATS
#define NAME(x) x##_of_few
#include "lanes.h"
#undef NAME
typedef weights_of_few block;
#undef weights
#undef integers
#undef words

/* Numbers behind a row that whole blocks may read. */
#define BEHIND (2 * LANES)

/* An image of floats whose rows are followed by zeros. */
static float *copy(const double *from, int channels, int rows, int columns) {
    const size_t line = (size_t)columns + BEHIND;
    float *into = vectors((size_t)channels * rows * line * sizeof(float));
    if (!into) return NULL;
    memset(into, 0, (size_t)channels * rows * line * sizeof(float));
    for (size_t row = 0; row < (size_t)channels * rows; row++)
        for (int i = 0; i < columns; i++) into[row * line + i] = (float)from[row * columns + i];
    return into;
}

/* Windows side by side. */
typedef struct {
    const float *x, *keys;
    const float *mask; /* of the last block of a row of a window: 1 inside */
} images;

/* The squared distance of the windows around two positions, or any number above `most`. */
static float square_of(const nearest_task *t, const images *m, int row, int column, int key_row, int key_column, float most) {
    const int side = 2 * t->radius + 1;
    const size_t line = (size_t)t->columns + BEHIND, key_line = (size_t)t->width + BEHIND;
    float sum = 0;
    for (int y = -t->radius; y <= t->radius; y++) {
        block squares = {0};
        for (int c = 0; c < t->channels; c++) {
            const float *a = m->x + ((size_t)c * t->rows + row + y) * line + column - t->radius;
            const float *b = m->keys + ((size_t)c * t->height + key_row + y) * key_line + key_column - t->radius;
            for (int i = 0; i < side; i += LANES) {
                block from, to, mask = (block){0} + 1.0f;
                memcpy(&from, a + i, sizeof from), memcpy(&to, b + i, sizeof to);
                if (side - i < LANES) memcpy(&mask, m->mask, sizeof mask);
                const block less = (from - to) * mask;
                squares += less * less;
            }
        }
        sum += sum_of_of_few(squares);
        if (sum > most) return sum;
    }
    return sum;
}

static uint32_t next(uint32_t *state) {
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

/* Try a key, and keep it where it is nearer. */
INLINE void attempt(const nearest_task *t, const images *m, int row, int column, int key_row, int key_column, int *best,
                    float *square) {
    if (key_row < t->first_key_row || key_row >= t->end_key_row) return;
    if (key_column < t->first_key_column || key_column >= t->end_key_column) return;
    if (*best == key_row * t->width + key_column) return;
    const float found = square_of(t, m, row, column, key_row, key_column, *square);
    if (found < *square) *square = found, *best = key_row * t->width + key_column;
}

int near_keys(const nearest_task *t) {
    float mask[LANES];
    for (int i = 0; i < LANES; i++) mask[i] = i < (2 * t->radius + 1 - 1) % LANES + 1;
    float *x = copy(t->x, t->channels, t->rows, t->columns), *keys = copy(t->keys, t->channels, t->height, t->width);
    const size_t count = (size_t)t->rows * t->columns;
    float *squares = vectors(count * sizeof(float));
    const int enough = x && keys && squares;
    const images m = {x, keys, mask};
    const int down = t->end_key_row - t->first_key_row, across = t->end_key_column - t->first_key_column;
    uint32_t state = 2463534242u; /* any number but 0 */
    for (int round = 0; enough && round < t->rounds; round++) {
        const int back = round % 2, step = back ? -1 : 1;
        for (int i = 0; i < t->end_row - t->first_row; i++)
            for (int j = 0; j < t->end_column - t->first_column; j++) {
                const int row = back ? t->end_row - 1 - i : t->first_row + i;
                const int column = back ? t->end_column - 1 - j : t->first_column + j;
                const size_t at = (size_t)row * t->columns + column;
                int best = t->nearest[at];
                float square = squares[at];
                if (!round) {
                    best = -1, square = INFINITY;
                    attempt(t, &m, row, column, t->first_key_row + (int)(next(&state) % down),
                            t->first_key_column + (int)(next(&state) % across), &best, &square);
                }
                if (i) {
                    const int other = t->nearest[at - step * t->columns];
                    attempt(t, &m, row, column, other / t->width + step, other % t->width, &best, &square);
                }
                if (j) {
                    const int other = t->nearest[at - step];
                    attempt(t, &m, row, column, other / t->width, other % t->width + step, &best, &square);
                }
                for (int far = at_least(down, across); far; far /= 2) {
                    const int from_row = best / t->width - far, from_column = best % t->width - far;
                    attempt(t, &m, row, column, from_row + (int)(next(&state) % (2 * far + 1)),
                            from_column + (int)(next(&state) % (2 * far + 1)), &best, &square);
                }
                t->nearest[at] = best, squares[at] = square;
            }
    }
    for (size_t i = 0; enough && i < count; i++) t->squares[i] = squares[i];
    free(x), free(keys), free(squares);
    return !enough;
}

typedef double wide __attribute__((vector_size(LANES / 2 * sizeof(double))));
enum { WIDE = LANES / 2 };

/* Rows followed by zeros, in double. */
static double *wide_copy(const double *from, size_t rows, int columns) {
    const size_t line = (size_t)columns + WIDE;
    double *into = vectors(rows * line * sizeof(double));
    if (!into) return NULL;
    memset(into, 0, rows * line * sizeof(double));
    for (size_t row = 0; row < rows; row++) memcpy(into + row * line, from + row * columns, columns * sizeof(double));
    return into;
}

/* The squared distance of two windows, whose images are wide copies. */
static double exact_square(const few_task *t, const double *x, const double *keys, const double *mask, int row, int column,
                           int key_row, int key_column) {
    const int side = 2 * t->radius + 1, whole = side / WIDE * WIDE;
    const size_t line = (size_t)t->columns + WIDE, key_line = (size_t)t->width + WIDE;
    wide sum = {0}, last;
    memcpy(&last, mask, sizeof last);
    for (int c = 0; c < t->channels; c++)
        for (int y = -t->radius; y <= t->radius; y++) {
            const double *a = x + ((size_t)c * t->rows + row + y) * line + column - t->radius;
            const double *b = keys + ((size_t)c * t->height + key_row + y) * key_line + key_column - t->radius;
            wide from, to;
            for (int i = 0; i < whole; i += WIDE) {
                memcpy(&from, a + i, sizeof from), memcpy(&to, b + i, sizeof to);
                sum += (from - to) * (from - to);
            }
            memcpy(&from, a + whole, sizeof from), memcpy(&to, b + whole, sizeof to);
            sum += (from - to) * (from - to) * last;
        }
    double all = 0;
    for (int i = 0; i < WIDE; i++) all += sum[i];
    return all;
}

int paste_few(const few_task *t) {
    const int side = 2 * t->reach + 1;
    const size_t area = (size_t)side * side, channels = t->channels, queries = t->end_query - t->first_query;
    /* Pairs in order of their queries. */
    int64_t *ends = vectors((queries + 1) * sizeof(int64_t)), count = 0, most = 0;
    if (!ends) return 1;
    memset(ends, 0, (queries + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < t->count; i++)
        if (t->found_queries[i] >= t->first_query && t->found_queries[i] < t->end_query)
            ends[t->found_queries[i] - t->first_query]++, count++;
    for (size_t i = 0, before = 0; i < queries; i++) {
        const size_t here = ends[i];
        most = (int64_t)here > most ? (int64_t)here : most;
        ends[i] = before, before += here;
    }
    int32_t *keys = vectors((count + 1) * sizeof(int32_t));
    double *logs = vectors((most + 1) * sizeof(double));
    float *patch = vectors((channels * area + LANES) * sizeof(float));
    double *x = wide_copy(t->x, channels * t->rows, t->columns), *values = wide_copy(t->keys, channels * t->height, t->width);
    double mask[WIDE];
    for (int i = 0; i < WIDE; i++) mask[i] = i < (2 * t->radius + 1) % WIDE;
    const int enough = keys && logs && patch && x && values;
    for (int64_t i = 0; enough && i < t->count; i++)
        if (t->found_queries[i] >= t->first_query && t->found_queries[i] < t->end_query)
            keys[ends[t->found_queries[i] - t->first_query]++] = t->found_keys[i];
    for (size_t query = 0; enough && query < queries; query++) {
        const int64_t first = query ? ends[query - 1] : 0, end = ends[query];
        const int place = t->first_query + (int)query, row = place / t->columns, column = place % t->columns;
        double best = -INFINITY, total = 0;
        if (first == end) continue;
        for (int64_t k = first; k < end; k++) {
            logs[k - first] = -t->precision / 2 * exact_square(t, x, values, mask, row, column, keys[k] / t->width,
                                                               keys[k] % t->width);
            best = fmax(best, logs[k - first]);
        }
        for (int64_t k = first; k < end; k++) total += logs[k - first] = exp(logs[k - first] - best);
        /* The mean patch. */
        memset(patch, 0, channels * area * sizeof(float));
        double share = 0;
        for (int64_t k = first; k < end; k++) {
            const double weight = logs[k - first] / total;
            if (weight < t->least) continue;
            share += weight;
            const int key_row = keys[k] / t->width, key_column = keys[k] % t->width;
            for (size_t c = 0; c < channels; c++)
                for (int y = -t->reach; y <= t->reach; y++) {
                    const double *from = t->keys + (c * t->height + key_row + y) * t->width + key_column - t->reach;
                    float *into = patch + (c * side + y + t->reach) * side;
                    for (int i = 0; i < side; i++) into[i] += (float)(weight * from[i]);
                }
        }
        for (int y = 0; y < side; y++)
            for (int i = 0; i < side; i++) {
                const size_t at = (size_t)(row + y - t->reach) * t->columns + (column + i - t->reach);
                const double counts = (double)t->profile[y] * t->profile[i];
                t->pasted_total[at] += counts * share;
                for (size_t c = 0; c < channels; c++)
                    t->pasted[at * channels + c] += counts * patch[(c * side + y) * side + i];
            }
    }
    free(ends), free(keys), free(logs), free(patch), free(x), free(values);
    return !enough;
}
