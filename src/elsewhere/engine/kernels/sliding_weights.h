/* Part of sliding.h: from the sums of each column to log-weights, and from these to averages, an attribution or patches. */

/* What the pasting pass keeps between rows. */
typedef struct {
    weights *ring;  /* weights of the last rows of windows, row r at r % (2 reach + 1), (2 reach + 1, width, ADJACENT) */
    weights *sums;  /* sums of these rows, (reach + width + reach, ADJACENT): zero before and after the row */
    uint8_t *holds; /* whether a row of the ring has a weight that matters, (2 reach + 1) */
} NAME(pasting);

/* One image of the batch, LANES training images, and what is accumulated for their pairs of windows. */
typedef struct {
    const vector *images, *norms; /* training images (channels, height, width), and |k|^2 / 2 (height, width) */
    const vector *prior;          /* added to log-weights that are not made from norms: what norms contain else */
    REAL *peak;                   /* of every pixel of x; fixed after the first pass */
    /* The first pass, and the pasting pass. */
    weights *lane_sums;       /* total and weighted sum of every pixel, lane by lane, (pixels, 1 + channels); in the
                                 attribution pass minus the entropy in place of the total */
    double *total, *weighted; /* what was moved here from `lane_sums`, (pixels) and (pixels, channels) */
    /* The attribution pass, and the pasting pass. */
    const weights *log_counts; /* (height, width) */
    const float *log_total;    /* (pixels) */
    const NAME(pasting) *paste;
    float *top_logs;           /* heaps of every pixel, (pixels, top) */
    int64_t *top_keys;
    int64_t first_image;
    double *shares; /* (LANES) */
    /* Buffers. */
    vector *rows;   /* squared differences or products of the rows of a window */
    vector *slopes; /* differences of the sums of tapered columns, from one row to the next */
} NAME(comparison);

/* Add pairs of one pixel to the averages: `shifts` keys, each one place before the other. */
INLINE void NAME(accumulate)(const NAME(comparison) *pass, int channels, int afresh, int area, int pixel, int shifts, int key,
                             const vector *logs) {
    REAL *peak = pass->peak + pixel;
    const vector *value = pass->images + key;
    weights *sums = pass->lane_sums + (size_t)pixel * (channels + 1);
    weights log[ADJACENT], highest;
    for (int s = 0; s < shifts; s++) {
        log[s] = __builtin_convertvector(logs[s] - *peak, weights);
        highest = s ? NAME(larger)(highest, log[s]) : log[s];
    }
    /* Double sums and sums afresh serve low noise, where few windows contribute. Elsewhere this test costs more than it
     * saves. */
    if ((afresh || sizeof(REAL) > sizeof(float)) && !NAME(any_above)(highest, NEGLIGIBLE)) return;
    if (__builtin_expect(NAME(any_above)(highest, 0.0f), 0)) {
        const REAL before = *peak;
        for (int s = 0; s < shifts; s++)
            for (int lane = 0; lane < LANES; lane++) *peak = logs[s][lane] > *peak ? logs[s][lane] : *peak;
        const double factor = exp((double)before - (double)*peak);
        pass->total[pixel] *= factor;
        for (int c = 0; c < channels; c++) pass->weighted[(size_t)pixel * channels + c] *= factor;
        for (int c = 0; c <= channels; c++) sums[c] *= (float)factor;
        for (int s = 0; s < shifts; s++) log[s] = __builtin_convertvector(logs[s] - *peak, weights);
    }
    weights weight[ADJACENT], sum = sums[0];
    for (int s = 0; s < shifts; s++) sum += weight[s] = NAME(exponential)(log[s]);
    sums[0] = sum;
    for (int c = 0; c < channels; c++, value += area) {
        sum = sums[c + 1];
        for (int s = 0; s < shifts; s++) sum += weight[s] * __builtin_convertvector(value[-s], weights);
        sums[c + 1] = sum;
    }
}

/* Attribution of one pair: returns its weights, adds to the entropy, and keeps those among the largest of the pixel. */
INLINE weights NAME(attribute)(const NAME(comparison) *pass, int channels, int top, int area, int pixel, int key,
                               vector logs) {
    weights log = __builtin_convertvector(logs - pass->peak[pixel], weights);
    const weights share = log - pass->log_total[pixel], weight = NAME(exponential)(share);
    pass->lane_sums[(size_t)pixel * (channels + 1)] += weight * NAME(larger)(share, (weights){0} + LEAST_LOG);
    log += pass->log_counts[key];
    float *least = pass->top_logs + (size_t)pixel * top;
    if (__builtin_expect(NAME(any_above)(log - *least, 0.0f), 0))
        for (int lane = 0; lane < LANES; lane++)
            if (log[lane] > *least)
                replace_least(least, pass->top_keys + (size_t)pixel * top, top, log[lane],
                              (pass->first_image + lane) * area + key);
    return weight;
}

/* Move the sums of all lanes to the sums in double. */
static APART void NAME(move_to_double)(const sliding_task *t, int channels, const NAME(comparison) *pass) {
    const int pixels = t->rows * t->columns;
    for (int pixel = 0; pixel < pixels; pixel++) {
        weights *sums = pass->lane_sums + (size_t)pixel * (channels + 1);
        /* Where only edges are computed, most pixels meet no key. */
        if (!NAME(any_above)(sums[0], 0.0f)) continue;
        pass->total[pixel] += NAME(sum_of)(sums[0]);
        for (int c = 0; c < channels; c++) pass->weighted[(size_t)pixel * channels + c] += NAME(sum_of)(sums[c + 1]);
        memset(sums, 0, (channels + 1) * sizeof(weights));
    }
}

/* Log-weights of a row of training windows, from the sums of their columns, and the row of x that `shifts` adjacent shifts
 * bring it to. `afresh` is the radius where sums over columns are computed afresh for every window, else 0. */
INLINE void NAME(scan_row)(const sliding_task *t, int channels, REAL precision, const vector *restrict columns,
                           const NAME(comparison) *pass, int mode, int afresh, int taper, int row,
                           const axis_overlap *rows, const axis_overlap *overlap, int shifts) {
    const int dy = rows->shift;
    const int width = t->width, area = t->height * width, radius = afresh ? afresh : at_most(t->radius, width);
    const int query_row = row + dy >= t->repeat_row ? row + dy - t->period_rows : row + dy;
    vector sum[ADJACENT], slope[ADJACENT];
    vector prior[ADJACENT]; /* of sums afresh: log-weights of the training images and of the shift */
    weights share = {0}, heaviest = {0}, *line = NULL;
    if (mode == PASTING) {
        line = pass->paste->ring + (size_t)(row % (2 * t->reach + 1)) * width * shifts;
        memset(line, 0, (size_t)width * shifts * sizeof(weights));
    }
    /* Columns of x that meet any of the shifts, first to last - 1, and those that meet all of them, all to until - 1. */
    int first = INT32_MAX, all = 0, until = INT32_MAX, last = 0;
    for (int s = 0; s < shifts; s++) {
        const int start = overlap[s].start, from = start + overlap[s].shift, to = overlap[s].stop + overlap[s].shift;
        const REAL raise = t->overlap_logs ? (REAL)(t->overlap_logs[rows - t->overlaps] +
                                                    t->overlap_logs[overlap + s - t->overlaps]) : 0;
        if (afresh) prior[s] = *pass->prior + raise;
        first = at_most(first, from), all = at_least(all, from), until = at_most(until, to), last = at_least(last, to);
        vector one = {0}, other = {0}; /* two chains of additions, neither of which waits for the other */
        if (taper && !afresh) {
            for (int i = at_least(0, start - radius); i < at_most(width, start + radius + 2); i++) {
                one += columns[i * shifts + s] * (REAL)taper_weight(t->radius, i - start);
                other += i > start ? columns[i * shifts + s] : -columns[i * shifts + s];
            }
            sum[s] = one + raise / precision, slope[s] = other;
            continue;
        }
        const int before = afresh ? 0 : at_most(width, start + radius);
        for (int i = at_least(0, start - radius); i < before; i += 2) {
            one += columns[i * shifts + s];
            if (i + 1 < before) other += columns[(i + 1) * shifts + s];
        }
        sum[s] = one + other + raise / precision;
    }
    /* With these offsets, column - s of x is the index of its key at shift number s. */
    const int key = row * width - overlap->shift;
    const vector *restrict norms = pass->norms + key;
    const vector *restrict entering = columns + (ptrdiff_t)(radius - overlap->shift) * shifts;
    const vector *restrict leaving = columns - (ptrdiff_t)(radius + overlap->shift) * shifts;
    int column = first;
    /* Part 0 ends where x begins to repeat itself; part 1 is the repetition, whose results belong a period before. */
    for (int part = 0; part < 2; part++) {
        const int end = part ? last : at_most(last, t->repeat_column);
        const int pixels = query_row * t->columns - (part ? t->period_columns : 0);
        while (column < end) {
            const int whole = column >= all && column < until, stop = whole ? at_most(end, until) : column + 1;
            for (; column < stop; column++) {
                vector logs[ADJACENT];
                for (int s = 0; s < shifts; s++) {
                    const int at = column - overlap->shift - s;
                    if (!whole && (at < overlap[s].start || at >= overlap[s].stop)) {
                        logs[s] = (vector){0} - NO_PAIR;
                        continue;
                    }
                    if (afresh) {
                        vector squares = leaving[(column - s) * shifts + s];
                        for (int i = 1; i <= 2 * afresh; i++)
                            squares += leaving[(column - s + i) * shifts + s] *
                                       (taper ? (REAL)taper_weight(afresh, i - afresh) : 1);
                        logs[s] = squares * (-precision / 2) + prior[s];
                    } else if (taper) {
                        logs[s] = (sum[s] - norms[column - s]) * precision;
                        sum[s] += slope[s];
                        const vector *next = columns + (ptrdiff_t)(at + 1) * shifts + s;
                        slope[s] += next[(radius + 1) * shifts] - next[0] * 2 + next[-(radius + 1) * shifts];
                    } else {
                        sum[s] += entering[(column - s) * shifts + s];
                        logs[s] = (sum[s] - norms[column - s]) * precision;
                        sum[s] -= leaving[(column - s) * shifts + s];
                    }
                    if (mode == ATTRIBUTING)
                        share += NAME(attribute)(pass, channels, t->top, area, pixels + column, key + column - s, logs[s]);
                }
                if (mode == AVERAGING)
                    NAME(accumulate)(pass, channels, afresh, area, pixels + column, shifts, key + column, logs);
                if (mode == PASTING)
                    for (int s = 0; s < shifts; s++) {
                        const int at = column - overlap->shift - s;
                        if (!whole && (at < overlap[s].start || at >= overlap[s].stop)) continue;
                        const weights log = __builtin_convertvector(logs[s] - pass->peak[pixels + column], weights);
                        line[at * shifts + s] = NAME(exponential)(log - pass->log_total[pixels + column]);
                        heaviest = NAME(larger)(heaviest, line[at * shifts + s]);
                    }
            }
        }
    }
    if (mode == PASTING) pass->paste->holds[row % (2 * t->reach + 1)] = NAME(any_above)(heaviest, LEAST_PASTED);
    if (mode == ATTRIBUTING)
        for (int lane = 0; lane < LANES; lane++) pass->shares[lane] += share[lane];
}
