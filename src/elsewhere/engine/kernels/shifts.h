/* Included by shifts.c, with sums of type REAL in vectors of LANES images; weights are float. */

#include "lanes.h"

#define sums NAME(sums)
typedef REAL sums __attribute__((vector_size(LANES * sizeof(REAL))));

/* |k|^2 / 2 of the tapered windows around each pixel of an image, which lies in one of the lanes. */
static void NAME(tapered_norms)(const task *t, const REAL *image, REAL *half, double *scratch) {
    const int height = t->height, width = t->width, area = height * width, reach = t->radius;
    double *down = scratch + area;
    for (int i = 0; i < area; i++) {
        scratch[i] = 0;
        for (int c = 0; c < t->channels; c++) {
            const double value = image[((size_t)c * area + i) * LANES];
            scratch[i] += value * value;
        }
    }
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double sum = 0;
            for (int i = at_least(0, y - reach); i < at_most(height, y + reach + 1); i++)
                sum += counting(reach, i - y) * scratch[i * width + x];
            down[y * width + x] = sum;
        }
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double sum = 0;
            for (int i = at_least(0, x - reach); i < at_most(width, x + reach + 1); i++)
                sum += counting(reach, i - x) * down[y * width + i];
            half[(size_t)(y * width + x) * LANES] = (REAL)(sum / 2);
        }
}

/* Some images, lane by lane, and |k|^2 / 2 of the windows around each of their pixels. */
static void NAME(load)(const task *t, int64_t first, int images, sums *k, sums *norms, double *scratch) {
    const int height = t->height, width = t->width, area = height * width, reach = t->radius;
    const size_t image = (size_t)t->channels * area;
    REAL *lanes = (REAL *)k, *half = (REAL *)norms;
    memset(k, 0, image * sizeof(sums));
    for (int lane = 0; lane < LANES; lane++) {
        if (lane >= images) {
            /* No image: as far away as can be, for sums of products and of squares. */
            for (int i = 0; i < area; i++) half[i * LANES + lane] = INFINITY;
            for (size_t i = 0; t->fresh && i < image; i++) lanes[i * LANES + lane] = NO_PIXEL;
            continue;
        }
        const size_t from = (size_t)(first + lane) * image;
        for (size_t i = 0; i < image; i++)
            lanes[i * LANES + lane] =
                (REAL)((t->is_byte ? (double)((const uint8_t *)t->pixels)[from + i] : ((const float *)t->pixels)[from + i]) -
                       t->centre);
        if (t->taper) {
            NAME(tapered_norms)(t, lanes + lane, half + lane, scratch);
            continue;
        }
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

/* Add the products of `count` rows of the images, from `y` on, with the rows of x that the shifts bring them to: dx, dx + 1, ... */
INLINE void NAME(add)(const task *t, int channels, const REAL *restrict x, const sums *restrict k, int y, int count, int dy,
                      int dx, int many, int left, int right, sums *restrict columns) {
    for (int c = 0; c < channels; c++) {
        const ptrdiff_t from = ((ptrdiff_t)c * t->height + y) * t->width;
        const ptrdiff_t asked = ((ptrdiff_t)c * t->rows + y + dy) * t->columns + dx;
        for (int i = left; i < right; i++)
            for (int m = 0; m < many; m++) {
                sums sum = columns[i * many + m];
                for (int row = 0; row < count; row++)
                    sum += k[from + (ptrdiff_t)row * t->width + i] * x[asked + (ptrdiff_t)row * t->columns + i + m];
                columns[i * many + m] = sum;
            }
    }
}

/* Add the products of row `enter` and take off those of row `leave`; either may lie outside the images. */
INLINE void NAME(slide)(const task *t, int channels, const REAL *restrict x, const sums *restrict k, int enter, int leave,
                        int dy, int dx, int many, int left, int right, sums *restrict columns) {
    if (leave < 0) {
        if (enter < t->height) NAME(add)(t, channels, x, k, enter, 1, dy, dx, many, left, right, columns);
        return;
    }
    for (int c = 0; c < channels; c++) {
        const ptrdiff_t image = (ptrdiff_t)c * t->height, asked = (ptrdiff_t)c * t->rows + dy;
        const ptrdiff_t more = (image + enter) * t->width, of_more = (asked + enter) * t->columns + dx;
        const ptrdiff_t less = (image + leave) * t->width, of_less = (asked + leave) * t->columns + dx;
        if (enter < t->height)
            for (int i = left; i < right; i++)
                for (int m = 0; m < many; m++)
                    columns[i * many + m] =
                        columns[i * many + m] + k[more + i] * x[of_more + i + m] - k[less + i] * x[of_less + i + m];
        else
            for (int i = left; i < right; i++)
                for (int m = 0; m < many; m++) columns[i * many + m] -= k[less + i] * x[of_less + i + m];
    }
}

/* The products of a row of the images with the row of x that the shifts bring it to. */
INLINE void NAME(multiply)(const task *t, int channels, const REAL *restrict x, const sums *restrict k, int y, int dy, int dx,
                           int many, int left, int right, sums *restrict products) {
    for (int i = left; i < right; i++)
        for (int m = 0; m < many; m++) {
            sums product = {0};
            for (int c = 0; c < channels; c++) {
                const ptrdiff_t image = (ptrdiff_t)c * t->height + y, asked = (ptrdiff_t)c * t->rows + y + dy;
                product += k[image * t->width + i] * x[asked * t->columns + dx + i + m];
            }
            products[i * many + m] = product;
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
    sums *squares;  /* room for those, or for the products, of the rows of a window */
    sums *slopes;   /* room for what the sums of tapered columns change by */
} NAME(view);

/* Some pairs of a pixel in the first pass, the keys being one before the other. */
INLINE void NAME(weigh)(const NAME(view) *v, int channels, int fresh, int area, int pixel, int many, int key,
                        const sums *logs) {
    REAL *peak = v->peak + pixel;
    const sums *k = v->k + key;
    weights *here = v->found + (size_t)pixel * (channels + 1);
    weights log[MOST], highest;
    for (int m = 0; m < many; m++) {
        log[m] = __builtin_convertvector(logs[m] - *peak, weights);
        highest = m ? NAME(larger)(highest, log[m]) : log[m];
    }
    /* Where noise is small few windows count. Elsewhere looking costs more than it saves. */
    if ((fresh || sizeof(REAL) > sizeof(float)) && !NAME(any_above)(highest, NOTHING)) return;
    if (__builtin_expect(NAME(any_above)(highest, 0.0f), 0)) {
        const REAL before = *peak;
        for (int m = 0; m < many; m++)
            for (int lane = 0; lane < LANES; lane++) *peak = logs[m][lane] > *peak ? logs[m][lane] : *peak;
        const double faded = exp((double)before - (double)*peak);
        v->total[pixel] *= faded;
        for (int c = 0; c < channels; c++) v->weighted[(size_t)pixel * channels + c] *= faded;
        for (int c = 0; c <= channels; c++) here[c] *= (float)faded;
        for (int m = 0; m < many; m++) log[m] = __builtin_convertvector(logs[m] - *peak, weights);
    }
    weights weight[MOST], sum = here[0];
    for (int m = 0; m < many; m++) sum += weight[m] = NAME(exponential)(log[m]);
    here[0] = sum;
    for (int c = 0; c < channels; c++, k += area) {
        sum = here[c + 1];
        for (int m = 0; m < many; m++) sum += weight[m] * __builtin_convertvector(k[-m], weights);
        here[c + 1] = sum;
    }
}

/* A pair in the second: its weights. */
INLINE weights NAME(trace)(const NAME(view) *v, int top, int area, int pixel, int key, sums logs) {
    weights log = __builtin_convertvector(logs - v->peak[pixel], weights);
    const weights weight = NAME(exponential)(log - v->log_total[pixel]);
    log += v->log_counts[key];
    float *least = v->logs + (size_t)pixel * top;
    if (__builtin_expect(NAME(any_above)(log - *least, 0.0f), 0))
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
        /* Most meet nothing where only edges are asked. */
        if (!NAME(any_above)(here[0], 0.0f)) continue;
        v->total[pixel] += NAME(sum_of)(here[0]);
        for (int c = 0; c < channels; c++) v->weighted[(size_t)pixel * channels + c] += NAME(sum_of)(here[c + 1]);
        memset(here, 0, (channels + 1) * sizeof(weights));
    }
}

/* The pixels of a row that meet some neighbouring shifts, by the sums of each column. */
INLINE void NAME(along)(const task *t, int channels, REAL precision, const sums *restrict columns, const NAME(view) *v,
                        int tracing, int fresh, int taper, int row, int dy, const line *across, int many) {
    const int width = t->width, area = t->height * width, reach = fresh ? fresh : at_most(t->radius, width);
    const int turned = row + dy >= t->turn_row ? row + dy - t->period_rows : row + dy;
    sums sum[MOST], slope[MOST];
    weights share = {0};
    int first = INT32_MAX, all = 0, until = INT32_MAX, last = 0; /* pixels that meet any of the shifts, or all */
    for (int m = 0; m < many; m++) {
        const int start = across[m].start, from = start + across[m].shift, to = across[m].stop + across[m].shift;
        first = at_most(first, from), all = at_least(all, from), until = at_most(until, to), last = at_least(last, to);
        sums one = {0}, other = {0}; /* of which neither waits for the other */
        if (taper && !fresh) {
            for (int i = at_least(0, start - reach); i < at_most(width, start + reach + 2); i++) {
                one += columns[i * many + m] * (REAL)counting(t->radius, i - start);
                other += i > start ? columns[i * many + m] : -columns[i * many + m];
            }
            sum[m] = one, slope[m] = other;
            continue;
        }
        const int before = fresh ? 0 : at_most(width, start + reach);
        for (int i = at_least(0, start - reach); i < before; i += 2) {
            one += columns[i * many + m];
            if (i + 1 < before) other += columns[(i + 1) * many + m];
        }
        sum[m] = one + other;
    }
    /* What a pixel meets, shift by shift one place before. */
    const int key = row * width - across->shift;
    const sums *restrict norms = v->norms + key;
    const sums *restrict more = columns + (ptrdiff_t)(reach - across->shift) * many;
    const sums *restrict less = columns - (ptrdiff_t)(reach + across->shift) * many;
    int column = first;
    /* Before the columns of x turn round, and behind. */
    for (int part = 0; part < 2; part++) {
        const int end = part ? last : at_most(last, t->turn_column);
        const int pixels = turned * t->columns - (part ? t->period_columns : 0);
        while (column < end) {
            const int whole = column >= all && column < until, stop = whole ? at_most(end, until) : column + 1;
            for (; column < stop; column++) {
                sums logs[MOST];
                for (int m = 0; m < many; m++) {
                    const int at = column - across->shift - m;
                    if (!whole && (at < across[m].start || at >= across[m].stop)) {
                        logs[m] = (sums){0} - NOWHERE;
                        continue;
                    }
                    if (fresh) {
                        sums squares = less[(column - m) * many + m];
                        for (int i = 1; i <= 2 * fresh; i++)
                            squares += less[(column - m + i) * many + m] * (taper ? (REAL)counting(fresh, i - fresh) : 1);
                        logs[m] = squares * (-precision / 2);
                    } else if (taper) {
                        logs[m] = (sum[m] - norms[column - m]) * precision;
                        sum[m] += slope[m];
                        const sums *next = columns + (ptrdiff_t)(at + 1) * many + m;
                        slope[m] += next[(reach + 1) * many] - next[0] * 2 + next[-(reach + 1) * many];
                    } else {
                        sum[m] += more[(column - m) * many + m];
                        logs[m] = (sum[m] - norms[column - m]) * precision;
                        sum[m] -= less[(column - m) * many + m];
                    }
                    if (tracing) share += NAME(trace)(v, t->top, area, pixels + column, key + column - m, logs[m]);
                }
                if (!tracing) NAME(weigh)(v, channels, fresh, area, pixels + column, many, key + column, logs);
            }
        }
    }
    if (tracing)
        for (int lane = 0; lane < LANES; lane++) v->shares[lane] += share[lane];
}

/* Squared differences of a row of the images and the rows of x that the shifts bring it to. */
INLINE void NAME(differ)(const task *t, int channels, const REAL *restrict x, const sums *restrict k, int y, int dy, int dx,
                         int many, int left, int right, sums *restrict squares) {
    for (int c = 0; c < channels; c++) {
        const sums *restrict keys = k + ((ptrdiff_t)c * t->height + y) * t->width;
        const REAL *restrict asked = x + ((ptrdiff_t)c * t->rows + y + dy) * t->columns + dx;
        for (int i = left; i < right; i++)
            for (int m = 0; m < many; m++) {
                const sums off = keys[i] - asked[i + m];
                squares[i * many + m] = c ? squares[i * many + m] + off * off : off * off;
            }
    }
}

/* As `strip` where windows are tapered, for the columns from `left` to `right`, whose sums are zero. */
INLINE void NAME(tapered_strip)(const task *t, int channels, const REAL *x, REAL precision, sums *restrict columns,
                                const NAME(view) *v, int tracing, const line *rows, const line *across, int many, int left,
                                int right) {
    const int reach = t->radius, dy = rows->shift, dx = across->shift, size = t->width * many, span = tapered_rows(t);
    /* The products of row y, which count three times, at y modulo their number; outside the image there are none. */
    sums *products = v->squares, *nothing = products + (size_t)span * size, *slopes = v->slopes;
    memset(nothing + left * many, 0, (size_t)(right - left) * many * sizeof(sums));
    memset(slopes + left * many, 0, (size_t)(right - left) * many * sizeof(sums));
    /* Behind the last window there may be nothing in x, and no sum needs it. */
    const int last = at_most(t->height, rows->stop + reach), ahead = at_most(last, rows->start + reach + 2);
    for (int y = at_least(0, rows->start - reach); y < ahead; y++) {
        const sums *here = products + y % span * size;
        const REAL times = counting(reach, y - rows->start), steps = y > rows->start ? 1 : -1;
        NAME(multiply)(t, channels, x, v->k, y, dy, dx, many, left, right, products + y % span * size);
        for (int i = left * many; i < right * many; i++) columns[i] += here[i] * times, slopes[i] += here[i] * steps;
    }
    for (int row = rows->start;;) {
        NAME(along)(t, channels, precision, columns, v, tracing, 0, 1, row, dy, across, many);
        if (++row == rows->stop) return;
        const int enter = row + reach + 1, leave = row - reach - 1;
        if (enter < last)
            NAME(multiply)(t, channels, x, v->k, enter, dy, dx, many, left, right, products + enter % span * size);
        const sums *more = enter < last ? products + enter % span * size : nothing, *here = products + row % span * size;
        const sums *less = leave < 0 ? nothing : products + leave % span * size;
        for (int i = left * many; i < right * many; i++) {
            columns[i] += slopes[i];
            slopes[i] += more[i] - here[i] * 2 + less[i];
        }
    }
}

/* Neighbouring shifts along the rows, for all rows that meet at one shift down the columns. Where `fresh` is the radius,
 * squared differences are added up anew for each window: nothing that was added before leaves its rounding behind. */
INLINE void NAME(strip)(const task *t, int channels, const REAL *x, REAL precision, sums *restrict columns,
                        const NAME(view) *v, int tracing, int fresh, int taper, const line *rows, const line *across,
                        int many) {
    const int reach = t->radius, dy = rows->shift, dx = across->shift;
    int left = t->width, right = 0;
    for (int m = 0; m < many; m++) {
        left = at_most(left, at_least(0, across[m].start - reach));
        right = at_least(right, at_most(t->width, across[m].stop + reach));
    }
    if (fresh) {
        const int span = 2 * fresh + 1, size = t->width * many;
        /* The squares of the rows of a window, row y at y modulo their number; outside the image there are none. */
        sums *squares = v->squares;
        memset(squares, 0, (size_t)span * size * sizeof(sums));
        for (int y = at_least(0, rows->start - fresh); y < rows->stop + fresh; y++) {
            sums *here = squares + y % span * size;
            if (y < t->height)
                NAME(differ)(t, channels, x, v->k, y, dy, dx, many, left, right, here);
            else
                memset(here, 0, (size_t)size * sizeof(sums));
            const int row = y - fresh;
            if (row < rows->start) continue;
            for (int i = left * many; i < right * many; i++) {
                sums sum = squares[i];
                for (int other = 1; other < span; other++) sum += squares[other * size + i];
                /* What is nearer the centre counts more often. */
                for (int near = taper ? fresh - 1 : -1; near >= 0; near--)
                    for (int off = -near; off <= near; off++) sum += squares[(row + off + span) % span * size + i];
                columns[i] = sum;
            }
            NAME(along)(t, channels, precision, columns, v, tracing, fresh, taper, row, dy, across, many);
        }
        return;
    }
    memset(columns + left * many, 0, (size_t)(right - left) * many * sizeof(sums));
    if (taper) {
        NAME(tapered_strip)(t, channels, x, precision, columns, v, tracing, rows, across, many, left, right);
        return;
    }
    int y = at_least(0, rows->start - reach);
    const int below = at_most(t->height, rows->start + reach);
    for (; y + 4 <= below; y += 4) NAME(add)(t, channels, x, v->k, y, 4, dy, dx, many, left, right, columns);
    for (; y < below; y++) NAME(add)(t, channels, x, v->k, y, 1, dy, dx, many, left, right, columns);
    for (int row = rows->start; row < rows->stop; row++) {
        const int leave = row > rows->start ? row - reach - 1 : -1;
        NAME(slide)(t, channels, x, v->k, row + reach, leave, dy, dx, many, left, right, columns);
        NAME(along)(t, channels, precision, columns, v, tracing, 0, 0, row, dy, across, many);
    }
}

INLINE void NAME(pairs)(const task *t, int channels, const REAL *x, REAL precision, sums *columns, const NAME(view) *v,
                        int tracing, int fresh, int taper) {
    int shifts = 0;
    for (int number = 0; number < t->frame_count; number++) {
        const frame f = t->frames[number];
        const line *last = t->lines + f.end_column;
        for (const line *rows = t->lines + f.first_row; rows < t->lines + f.end_row; rows++)
            for (const line *across = t->lines + f.first_column; across < last;) {
                const int many = neighbours(across, last) ? MOST : 1;
                /* Every shift adds to a pixel once at most; long sums in float would lose digits. */
                if ((shifts += many) > LONGEST && !tracing) NAME(gather)(t, channels, v), shifts = many;
                /* Around the columns are zeros. */
                sums *inside = columns + (size_t)(at_most(t->radius, t->width) + 2) * many;
                memset(columns, 0, (char *)inside - (char *)columns);
                memset(inside + (size_t)t->width * many, 0, (char *)inside - (char *)columns);
                if (many == MOST)
                    NAME(strip)(t, channels, x, precision, inside, v, tracing, fresh, taper, rows, across, MOST);
                else
                    NAME(strip)(t, channels, x, precision, inside, v, tracing, fresh, taper, rows, across, 1);
                across += many;
            }
    }
    if (!tracing) NAME(gather)(t, channels, v);
}

/* Functions of their own, so that the constants of each loop stay in registers; images have one channel or three. */
#define LOOP(name, channels, tracing, fresh)                                                                           \
    static APART void NAME(name)(const task *t, const REAL *x, REAL precision, sums *columns, const NAME(view) *v) {   \
        NAME(pairs)(t, channels, x, precision, columns, v, tracing, fresh, 0);                                         \
    }                                                                                                                  \
    static APART void NAME(name##_tapered)(const task *t, const REAL *x, REAL precision, sums *columns,                \
                                           const NAME(view) *v) {                                                      \
        NAME(pairs)(t, channels, x, precision, columns, v, tracing, fresh, 1);                                         \
    }
LOOP(gray, 1, 0, 0)
LOOP(gray_looked_at, 1, 1, 0)
LOOP(colour, 3, 0, 0)
LOOP(colour_looked_at, 3, 1, 0)
#ifdef FRESH
LOOP(gray_fresh, 1, 0, 1)
LOOP(gray_fresh_looked_at, 1, 1, 1)
LOOP(colour_fresh, 3, 0, 1)
LOOP(colour_fresh_looked_at, 3, 1, 1)
LOOP(gray_fresher, 1, 0, 2)
LOOP(gray_fresher_looked_at, 1, 1, 2)
LOOP(colour_fresher, 3, 0, 2)
LOOP(colour_fresher_looked_at, 3, 1, 2)
#endif
#undef LOOP

typedef void (*NAME(loop))(const task *, const REAL *, REAL, sums *, const NAME(view) *);

#define BOTH(name) {NAME(name), NAME(name##_tapered)}
static NAME(loop) NAME(loop_for)(const task *t) {
    const int gray = t->channels == 1, tracing = t->top > 0, taper = t->taper != 0;
#ifdef FRESH
    static const NAME(loop) fresh[2][2][2][2] = {{{BOTH(colour_fresh), BOTH(colour_fresh_looked_at)},
                                                  {BOTH(gray_fresh), BOTH(gray_fresh_looked_at)}},
                                                 {{BOTH(colour_fresher), BOTH(colour_fresher_looked_at)},
                                                  {BOTH(gray_fresher), BOTH(gray_fresher_looked_at)}}};
    if (t->fresh) return fresh[t->radius - 1][gray][tracing][taper];
#endif
    static const NAME(loop) sliding[2][2][2] = {{BOTH(colour), BOTH(colour_looked_at)}, {BOTH(gray), BOTH(gray_looked_at)}};
    return sliding[gray][tracing][taper];
}
#undef BOTH

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
    const NAME(loop) loop = NAME(loop_for)(t);
    /* Where one of some neighbouring shifts has no window it looks beside the image, at nothing that counts. */
    sums *k = vectors((t->channels * area + 2 * MOST) * sizeof(sums)), *norms = vectors(area * sizeof(sums));
    /* The widest window sees a width on either side; the slope of a tapered one two pixels more. */
    sums *columns = vectors(((size_t)3 * t->width + 4) * MOST * sizeof(sums));
    sums *slopes = vectors((size_t)t->width * MOST * sizeof(sums));
    sums *squares = vectors((size_t)(t->fresh ? 2 * t->radius + 1 : t->taper ? tapered_rows(t) + 1 : 1) * t->width * MOST * sizeof(sums));
    weights *found = vectors(pixels * (t->channels + 1) * sizeof(weights));
    double *scratch = vectors(2 * (size_t)(t->height + 1) * (t->width + 1) * sizeof(double));
    REAL *x = vectors((t->batch * asked + 2 * MOST) * sizeof(REAL)), *peak = vectors(t->batch * pixels * sizeof(REAL));
    weights *log_counts = vectors(tracing ? area * sizeof(weights) : 64);
    float *log_total = vectors(tracing ? t->batch * pixels * sizeof(float) : 64);
    const int enough = k && norms && columns && slopes && squares && found && log_counts && scratch && x && peak && log_total;
    if (enough) {
        memset(found, 0, pixels * (t->channels + 1) * sizeof(weights));
        memset(k, 0, (t->channels * area + 2 * MOST) * sizeof(sums));
        /* Of neighbouring shifts one may look a little beyond what it needs. */
        memset(x, 0, (t->batch * asked + 2 * MOST) * sizeof(REAL));
        for (size_t i = 0; i < t->batch * asked; i++) x[MOST + i] = (REAL)t->x[i];
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
            NAME(load)(t, first, images, k + MOST, norms, scratch);
            if (tracing) NAME(load_counts)(t, first, images, log_counts);
            for (int b = 0; b < t->batch; b++) {
                const REAL *image = x + MOST + b * asked, precision = (REAL)t->precision[b];
                NAME(view) v = {.k = k + MOST, .norms = norms, .peak = peak + b * pixels, .first = first};
                v.squares = squares, v.slopes = slopes;
                if (tracing) {
                    double shares[LANES] = {0};
                    v.shares = shares, v.log_counts = log_counts, v.log_total = log_total + b * pixels;
                    v.logs = t->logs + b * pixels * t->top, v.keys = t->keys + b * pixels * t->top;
                    loop(t, image, precision, columns, &v);
                    memcpy(t->shares + b * t->count + (first - t->first), shares, images * sizeof(double));
                } else {
                    v.found = found, v.total = t->total + b * pixels, v.weighted = t->weighted + b * asked;
                    loop(t, image, precision, columns, &v);
                }
            }
        }
        if (!tracing)
            for (size_t i = 0; i < t->batch * pixels; i++) t->peak[i] = peak[i];
    }
    free(k), free(norms), free(columns), free(slopes), free(squares), free(found), free(log_counts), free(scratch), free(x), free(peak), free(log_total);
    return !enough;
}

#undef sums
#undef weights
#undef integers
#undef words
