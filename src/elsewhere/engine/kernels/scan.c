/* The cell scan of an index: the masses of cells by their Gaussians, and all keys of the blocks that matter, one by one.
 *
 * The log masses of the cells of a group are products of two tables. The keys of a block whose log mass lies between two
 * bounds are read and weighed against all queries that ask for it. */

#include "tiles.h"

/* Keys that are weighed against all queries before the next ones, so that they stay in a core's own cache. */
#define AT_ONCE 1024
/* Log-weights relative to the peak at which a thousand keys together are lost in rounding. */
#define NOTHING -40.0f

/* A query that asks for a block. */
typedef struct {
    int32_t query;   /* position in the round */
    int32_t in_band; /* whether the block is compared */
    float mass;      /* expected */
} request;

/* What is computed for one group. */
typedef struct {
    float *masses, *values; /* of the cells, in tiles: (tiles, levels or channels, rows, TILE) */
    float *logs, *expected; /* (DOWN, cells), and (channels, DOWN, cells) */
    float *shares;          /* exponentials of logs, (cells) */
    request *requests;      /* (blocks, openers) */
    float *request_values;  /* expected mass times value, (blocks, openers, channels) */
    int64_t *sizes;         /* number of requests of each block, (blocks) */
    int32_t *openers;
    int64_t cells, all_requests;
} group_buffers;

/* Columns of a table, in tiles; the last tile is filled up with zeros. */
static void load_table(const float *table, int64_t stride, int rows, int64_t count, float *into) {
    for (int64_t tile = 0; tile < tiles_of(count); tile++)
        for (int row = 0; row < rows; row++, into += TILE) {
            const int64_t here = count - tile * TILE < TILE ? count - tile * TILE : TILE;
            memcpy(into, table + row * stride + tile * TILE, here * sizeof(float));
            memset(into + here, 0, (TILE - here) * sizeof(float));
        }
}

/* Log masses and expected values of the cells of a group, for DOWN queries. */
static void weigh_cells(const scan_task *t, const group_buffers *g, int64_t cells, const number *const *query) {
    const int value_rows = t->rows - t->directions - 2;
    const int64_t size = tiles_of(cells) * TILE;
    const number *value_query[DOWN];
    for (int q = 0; q < DOWN; q++) value_query[q] = query[q] + t->directions + 2;
    for (int64_t tile = 0; tile < tiles_of(cells); tile++) {
        weights least[DOWN][ACROSS], sums[DOWN][ACROSS];
        products(t->rows, g->masses + tile * t->rows * TILE, query, least);
        for (int level = 1; level < t->levels; level++) {
            products(t->rows, g->masses + (level * tiles_of(cells) + tile) * t->rows * TILE, query, sums);
            for (int q = 0; q < DOWN; q++)
                for (int v = 0; v < ACROSS; v++) least[q][v] = -larger(-least[q][v], -sums[q][v]);
        }
        for (int q = 0; q < DOWN; q++) memcpy(g->logs + q * size + tile * TILE, least[q], sizeof least[q]);
        for (int c = 0; c < t->in.channels; c++) {
            products(value_rows, g->values + (c * tiles_of(cells) + tile) * value_rows * TILE, value_query, sums);
            for (int q = 0; q < DOWN; q++)
                memcpy(g->expected + (c * DOWN + q) * size + tile * TILE, sums[q], sizeof sums[q]);
        }
    }
}

/* Sum up the blocks that are left to their Gaussians, and collect requests for those that are to be read. */
static void sort_blocks(const scan_task *t, const group_buffers *g, int64_t cells, int64_t openers, int64_t query,
                        const float *logs, const float *expected, int64_t stride) {
    const int channels = t->in.channels;
    const float lower = t->lower[query], upper = t->upper[query], largest = (float)t->largest;
    double *left = t->left + query * (1 + channels), left_squares = 0;
    for (int64_t v = 0; v < stride / LANES; v++)
        ((weights *)g->shares)[v] = exponential(-larger(-((const weights *)logs)[v], (weights){0} - largest));
    for (int64_t block = 0, first = 0; first < cells; block++, first += t->block) {
        const int64_t end = first + t->block < cells ? first + t->block : cells;
        float score = logs[first], mass = 0;
        for (int64_t cell = first; cell < end; cell++) {
            score = logs[cell] > score ? logs[cell] : score;
            mass += g->shares[cell];
        }
        const int is_left = score < lower;
        if (!is_left && !(score < upper)) continue;
        float *values = NULL;
        if (is_left) {
            left[0] += mass;
            left_squares += (double)mass * mass;
        } else {
            const int64_t place = block * openers + g->sizes[block]++;
            g->requests[place] = (request){(int32_t)query, score < lower + t->band || isinf(lower), mass};
            values = g->request_values + place * channels;
        }
        for (int c = 0; c < channels; c++) {
            float value = 0;
            for (int64_t cell = first; cell < end; cell++) value += g->shares[cell] * expected[c * DOWN * stride + cell];
            if (is_left)
                left[1 + c] += value;
            else
                values[c] = value;
        }
    }
    t->left_squares[query] += left_squares;
}

/* Sums of the weights, and of the weights times the values, of one of the queries that were weighed last, relative to its
 * highest log-weight; written to s->sums. With more values than VALUES_AT_ONCE, the log-weights are overwritten. */
static void sum_up(const scan_input *t, const key_tiles *s, int q, float highest) {
    const int64_t size = s->tiles * ACROSS;
    weights *logs = (weights *)s->logs + q * size;
    const weights *values = (const weights *)s->values;
    for (int first = 0; !first || first < t->channels; first += VALUES_AT_ONCE) {
        const int some = at_most(t->channels - first, VALUES_AT_ONCE), again = first > 0, more = t->channels > VALUES_AT_ONCE;
        weights sums[1 + VALUES_AT_ONCE] = {{0}};
        for (int64_t v = 0; v < size; v += ACROSS) {
            weights here[ACROSS];
            for (int i = 0; i < ACROSS; i++) here[i] = again ? logs[v + i] : exponential(logs[v + i] - highest);
            if (more && !again)
                for (int i = 0; i < ACROSS; i++) logs[v + i] = here[i];
            for (int i = 0; i < ACROSS; i++) sums[0] += here[i];
            for (int c = 0; c < some; c++)
                for (int i = 0; i < ACROSS; i++) sums[1 + c] += here[i] * values[(first + c) * size + v + i];
        }
        s->sums[0] = sum_of(sums[0]);
        for (int c = 0; c < some; c++) s->sums[1 + first + c] = sum_of(sums[1 + c]) / t->scale;
    }
}

/* Add sums relative to e^log to others relative to e^*peak. */
INLINE void add_sums(int channels, double log, const double *found, double *peak, double *sums) {
    if (log > *peak) {
        const double factor = exp(*peak - log);
        for (int c = 0; c <= channels; c++) sums[c] *= factor;
        *peak = log;
    }
    const double share = log == *peak ? 1 : exp(log - *peak);
    for (int c = 0; c <= channels; c++) sums[c] += found[c] * share;
}

/* Compare what was read of a block with what was expected of it. */
static void compare(const scan_task *t, const request *one, const float *expected, double log, const double *found) {
    const int channels = t->in.channels;
    const double read = exp(log < t->most ? log : t->most), mass = one->mass, miss = found[0] * read - mass;
    double *band = t->bands + (size_t)one->query * (4 + 3 * channels);
    band[0] += mass, band[1] += mass * mass, band[2] += miss, band[3] += miss * miss;
    for (int c = 0; c < channels; c++) {
        const double off = found[1 + c] * read - expected[c];
        band[4 + c] += off, band[4 + channels + c] += miss * off, band[4 + 2 * channels + c] += off * off;
    }
}

HEAP(replace_least, double)

/* Other threads may raise it at any time. */
INLINE double floor_of(const scan_task *t, int64_t query) {
    double floor;
    __atomic_load(t->floors + query, &floor, __ATOMIC_RELAXED);
    return floor;
}

/* Put the heaviest key of the block that was weighed last among the heaviest of all blocks: a heap, the least first. */
static void keep_heaviest(const scan_task *t, const key_tiles *s, int q, int64_t query, float highest, int64_t first) {
    double *tops = t->tops + query * t->kept;
    int64_t *keys = t->top_keys + query * t->kept;
    if (!(highest > *tops) || highest < floor_of(t, query)) return;
    const float *logs = s->logs + q * s->tiles * TILE, less = nextafterf(highest, -INFINITY);
    int64_t key = 0;
    while (!any_above(((const weights *)logs)[key / LANES], less)) key += LANES;
    while (logs[key] != highest) key++;
    replace_least(tops, keys, t->kept, highest, first + key);
}

static void read_block(const scan_task *t, key_tiles *s, int64_t first, int64_t count, const request *requests,
                       const float *expected, int64_t size) {
    const int channels = t->in.channels;
    load_keys(&t->in, s, first, count);
    for (int64_t start = 0; start < size; start += DOWN) {
        int64_t queries[DOWN];
        float highest[DOWN];
        for (int q = 0; q < DOWN; q++) queries[q] = t->members[requests[start + q < size ? start + q : size - 1].query];
        weigh(&t->in, s, queries, highest);
        for (int q = 0; q < DOWN && start + q < size; q++) {
            const request *one = requests + start + q;
            keep_heaviest(t, s, q, one->query, highest[q], first);
            sum_up(&t->in, s, q, highest[q]);
            add_sums(channels, highest[q], s->sums, t->peaks + one->query, t->read + (size_t)one->query * (1 + channels));
            if (t->compares && one->in_band) compare(t, one, expected + (start + q) * channels, highest[q], s->sums);
        }
    }
}

/* Number of keys of the block that begins at a cell of a group. */
INLINE int64_t keys_of(const scan_task *t, int64_t first, int64_t end) {
    return t->starts[first + t->block < end ? first + t->block : end] - t->starts[first];
}

/* Make room for a group. Returns whether there was enough memory. */
static int make_room(const scan_task *t, group_buffers *g, int64_t cells, int64_t openers) {
    const int64_t blocks = (cells + t->block - 1) / t->block;
    if (cells > g->cells) {
        const size_t size = tiles_of(cells) * TILE * sizeof(float);
        free(g->masses), free(g->values), free(g->logs), free(g->expected), free(g->shares), free(g->sizes);
        g->masses = vectors(size * t->levels * t->rows);
        g->values = vectors(size * t->in.channels * (t->rows - t->directions - 2));
        g->logs = vectors(size * DOWN), g->expected = vectors(size * DOWN * t->in.channels);
        g->shares = vectors(size), g->sizes = malloc(blocks * sizeof *g->sizes);
        g->cells = cells;
        if (!g->masses || !g->values || !g->logs || !g->expected || !g->shares || !g->sizes) return 0;
    }
    if (blocks * openers > g->all_requests) {
        free(g->requests), free(g->request_values);
        g->all_requests = blocks * openers;
        g->requests = malloc(g->all_requests * sizeof *g->requests);
        g->request_values = malloc(g->all_requests * t->in.channels * sizeof *g->request_values);
        if (!g->requests || !g->request_values) return 0;
    }
    return 1;
}

/* Open one group for all queries that ask for it. Returns whether there was enough memory. */
static int scan_group(const scan_task *t, int64_t group, group_buffers *g, key_tiles *s) {
    int64_t openers = 0, most = 0;
    for (int64_t query = 0; query < t->count; query++)
        if (t->opened[group * t->count + query]) g->openers[openers++] = (int32_t)query;
    if (!openers) return 1;
    const int64_t first = t->bounds[group], end = t->bounds[group + 1], cells = end - first;
    const int64_t size = tiles_of(cells) * TILE;
    const int value_rows = t->rows - t->directions - 2;
    for (int64_t from = first; from < end; from += t->block)
        most = keys_of(t, from, end) > most ? keys_of(t, from, end) : most;
    if (!make_room(t, g, cells, openers) || !make_tiles(&t->in, s, most)) return 0;
    for (int level = 0; level < t->levels; level++)
        load_table(t->masses[level] + first, t->cells, t->rows, cells, g->masses + level * t->rows * size);
    for (int c = 0; c < t->in.channels; c++)
        load_table(t->values + c * value_rows * t->cells + first, t->cells, value_rows, cells,
                   g->values + c * value_rows * size);
    memset(g->sizes, 0, (cells + t->block - 1) / t->block * sizeof *g->sizes);
    for (int64_t start = 0; start < openers; start += DOWN) {
        const number *query[DOWN];
        for (int q = 0; q < DOWN; q++) {
            const int64_t opener = g->openers[start + q < openers ? start + q : openers - 1];
            query[q] = (const number *)(t->queries + t->members[opener] * t->rows);
        }
        weigh_cells(t, g, cells, query);
        for (int q = 0; q < DOWN && start + q < openers; q++)
            sort_blocks(t, g, cells, openers, g->openers[start + q], g->logs + q * size, g->expected + q * size, size);
    }
    for (int64_t block = 0, from = first; from < end; block++, from += t->block)
        if (g->sizes[block])
            read_block(t, s, t->starts[from], keys_of(t, from, end), g->requests + block * openers,
                       g->request_values + block * openers * t->in.channels, g->sizes[block]);
    return 1;
}

/* Scan the groups of a task. Returns 0, or 1 where there is not enough memory. */
int scan_groups(const scan_task *t) {
    group_buffers g = {0};
    key_tiles s = {0};
    g.openers = malloc((t->count + 1) * sizeof *g.openers);
    int enough = g.openers != NULL;
    for (int group = t->first_group; enough && group < t->end_group; group++) enough = scan_group(t, group, &g, &s);
    /* A query that has enough keys needs no lighter ones from other groups. */
    for (int64_t query = 0; enough && query < t->count; query++) {
        double *least = t->tops + query * t->kept;
        if (*least > floor_of(t, query)) __atomic_store(t->floors + query, least, __ATOMIC_RELAXED);
    }
    free(g.masses), free(g.values), free(g.logs), free(g.expected), free(g.shares);
    free(g.requests), free(g.request_values), free(g.sizes), free(g.openers);
    free_tiles(&s);
    return !enough;
}

/* Weigh all queries against all of `count` keys. Their peaks (Q), and total and weighted sums (Q, 1 + channels), are added to.
 * Returns 0, or 1 where there is not enough memory. */
int scan_all(const scan_input *t, int64_t count, int64_t queries, double *peaks, double *sums) {
    key_tiles s = {0};
    const int enough = make_tiles(t, &s, AT_ONCE);
    for (int64_t first = 0; enough && first < count; first += AT_ONCE) {
        load_keys(t, &s, t->skipped + first, count - first < AT_ONCE ? count - first : AT_ONCE);
        for (int64_t start = 0; start < queries; start += DOWN) {
            int64_t some[DOWN];
            float highest[DOWN];
            for (int q = 0; q < DOWN; q++) some[q] = start + q < queries ? start + q : queries - 1;
            weigh(t, &s, some, highest);
            for (int q = 0; q < DOWN && start + q < queries; q++) {
                double *peak = peaks + start + q;
                if (highest[q] < *peak + NOTHING) continue;
                sum_up(t, &s, q, highest[q]);
                add_sums(t->channels, highest[q], s.sums, peak, sums + (start + q) * (1 + t->channels));
            }
        }
    }
    free_tiles(&s);
    return !enough;
}
