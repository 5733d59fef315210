/* Part of sliding.h: patches of the training images pasted with the weights of their windows.
 *
 * The pixel beside the centre of a window by some offset is pasted beside the pixel of x by the same offset. At one shift
 * the weight with which a pixel of a training image is pasted is therefore a window sum of weights: of the rows of a ring
 * first, then along the row. */

/* Paste row `out` of the training images, for windows in rows `rows->start` to `rows->stop` - 1. */
INLINE void NAME(paste_row)(const sliding_task *t, int channels, const NAME(comparison) *pass, const axis_overlap *rows,
                            int out, const axis_overlap *overlap, int shifts) {
    const NAME(pasting) *paste = pass->paste;
    const int width = t->width, reach = t->reach, span = 2 * reach + 1, size = width * shifts;
    const int first = at_least(rows->start, out - reach), end = at_most(rows->stop, out + reach + 1);
    int row_of_x = out + rows->shift, matters = 0;
    if (out < 0 || out >= t->height || row_of_x < 0 || row_of_x >= t->rows) return;
    for (int row = first; row < end; row++) matters |= paste->holds[row % span];
    if (!matters) return;
    weights *sums = paste->sums + reach * shifts;
    memset(sums, 0, size * sizeof(weights));
    for (int row = first; row < end; row++) {
        const weights *line = paste->ring + (size_t)(row % span) * size;
        const float weight = t->profile[reach + out - row];
        if (paste->holds[row % span])
            for (int i = 0; i < size; i++) sums[i] += line[i] * weight;
    }
    if (row_of_x >= t->repeat_row) row_of_x -= t->period_rows;
    for (int s = 0; s < shifts; s++) {
        const int left = at_least(at_least(0, overlap[s].start - reach), -overlap[s].shift);
        const int right = at_most(at_most(width, overlap[s].stop + reach), t->columns - overlap[s].shift);
        for (int i = left; i < right; i++) {
            weights weight = {0};
            for (int offset = -reach; offset <= reach; offset++)
                weight += sums[(i + offset) * shifts + s] * t->profile[reach - offset];
            int column = i + overlap[s].shift;
            if (column >= t->repeat_column) column -= t->period_columns;
            weights *into = pass->lane_sums + (size_t)(row_of_x * t->columns + column) * (channels + 1);
            const vector *value = pass->images + (size_t)out * width + i;
            into[0] += weight;
            for (int c = 0; c < channels; c++)
                into[c + 1] += weight * __builtin_convertvector(value[(size_t)c * t->height * width], weights);
        }
    }
    /* What a shift of fewer overlaps finds before and after the row must be zero. */
    memset(sums, 0, size * sizeof(weights));
}

/* Paste all rows that no window after row `row` adds to. */
INLINE void NAME(paste_rows)(const sliding_task *t, int channels, const NAME(comparison) *pass, const axis_overlap *rows,
                             int row, const axis_overlap *overlap, int shifts) {
    const int end = row + 1 == rows->stop ? row + t->reach : row - t->reach;
    for (int out = row - t->reach; out <= end; out++) NAME(paste_row)(t, channels, pass, rows, out, overlap, shifts);
}
