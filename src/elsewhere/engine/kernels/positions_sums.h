/* Part of positions.h: window sums along a row of products, and down the columns. */

/* One image of x, one training image, and what is computed for their pairs. */
typedef struct {
    const REAL *x;       /* (channels, rows, columns) */
    const REAL *keys;    /* (channels, height, width) */
    const REAL *half_squares; /* |k|^2 / 2 of its pixels, (height, width) */
    const float *values; /* the same in float */
    size_t key;               /* position of its first pixel among those of all training images */
    double factor, prior; /* of sums in log-weights, and what is added to all of them */
    int line;             /* floats of a row of the sums */
    double *anchor;                   /* of each position, (rows, line) */
    float *log_total;                 /* (rows, line) */
    float *sums;                      /* total and weighted sums, (1 + channels, rows, line) */
    double *total, *weighted;         /* what was moved here from `sums`, (rows columns), and (rows columns, channels) */
    REAL *products, *parts, *boxes;   /* a row of products, and sums of some of them */
    REAL *ring, *zeros;               /* sums along the last rows, (span, TOGETHER, width), and a row of zeros */
    double *columns, *slopes;         /* sums down the columns, and their differences, (TOGETHER, `stretch`) */
    float *logs;                      /* of a row, (TOGETHER, `stretch`) */
    float *row_weights;               /* of the windows of a row, (`stretch`) */
    float *filtered;                  /* sums of the weights along the last rows, (2 reach + 1, TOGETHER, `stretch`) */
    uint8_t *weighty;                 /* which blocks of `row_weights` have a weight that matters */
    uint8_t *any_of_row;              /* whether `filtered` has such a weight, (2 reach + 1, TOGETHER) */
    row_of_weights *pasted;           /* rows of `filtered` that are pasted on one row, (2 reach + 1) */
    uint8_t *holds;                   /* which blocks of `filtered` are not zero, (2 reach + 1, TOGETHER, stretch / LANES) */
    int stretch;                      /* numbers of a row of these buffers */
} NAME(comparison);

/* Room before the first number of a row in buffers, so that whole blocks can be read and written there. */
#define FRONT (LANES + TOGETHER)

#define VECTOR NAME(vector)
typedef REAL VECTOR __attribute__((vector_size(LANES * sizeof(float))));
#define STEP ((int)(sizeof(VECTOR) / sizeof(REAL)))
INLINE VECTOR NAME(load)(const REAL *from) {
    VECTOR loaded;
    memcpy(&loaded, from, sizeof loaded);
    return loaded;
}
INLINE void NAME(store)(REAL *into, VECTOR value) { memcpy(into, &value, sizeof value); }

/* x k - |k|^2 / 2, summed over channels: key pixels of row y from column `from` to `to` - 1, and what the shift brings them
 * to. What lies behind the last in `into` is undefined. */
INLINE void NAME(row_products)(const sliding_task *t, const NAME(comparison) *p, int channels, int y, int dy, int dx,
                               int from, int to, REAL *restrict into) {
    const ptrdiff_t keys = (ptrdiff_t)t->height * t->width, queries = (ptrdiff_t)t->rows * t->columns;
    const ptrdiff_t place = (ptrdiff_t)y * t->width + from;
    const REAL *key = p->keys + place, *half = p->half_squares + place;
    const REAL *query = p->x + ((ptrdiff_t)y + dy) * t->columns + from + dx;
    for (int i = 0; i < to - from; i += STEP) {
        VECTOR sum = -NAME(load)(half + i);
        for (int c = 0; c < channels; c++)
            sum += NAME(load)(key + c * keys + i) * NAME(load)(query + c * queries + i);
        NAME(store)(into + i, sum);
    }
}

/* Sums of `side` consecutive terms; sum number i begins with term i. There are count + side - 1 terms, and there is room
 * behind them and behind the sums. Sums of about the root of `side` terms come first, and are added up then. */
INLINE void NAME(box_sums)(const REAL *restrict terms, int count, int side, REAL *restrict parts, REAL *restrict into) {
    int part = 1;
    while ((part + 1) * (part + 1) <= side) part++;
    const int whole = side / part * part;
    const REAL *restrict from = terms;
    if (part > 1) {
        for (int i = 0; i < count + side - part; i += STEP) {
            VECTOR sum = NAME(load)(terms + i);
            for (int offset = 1; offset < part; offset++) sum += NAME(load)(terms + i + offset);
            NAME(store)(parts + i, sum);
        }
        from = parts;
    }
    for (int i = 0; i < count; i += STEP) {
        VECTOR sum = NAME(load)(from + i);
        for (int offset = part; offset < whole; offset += part) sum += NAME(load)(from + i + offset);
        for (int offset = whole; offset < side; offset++) sum += NAME(load)(terms + i + offset);
        NAME(store)(into + i, sum);
    }
}

/* Sums along row y of the key windows of one overlap, number i being the window around its column number i. */
INLINE void NAME(sum_along)(const sliding_task *t, const NAME(comparison) *p, int channels, int taper, int y, int dy,
                            const axis_overlap *overlap, REAL *into) {
    const int radius = t->radius, count = overlap->stop - overlap->start, first = overlap->start - radius;
    const int from = at_least(0, first), to = at_most(t->width, overlap->stop + radius), terms = count + 2 * radius;
    REAL *products = p->products;
    NAME(row_products)(t, p, channels, y, dy, overlap->shift, from, to, products + (from - first));
    /* Windows end where the training image ends. */
    memset(products, 0, (from - first) * sizeof(REAL));
    memset(products + (to - first), 0, (terms - (to - first) + STEP) * sizeof(REAL));
    if (taper) {
        NAME(box_sums)(products, count + radius, radius + 1, p->parts, p->boxes);
        NAME(box_sums)(p->boxes, count, radius + 1, p->parts, into);
    } else {
        NAME(box_sums)(products, count, 2 * radius + 1, p->parts, into);
    }
}

/* Move the sums of the columns down: row `enter` enters the windows and row `leave` leaves them; `middle` is the row around
 * which the weights of tapered windows change from rising to falling. */
INLINE void NAME(move_down)(int taper, int count, const REAL *enter, const REAL *middle, const REAL *leave,
                            double *restrict columns, double *restrict slopes) {
    for (int i = 0; i < count; i += LANES / 2) {
        wide sum = load_wide(columns + i);
        if (taper) {
            wide slope = load_wide(slopes + i);
            slope += WIDE_FROM(enter + i) - WIDE_FROM(middle + i) * 2 + WIDE_FROM(leave + i);
            store_wide(slopes + i, slope);
            sum += slope;
        } else {
            sum += WIDE_FROM(enter + i) - WIDE_FROM(leave + i);
        }
        store_wide(columns + i, sum);
    }
}
