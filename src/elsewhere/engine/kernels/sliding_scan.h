/* Part of sliding.h: sums of the columns of windows, moved down the rows, for all shifts of all region pairs. */

/* `scan_shift` where windows are tapered, for columns `left` to `right` - 1, whose sums are zero before. */
INLINE void NAME(scan_shift_tapered)(const sliding_task *t, int channels, const REAL *x, REAL precision,
                                     vector *restrict columns,
                                     const NAME(comparison) *pass, int mode, const axis_overlap *rows,
                                     const axis_overlap *overlap,
                                     int shifts, int left, int right) {
    const int radius = t->radius, dy = rows->shift, dx = overlap->shift, size = t->width * shifts, span = tapered_rows(t);
    /* A ring of rows: the products of row y, which are used three times, lie at y % span. Behind it a row of zeros stands
     * for the rows outside the image. */
    vector *products = pass->rows, *zeros = products + (size_t)span * size, *slopes = pass->slopes;
    memset(zeros + left * shifts, 0, (size_t)(right - left) * shifts * sizeof(vector));
    memset(slopes + left * shifts, 0, (size_t)(right - left) * shifts * sizeof(vector));
    /* Rows after those of the last window: x may end before them, and no sum needs them. */
    const int last = at_most(t->height, rows->stop + radius), ahead = at_most(last, rows->start + radius + 2);
    for (int y = at_least(0, rows->start - radius); y < ahead; y++) {
        const vector *product = products + y % span * size;
        const REAL weight = taper_weight(radius, y - rows->start), sign = y > rows->start ? 1 : -1;
        NAME(row_products)(t, channels, x, pass->images, y, dy, dx, shifts, left, right, products + y % span * size);
        for (int i = left * shifts; i < right * shifts; i++)
            columns[i] += product[i] * weight, slopes[i] += product[i] * sign;
    }
    for (int row = rows->start;;) {
        NAME(scan_row)(t, channels, precision, columns, pass, mode, 0, 1, row, rows, overlap, shifts);
        if (mode == PASTING) NAME(paste_rows)(t, channels, pass, rows, row, overlap, shifts);
        if (++row == rows->stop) return;
        const int enter = row + radius + 1, leave = row - radius - 1;
        if (enter < last)
            NAME(row_products)(t, channels, x, pass->images, enter, dy, dx, shifts, left, right,
                               products + enter % span * size);
        const vector *entering = enter < last ? products + enter % span * size : zeros;
        const vector *centre = products + row % span * size, *leaving = leave < 0 ? zeros : products + leave % span * size;
        for (int i = left * shifts; i < right * shifts; i++) {
            columns[i] += slopes[i];
            slopes[i] += entering[i] - centre[i] * 2 + leaving[i];
        }
    }
}

/* `scan_shift` where squared differences are summed afresh for every window of radius `afresh`: no rounding accumulates. */
INLINE void NAME(scan_shift_afresh)(const sliding_task *t, int channels, const REAL *x, REAL precision,
                                    vector *restrict columns,
                                    const NAME(comparison) *pass, int mode, int afresh, int taper,
                                    const axis_overlap *rows,
                                    const axis_overlap *overlap, int shifts, int left, int right) {
    const int dy = rows->shift, dx = overlap->shift, span = 2 * afresh + 1, size = t->width * shifts;
    /* A ring of rows: the squared differences of row y lie at y % span; rows outside the image are zero. */
    vector *squares = pass->rows;
    memset(squares, 0, (size_t)span * size * sizeof(vector));
    for (int y = at_least(0, rows->start - afresh); y < rows->stop + afresh; y++) {
        vector *newest = squares + y % span * size;
        if (y < t->height)
            NAME(row_squares)(t, channels, x, pass->images, y, dy, dx, shifts, left, right, newest);
        else
            memset(newest, 0, (size_t)size * sizeof(vector));
        const int row = y - afresh;
        if (row < rows->start) continue;
        for (int i = left * shifts; i < right * shifts; i++) {
            vector sum = squares[i];
            for (int other = 1; other < span; other++) sum += squares[other * size + i];
            /* A row |offset| away from the centre is added afresh + 1 - |offset| times in all, which is its taper weight. */
            for (int distance = taper ? afresh - 1 : -1; distance >= 0; distance--)
                for (int offset = -distance; offset <= distance; offset++)
                    sum += squares[(row + offset + span) % span * size + i];
            columns[i] = sum;
        }
        NAME(scan_row)(t, channels, precision, columns, pass, mode, afresh, taper, row, rows, overlap, shifts);
        if (mode == PASTING) NAME(paste_rows)(t, channels, pass, rows, row, overlap, shifts);
    }
}

/* All rows that meet at one shift down the columns, for adjacent shifts along the rows. */
INLINE void NAME(scan_shift)(const sliding_task *t, int channels, const REAL *x, REAL precision, vector *restrict columns,
                             const NAME(comparison) *pass, int mode, int afresh, int taper, const axis_overlap *rows,
                             const axis_overlap *overlap, int shifts) {
    const int radius = t->radius, dy = rows->shift, dx = overlap->shift;
    int left = t->width, right = 0;
    for (int s = 0; s < shifts; s++) {
        left = at_most(left, at_least(0, overlap[s].start - radius));
        right = at_least(right, at_most(t->width, overlap[s].stop + radius));
    }
    if (afresh) {
        NAME(scan_shift_afresh)(t, channels, x, precision, columns, pass, mode, afresh, taper, rows, overlap, shifts,
                                left, right);
        return;
    }
    memset(columns + left * shifts, 0, (size_t)(right - left) * shifts * sizeof(vector));
    if (taper) {
        NAME(scan_shift_tapered)(t, channels, x, precision, columns, pass, mode, rows, overlap, shifts, left, right);
        return;
    }
    int y = at_least(0, rows->start - radius);
    const int below = at_most(t->height, rows->start + radius);
    for (; y + 4 <= below; y += 4)
        NAME(add_products)(t, channels, x, pass->images, y, 4, dy, dx, shifts, left, right, columns);
    for (; y < below; y++) NAME(add_products)(t, channels, x, pass->images, y, 1, dy, dx, shifts, left, right, columns);
    for (int row = rows->start; row < rows->stop; row++) {
        const int leave = row > rows->start ? row - radius - 1 : -1;
        NAME(move_down)(t, channels, x, pass->images, row + radius, leave, dy, dx, shifts, left, right, columns);
        NAME(scan_row)(t, channels, precision, columns, pass, mode, 0, 0, row, rows, overlap, shifts);
        if (mode == PASTING) NAME(paste_rows)(t, channels, pass, rows, row, overlap, shifts);
    }
}

/* All region pairs. */
INLINE void NAME(scan_regions)(const sliding_task *t, int channels, const REAL *x, REAL precision, vector *columns,
                               const NAME(comparison) *pass, int mode, int afresh, int taper) {
    int terms = 0; /* of the sums of a pixel in float, at most: every shift adds one */
    for (int number = 0; number < t->region_count; number++) {
        const region_pair region = t->regions[number];
        const axis_overlap *last = t->overlaps + region.end_column;
        for (const axis_overlap *rows = t->overlaps + region.first_row; rows < t->overlaps + region.end_row; rows++)
            for (const axis_overlap *overlap = t->overlaps + region.first_column; overlap < last;) {
                const int shifts = are_adjacent(overlap, last) ? ADJACENT : 1;
                if ((terms += shifts) > FLOAT_TERMS && mode != ATTRIBUTING)
                    NAME(move_to_double)(t, channels, pass), terms = shifts;
                /* Windows reach beyond the first and the last column: sums there are zero. */
                vector *inside = columns + (size_t)(at_most(t->radius, t->width) + 2) * shifts;
                memset(columns, 0, (char *)inside - (char *)columns);
                memset(inside + (size_t)t->width * shifts, 0, (char *)inside - (char *)columns);
                if (shifts == ADJACENT)
                    NAME(scan_shift)(t, channels, x, precision, inside, pass, mode, afresh, taper, rows, overlap,
                                     ADJACENT);
                else
                    NAME(scan_shift)(t, channels, x, precision, inside, pass, mode, afresh, taper, rows, overlap, 1);
                overlap += shifts;
            }
    }
    if (mode != ATTRIBUTING) NAME(move_to_double)(t, channels, pass);
}
