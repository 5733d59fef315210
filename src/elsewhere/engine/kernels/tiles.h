/* Keys in tiles of vector lanes, weighed against several queries at a time.
 *
 * Keys lie side by side in the lanes of vectors: DOWN queries meet ACROSS vectors at a time, and log-weights stay in a core's
 * own cache until they are exponentials. Included by scan.c and attribution.c. */

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

/* Values summed in one pass over the weights: more would not stay in registers. */
#define VALUES_AT_ONCE 3
/* Log count of lanes that hold no key, times -1. */
#define NOWHERE 1e30f

/* Two numbers of 16 bits, or a float. */
typedef int32_t number __attribute__((may_alias));

/* Some keys as they are weighed. */
typedef struct {
    number *keys;          /* in tiles, (tiles, width or half of it, TILE) */
    float *norms, *counts; /* -|k|^2 / 2 for products, and log counts, (tiles, TILE) */
    float *values;         /* (channels, tiles, TILE) */
    float *logs;           /* (DOWN, tiles, TILE) */
    double *sums;          /* of the weights and of the weights times the values of one query, (1 + channels) */
    int64_t most, tiles;
} key_tiles;

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

/* The same number in all lanes. */
INLINE integers everywhere(number a) { return (integers){0} + a; }

/* Sums of `step` over the rows of a tile, for DOWN queries. */
#define TILES(name, type, step)                                                                                         \
    INLINE void name(int length, const void *tile, const number *const *query, type sums[DOWN][ACROSS]) {         \
        const type *restrict keys = tile;                                                                               \
        type sum[DOWN][ACROSS];                                                                                         \
        for (int q = 0; q < DOWN; q++)                                                                                  \
            for (int v = 0; v < ACROSS; v++) sum[q][v] = (type){0};                                                     \
        for (int i = 0; i < length; i++)                                                                                \
            for (int q = 0; q < DOWN; q++) {                                                                            \
                const type one = (type)everywhere(query[q][i]);                                                         \
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

INLINE int row_length(const scan_input *t) { return t->quantised ? (t->width + 1) / 2 : t->width; }

/* Make room for so many keys. Returns whether there was enough memory. */
static int make_tiles(const scan_input *t, key_tiles *s, int64_t count) {
    if (count <= s->most) return 1;
    const int length = row_length(t);
    const size_t size = tiles_of(count) * TILE * sizeof(float);
    free(s->keys), free(s->norms), free(s->counts), free(s->values), free(s->logs), free(s->sums);
    s->keys = vectors(size * length), s->norms = vectors(size), s->counts = vectors(size);
    s->values = vectors(size * t->channels), s->logs = vectors(size * DOWN);
    s->sums = malloc((1 + t->channels) * sizeof *s->sums);
    s->most = count;
    if (!s->keys || !s->norms || !s->counts || !s->values || !s->logs || !s->sums) return 0;
    /* Lanes that hold no key are weighed as well. */
    memset(s->keys, 0, size * length), memset(s->norms, 0, size);
    return 1;
}

static void free_tiles(key_tiles *s) {
    free(s->keys), free(s->norms), free(s->counts), free(s->values), free(s->logs), free(s->sums);
}

INLINE float pixel_of(const scan_input *t, int64_t key, int64_t position) {
    const size_t at = (size_t)(key - t->skipped) * t->width + position;
    return (float)((t->is_byte ? (double)((const uint8_t *)t->keys)[at] : ((const float *)t->keys)[at]) - t->centre);
}

/* Write the pixels of the keys of a tile, less the centre, as pairs of 16-bit numbers. */
#ifdef __AVX2__
/* Eight pairs of a key, the first of them number `pair`. A missing last pixel is the centre, which adds nothing. */
INLINE __m128i eight_pairs(const uint8_t *key, int width, int pair, uint8_t centre) {
    if (2 * pair + 16 <= width) return _mm_loadu_si128((const __m128i *)(key + 2 * pair));
    if (2 * pair + 15 == width && width >= 16)
        return _mm_insert_epi8(_mm_srli_si128(_mm_loadu_si128((const __m128i *)(key + width - 16)), 1), centre, 15);
    uint8_t some[16];
    memset(some, centre, sizeof some);
    memcpy(some, key + 2 * pair, width - 2 * pair);
    return _mm_loadu_si128((const __m128i *)some);
}

static void load_pairs(const scan_input *t, int64_t first, int64_t here, number *into) {
    const int length = row_length(t), width = t->width;
    const uint8_t centre = (uint8_t)t->centre, *from = (const uint8_t *)t->keys + (size_t)(first - t->skipped) * width;
    const __m256i both = _mm256_set1_epi16(centre);
    for (int64_t lane = 0; lane < TILE; lane += 8)
        for (int pair = 0; pair < length; pair += 8) {
            /* Lanes behind the last key repeat it; their count makes them weigh nothing. The last pairs may be read twice. */
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
static void load_pairs(const scan_input *t, int64_t first, int64_t here, number *into) {
    const uint8_t *from = (const uint8_t *)t->keys + (size_t)(first - t->skipped) * t->width;
    const int centre = (int)t->centre;
    for (int64_t lane = 0; lane < here; lane++, from += t->width)
        for (int i = 0; i < row_length(t); i++) {
            /* An odd width is filled up with a zero. */
            const int one = from[2 * i] - centre, other = 2 * i + 1 < t->width ? from[2 * i + 1] - centre : 0;
            into[i * TILE + lane] = (int32_t)(((uint32_t)other << 16) | ((uint32_t)one & 0xffff));
        }
}
#endif

/* -|k|^2 / 2 of the keys of a tile of pairs. */
INLINE weights norms_of(const scan_input *t, const integers *pairs, int v) {
    const int length = row_length(t);
    if (!t->roots) {
        integers norms = {0};
        for (int i = 0; i < length; i++) norms = multiply_add(norms, pairs[i * ACROSS + v], pairs[i * ACROSS + v]);
        return __builtin_convertvector(norms, weights) * -0.5f;
    }
    weights norms = {0};
    for (int i = 0; i < length; i++) {
        const integers two = pairs[i * ACROSS + v];
        const weights one = __builtin_convertvector((two << 16) >> 16, weights) * t->roots[2 * i];
        norms += one * one;
        if (2 * i + 1 < t->width) {
            const weights other = __builtin_convertvector(two >> 16, weights) * t->roots[2 * i + 1];
            norms += other * other;
        }
    }
    return norms * -0.5f;
}

/* Write keys from `first` on into tiles. */
static void load_keys(const scan_input *t, key_tiles *s, int64_t first, int64_t count) {
    const int length = row_length(t);
    s->tiles = tiles_of(count);
    for (int64_t tile = 0; tile < s->tiles; tile++) {
        const int64_t start = first + tile * TILE, here = count - tile * TILE < TILE ? count - tile * TILE : TILE;
        number *into = s->keys + tile * length * TILE;
        if (t->quantised) {
            load_pairs(t, start, here, into);
            for (int v = 0; v < ACROSS; v++) ((weights *)s->norms)[tile * ACROSS + v] = norms_of(t, (const integers *)into, v);
        } else {
            float *lanes = (float *)into;
            for (int64_t lane = 0; lane < here; lane++)
                for (int i = 0; i < t->width; i++)
                    lanes[i * TILE + lane] = pixel_of(t, start + lane, i) * (t->roots ? t->roots[i] : 1);
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

/* Log-weights of the keys in tiles, for DOWN queries, and the highest of each. */
static void weigh(const scan_input *t, const key_tiles *s, const int64_t queries[DOWN], float highest[DOWN]) {
    const int length = row_length(t);
    const number *query[DOWN];
    weights high[DOWN];
    for (int q = 0; q < DOWN; q++) {
        query[q] = t->quantised ? (const number *)(t->quantised + (size_t)queries[q] * 2 * length)
                                : (const number *)(t->queries + (size_t)queries[q] * t->width);
        high[q] = (weights){0} - INFINITY;
    }
    for (int64_t tile = 0; tile < s->tiles; tile++) {
        weights sums[DOWN][ACROSS];
        const number *keys = s->keys + tile * length * TILE;
        if (t->quantised) {
            integers whole[DOWN][ACROSS];
            whole_products(length, keys, query, whole);
            for (int q = 0; q < DOWN; q++)
                for (int v = 0; v < ACROSS; v++) sums[q][v] = __builtin_convertvector(whole[q][v], weights);
        } else {
            squares(length, keys, query, sums);
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
