/* Included by shifts.c, with sums of type REAL in vectors of LANES images; weights are float. */

#define sums NAME(sums)
#define weights NAME(weights)
#define integers NAME(integers)
#define words NAME(words)

typedef REAL sums __attribute__((vector_size(LANES * sizeof(REAL))));
typedef float weights __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));

INLINE int NAME(any_positive)(weights a) {
#if defined(__AVX512F__) && LANES == 16
    return _mm512_cmp_ps_mask((__m512)a, _mm512_setzero_ps(), _CMP_GT_OQ) != 0;
#elif defined(__AVX__) && LANES == 8
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, _mm256_setzero_ps(), _CMP_GT_OQ)) != 0;
#elif defined(__SSE__) && LANES == 4
    return _mm_movemask_ps(_mm_cmpgt_ps((__m128)a, _mm_setzero_ps())) != 0;
#else
    const integers mask = a > 0.0f;
    int64_t pairs[LANES / 2], found = 0;
    memcpy(pairs, &mask, sizeof pairs);
    for (int i = 0; i < LANES / 2; i++) found |= pairs[i];
    return found != 0;
#endif
}

INLINE weights NAME(larger)(weights a, weights b) {
#if defined(__AVX512F__) && LANES == 16
    return (weights)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__) && LANES == 8
    return (weights)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE__) && LANES == 4
    return (weights)_mm_max_ps((__m128)a, (__m128)b);
#else
    const integers above = a > b;
    return (weights)(((integers)a & above) | ((integers)b & ~above));
#endif
}

/* e^a of numbers up to 0; e^-80 of those below -80, so that no product of a weight is too small to be a normal number, which
 * costs a hundred times as much. Looking whether any is above costs more than it saves. */
INLINE weights NAME(exponential)(weights a) {
    a = NAME(larger)(a, (weights){0} - 80.0f);
    /* a = n log 2 + r; adding 1.5 2^23 rounds to a whole number and leaves it in the lowest bits. The error of r grows with
     * -a, by 2e-8 of it, and the weight falls faster. */
    const weights shifted = a * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const weights r = a - n * 0.693147181f;
    /* 1 + r + r^2 / 2 and the polynomial for the rest that errs least, by 4e-9 of e^r. */
    weights p = r * 1.38992024e-3f + 8.36892588e-3f;
    p = p * r + 4.16668507e-2f;
    p = p * r + 1.66665184e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (weights)((words)p + ((words)shifted << 23));
}

/* Some images, lane by lane, and |k|^2 / 2 of the windows around each of their pixels. */
static void NAME(load)(const task *t, int64_t first, int images, sums *k, sums *norms, double *scratch) {
    const int height = t->height, width = t->width, area = height * width, reach = t->radius;
    const size_t image = (size_t)t->channels * area;
    REAL *lanes = (REAL *)k, *half = (REAL *)norms;
    memset(k, 0, image * sizeof(sums));
    for (int lane = 0; lane < LANES; lane++) {
        if (lane >= images) {
            /* No image: as far away as can be. */
            for (int i = 0; i < area; i++) half[i * LANES + lane] = INFINITY;
            continue;
        }
        const size_t from = (size_t)(first + lane) * image;
        for (size_t i = 0; i < image; i++)
            lanes[i * LANES + lane] =
                (REAL)((t->is_byte ? (double)((const uint8_t *)t->pixels)[from + i] : ((const float *)t->pixels)[from + i]) -
                       t->centre);
        /* Sums over all that lies above and to the left. */
        memset(scratch, 0, (size_t)(height + 1) * (width + 1) * sizeof(double));
        for (int y = 0; y < height; y++) {
            double along = 0;
            for (int x = 0; x < width; x++) {
                for (int c = 0; c < t->channels; c++) {
                    const double value = lanes[((size_t)c * area + y * width + x) * LANES + lane];
                    along += value * value;
                }
                scratch[(y + 1) * (width + 1) + x + 1] = scratch[y * (width + 1) + x + 1] + along;
            }
        }
        for (int y = 0; y < height; y++) {
            const double *above = scratch + at_least(0, y - reach) * (width + 1);
            const double *below = scratch + at_most(height, y + reach + 1) * (width + 1);
            for (int x = 0; x < width; x++) {
                const int left = at_least(0, x - reach), right = at_most(width, x + reach + 1);
                half[(y * width + x) * LANES + lane] = (REAL)((below[right] - below[left] - above[right] + above[left]) / 2);
            }
        }
    }
}

/* Add the products of `count` rows of the images, from `y` on, with the rows of x that the shift brings them to. */
INLINE void NAME(add)(const task *t, int channels, const REAL *restrict x, const sums *restrict k, int y, int count, int dy,
                      int dx, int left, int right, sums *restrict columns) {
    for (int c = 0; c < channels; c++) {
        const ptrdiff_t from = ((ptrdiff_t)c * t->height + y) * t->width;
        const ptrdiff_t asked = ((ptrdiff_t)c * t->rows + y + dy) * t->columns + dx;
        for (int i = left; i < right; i++) {
            sums sum = columns[i];
            for (int row = 0; row < count; row++)
                sum += k[from + (ptrdiff_t)row * t->width + i] * x[asked + (ptrdiff_t)row * t->columns + i];
            columns[i] = sum;
        }
    }
}

/* Add the products of row `enter` and take off those of row `leave`; either may lie outside the images. */
INLINE void NAME(slide)(const task *t, int channels, const REAL *restrict x, const sums *restrict k, int enter, int leave,
                        int dy, int dx, int left, int right, sums *restrict columns) {
    if (leave < 0) {
        if (enter < t->height) NAME(add)(t, channels, x, k, enter, 1, dy, dx, left, right, columns);
        return;
    }
    for (int c = 0; c < channels; c++) {
        const ptrdiff_t image = (ptrdiff_t)c * t->height, asked = (ptrdiff_t)c * t->rows + dy;
        const ptrdiff_t more = (image + enter) * t->width, of_more = (asked + enter) * t->columns + dx;
        const ptrdiff_t less = (image + leave) * t->width, of_less = (asked + leave) * t->columns + dx;
        if (enter < t->height)
            for (int i = left; i < right; i++)
                columns[i] = columns[i] + k[more + i] * x[of_more + i] - k[less + i] * x[of_less + i];
        else
            for (int i = left; i < right; i++) columns[i] -= k[less + i] * x[of_less + i];
    }
}

/* What one image of the batch makes of the images in `k`. */
typedef struct {
    const sums *k, *norms;
    REAL *peak;
    weights *found; /* of the first pass: total and weighted sum of every pixel, lane by lane */
    double *total, *weighted;
    const weights *log_counts; /* of the second */
    const float *log_total;
    float *logs;
    int64_t *keys;
    int64_t first;
    double *shares; /* of every lane */
} NAME(view);

/* A pair in the first pass. */
INLINE void NAME(weigh)(const NAME(view) *v, int channels, int area, int pixel, int key, sums logs) {
    weights log = __builtin_convertvector(logs - v->peak[pixel], weights);
    weights *here = v->found + (size_t)pixel * (channels + 1);
    if (__builtin_expect(NAME(any_positive)(log), 0)) {
        REAL highest = logs[0];
        for (int lane = 1; lane < LANES; lane++) highest = logs[lane] > highest ? logs[lane] : highest;
        const double faded = exp((double)v->peak[pixel] - (double)highest);
        v->peak[pixel] = highest;
        v->total[pixel] *= faded;
        for (int c = 0; c < channels; c++) v->weighted[(size_t)pixel * channels + c] *= faded;
        for (int c = 0; c <= channels; c++) here[c] *= (float)faded;
        log = __builtin_convertvector(logs - highest, weights);
    }
    const weights weight = NAME(exponential)(log);
    here[0] += weight;
    for (int c = 0; c < channels; c++)
        here[c + 1] += weight * __builtin_convertvector(v->k[(ptrdiff_t)c * area + key], weights);
}

/* A pair in the second: its weights. */
INLINE weights NAME(trace)(const NAME(view) *v, int top, int area, int pixel, int key, sums logs) {
    weights log = __builtin_convertvector(logs - v->peak[pixel], weights);
    const weights weight = NAME(exponential)(log - v->log_total[pixel]);
    log += v->log_counts[key];
    float *least = v->logs + (size_t)pixel * top;
    if (__builtin_expect(NAME(any_positive)(log - *least), 0))
        for (int lane = 0; lane < LANES; lane++)
            if (log[lane] > *least)
                replace_least(least, v->keys + (size_t)pixel * top, top, log[lane], (v->first + lane) * area + key);
    return weight;
}

/* Add what the lanes hold to the sums in double. */
static APART void NAME(gather)(const task *t, int channels, const NAME(view) *v) {
    const int pixels = t->rows * t->columns;
    for (int pixel = 0; pixel < pixels; pixel++) {
        weights *here = v->found + (size_t)pixel * (channels + 1);
        for (int c = 0; c <= channels; c++) {
            double sum = 0;
            for (int lane = 0; lane < LANES; lane++) sum += here[c][lane];
            if (c == 0)
                v->total[pixel] += sum;
            else
                v->weighted[(size_t)pixel * channels + c - 1] += sum;
        }
    }
    memset(v->found, 0, (size_t)pixels * (channels + 1) * sizeof(weights));
}

INLINE void NAME(pairs)(const task *t, int channels, const REAL *x, REAL precision, sums *restrict columns,
                        const NAME(view) *v, int tracing) {
    const int reach = t->radius, height = t->height, width = t->width, area = height * width;
    const sums *restrict k = v->k, *restrict norms = v->norms;
    int shifts = 0;
    for (int number = 0; number < t->frame_count; number++) {
        const frame f = t->frames[number];
        for (const line *rows = t->lines + f.first_row; rows < t->lines + f.end_row; rows++)
            for (const line *across = t->lines + f.first_column; across < t->lines + f.end_column; across++) {
                /* Every shift adds to a pixel once at most; long sums in float would lose digits. */
                if (++shifts % LONGEST == 0 && !tracing) NAME(gather)(t, channels, v);
                const int dy = rows->shift, dx = across->shift;
                const int left = at_least(0, across->start - reach), right = at_most(width, across->stop + reach);
                memset(columns + left, 0, (size_t)(right - left) * sizeof(sums));
                int y = at_least(0, rows->start - reach);
                const int below = at_most(height, rows->start + reach), before = at_most(width, across->start + reach);
                for (; y + 4 <= below; y += 4) NAME(add)(t, channels, x, k, y, 4, dy, dx, left, right, columns);
                for (; y < below; y++) NAME(add)(t, channels, x, k, y, 1, dy, dx, left, right, columns);
                for (int row = rows->start; row < rows->stop; row++) {
                    const int leave = row > rows->start ? row - reach - 1 : -1;
                    NAME(slide)(t, channels, x, k, row + reach, leave, dy, dx, left, right, columns);
                    sums sum = {0}, other = {0}; /* of which neither waits for the other */
                    weights share = {0};
                    for (int i = left; i < before; i += 2) {
                        sum += columns[i];
                        if (i + 1 < before) other += columns[i + 1];
                    }
                    sum += other;
                    for (int column = across->start; column < across->stop; column++) {
                        if (column + reach < width) sum += columns[column + reach];
                        const int pixel = (row + dy) * t->columns + column + dx, key = row * width + column;
                        const sums logs = (sum - norms[key]) * precision;
                        if (column >= reach) sum -= columns[column - reach];
                        if (tracing)
                            share += NAME(trace)(v, t->top, area, pixel, key, logs);
                        else
                            NAME(weigh)(v, channels, area, pixel, key, logs);
                    }
                    if (tracing)
                        for (int lane = 0; lane < LANES; lane++) v->shares[lane] += share[lane];
                }
            }
    }
    if (!tracing) NAME(gather)(t, channels, v);
}

/* Functions of their own, so that the constants of each loop stay in registers; images have one channel or three. */
static APART void NAME(average_gray)(const task *t, const REAL *x, REAL precision, sums *columns, const NAME(view) *v) {
    NAME(pairs)(t, 1, x, precision, columns, v, 0);
}

static APART void NAME(average_colour)(const task *t, const REAL *x, REAL precision, sums *columns, const NAME(view) *v) {
    NAME(pairs)(t, 3, x, precision, columns, v, 0);
}

static APART void NAME(look_gray)(const task *t, const REAL *x, REAL precision, sums *columns, const NAME(view) *v) {
    NAME(pairs)(t, 1, x, precision, columns, v, 1);
}

static APART void NAME(look_colour)(const task *t, const REAL *x, REAL precision, sums *columns, const NAME(view) *v) {
    NAME(pairs)(t, 3, x, precision, columns, v, 1);
}

/* How many windows each stands for, image by image in the lanes; lanes without an image stand for none. */
static void NAME(load_counts)(const task *t, int64_t first, int images, weights *log_counts) {
    const int area = t->height * t->width;
    float *lanes = (float *)log_counts;
    for (int i = 0; i < area; i++)
        for (int lane = 0; lane < LANES; lane++)
            lanes[i * LANES + lane] = lane >= images  ? -INFINITY
                                      : t->log_counts ? t->log_counts[(size_t)(first + lane) * area + i]
                                                      : 0;
}

/* Returns 0, or 1 where there is not enough memory. */
int NAME(shifts)(const task *t) {
    const size_t area = (size_t)t->height * t->width, pixels = (size_t)t->rows * t->columns;
    const size_t asked = t->channels * pixels;
    const int tracing = t->top > 0;
    sums *k = vectors(t->channels * area * sizeof(sums)), *norms = vectors(area * sizeof(sums));
    sums *columns = vectors(t->width * sizeof(sums));
    weights *found = vectors(pixels * (t->channels + 1) * sizeof(weights));
    double *scratch = vectors((size_t)(t->height + 1) * (t->width + 1) * sizeof(double));
    REAL *x = vectors(t->batch * asked * sizeof(REAL)), *peak = vectors(t->batch * pixels * sizeof(REAL));
    weights *log_counts = vectors(tracing ? area * sizeof(weights) : 64);
    float *log_total = vectors(tracing ? t->batch * pixels * sizeof(float) : 64);
    const int enough = k && norms && columns && found && log_counts && scratch && x && peak && log_total;
    if (enough) {
        memset(found, 0, pixels * (t->channels + 1) * sizeof(weights));
        for (size_t i = 0; i < t->batch * asked; i++) x[i] = (REAL)t->x[i];
        for (size_t i = 0; i < t->batch * pixels; i++) {
            peak[i] = tracing ? (REAL)t->peak[i] : -INFINITY;
            if (tracing) log_total[i] = (float)log(t->total[i]);
        }
        if (tracing) {
            for (size_t i = 0; i < t->batch * pixels * t->top; i++) t->logs[i] = -INFINITY, t->keys[i] = -1;
        } else {
            memset(t->total, 0, t->batch * pixels * sizeof(double));
            memset(t->weighted, 0, t->batch * asked * sizeof(double));
        }
        for (int64_t first = t->first; first < t->first + t->count; first += LANES) {
            const int64_t left = t->first + t->count - first;
            const int images = left < LANES ? (int)left : LANES;
            NAME(load)(t, first, images, k, norms, scratch);
            if (tracing) NAME(load_counts)(t, first, images, log_counts);
            for (int b = 0; b < t->batch; b++) {
                const REAL *image = x + b * asked, precision = (REAL)t->precision[b];
                NAME(view) v = {.k = k, .norms = norms, .peak = peak + b * pixels, .first = first};
                if (tracing) {
                    double shares[LANES] = {0};
                    v.shares = shares, v.log_counts = log_counts, v.log_total = log_total + b * pixels;
                    v.logs = t->logs + b * pixels * t->top, v.keys = t->keys + b * pixels * t->top;
                    (t->channels == 1 ? NAME(look_gray) : NAME(look_colour))(t, image, precision, columns, &v);
                    memcpy(t->shares + b * t->count + (first - t->first), shares, images * sizeof(double));
                } else {
                    v.found = found, v.total = t->total + b * pixels, v.weighted = t->weighted + b * asked;
                    (t->channels == 1 ? NAME(average_gray) : NAME(average_colour))(t, image, precision, columns, &v);
                }
            }
        }
        if (!tracing)
            for (size_t i = 0; i < t->batch * pixels; i++) t->peak[i] = peak[i];
    }
    free(k), free(norms), free(columns), free(found), free(log_counts), free(scratch), free(x), free(peak), free(log_total);
    return !enough;
}

#undef sums
#undef weights
#undef integers
#undef words
