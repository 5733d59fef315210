/* Keys weighed one by one: all of them, or those of the blocks of an index that matter.
 *
 * Keys lie side by side in the lanes of vectors, DOWN queries meet ACROSS vectors at a time, and logs stay in a core's own
 * cache until they are exponentials. Of an index, what Gaussians say of the cells of a group are products of two tables in
 * the same way; where a block's log mass lies between two bounds its keys are read, by all queries that ask for it at once. */

#include "vectors.h"

#define LANES FLOATS
#define NAME(x) x
#include "lanes.h"

/* A tile that fills the registers. */
#define DOWN 6
#if LANES == 16
#define ACROSS 4
#else
#define ACROSS 2
#endif
#define TILE (ACROSS * LANES)

/* Keys that all queries are weighed against before the next ones, so that they stay in a core's own cache. */
#define AT_ONCE 1024
/* Windows of which the memory is told before they are copied. */
#define AHEAD 16
/* Less than any log where there is no key. */
#define NOWHERE 1e30f
/* Logs, less the peak, of weights of which a thousand are lost by rounding. */
#define NOTHING -40.0f

/* Two numbers of 16 bits, or a float. */
typedef int32_t number __attribute__((may_alias));

/* What a block is asked: by whom, and what was expected. */
typedef struct {
    int32_t who;
    int32_t last; /* whether it is in the band */
    float mass, values[3];
} request;

typedef struct {
    float *masses, *values;  /* of the cells of a group, in tiles: (tiles, levels or channels, rows, TILE) */
    float *logs, *expected;  /* (DOWN, cells), and (channels, DOWN, cells) */
    float *shares;           /* exponentials of logs, (cells) */
    request *requests; /* (blocks, room) */
    int64_t *sizes;    /* (blocks) */
    int32_t *openers;
    int64_t cells, all_requests;
} room;

/* Some keys as they are weighed. */
typedef struct {
    number *keys;           /* in tiles, (tiles, width or half of it, TILE) */
    float *norms, *counts;  /* -|k|^2 / 2 for products, and log counts, (tiles, TILE) */
    float *values;          /* (channels, tiles, TILE) */
    float *logs;            /* (DOWN, tiles, TILE) */
    int64_t most, tiles;
} shelf;

INLINE integers multiply_add(integers sum, integers a, integers b) {
#if defined(__AVX512VNNI__) && LANES == 16
    return (integers)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__) && LANES == 16
    return sum + (integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && LANES == 8
    return sum + (integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && LANES == 4
    return sum + (integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const integers low = ((a << 16) >> 16) * ((b << 16) >> 16);
    return sum + low + (a >> 16) * (b >> 16);
#endif
}

/* A number in all lanes. */
INLINE integers everywhere(number a) { return (integers){0} + a; }

/* What DOWN queries make of a tile: sums of `step` over its rows. */
#define TILES(name, type, step)                                                                                         \
    INLINE void name(int length, const void *tile, const number *const *asked, type sums[DOWN][ACROSS]) {         \
        const type *restrict keys = tile;                                                                               \
        type sum[DOWN][ACROSS];                                                                                         \
        for (int q = 0; q < DOWN; q++)                                                                                  \
            for (int v = 0; v < ACROSS; v++) sum[q][v] = (type){0};                                                     \
        for (int i = 0; i < length; i++)                                                                                \
            for (int q = 0; q < DOWN; q++) {                                                                            \
                const type one = (type)everywhere(asked[q][i]);                                                         \
                for (int v = 0; v < ACROSS; v++) sum[q][v] = step(sum[q][v], one, keys[i * ACROSS + v]);                \
            }                                                                                                           \
        for (int q = 0; q < DOWN; q++)                                                                                  \
            for (int v = 0; v < ACROSS; v++) sums[q][v] = sum[q][v];                                                    \
    }

INLINE weights add_product(weights sum, weights a, weights b) { return sum + a * b; }
INLINE weights add_square(weights sum, weights a, weights b) { return sum + (a - b) * (a - b); }
TILES(products, weights, add_product)
TILES(squares, weights, add_square)
TILES(whole_products, integers, multiply_add)

INLINE float highest_of(weights a) {
    float highest = a[0];
    for (int lane = 1; lane < LANES; lane++) highest = a[lane] > highest ? a[lane] : highest;
    return highest;
}

INLINE int64_t tiles_of(int64_t count) { return (count + TILE - 1) / TILE; }

/* Columns of a table, in tiles; what fills the last tile up counts for nothing. */
static void load_table(const float *table, int64_t stride, int rows, int64_t count, float *into) {
    for (int64_t tile = 0; tile < tiles_of(count); tile++)
        for (int row = 0; row < rows; row++, into += TILE) {
            const int64_t here = count - tile * TILE < TILE ? count - tile * TILE : TILE;
            memcpy(into, table + row * stride + tile * TILE, here * sizeof(float));
            memset(into + here, 0, (TILE - here) * sizeof(float));
        }
}

/* What queries make of the cells of a group: log masses and expected values. */
static void weigh_cells(const reading *t, const room *r, int64_t cells, const number *const *asked) {
    const int of_values = t->rows - t->directions - 2;
    const int64_t size = tiles_of(cells) * TILE;
    const number *behind[DOWN];
    for (int q = 0; q < DOWN; q++) behind[q] = asked[q] + t->directions + 2;
    for (int64_t tile = 0; tile < tiles_of(cells); tile++) {
        weights least[DOWN][ACROSS], sums[DOWN][ACROSS];
        products(t->rows, r->masses + tile * t->rows * TILE, asked, least);
        for (int level = 1; level < t->levels; level++) {
            products(t->rows, r->masses + (level * tiles_of(cells) + tile) * t->rows * TILE, asked, sums);
            for (int q = 0; q < DOWN; q++)
                for (int v = 0; v < ACROSS; v++) least[q][v] = -larger(-least[q][v], -sums[q][v]);
        }
        for (int q = 0; q < DOWN; q++) memcpy(r->logs + q * size + tile * TILE, least[q], sizeof least[q]);
        for (int c = 0; c < t->a.channels; c++) {
            products(of_values, r->values + (c * tiles_of(cells) + tile) * of_values * TILE, behind, sums);
            for (int q = 0; q < DOWN; q++)
                memcpy(r->expected + (c * DOWN + q) * size + tile * TILE, sums[q], sizeof sums[q]);
        }
    }
}

/* Add what is left to Gaussians, and note the blocks that are to be read. */
static void note(const reading *t, const room *r, int64_t cells, int64_t openers, int64_t who, const float *logs,
                 const float *expected, int64_t stride) {
    const int channels = t->a.channels;
    const float until = t->until[who], before = t->before[who], largest = (float)t->largest;
    double left[4] = {0}, left_squares = 0;
    for (int64_t v = 0; v < stride / LANES; v++)
        ((weights *)r->shares)[v] = exponential(-larger(-((const weights *)logs)[v], (weights){0} - largest));
    for (int64_t block = 0, first = 0; first < cells; block++, first += t->block) {
        const int64_t end = first + t->block < cells ? first + t->block : cells;
        float score = logs[first], mass = 0, values[3] = {0};
        for (int64_t cell = first; cell < end; cell++) {
            score = logs[cell] > score ? logs[cell] : score;
            mass += r->shares[cell];
            for (int c = 0; c < channels; c++) values[c] += r->shares[cell] * expected[c * DOWN * stride + cell];
        }
        if (score < until) {
            left[0] += mass;
            for (int c = 0; c < channels; c++) left[1 + c] += values[c];
            left_squares += (double)mass * mass;
        } else if (score < before) {
            request *one = r->requests + block * openers + r->sizes[block]++;
            *one = (request){(int32_t)who, score < until + t->band || isinf(until), mass, {values[0], values[1], values[2]}};
        }
    }
    for (int c = 0; c <= channels; c++) t->left[who * (1 + channels) + c] += left[c];
    t->left_squares[who] += left_squares;
}

INLINE int length_of(const asking *t) { return t->digits ? (t->width + 1) / 2 : t->width; }

/* Room for so many keys; whether it was to be had. */
static int make_shelf(const asking *t, shelf *s, int64_t count) {
    if (count <= s->most) return 1;
    const int length = length_of(t);
    const size_t size = tiles_of(count) * TILE * sizeof(float);
    free(s->keys), free(s->norms), free(s->counts), free(s->values), free(s->logs);
    s->keys = vectors(size * length), s->norms = vectors(size), s->counts = vectors(size);
    s->values = vectors(size * t->channels), s->logs = vectors(size * DOWN);
    s->most = count;
    if (!s->keys || !s->norms || !s->counts || !s->values || !s->logs) return 0;
    /* What fills the last tile up is looked at as well. */
    memset(s->keys, 0, size * length), memset(s->norms, 0, size);
    return 1;
}

static void free_shelf(shelf *s) {
    free(s->keys), free(s->norms), free(s->counts), free(s->values), free(s->logs);
}

INLINE float pixel_of(const asking *t, int64_t key, int64_t position) {
    const size_t at = (size_t)(key - t->skipped) * t->width + position;
    return (float)((t->is_byte ? (double)((const uint8_t *)t->keys)[at] : ((const float *)t->keys)[at]) - t->centre);
}

/* Pairs of pixels of the keys of a tile, less the centre, as numbers of 16 bits. */
#ifdef __AVX2__
/* Eight pairs of a key from number `pair` on, the last of which may want a pixel that counts for nothing. */
INLINE __m128i eight_pairs(const uint8_t *key, int width, int pair, uint8_t centre) {
    if (2 * pair + 16 <= width) return _mm_loadu_si128((const __m128i *)(key + 2 * pair));
    if (2 * pair + 15 == width && width >= 16)
        return _mm_insert_epi8(_mm_srli_si128(_mm_loadu_si128((const __m128i *)(key + width - 16)), 1), centre, 15);
    uint8_t some[16];
    memset(some, centre, sizeof some);
    memcpy(some, key + 2 * pair, width - 2 * pair);
    return _mm_loadu_si128((const __m128i *)some);
}

static void load_pairs(const asking *t, int64_t first, int64_t here, number *into) {
    const int length = length_of(t), width = t->width;
    const uint8_t centre = (uint8_t)t->centre, *from = (const uint8_t *)t->keys + (size_t)(first - t->skipped) * width;
    const __m256i both = _mm256_set1_epi16(centre);
    for (int64_t lane = 0; lane < TILE; lane += 8)
        for (int pair = 0; pair < length; pair += 8) {
            /* Where there is no key, the last one once more: it does not count. The last pairs may be looked at twice. */
            const int at = pair + 8 > length && length >= 8 ? length - 8 : pair;
            __m128i row[8], two[8], four[8];
            for (int i = 0; i < 8; i++)
                row[i] = eight_pairs(from + (lane + i < here ? lane + i : here - 1) * width, width, at, centre);
            for (int i = 0; i < 8; i += 2) {
                two[i] = _mm_unpacklo_epi16(row[i], row[i + 1]);
                two[i + 1] = _mm_unpackhi_epi16(row[i], row[i + 1]);
            }
            for (int i = 0; i < 8; i += 4)
                for (int j = 0; j < 2; j++) {
                    four[i + 2 * j] = _mm_unpacklo_epi32(two[i + j], two[i + j + 2]);
                    four[i + 2 * j + 1] = _mm_unpackhi_epi32(two[i + j], two[i + j + 2]);
                }
            for (int i = 0; i < 8 && at + i < length; i++) {
                const __m128i all = i % 2 ? _mm_unpackhi_epi64(four[i / 2], four[i / 2 + 4])
                                          : _mm_unpacklo_epi64(four[i / 2], four[i / 2 + 4]);
                const __m256i wide = _mm256_sub_epi16(_mm256_cvtepu8_epi16(all), both);
                _mm256_storeu_si256((__m256i *)(into + (at + i) * TILE + lane), wide);
            }
        }
}
#else
static void load_pairs(const asking *t, int64_t first, int64_t here, number *into) {
    const uint8_t *from = (const uint8_t *)t->keys + (size_t)(first - t->skipped) * t->width;
    const int centre = (int)t->centre;
    for (int64_t lane = 0; lane < here; lane++, from += t->width)
        for (int i = 0; i < length_of(t); i++) {
            /* Beside the last one a pixel that counts for nothing. */
            const int one = from[2 * i] - centre, other = 2 * i + 1 < t->width ? from[2 * i + 1] - centre : 0;
            into[i * TILE + lane] = (int32_t)(((uint32_t)other << 16) | ((uint32_t)one & 0xffff));
        }
}
#endif

/* Put keys from `first` on there. */
static void load_keys(const asking *t, shelf *s, int64_t first, int64_t count) {
    const int length = length_of(t);
    s->tiles = tiles_of(count);
    for (int64_t tile = 0; tile < s->tiles; tile++) {
        const int64_t start = first + tile * TILE, here = count - tile * TILE < TILE ? count - tile * TILE : TILE;
        number *into = s->keys + tile * length * TILE;
        if (t->digits) {
            load_pairs(t, start, here, into);
            for (int v = 0; v < ACROSS; v++) {
                integers norms = {0};
                for (int i = 0; i < length; i++) {
                    const integers two = ((const integers *)into)[i * ACROSS + v];
                    norms = multiply_add(norms, two, two);
                }
                ((weights *)s->norms)[tile * ACROSS + v] = __builtin_convertvector(norms, weights) * -0.5f;
            }
        } else {
            float *lanes = (float *)into;
            for (int64_t lane = 0; lane < here; lane++)
                for (int i = 0; i < t->width; i++) lanes[i * TILE + lane] = pixel_of(t, start + lane, i);
        }
        for (int64_t lane = 0; lane < TILE; lane++) {
            const int there = lane < here;
            s->counts[tile * TILE + lane] = !there          ? -NOWHERE
                                            : t->log_counts ? t->log_counts[start + lane - t->skipped]
                                                            : 0;
            for (int c = 0; c < t->channels; c++)
                s->values[(c * s->tiles + tile) * TILE + lane] = there ? pixel_of(t, start + lane, t->centres[c]) : 0;
        }
    }
}

/* Log-weights of the keys that are there, for DOWN queries, and the highest of each. */
static void weigh(const asking *t, const shelf *s, const int64_t queries[DOWN], float highest[DOWN]) {
    const int length = length_of(t);
    const number *asked[DOWN];
    weights high[DOWN];
    for (int q = 0; q < DOWN; q++) {
        asked[q] = t->digits ? (const number *)(t->digits + (size_t)queries[q] * 2 * length)
                             : (const number *)(t->queries + (size_t)queries[q] * t->width);
        high[q] = (weights){0} - INFINITY;
    }
    for (int64_t tile = 0; tile < s->tiles; tile++) {
        weights sums[DOWN][ACROSS];
        const number *keys = s->keys + tile * length * TILE;
        if (t->digits) {
            integers whole[DOWN][ACROSS];
            whole_products(length, keys, asked, whole);
            for (int q = 0; q < DOWN; q++)
                for (int v = 0; v < ACROSS; v++) sums[q][v] = __builtin_convertvector(whole[q][v], weights);
        } else {
            squares(length, keys, asked, sums);
        }
        const weights *norms = (const weights *)s->norms + tile * ACROSS, *counts = (const weights *)s->counts + tile * ACROSS;
        for (int q = 0; q < DOWN; q++) {
            const float factor = t->factor[queries[q]], precision = t->precision[queries[q]], offset = t->offset[queries[q]];
            for (int v = 0; v < ACROSS; v++) {
                const weights log = sums[q][v] * factor + norms[v] * precision + (counts[v] + offset);
                ((weights *)s->logs)[(q * s->tiles + tile) * ACROSS + v] = log;
                high[q] = larger(high[q], log);
            }
        }
    }
    for (int q = 0; q < DOWN; q++) highest[q] = highest_of(high[q]);
}

/* Of one of the queries that were weighed last, sums of weights and of weights times values, relative to its highest log. */
static void sum_up(const asking *t, const shelf *s, int q, float highest, double found[4]) {
    const int64_t size = s->tiles * ACROSS;
    const weights *logs = (const weights *)s->logs + q * size, *values = (const weights *)s->values;
    weights sums[4] = {{0}};
    for (int64_t v = 0; v < size; v += ACROSS) {
        weights some[ACROSS];
        for (int i = 0; i < ACROSS; i++) some[i] = exponential(logs[v + i] - highest);
        for (int i = 0; i < ACROSS; i++) sums[0] += some[i];
        for (int c = 0; c < t->channels; c++)
            for (int i = 0; i < ACROSS; i++) sums[1 + c] += some[i] * values[c * size + v + i];
    }
    for (int c = 0; c <= t->channels; c++) found[c] = sum_of(sums[c]) / (c ? t->scale : 1);
}

/* Take sums relative to e^log into others relative to e^*peak. */
INLINE void take_in(int channels, double log, const double *found, double *peak, double *sums) {
    if (log > *peak) {
        const double faded = exp(*peak - log);
        for (int c = 0; c <= channels; c++) sums[c] *= faded;
        *peak = log;
    }
    const double share = log == *peak ? 1 : exp(log - *peak);
    for (int c = 0; c <= channels; c++) sums[c] += found[c] * share;
}

/* What was read of a block is compared with what was expected of it. */
static void judge(const reading *t, const request *one, double log, const double *found) {
    const int channels = t->a.channels;
    const double shown = exp(log < t->most ? log : t->most), mass = one->mass, miss = found[0] * shown - mass;
    double *band = t->bands + (size_t)one->who * (4 + 3 * channels);
    band[0] += mass, band[1] += mass * mass, band[2] += miss, band[3] += miss * miss;
    for (int c = 0; c < channels; c++) {
        const double off = found[1 + c] * shown - one->values[c];
        band[4 + c] += off, band[4 + channels + c] += miss * off, band[4 + 2 * channels + c] += off * off;
    }
}

HEAP(replace_least, double)

/* Others may raise it at any time. */
INLINE double floor_of(const reading *t, int64_t who) {
    double floor;
    __atomic_load(t->floors + who, &floor, __ATOMIC_RELAXED);
    return floor;
}

/* The heaviest key of the block that was weighed last takes its place among the heaviest of all: a heap, the least first. */
static void name_top(const reading *t, const shelf *s, int q, int64_t who, float highest, int64_t first) {
    double *tops = t->tops + who * t->kept;
    int64_t *keys = t->top_keys + who * t->kept;
    if (!(highest > *tops) || highest < floor_of(t, who)) return;
    const float *logs = s->logs + q * s->tiles * TILE, less = nextafterf(highest, -INFINITY);
    int64_t key = 0;
    while (!any_above(((const weights *)logs)[key / LANES], less)) key += LANES;
    while (logs[key] != highest) key++;
    replace_least(tops, keys, t->kept, highest, first + key);
}

static void read_block(const reading *t, shelf *s, int64_t first, int64_t count, const request *requests, int64_t size) {
    load_keys(&t->a, s, first, count);
    for (int64_t start = 0; start < size; start += DOWN) {
        int64_t queries[DOWN];
        float highest[DOWN];
        for (int q = 0; q < DOWN; q++) queries[q] = t->who[requests[start + q < size ? start + q : size - 1].who];
        weigh(&t->a, s, queries, highest);
        for (int q = 0; q < DOWN && start + q < size; q++) {
            const request *one = requests + start + q;
            double found[4];
            sum_up(&t->a, s, q, highest[q], found);
            take_in(t->a.channels, highest[q], found, t->peaks + one->who, t->read + (size_t)one->who * (1 + t->a.channels));
            name_top(t, s, q, one->who, highest[q], first);
            if (t->judged && one->last) judge(t, one, highest[q], found);
        }
    }
}

/* Keys of the block that begins at a cell of a group. */
INLINE int64_t keys_of(const reading *t, int64_t first, int64_t end) {
    return t->starts[first + t->block < end ? first + t->block : end] - t->starts[first];
}

/* Enough room for a group; whether it was to be had. */
static int make_room(const reading *t, room *r, int64_t cells, int64_t openers) {
    const int64_t blocks = (cells + t->block - 1) / t->block;
    if (cells > r->cells) {
        const size_t size = tiles_of(cells) * TILE * sizeof(float);
        free(r->masses), free(r->values), free(r->logs), free(r->expected), free(r->shares), free(r->sizes);
        r->masses = vectors(size * t->levels * t->rows);
        r->values = vectors(size * t->a.channels * (t->rows - t->directions - 2));
        r->logs = vectors(size * DOWN), r->expected = vectors(size * DOWN * t->a.channels);
        r->shares = vectors(size), r->sizes = malloc(blocks * sizeof *r->sizes);
        r->cells = cells;
        if (!r->masses || !r->values || !r->logs || !r->expected || !r->shares || !r->sizes) return 0;
    }
    if (blocks * openers > r->all_requests) {
        free(r->requests);
        r->all_requests = blocks * openers;
        r->requests = malloc(r->all_requests * sizeof *r->requests);
        if (!r->requests) return 0;
    }
    return 1;
}

/* Returns 0, or 1 where there is not enough memory. */
int read_blocks(const reading *t) {
    room r = {0};
    shelf s = {0};
    r.openers = malloc((t->count + 1) * sizeof *r.openers);
    int enough = r.openers != NULL;
    for (int group = t->first_group; enough && group < t->end_group; group++) {
        int64_t openers = 0;
        for (int64_t who = 0; who < t->count; who++)
            if (t->opened[group * t->count + who]) r.openers[openers++] = (int32_t)who;
        if (!openers) continue;
        const int64_t first = t->bounds[group], end = t->bounds[group + 1], cells = end - first;
        int64_t block = 0;
        for (int64_t from = first; from < end; from += t->block) {
            const int64_t count = keys_of(t, from, end);
            block = count > block ? count : block;
        }
        if (!(enough = make_room(t, &r, cells, openers) && make_shelf(&t->a, &s, block))) break;
        const int of_values = t->rows - t->directions - 2;
        const int64_t size = tiles_of(cells) * TILE;
        for (int level = 0; level < t->levels; level++)
            load_table(t->masses[level] + first, t->cells, t->rows, cells, r.masses + level * t->rows * size);
        for (int c = 0; c < t->a.channels; c++)
            load_table(t->values + c * of_values * t->cells + first, t->cells, of_values, cells,
                       r.values + c * of_values * size);
        memset(r.sizes, 0, (cells + t->block - 1) / t->block * sizeof *r.sizes);
        for (int64_t start = 0; start < openers; start += DOWN) {
            const number *asked[DOWN];
            for (int q = 0; q < DOWN; q++) {
                const int64_t who = r.openers[start + q < openers ? start + q : openers - 1];
                asked[q] = (const number *)(t->asked + t->who[who] * t->rows);
            }
            weigh_cells(t, &r, cells, asked);
            for (int q = 0; q < DOWN && start + q < openers; q++)
                note(t, &r, cells, openers, r.openers[start + q], r.logs + q * size, r.expected + q * size, size);
        }
        for (int64_t number = 0, from = first; from < end; number++, from += t->block)
            if (r.sizes[number])
                read_block(t, &s, t->starts[from], keys_of(t, from, end), r.requests + number * openers, r.sizes[number]);
    }
    /* Whoever has named enough knows how heavy the others must be. */
    for (int64_t who = 0; enough && who < t->count; who++) {
        double *least = t->tops + who * t->kept;
        if (*least > floor_of(t, who)) __atomic_store(t->floors + who, least, __ATOMIC_RELAXED);
    }
    free(r.masses), free(r.values), free(r.logs), free(r.expected), free(r.shares);
    free(r.requests), free(r.sizes), free(r.openers);
    free_shelf(&s);
    return !enough;
}

/* All queries against all of `count` keys: their peaks (Q), total and weighted sums (Q, 1 + channels), each begun before.
 * Returns 0, or 1 where there is not enough memory. */
int read_all(const asking *t, int64_t count, int64_t queries, double *peaks, double *sums) {
    shelf s = {0};
    const int enough = make_shelf(t, &s, AT_ONCE);
    for (int64_t first = 0; enough && first < count; first += AT_ONCE) {
        load_keys(t, &s, t->skipped + first, count - first < AT_ONCE ? count - first : AT_ONCE);
        for (int64_t start = 0; start < queries; start += DOWN) {
            int64_t some[DOWN];
            float highest[DOWN];
            for (int q = 0; q < DOWN; q++) some[q] = start + q < queries ? start + q : queries - 1;
            weigh(t, &s, some, highest);
            for (int q = 0; q < DOWN && start + q < queries; q++) {
                double *peak = peaks + start + q, found[4];
                /* Rounding would lose all of them. */
                if (highest[q] < *peak + NOTHING) continue;
                sum_up(t, &s, q, highest[q], found);
                take_in(t->channels, highest[q], found, peak, sums + (start + q) * (1 + t->channels));
            }
        }
    }
    free_shelf(&s);
    return !enough;
}

#define PAIRS(name, type)                                                                                               \
    static void name(const type *keys, int64_t width, const double *queries, const int64_t *who, int64_t count,         \
                     double *squares) {                                                                                 \
        for (int64_t pair = 0; pair < count; pair++, keys += width) {                                                   \
            const double *query = queries + who[pair] * width;                                                          \
            double sums[LANES] = {0}, all = 0;                                                                          \
            int64_t i = 0;                                                                                              \
            for (; i + LANES <= width; i += LANES)                                                                      \
                for (int lane = 0; lane < LANES; lane++) {                                                              \
                    const double off = (double)keys[i + lane] - query[i + lane];                                        \
                    sums[lane] += off * off;                                                                            \
                }                                                                                                       \
            for (; i < width; i++) all += ((double)keys[i] - query[i]) * ((double)keys[i] - query[i]);                  \
            for (int lane = 0; lane < LANES; lane++) all += sums[lane];                                                 \
            squares[pair] = all;                                                                                        \
        }                                                                                                               \
    }
PAIRS(pairs_of_bytes, uint8_t)
PAIRS(pairs_of_floats, float)

/* |q - k|^2 of pairs of a key and a query, both as pixels are stored: keys (count, width), queries (Q, width). */
void pair_distances(const void *keys, int64_t is_byte, int64_t width, const double *queries, const int64_t *who, int64_t count,
                    double *squares) {
    if (is_byte)
        pairs_of_bytes(keys, width, queries, who, count, squares);
    else
        pairs_of_floats(keys, width, queries, who, count, squares);
}

/* Copy a line of up to 16 bytes as a whole word or two, where what follows is there to be read, and is written later. */
INLINE void copy_line(const char *from, char *into, int64_t line, int64_t readable, int64_t writable) {
    if (line <= 8 && readable >= 8 && writable >= 8)
        memcpy(into, from, 8);
    else if (line <= 16 && readable >= 16 && writable >= 16)
        memcpy(into, from, 16);
    else
        memcpy(into, from, line);
}

/* Copy windows out of images, one behind another: those at `places`, counted through images and the rows and columns of a grid,
 * whose first window begins `corner` numbers into an image. */
void copy_windows(const void *pixels, int64_t bytes, const int64_t *shape, const int64_t *grid, const int64_t *window,
                  int64_t corner, const int64_t *places, int64_t count, void *copies) {
    const int64_t channels = shape[0], height = shape[1], width = shape[2], line = window[1] * bytes, all = window[0] * line;
    const char *starts[AHEAD];
    for (int64_t i = 0; i < count + AHEAD; i++) {
        if (i >= AHEAD)
            for (int64_t c = 0; c < channels; c++) {
                const char *from = starts[i % AHEAD] + c * height * width * bytes;
                for (int64_t done = 0; done < all; done += line, from += width * bytes, copies += line)
                    /* Behind the last line there may be no more image. */
                    copy_line(from, copies, line, done + line < all ? width * bytes : line, all - done);
            }
        if (i >= count) continue;
        /* Windows lie far apart: the memory is told of them before they are copied. */
        const int64_t image = places[i] / (grid[0] * grid[1]), row = places[i] / grid[1] % grid[0], column = places[i] % grid[1];
        const char *start = pixels + (((image * channels * height) + row) * width + column + corner) * bytes;
        for (int64_t y = 0; y < window[0]; y++) __builtin_prefetch(start + y * width * bytes);
        starts[i % AHEAD] = start;
    }
}
