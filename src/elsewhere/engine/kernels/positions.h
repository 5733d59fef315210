/* Included by positions.c, with products in REAL. */

#include "positions_sums.h"
#include "positions_weights.h"

/* Rows of a ring: those of a window, and the one that leaves it. */
INLINE int NAME(ring_rows)(const sliding_task *t, int taper) { return 2 * t->radius + (taper ? 3 : 2); }

/* Weigh the windows of a row, whose sums are known. */
INLINE void NAME(scan_row)(const sliding_task *t, const NAME(comparison) *p, int channels, int mode, int key_row,
                           const axis_overlap *rows, const axis_overlap *overlap, int shifts, const double *raise) {
    int row = key_row + rows->shift, from = INT32_MAX, to = 0;
    if (row >= t->repeat_row) row -= t->period_rows;
    for (int s = 0; s < shifts; s++) {
        from = at_most(from, overlap[s].start + overlap[s].shift);
        to = at_least(to, overlap[s].stop + overlap[s].shift);
    }
    for (int number = 0; mode == AVERAGING && number < 2; number++) {
        const columns_part part = part_of(t, number, from, to);
        if (part.from >= part.to) continue;
        const int first = first_block(part);
        for (int s = 0; s < shifts; s++) NAME(row_logs)(p, overlap, s, raise, row, first, part);
        NAME(accumulate)(t, p, channels, overlap, shifts, raise, key_row, row, first, part);
    }
    for (int number = 0; mode == FINDING && number < 2; number++) {
        const columns_part part = part_of(t, number, from, to);
        if (part.from >= part.to) continue;
        const int first = first_block(part);
        for (int s = 0; s < shifts; s++) {
            NAME(row_logs)(p, overlap, s, raise, row, first, part);
            NAME(find)(t, p, key_row * t->width - overlap[s].shift, s, row, first, part);
        }
    }
    for (int s = 0; mode == PASTING && s < shifts; s++) {
        const int place = key_row % (2 * t->reach + 1) * TOGETHER + s;
        int any = 0;
        memset(p->row_weights, 0, p->stretch * sizeof(float)), memset(p->weighty, 0, p->stretch / LANES);
        for (int number = 0; number < 2; number++) {
            const columns_part part = part_of(t, number, from, to);
            if (part.from >= part.to) continue;
            const int first = first_block(part);
            NAME(row_logs)(p, overlap, s, raise, row, first, part);
            any |= NAME(weights_of_row)(t, p, overlap, s, row, first, part);
        }
        NAME(filter_row)(t, p, overlap + s, reach_along(t, overlap + s), any, p->filtered + (size_t)place * p->stretch,
                         p->any_of_row + place, p->holds + place * (p->stretch / LANES));
    }
}

/* All rows that meet at one shift down the columns, for adjacent shifts along the rows. */
INLINE void NAME(scan_shift)(const sliding_task *t, const NAME(comparison) *p, int channels, int mode, int taper,
                             const axis_overlap *rows, const axis_overlap *overlap, int shifts) {
    const int radius = t->radius, span = NAME(ring_rows)(t, taper), first = at_least(0, rows->start - radius);
    double raise[TOGETHER];
    for (int s = 0; s < shifts; s++) {
        raise[s] = p->prior;
        if (t->overlap_logs)
            raise[s] += t->overlap_logs[rows - t->overlaps] + t->overlap_logs[overlap + s - t->overlaps];
    }
    memset(p->columns, 0, (size_t)shifts * p->stretch * sizeof(double));
    if (taper) memset(p->slopes, 0, (size_t)shifts * p->stretch * sizeof(double));
    for (int y = first; y < rows->stop + radius; y++) {
        const int middle = y - radius - 1, leave = taper ? middle - radius - 1 : middle - radius, row = y - radius;
        for (int s = 0; s < shifts; s++) {
            REAL *ring = p->ring + (size_t)s * p->stretch;
            const size_t size = (size_t)TOGETHER * p->stretch;
            REAL *enter = y < t->height ? ring + y % span * size : p->zeros;
            if (y < t->height) NAME(sum_along)(t, p, channels, taper, y, rows->shift, overlap + s, enter);
            NAME(move_down)(taper, overlap[s].stop - overlap[s].start, enter,
                            middle < first || middle >= t->height ? p->zeros : ring + middle % span * size,
                            leave < first ? p->zeros : ring + leave % span * size,
                            p->columns + s * p->stretch + FRONT, p->slopes + s * p->stretch + FRONT);
        }
        if (row < rows->start) continue;
        NAME(scan_row)(t, p, channels, mode, row, rows, overlap, shifts, raise);
        if (mode != PASTING) continue;
        /* All rows that no later window adds to, and did not earlier. */
        const int last = row + 1 == rows->stop;
        for (int out = row - t->reach; out <= (last ? row + t->reach : row); out++) {
            const int down = reach_down(t, out + rows->shift);
            if (out + down == row || (last && out + down > row))
                NAME(paste_row)(t, p, channels, rows, out, overlap, shifts);
        }
    }
}

/* All region pairs. */
INLINE void NAME(scan_regions)(const sliding_task *t, const NAME(comparison) *p, int channels, int mode, int taper) {
    int terms = 0; /* of the sums of a position in float, at most: every shift adds one */
    for (const region_pair *region = t->regions; region < t->regions + t->region_count; region++)
        for (int down = region->first_row; down < region->end_row; down++) {
            const axis_overlap *overlap = t->overlaps + region->first_column, *end = t->overlaps + region->end_column;
            while (overlap < end) {
                const int shifts = are_together(overlap, end) ? TOGETHER : 1;
                if (mode != FINDING && (terms += shifts) > FLOAT_TERMS) NAME(move_to_double)(t, p), terms = shifts;
                if (shifts == TOGETHER)
                    NAME(scan_shift)(t, p, channels, mode, taper, t->overlaps + down, overlap, TOGETHER);
                else
                    NAME(scan_shift)(t, p, channels, mode, taper, t->overlaps + down, overlap, 1);
                overlap += shifts;
            }
        }
    if (mode != FINDING) NAME(move_to_double)(t, p);
}

/* One function for each combination of constants. */
#define KERNEL(name, channels, mode, taper)                                                                            \
    static APART void NAME(name)(const sliding_task *t, const NAME(comparison) *p) {                                   \
        NAME(scan_regions)(t, p, channels, mode, taper);                                                               \
    }
#define KERNELS(name, channels)                                                                                        \
    KERNEL(name, channels, AVERAGING, 0)                                                                               \
    KERNEL(name##_tapered, channels, AVERAGING, 1)                                                                     \
    KERNEL(name##_paste, channels, PASTING, 0)                                                                         \
    KERNEL(name##_paste_tapered, channels, PASTING, 1)                                                                 \
    KERNEL(name##_find, channels, FINDING, 0)                                                                          \
    KERNEL(name##_find_tapered, channels, FINDING, 1)
#define TABLE(name)                                                                                                    \
    {{NAME(name), NAME(name##_tapered)},                                                                               \
     {NAME(name##_paste), NAME(name##_paste_tapered)},                                                                 \
     {NAME(name##_find), NAME(name##_find_tapered)}}
KERNELS(few_one, 1)
KERNELS(few_three, 3)
KERNELS(few_any, t->channels)
typedef void (*NAME(few_kernel))(const sliding_task *, const NAME(comparison) *);
static const NAME(few_kernel) NAME(few_kernels)[3][3][2] = {TABLE(few_one), TABLE(few_three), TABLE(few_any)};
#undef KERNEL
#undef KERNELS
#undef TABLE

/* The averages, or what is pasted, over some training images: see the struct `sliding_task`. Returns 0, or 1 where there is
 * not enough memory. */
int NAME(positions)(const sliding_task *t) {
    const int mode = t->room ? FINDING : t->profile ? PASTING : AVERAGING, taper = t->taper != 0;
    const size_t pixels = (size_t)t->rows * t->columns, area = (size_t)t->height * t->width, channels = t->channels;
    const size_t edge = 2 * LANES + TOGETHER; /* numbers before and behind images, that blocks may reach */
    const size_t line = in_blocks(t->columns) + LANES, plane = line * t->rows, span = 2 * (size_t)t->reach + 1;
    const size_t stretch = in_blocks(t->width + 4 * t->radius + 4 * t->reach) + 4 * LANES + 2 * FRONT;
    const size_t ring = NAME(ring_rows)(t, taper) * TOGETHER * stretch;
    const size_t reals[] = {channels * pixels + edge, channels * area + 2 * edge, area + 2 * edge, stretch, stretch, stretch,
                            ring, stretch};
    const size_t floats[] = {channels * area + 2 * edge, plane + edge, (1 + channels) * plane + 2 * edge,
                             TOGETHER * stretch, stretch, span * TOGETHER * stretch};
    enum { REALS = sizeof reals / sizeof *reals, SINGLES = sizeof floats / sizeof *floats };
    REAL *real[REALS];
    float *single[SINGLES];
    double *sums = vectors((2 * TOGETHER * stretch + plane + edge) * sizeof(double));
    uint8_t *holds = vectors((span * TOGETHER + 1) * (stretch / LANES) + span * TOGETHER);
    row_of_weights *pasted = vectors(span * sizeof(row_of_weights));
    int enough = sums && holds && pasted;
    for (int i = 0; i < REALS; i++) {
        real[i] = vectors(reals[i] * sizeof(REAL));
        if (real[i]) memset(real[i], 0, reals[i] * sizeof(REAL));
        enough &= real[i] != NULL;
    }
    for (int i = 0; i < SINGLES; i++) {
        single[i] = vectors(floats[i] * sizeof(float));
        if (single[i]) memset(single[i], 0, floats[i] * sizeof(float));
        enough &= single[i] != NULL;
    }
    REAL *x = real[0], *keys = real[1] + edge, *half_squares = real[2] + edge;
    float *values = single[0] + edge;
    NAME(comparison) p = {.x = x, .keys = keys, .half_squares = half_squares, .values = values, .line = (int)line};
    p.products = real[3], p.parts = real[4], p.boxes = real[5], p.ring = real[6], p.zeros = real[7];
    p.log_total = single[1], p.sums = single[2] + edge, p.logs = single[3], p.row_weights = single[4], p.filtered = single[5];
    p.columns = sums, p.slopes = sums + TOGETHER * stretch, p.anchor = sums + 2 * TOGETHER * stretch;
    p.stretch = (int)stretch;
    p.holds = holds, p.weighty = holds + span * TOGETHER * (stretch / LANES), p.pasted = pasted;
    p.any_of_row = p.weighty + stretch / LANES;
    double *const total = mode == FINDING ? t->peak : mode == PASTING ? t->pasted_total : t->total;
    double *const weighted = mode == FINDING ? t->peak : mode == PASTING ? t->pasted : t->weighted;
    /* What lies behind the last position of a row is read too. */
    if (sums) memset(sums, 0, (2 * TOGETHER * stretch + plane + edge) * sizeof(double));
    for (int b = 0; enough && b < t->batch; b++) {
        for (size_t i = 0; i < channels * pixels; i++) x[i] = (REAL)t->x[b * channels * pixels + i];
        for (int row = 0; row < t->rows; row++)
            for (int column = 0; column < t->columns; column++) {
                const size_t at = row * line + column, pixel = b * pixels + (size_t)row * t->columns + column;
                p.anchor[at] = mode == PASTING ? t->peak[pixel] : mode == FINDING ? t->peak[pixel] - t->band : NO_KEY;
                if (mode == PASTING) p.log_total[at] = (float)log(t->total[pixel]);
            }
        p.total = total + b * pixels, p.weighted = weighted + b * pixels * channels;
        if (mode != FINDING)
            memset(p.total, 0, pixels * sizeof(double)), memset(p.weighted, 0, channels * pixels * sizeof(double));
        p.factor = t->precision[b];
        for (int64_t n = t->first; n < t->first + t->count; n++) {
            p.key = n * area;
            for (size_t i = 0; i < area; i++) {
                double square = 0;
                for (size_t c = 0; c < channels; c++) {
                    const size_t at = c * area + i, from = n * channels * area + at;
                    const double stored = t->is_byte ? ((const uint8_t *)t->pixels)[from] : ((const float *)t->pixels)[from];
                    const double pixel = stored - t->centre;
                    keys[at] = (REAL)pixel, values[at] = (float)pixel, square += pixel * pixel;
                }
                half_squares[i] = (REAL)(square / 2);
            }
            p.prior = t->image_logs ? t->image_logs[b * t->count + (n - t->first)] : 0;
            NAME(few_kernels)[channels == 1 ? 0 : channels == 3 ? 1 : 2][mode][taper](t, &p);
        }
        for (size_t i = 0; mode == AVERAGING && i < pixels; i++)
            t->peak[b * pixels + i] = p.anchor[i / t->columns * line + i % t->columns];
    }
    for (int i = 0; i < REALS; i++) free(real[i]);
    for (int i = 0; i < SINGLES; i++) free(single[i]);
    free(sums), free(holds), free(pasted);
    return !enough;
}
#undef VECTOR
#undef STEP
#undef FRONT
