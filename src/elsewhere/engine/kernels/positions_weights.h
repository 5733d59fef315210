/* Part of positions.h: from window sums to log-weights, and from these to averages or patches. */

/* The exact log-weight of a pair of a row, number `s` of the shifts and column `column` of x; -infinity where there is none. */
INLINE double NAME(exact_log)(const NAME(comparison) *p, const axis_overlap *overlap, int s, const double *raise, int column) {
    const int at = column - overlap[s].shift;
    if (at < overlap[s].start || at >= overlap[s].stop) return -INFINITY;
    return p->columns[s * p->stretch + FRONT + at - overlap[s].start] * p->factor + raise[s];
}

/* Raise the anchors of a block of positions to the log-weights above them, and compute the logs of the block again. */
static APART void NAME(raise_anchors)(const sliding_task *t, const NAME(comparison) *p, const axis_overlap *overlap,
                                      int shifts, const double *raise, int row, int column, int back, int at) {
    const size_t plane = (size_t)t->rows * p->line;
    for (int lane = 0; lane < LANES; lane++) {
        const int inside = column + lane - back;
        double *anchor = p->anchor + (size_t)row * p->line + inside, best = -INFINITY, before = *anchor;
        float *sums = p->sums + (size_t)row * p->line + inside;
        for (int s = 0; s < shifts; s++) best = fmax(best, NAME(exact_log)(p, overlap, s, raise, column + lane));
        if (best <= *anchor) continue;
        *anchor = best;
        const double less = exp(before - *anchor);
        const size_t pixel = (size_t)row * t->columns + inside;
        for (int c = 0; c <= t->channels; c++) sums[c * plane] *= (float)less;
        p->total[pixel] *= less;
        for (int c = 0; c < t->channels; c++) p->weighted[pixel * t->channels + c] *= less;
        for (int s = 0; s < shifts; s++)
            p->logs[s * p->stretch + at + lane] =
                (float)(NAME(exact_log)(p, overlap, s, raise, column + lane) - *anchor);
    }
}

/* Log-weights above the anchors, of a part of a row of x, at shift number `s`; NO_PAIR before and behind its pairs, up to
 * whole blocks. `first` is the column of the first block. */
INLINE void NAME(row_logs)(const NAME(comparison) *p, const axis_overlap *overlap, int s, const double *raise, int row,
                           int first, columns_part part) {
    const double *anchor = p->anchor + (size_t)row * p->line + (first - part.back);
    const int count = in_blocks(part.to - first), place = overlap[s].start + overlap[s].shift;
    const double *columns = p->columns + s * p->stretch + FRONT + (first - place);
    float *logs = p->logs + s * p->stretch;
    const int start = at_least(place, part.from) - first;
    const int stop = at_least(start, at_most(overlap[s].stop + overlap[s].shift, part.to) - first);
    for (int i = start / LANES * LANES; i < stop; i += LANES / 2) {
        const wide log = load_wide(columns + i) * p->factor + raise[s] - load_wide(anchor + i);
        store_half(logs + i, __builtin_convertvector(log, half));
    }
    for (int i = 0; i < at_most(start, count); i++) logs[i] = NO_PAIR;
    for (int i = stop; i < count; i++) logs[i] = NO_PAIR;
}

/* Add the pairs of a part of a row to the averages. */
INLINE void NAME(accumulate)(const sliding_task *t, const NAME(comparison) *p, int channels, const axis_overlap *overlap,
                             int shifts, const double *raise, int key_row, int row, int first, columns_part part) {
    const size_t plane = (size_t)t->rows * p->line, area = (size_t)t->height * t->width;
    float *sums = p->sums + (size_t)row * p->line + (first - part.back);
    const float *values = p->values + (ptrdiff_t)key_row * t->width + (first - overlap->shift);
    for (int i = 0; i < part.to - first; i += LANES) {
        block log[TOGETHER], highest;
        for (int s = 0; s < shifts; s++) {
            log[s] = load_block(p->logs + s * p->stretch + i);
            highest = s ? larger_of_lanes(highest, log[s]) : log[s];
        }
        if (!any_above_of_lanes(highest, NEGLIGIBLE)) continue;
        if (__builtin_expect(any_above_of_lanes(highest, HEADROOM), 0)) {
            NAME(raise_anchors)(t, p, overlap, shifts, raise, row, first + i, part.back, i);
            for (int s = 0; s < shifts; s++) log[s] = load_block(p->logs + s * p->stretch + i);
        }
        block weight[TOGETHER], sum = load_block(sums + i);
        for (int s = 0; s < shifts; s++) sum += weight[s] = exponential_of_lanes(log[s]);
        store_block(sums + i, sum);
        for (int c = 0; c < channels; c++) {
            float *into = sums + (c + 1) * plane + i;
            sum = load_block(into);
            for (int s = 0; s < shifts; s++) sum += weight[s] * load_block(values + c * area + i - s);
            store_block(into, sum);
        }
    }
}

/* Write down the pairs of a part of a row whose log-weights lie above the anchors, and raise these where a log-weight is more
 * than `band` above. `key` is the place of the key that column 0 of x meets. */
INLINE void NAME(find)(const sliding_task *t, const NAME(comparison) *p, int key, int s, int row, int first,
                       columns_part part) {
    const float *logs = p->logs + s * p->stretch;
    double *anchor = p->anchor + (size_t)row * p->line + (first - part.back);
    for (int i = 0; i < part.to - first; i += LANES) {
        if (__builtin_expect(!any_above_of_lanes(load_block(logs + i), 0.0f), 1)) continue;
        for (int lane = i; lane < i + LANES; lane++) {
            if (!(logs[lane] > 0)) continue;
            if (*t->found < t->room) {
                t->found_queries[*t->found] = row * t->columns + first - part.back + lane;
                t->found_keys[*t->found] = (int32_t)p->key + key + first + lane;
            }
            ++*t->found;
            if (logs[lane] > t->band) anchor[lane] += logs[lane] - t->band;
        }
    }
}

/* Move the sums in float to those in double. */
static APART void NAME(move_to_double)(const sliding_task *t, const NAME(comparison) *p) {
    const size_t plane = (size_t)t->rows * p->line;
    for (int row = 0; row < t->rows; row++) {
        float *sums = p->sums + (size_t)row * p->line;
        const size_t pixel = (size_t)row * t->columns;
        for (int i = 0; i < t->columns; i++) p->total[pixel + i] += sums[i];
        for (int c = 0; c < t->channels; c++)
            for (int i = 0; i < t->columns; i++) p->weighted[(pixel + i) * t->channels + c] += sums[(c + 1) * plane + i];
    }
    memset(p->sums, 0, plane * (1 + t->channels) * sizeof(float));
}

/* The weights of a part of a row, each at the column of its key, behind 2 reach zeros; whether any matters. */
INLINE int NAME(weights_of_row)(const sliding_task *t, const NAME(comparison) *p, const axis_overlap *overlap, int s, int row,
                                int first, columns_part part) {
    const float *log_total = p->log_total + (size_t)row * p->line + (first - part.back);
    const int place = FRONT + 2 * t->reach + (first - overlap[s].shift - overlap[s].start);
    int any = 0;
    for (int i = 0; i < part.to - first; i += LANES) {
        block weight = load_block(p->logs + s * p->stretch + i);
        if (!any_above_of_lanes(weight, NEGLIGIBLE)) continue;
        weight = exponential_of_lanes(weight - load_block(log_total + i));
        if (!any_above_of_lanes(weight, t->least)) continue;
        float *into = p->row_weights + place + i;
        store_block(into, load_block(into) + weight);
        any = p->weighty[(place + i) / LANES] = p->weighty[(place + i + LANES - 1) / LANES] = 1;
    }
    return any;
}

/* Sums of the weights along a row, for every key column within `reach` of its windows. */
INLINE void NAME(filter_row)(const sliding_task *t, const NAME(comparison) *p, const axis_overlap *overlap, int reach, int any,
                             float *restrict into, uint8_t *restrict any_of_row, uint8_t *restrict holds) {
    const int blocks = in_blocks(overlap->stop - overlap->start + 2 * reach) / LANES;
    const float *profile = t->profile + t->reach;
    *any_of_row = (uint8_t)any;
    if (!any) return;
    /* Two blocks at a time: neither waits for the other. There is room for one block more. */
    for (int number = 0; number < blocks; number += 2) {
        const int column = overlap->start + overlap->shift - reach + number * LANES;
        const int inside = column >= t->first_query_column && column + 2 * LANES <= t->end_query_column;
        const int far = inside ? t->near : reach, at = FRONT + 2 * t->reach - reach + number * LANES;
        int matters = 0;
        for (int i = (at - far) / LANES; i <= (at + 2 * LANES - 1 + far) / LANES; i++) matters |= p->weighty[i];
        block sum = {0}, next = {0};
        for (int offset = -far; matters && offset <= far; offset++) {
            sum += load_block(p->row_weights + at + offset) * profile[offset];
            next += load_block(p->row_weights + at + LANES + offset) * profile[offset];
        }
        store_block(into + number * LANES, sum), store_block(into + (number + 1) * LANES, next);
        holds[number] = holds[number + 1] = (uint8_t)matters;
    }
}

/* Paste TOGETHER blocks of a row, from block number i / LANES on, with the weights of `count` rows. */
INLINE void NAME(paste_blocks)(const NAME(comparison) *p, int channels, int count, int i, float *into, const float *values,
                               size_t plane, size_t area) {
    block weight[TOGETHER] = {{0}};
    uint32_t any = 0;
    for (const row_of_weights *from = p->pasted; from < p->pasted + count; from++) {
        uint32_t holds;
        memcpy(&holds, from->holds + i / LANES, sizeof holds);
        any |= holds;
        if (!holds) continue;
        for (int b = 0; b < TOGETHER; b++) weight[b] += load_block(from->weights + i + b * LANES) * from->weight;
    }
    if (!any) return;
    for (int b = 0; b < TOGETHER; b++, i += LANES) {
        store_block(into + i, load_block(into + i) + weight[b]);
        for (int c = 0; c < channels; c++) {
            float *sum = into + (c + 1) * plane + i;
            store_block(sum, load_block(sum) + weight[b] * load_block(values + c * area + i));
        }
    }
}
_Static_assert(TOGETHER == sizeof(uint32_t), "blocks whose flags are read at once");

/* Paste row `out` of the training image, for windows in rows `rows->start` to `rows->stop` - 1. */
INLINE void NAME(paste_row)(const sliding_task *t, const NAME(comparison) *p, int channels, const axis_overlap *rows, int out,
                            const axis_overlap *overlap, int shifts) {
    const int span = 2 * t->reach + 1, blocks = p->stretch / LANES, down = reach_down(t, out + rows->shift);
    const int begin = at_least(rows->start, out - down), end = at_most(rows->stop, out + down + 1);
    const size_t plane = (size_t)t->rows * p->line, area = (size_t)t->height * t->width;
    int row = out + rows->shift;
    if (out < 0 || out >= t->height || row < 0 || row >= t->rows) return;
    if (row >= t->repeat_row) row -= t->period_rows;
    for (int s = 0; s < shifts; s++) {
        const int reach = reach_along(t, overlap + s);
        int count = 0;
        for (int y = begin; y < end; y++) {
            const int place = y % span * TOGETHER + s;
            if (!p->any_of_row[place]) continue;
            p->pasted[count].holds = p->holds + place * blocks, p->pasted[count].weight = t->profile[t->reach + out - y];
            p->pasted[count++].weights = p->filtered + (size_t)place * p->stretch;
        }
        if (!count) continue;
        /* Key columns within reach that exist, as does the column of x that each is pasted on. */
        const int from = at_least(at_least(0, overlap[s].start - reach) + overlap[s].shift, 0);
        const int to = at_most(at_most(t->width, overlap[s].stop + reach) + overlap[s].shift, t->columns);
        for (int number = 0; number < 2; number++) {
            const columns_part part = part_of(t, number, from, to);
            if (part.from >= part.to) continue;
            /* Blocks are those of `filtered`: lanes before and behind the part add nothing. */
            const int before = part.from - overlap[s].shift - overlap[s].start + reach, after = before + part.to - part.from;
            float *into = p->sums + (ptrdiff_t)row * p->line + (part.from - part.back - before);
            const float *values = p->values + (ptrdiff_t)out * t->width + (part.from - overlap[s].shift - before);
            for (int i = before / LANES * LANES; i < after; i += LANES) {
                /* TOGETHER blocks at a time where all are there: the weights of the rows are loaded once for them. */
                if (i % (TOGETHER * LANES) == 0 && i >= before && i + TOGETHER * LANES <= after) {
                    NAME(paste_blocks)(p, channels, count, i, into, values, plane, area);
                    i += (TOGETHER - 1) * LANES;
                    continue;
                }
                block weight = {0};
                int any = 0;
                for (const row_of_weights *from = p->pasted; from < p->pasted + count; from++) {
                    if (!from->holds[i / LANES]) continue;
                    weight += load_block(from->weights + i) * from->weight;
                    any = 1;
                }
                if (!any) continue;
                for (int lane = 0; lane < before - i; lane++) weight[lane] = 0;
                for (int lane = at_least(0, after - i); lane < LANES; lane++) weight[lane] = 0;
                store_block(into + i, load_block(into + i) + weight);
                for (int c = 0; c < channels; c++) {
                    float *sum = into + (c + 1) * plane + i;
                    store_block(sum, load_block(sum) + weight * load_block(values + c * area + i));
                }
            }
        }
    }
}
