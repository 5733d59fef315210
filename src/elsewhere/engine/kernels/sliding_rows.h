/* Part of sliding.h: products and squared differences of a row of the training images and a row of x.
 *
 * Row y of the training images meets row y + dy of x. Column i meets columns i + dx, i + dx + 1, ...: one for each of
 * `shifts` adjacent shifts, whose numbers lie side by side. Only columns `left` to `right` - 1 are computed. */

/* Add the products of `count` rows, from y on, to the sums of each column. */
INLINE void NAME(add_products)(const sliding_task *t, int channels, const REAL *restrict x, const vector *restrict images,
                               int y,
                               int count, int dy, int dx, int shifts, int left, int right, vector *restrict columns) {
    for (int c = 0; c < channels; c++) {
        const ptrdiff_t key_row = ((ptrdiff_t)c * t->height + y) * t->width;
        const ptrdiff_t query_row = ((ptrdiff_t)c * t->rows + y + dy) * t->columns + dx;
        for (int i = left; i < right; i++)
            for (int s = 0; s < shifts; s++) {
                vector sum = columns[i * shifts + s];
                for (int row = 0; row < count; row++)
                    sum += images[key_row + (ptrdiff_t)row * t->width + i] *
                           x[query_row + (ptrdiff_t)row * t->columns + i + s];
                columns[i * shifts + s] = sum;
            }
    }
}

/* Move the sums of each column down by one row: add the products of row `enter`, subtract those of row `leave`. Either may
 * lie outside the images: `enter` below, `leave` above. */
INLINE void NAME(move_down)(const sliding_task *t, int channels, const REAL *restrict x, const vector *restrict images,
                            int enter,
                            int leave, int dy, int dx, int shifts, int left, int right, vector *restrict columns) {
    if (leave < 0) {
        if (enter < t->height)
            NAME(add_products)(t, channels, x, images, enter, 1, dy, dx, shifts, left, right, columns);
        return;
    }
    for (int c = 0; c < channels; c++) {
        const ptrdiff_t keys = (ptrdiff_t)c * t->height, queries = (ptrdiff_t)c * t->rows + dy;
        const ptrdiff_t new_key = (keys + enter) * t->width, new_query = (queries + enter) * t->columns + dx;
        const ptrdiff_t old_key = (keys + leave) * t->width, old_query = (queries + leave) * t->columns + dx;
        if (enter < t->height)
            for (int i = left; i < right; i++)
                for (int s = 0; s < shifts; s++)
                    columns[i * shifts + s] = columns[i * shifts + s] + images[new_key + i] * x[new_query + i + s] -
                                              images[old_key + i] * x[old_query + i + s];
        else
            for (int i = left; i < right; i++)
                for (int s = 0; s < shifts; s++)
                    columns[i * shifts + s] -= images[old_key + i] * x[old_query + i + s];
    }
}

/* `row_products` one channel after the other, which is faster with many of them (16 channels: 1.8 times). */
static APART void NAME(row_products_by_channel)(const sliding_task *t, const REAL *restrict x, const vector *restrict images,
                                                int y,
                                                int dy, int dx, int shifts, int left, int right,
                                                vector *restrict products) {
    for (int c = 0; c < t->channels; c++) {
        const vector *restrict key_row = images + ((ptrdiff_t)c * t->height + y) * t->width;
        const REAL *restrict query_row = x + ((ptrdiff_t)c * t->rows + y + dy) * t->columns + dx;
        for (int i = left; i < right; i++)
            for (int s = 0; s < shifts; s++) {
                const vector product = key_row[i] * query_row[i + s];
                products[i * shifts + s] = c ? products[i * shifts + s] + product : product;
            }
    }
}

/* The products of row y, summed over channels. */
INLINE void NAME(row_products)(const sliding_task *t, int channels, const REAL *restrict x, const vector *restrict images,
                               int y,
                               int dy, int dx, int shifts, int left, int right, vector *restrict products) {
    if (channels > 3) {
        NAME(row_products_by_channel)(t, x, images, y, dy, dx, shifts, left, right, products);
        return;
    }
    for (int i = left; i < right; i++)
        for (int s = 0; s < shifts; s++) {
            vector product = {0};
            for (int c = 0; c < channels; c++) {
                const ptrdiff_t key_row = (ptrdiff_t)c * t->height + y, query_row = (ptrdiff_t)c * t->rows + y + dy;
                product += images[key_row * t->width + i] * x[query_row * t->columns + dx + i + s];
            }
            products[i * shifts + s] = product;
        }
}

/* The squared differences of row y, summed over channels. */
INLINE void NAME(row_squares)(const sliding_task *t, int channels, const REAL *restrict x, const vector *restrict images,
                              int y,
                              int dy, int dx, int shifts, int left, int right, vector *restrict squares) {
    for (int c = 0; c < channels; c++) {
        const vector *restrict key_row = images + ((ptrdiff_t)c * t->height + y) * t->width;
        const REAL *restrict query_row = x + ((ptrdiff_t)c * t->rows + y + dy) * t->columns + dx;
        for (int i = left; i < right; i++)
            for (int s = 0; s < shifts; s++) {
                const vector difference = key_row[i] - query_row[i + s];
                squares[i * shifts + s] =
                    c ? squares[i * shifts + s] + difference * difference : difference * difference;
            }
    }
}
