/* Part of sliding.h: loads LANES training images into vectors, and computes the norms of their windows. */

/* |k|^2 / 2 of the tapered window around each pixel of one training image, which is one lane of the vectors. */
static void NAME(tapered_norms)(const sliding_task *t, const REAL *image, REAL *half_norms, double *scratch) {
    const int height = t->height, width = t->width, area = height * width, radius = t->radius;
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
            for (int i = at_least(0, y - radius); i < at_most(height, y + radius + 1); i++)
                sum += taper_weight(radius, i - y) * scratch[i * width + x];
            down[y * width + x] = sum;
        }
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double sum = 0;
            for (int i = at_least(0, x - radius); i < at_most(width, x + radius + 1); i++)
                sum += taper_weight(radius, i - x) * down[y * width + i];
            half_norms[(size_t)(y * width + x) * LANES] = (REAL)(sum / 2);
        }
}

/* |k|^2 / 2 of the square window around each pixel of one training image. `scratch` holds the sums of squares over all
 * pixels above and to the left, from which any window's sum follows by four look-ups. */
static void NAME(square_norms)(const sliding_task *t, const REAL *image, REAL *half_norms, double *scratch) {
    const int height = t->height, width = t->width, area = height * width, radius = t->radius;
    memset(scratch, 0, (size_t)(height + 1) * (width + 1) * sizeof(double));
    for (int y = 0; y < height; y++) {
        double row_sum = 0;
        for (int x = 0; x < width; x++) {
            for (int c = 0; c < t->channels; c++) {
                const double value = image[((size_t)c * area + y * width + x) * LANES];
                row_sum += value * value;
            }
            scratch[(y + 1) * (width + 1) + x + 1] = scratch[y * (width + 1) + x + 1] + row_sum;
        }
    }
    for (int y = 0; y < height; y++) {
        const double *above = scratch + at_least(0, y - radius) * (width + 1);
        const double *below = scratch + at_most(height, y + radius + 1) * (width + 1);
        for (int x = 0; x < width; x++) {
            const int left = at_least(0, x - radius), right = at_most(width, x + radius + 1);
            half_norms[(size_t)(y * width + x) * LANES] =
                (REAL)((below[right] - below[left] - above[right] + above[left]) / 2);
        }
    }
}

/* `count` training images from number `first` on, one in each lane, and |k|^2 / 2 of the windows around their pixels. */
static void NAME(load_images)(const sliding_task *t, int64_t first, int count, vector *images, vector *norms, double *scratch) {
    const int area = t->height * t->width;
    const size_t size = (size_t)t->channels * area;
    REAL *pixels = (REAL *)images, *half_norms = (REAL *)norms;
    memset(images, 0, size * sizeof(vector));
    for (int lane = 0; lane < LANES; lane++) {
        if (lane >= count) {
            /* No image: infinitely far where norms are used, and very far where squared differences are summed. */
            for (int i = 0; i < area; i++) half_norms[(size_t)i * LANES + lane] = INFINITY;
            for (size_t i = 0; t->afresh && i < size; i++) pixels[i * LANES + lane] = ABSENT_PIXEL;
            continue;
        }
        const size_t from = (size_t)(first + lane) * size;
        const uint8_t *bytes = t->pixels;
        const float *floats = t->pixels;
        for (size_t i = 0; i < size; i++)
            pixels[i * LANES + lane] = (REAL)((t->is_byte ? (double)bytes[from + i] : floats[from + i]) - t->centre);
        if (t->taper)
            NAME(tapered_norms)(t, pixels + lane, half_norms + lane, scratch);
        else
            NAME(square_norms)(t, pixels + lane, half_norms + lane, scratch);
    }
}

/* The logarithm of the number of equal windows that each window stands for, one training image in each lane; lanes without
 * an image stand for no window. */
static void NAME(load_log_counts)(const sliding_task *t, int64_t first, int count, weights *log_counts) {
    const int area = t->height * t->width;
    float *lanes = (float *)log_counts;
    for (int i = 0; i < area; i++)
        for (int lane = 0; lane < LANES; lane++)
            lanes[(size_t)i * LANES + lane] = lane >= count   ? -INFINITY
                                              : t->log_counts ? t->log_counts[(size_t)(first + lane) * area + i]
                                                              : 0;
}
