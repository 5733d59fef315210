/* Included by sliding.c, with REAL sums in vectors of LANES training images; weights are float. */

#include "lanes.h"

#define vector NAME(vector)
typedef REAL vector __attribute__((vector_size(LANES * sizeof(REAL))));

#include "sliding_load.h"
#include "sliding_rows.h"
#include "sliding_weights.h"
#include "sliding_scan.h"

/* One function for each combination of constants, so that compilers unroll short loops and keep sums in registers. */
#define KERNEL(name, channels, attributing, afresh, taper)                                                             \
    static APART void NAME(name)(const sliding_task *t, const REAL *x, REAL precision, vector *columns,                \
                                 const NAME(comparison) *pass) {                                                       \
        NAME(scan_regions)(t, channels, x, precision, columns, pass, attributing, afresh, taper);                      \
    }
#define KERNELS(name, channels, afresh)                                                                                \
    KERNEL(name, channels, 0, afresh, 0)                                                                               \
    KERNEL(name##_tapered, channels, 0, afresh, 1)                                                                     \
    KERNEL(name##_attribution, channels, 1, afresh, 0)                                                                 \
    KERNEL(name##_attribution_tapered, channels, 1, afresh, 1)
#define TABLE(name)                                                                                                    \
    {{NAME(name), NAME(name##_tapered)}, {NAME(name##_attribution), NAME(name##_attribution_tapered)}}

KERNELS(one, 1, 0)
KERNELS(three, 3, 0)
KERNELS(any, t->channels, 0)
#ifdef HAS_AFRESH
KERNELS(one_radius_1, 1, 1)
KERNELS(one_radius_2, 1, 2)
KERNELS(three_radius_1, 3, 1)
KERNELS(three_radius_2, 3, 2)
KERNELS(any_radius_1, t->channels, 1)
KERNELS(any_radius_2, t->channels, 2)
#endif

typedef void (*NAME(kernel))(const sliding_task *, const REAL *, REAL, vector *, const NAME(comparison) *);

static NAME(kernel) NAME(kernel_for)(const sliding_task *t) {
    const int number = t->channels == 1 ? 0 : t->channels == 3 ? 1 : 2, attributing = t->top > 0, taper = t->taper != 0;
#ifdef HAS_AFRESH
    static const NAME(kernel) afresh[2][3][2][2] = {{TABLE(one_radius_1), TABLE(three_radius_1), TABLE(any_radius_1)},
                                                    {TABLE(one_radius_2), TABLE(three_radius_2), TABLE(any_radius_2)}};
    if (t->afresh) return afresh[t->radius - 1][number][attributing][taper];
#endif
    static const NAME(kernel) sliding[3][2][2] = {TABLE(one), TABLE(three), TABLE(any)};
    return sliding[number][attributing][taper];
}
#undef KERNEL
#undef KERNELS
#undef TABLE

/* Memory of a task. */
typedef struct {
    vector *images, *norms;       /* (ADJACENT + channels height width + ADJACENT), and (height, width) */
    vector *columns, *slopes;     /* (3 width + 4, ADJACENT), and (width, ADJACENT) */
    vector *rows;                 /* a ring, (rows, width, ADJACENT) */
    weights *lane_sums;           /* (pixels, 1 + channels) */
    double *scratch;              /* for norms, 2 (height + 1) (width + 1) */
    REAL *x, *peak;               /* (ADJACENT + batch channels pixels + ADJACENT), and (batch, pixels) */
    weights *log_counts;          /* of an attribution, (height, width) */
    float *log_total;             /* of an attribution, (batch, pixels) */
} NAME(memory);

/* Returns 0, or 1 where there is not enough. */
static int NAME(allocate)(const sliding_task *t, NAME(memory) *m) {
    const size_t area = (size_t)t->height * t->width, pixels = (size_t)t->rows * t->columns, batch = t->batch;
    const size_t line_size = (size_t)t->width * ADJACENT * sizeof(vector);
    const size_t ring = t->afresh ? 2 * t->radius + 1 : t->taper ? tapered_rows(t) + 1 : 1;
    /* Of adjacent shifts, one may read up to ADJACENT pixels beside an image, for pairs that do not exist. */
    const size_t images = (t->channels * area + 2 * ADJACENT) * sizeof(vector);
    const size_t x = (batch * t->channels * pixels + 2 * ADJACENT) * sizeof(REAL);
    const size_t lane_sums = pixels * (t->channels + 1) * sizeof(weights);
    m->images = vectors(images), m->norms = vectors(area * sizeof(vector));
    /* The largest window reaches a width beyond either end; the slope of a tapered one two pixels more. */
    m->columns = vectors(((size_t)3 * t->width + 4) * ADJACENT * sizeof(vector));
    m->slopes = vectors(line_size), m->rows = vectors(ring * line_size);
    m->lane_sums = vectors(lane_sums);
    m->scratch = vectors(2 * (size_t)(t->height + 1) * (t->width + 1) * sizeof(double));
    m->x = vectors(x), m->peak = vectors(batch * pixels * sizeof(REAL));
    m->log_counts = vectors(t->top ? area * sizeof(weights) : 64);
    m->log_total = vectors(t->top ? batch * pixels * sizeof(float) : 64);
    if (!(m->images && m->norms && m->columns && m->slopes && m->rows && m->lane_sums && m->scratch && m->x && m->peak &&
          m->log_counts && m->log_total))
        return 1;
    memset(m->images, 0, images), memset(m->x, 0, x), memset(m->lane_sums, 0, lane_sums);
    return 0;
}

static void NAME(release)(NAME(memory) *m) {
    free(m->images), free(m->norms), free(m->columns), free(m->slopes), free(m->rows), free(m->lane_sums);
    free(m->scratch), free(m->x), free(m->peak), free(m->log_counts), free(m->log_total);
}

/* The averages, or the attribution, over some training images: see the struct `task`. Returns 0, or 1 where there is not
 * enough memory. */
int NAME(sliding)(const sliding_task *t) {
    const size_t pixels = (size_t)t->rows * t->columns, size = t->channels * pixels;
    const int attributing = t->top > 0;
    const NAME(kernel) kernel = NAME(kernel_for)(t);
    NAME(memory) m;
    if (NAME(allocate)(t, &m)) {
        NAME(release)(&m);
        return 1;
    }
    for (size_t i = 0; i < t->batch * size; i++) m.x[ADJACENT + i] = (REAL)t->x[i];
    for (size_t i = 0; i < t->batch * pixels; i++) {
        m.peak[i] = attributing ? (REAL)t->peak[i] : -INFINITY;
        if (attributing) m.log_total[i] = (float)log(t->total[i]);
    }
    if (attributing) {
        for (size_t i = 0; i < t->batch * pixels * t->top; i++) t->logs[i] = -INFINITY, t->keys[i] = -1;
    } else {
        memset(t->total, 0, t->batch * pixels * sizeof(double));
        memset(t->weighted, 0, t->batch * size * sizeof(double));
    }
    for (int64_t first = t->first; first < t->first + t->count; first += LANES) {
        const int64_t left = t->first + t->count - first;
        const int count = left < LANES ? (int)left : LANES;
        NAME(load_images)(t, first, count, m.images + ADJACENT, m.norms, m.scratch);
        if (attributing) NAME(load_log_counts)(t, first, count, m.log_counts);
        for (int b = 0; b < t->batch; b++) {
            double shares[LANES] = {0};
            NAME(comparison) pass = {.images = m.images + ADJACENT, .norms = m.norms, .peak = m.peak + b * pixels};
            pass.first_image = first, pass.rows = m.rows, pass.slopes = m.slopes;
            if (attributing) {
                pass.shares = shares, pass.log_counts = m.log_counts, pass.log_total = m.log_total + b * pixels;
                pass.top_logs = t->logs + b * pixels * t->top, pass.top_keys = t->keys + b * pixels * t->top;
            } else {
                pass.lane_sums = m.lane_sums;
                pass.total = t->total + b * pixels, pass.weighted = t->weighted + b * size;
            }
            kernel(t, m.x + ADJACENT + b * size, (REAL)t->precision[b], m.columns, &pass);
            if (attributing) memcpy(t->shares + b * t->count + (first - t->first), shares, count * sizeof(double));
        }
    }
    if (!attributing)
        for (size_t i = 0; i < t->batch * pixels; i++) t->peak[i] = m.peak[i];
    NAME(release)(&m);
    return 0;
}

#undef vector
#undef weights
#undef integers
#undef words
