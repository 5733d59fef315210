/* Included by sliding.c, with REAL sums in vectors of LANES training images; weights are float. */

#include "lanes.h"

#define vector NAME(vector)
typedef REAL vector __attribute__((vector_size(LANES * sizeof(REAL))));

#include "sliding_load.h"
#include "sliding_rows.h"
#include "sliding_weights.h"
#include "sliding_paste.h"
#include "sliding_scan.h"

/* One function for each combination of constants, so that compilers unroll short loops and keep sums in registers. */
#define KERNEL(name, channels, mode, afresh, taper)                                                                    \
    static APART void NAME(name)(const sliding_task *t, const REAL *x, REAL precision, vector *columns,                \
                                 const NAME(comparison) *pass) {                                                       \
        NAME(scan_regions)(t, channels, x, precision, columns, pass, mode, afresh, taper);                             \
    }
#define BOTH(name, channels, mode, afresh)                                                                             \
    KERNEL(name, channels, mode, afresh, 0)                                                                            \
    KERNEL(name##_tapered, channels, mode, afresh, 1)
#define KERNELS(name, channels, afresh)                                                                                \
    BOTH(name, channels, AVERAGING, afresh)                                                                            \
    BOTH(name##_attribution, channels, ATTRIBUTING, afresh)
#define PAIR(name) {NAME(name), NAME(name##_tapered)}
#define TABLE(name) {PAIR(name), PAIR(name##_attribution)}

KERNELS(one, 1, 0)
KERNELS(three, 3, 0)
KERNELS(any, t->channels, 0)
BOTH(paste, t->channels, PASTING, 0)
#ifdef HAS_AFRESH
KERNELS(one_radius_1, 1, 1)
KERNELS(one_radius_2, 1, 2)
KERNELS(three_radius_1, 3, 1)
KERNELS(three_radius_2, 3, 2)
KERNELS(any_radius_1, t->channels, 1)
KERNELS(any_radius_2, t->channels, 2)
BOTH(paste_radius_1, t->channels, PASTING, 1)
BOTH(paste_radius_2, t->channels, PASTING, 2)
#endif

typedef void (*NAME(kernel))(const sliding_task *, const REAL *, REAL, vector *, const NAME(comparison) *);

static NAME(kernel) NAME(kernel_for)(const sliding_task *t, int mode) {
    const int number = t->channels == 1 ? 0 : t->channels == 3 ? 1 : 2, taper = t->taper != 0;
#ifdef HAS_AFRESH
    static const NAME(kernel) afresh[2][3][2][2] = {{TABLE(one_radius_1), TABLE(three_radius_1), TABLE(any_radius_1)},
                                                    {TABLE(one_radius_2), TABLE(three_radius_2), TABLE(any_radius_2)}};
    static const NAME(kernel) paste_afresh[2][2] = {PAIR(paste_radius_1), PAIR(paste_radius_2)};
    if (t->afresh) return (mode == PASTING ? paste_afresh[t->radius - 1] : afresh[t->radius - 1][number][mode])[taper];
#endif
    static const NAME(kernel) sliding[3][2][2] = {TABLE(one), TABLE(three), TABLE(any)}, paste[2] = PAIR(paste);
    return (mode == PASTING ? paste : sliding[number][mode])[taper];
}
#undef KERNEL
#undef BOTH
#undef KERNELS
#undef PAIR
#undef TABLE

/* Memory of a task. */
typedef struct {
    vector *images, *norms;       /* (ADJACENT + channels height width + ADJACENT), and (height, width) */
    vector *moved_norms;          /* with the log-weights of training images, (height, width) */
    vector *columns, *slopes;     /* (3 width + 4, ADJACENT), and (width, ADJACENT) */
    vector *rows;                 /* a ring, (rows, width, ADJACENT) */
    weights *lane_sums;           /* (pixels, 1 + channels) */
    double *scratch;              /* for norms, 2 (height + 1) (width + 1) */
    REAL *x, *peak;               /* (ADJACENT + batch channels pixels + ADJACENT), and (batch, pixels) */
    weights *log_counts;          /* of an attribution, (height, width) */
    float *log_total;             /* of an attribution or pasting, (batch, pixels) */
    NAME(pasting) paste;
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
    const size_t span = 2 * (size_t)t->reach + 1, line = ADJACENT * sizeof(weights);
    m->images = vectors(images), m->norms = vectors(area * sizeof(vector));
    m->moved_norms = vectors(t->image_logs ? area * sizeof(vector) : 64);
    /* The largest window reaches a width beyond either end; the slope of a tapered one two pixels more. */
    m->columns = vectors(((size_t)3 * t->width + 4) * ADJACENT * sizeof(vector));
    m->slopes = vectors(line_size), m->rows = vectors(ring * line_size);
    m->lane_sums = vectors(lane_sums);
    m->scratch = vectors(2 * (size_t)(t->height + 1) * (t->width + 1) * sizeof(double));
    m->x = vectors(x), m->peak = vectors(batch * pixels * sizeof(REAL));
    m->log_counts = vectors(t->top ? area * sizeof(weights) : 64);
    m->log_total = vectors(t->top || t->profile ? batch * pixels * sizeof(float) : 64);
    m->paste.ring = vectors(t->profile ? span * t->width * line : 64);
    m->paste.sums = vectors((t->width + span) * line), m->paste.holds = vectors(span);
    if (!(m->images && m->norms && m->moved_norms && m->paste.ring && m->paste.sums && m->paste.holds && m->columns &&
          m->slopes && m->rows && m->lane_sums && m->scratch && m->x && m->peak &&
          m->log_counts && m->log_total))
        return 1;
    memset(m->images, 0, images), memset(m->x, 0, x), memset(m->lane_sums, 0, lane_sums);
    memset(m->paste.sums, 0, (t->width + span) * line);
    return 0;
}

static void NAME(release)(NAME(memory) *m) {
    free(m->images), free(m->norms), free(m->columns), free(m->slopes), free(m->rows), free(m->lane_sums);
    free(m->scratch), free(m->x), free(m->peak), free(m->log_counts), free(m->log_total);
    free(m->moved_norms), free(m->paste.ring), free(m->paste.sums), free(m->paste.holds);
}

/* Log-weights of `count` training images, one in each lane. */
static vector NAME(prior_of)(const sliding_task *t, int b, int64_t first, int count) {
    vector prior = {0};
    for (int lane = 0; t->image_logs && lane < count; lane++)
        prior[lane] = (REAL)t->image_logs[b * t->count + (first - t->first) + lane];
    return prior;
}

/* The averages, or the attribution, or what is pasted, over some training images: see the struct `task`. Returns 0, or 1
 * where there is not enough memory. */
int NAME(sliding)(const sliding_task *t) {
    const size_t pixels = (size_t)t->rows * t->columns, size = t->channels * pixels;
    const int area = t->height * t->width, mode = t->top ? ATTRIBUTING : t->profile ? PASTING : AVERAGING;
    const NAME(kernel) kernel = NAME(kernel_for)(t, mode);
    double *const total = mode == PASTING ? t->pasted_total : t->total;
    double *const weighted = mode == PASTING ? t->pasted : t->weighted;
    NAME(memory) m;
    if (NAME(allocate)(t, &m)) {
        NAME(release)(&m);
        return 1;
    }
    for (size_t i = 0; i < t->batch * size; i++) m.x[ADJACENT + i] = (REAL)t->x[i];
    for (size_t i = 0; i < t->batch * pixels; i++) {
        m.peak[i] = mode == AVERAGING ? -INFINITY : (REAL)t->peak[i];
        if (mode != AVERAGING) m.log_total[i] = (float)log(t->total[i]);
    }
    if (mode == ATTRIBUTING) {
        for (size_t i = 0; i < t->batch * pixels * t->top; i++) t->logs[i] = -INFINITY, t->keys[i] = -1;
        memset(t->entropy, 0, t->batch * pixels * sizeof(double));
    } else {
        memset(total, 0, t->batch * pixels * sizeof(double));
        memset(weighted, 0, t->batch * size * sizeof(double));
    }
    for (int64_t first = t->first; first < t->first + t->count; first += LANES) {
        const int64_t left = t->first + t->count - first;
        const int count = left < LANES ? (int)left : LANES;
        NAME(load_images)(t, first, count, m.images + ADJACENT, m.norms, m.scratch);
        if (mode == ATTRIBUTING) NAME(load_log_counts)(t, first, count, m.log_counts);
        for (int b = 0; b < t->batch; b++) {
            double shares[LANES] = {0};
            const vector prior = NAME(prior_of)(t, b, first, count), raise = prior / (REAL)t->precision[b];
            for (int i = 0; t->image_logs && i < area; i++) m.moved_norms[i] = m.norms[i] - raise;
            NAME(comparison) pass = {.images = m.images + ADJACENT, .peak = m.peak + b * pixels, .prior = &prior};
            pass.norms = t->image_logs ? m.moved_norms : m.norms, pass.first_image = first;
            pass.rows = m.rows, pass.slopes = m.slopes, pass.paste = &m.paste;
            if (mode != AVERAGING) pass.log_total = m.log_total + b * pixels;
            if (mode == ATTRIBUTING) {
                pass.shares = shares, pass.log_counts = m.log_counts;
                pass.top_logs = t->logs + b * pixels * t->top, pass.top_keys = t->keys + b * pixels * t->top;
                pass.lane_sums = m.lane_sums;
            } else {
                pass.lane_sums = m.lane_sums, pass.total = total + b * pixels, pass.weighted = weighted + b * size;
            }
            kernel(t, m.x + ADJACENT + b * size, (REAL)t->precision[b], m.columns, &pass);
            if (mode != ATTRIBUTING) continue;
            memcpy(t->shares + b * t->count + (first - t->first), shares, count * sizeof(double));
            for (size_t i = 0; i < pixels; i++) {
                t->entropy[b * pixels + i] -= NAME(sum_of)(m.lane_sums[i * (t->channels + 1)]);
                m.lane_sums[i * (t->channels + 1)] = (weights){0};
            }
        }
    }
    if (mode == AVERAGING)
        for (size_t i = 0; i < t->batch * pixels; i++) t->peak[i] = m.peak[i];
    NAME(release)(&m);
    return 0;
}

#undef vector
#undef weights
#undef integers
#undef words
