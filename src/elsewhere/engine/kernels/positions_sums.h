/* Part of positions.h: window sums along a row of products, and down the columns. */

/* One image of x, one training image, and what is computed for their pairs. */
typedef struct {
    const REAL *x;       /* times `shrink`, (channels, rows, columns) */
    const REAL *keys;    /* (channels, height, width) */
    const float *values; /* the same in float */
    double factor, prior; /* of sums in log-weights, and what is added to all of them */
    REAL ratio;           /* 2 x - m in units of m */
    int line;             /* floats of a row of the sums */
    float *anchor, *log_total;        /* (rows, line) */
    float *sums;                      /* total and weighted sums, (1 + channels, rows, line) */
    double *total, *weighted;         /* what was moved here from `sums`, (rows columns), and (rows columns, channels) */
    REAL *products, *one, *other, *boxes; /* a row of products, and sums of it */
    REAL *ring, *zeros;               /* sums along the last rows, (span, TOGETHER, width), and a row of zeros */
    double *columns, *slopes;         /* sums down the columns, and their differences, (TOGETHER, `stretch`) */
    float *logs;                      /* of a row, (TOGETHER, `stretch`) */
    float *row_weights;               /* of the windows of a row, (`stretch`) */
    float *filtered;                  /* sums of the weights along the last rows, (2 reach + 1, TOGETHER, `stretch`) */
    uint8_t *holds;                   /* whether these have a weight that matters, (2 reach + 1, TOGETHER) */
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

/* (k - m) (k - ratio m), summed over channels: key pixels of row y from column `from` to `to` - 1, and what the shift brings
 * them to. What lies behind the last in `into` is undefined. */
INLINE void NAME(row_products)(const sliding_task *t, const NAME(comparison) *p, int channels, int y, int dy, int dx,
                               int from, int to, REAL *restrict into) {
    const REAL *key = p->keys + (ptrdiff_t)y * t->width + from, *query = p->x + ((ptrdiff_t)y + dy) * t->columns + from + dx;
    const ptrdiff_t keys = (ptrdiff_t)t->height * t->width, queries = (ptrdiff_t)t->rows * t->columns;
    const REAL ratio = p->ratio;
    for (int i = 0; i < to - from; i += STEP) {
        VECTOR sum = {0};
        for (int c = 0; c < channels; c++) {
            const VECTOR k = NAME(load)(key + c * keys + i), m = NAME(load)(query + c * queries + i);
            sum += (k - m) * (k - m * ratio);
        }
        NAME(store)(into + i, sum);
    }
}

/* Sums of `side` consecutive terms; sum number i begins with term i. There are count + side - 1 terms, and there is room
 * behind them and behind the sums. */
INLINE void NAME(box_sums)(const REAL *terms, int count, int side, REAL *restrict into, REAL *one, REAL *other) {
    for (int size = 1, offset = 0; size <= side; size *= 2) {
        const int first = !offset, more = 2 * size <= side, adds = side & size;
        const int length = more ? count + side - 2 * size : count;
        const REAL *restrict from = terms;
        REAL *restrict doubled = one;
        if (more && adds)
            for (int i = 0; i < length; i += STEP) {
                const VECTOR term = NAME(load)(from + i);
                const VECTOR sum = size == 1 ? term : NAME(load)(from + offset + i);
                NAME(store)(doubled + i, term + NAME(load)(from + size + i));
                if (i < count) NAME(store)(into + i, first ? sum : sum + NAME(load)(into + i));
            }
        else if (more)
            for (int i = 0; i < length; i += STEP)
                NAME(store)(doubled + i, NAME(load)(from + i) + NAME(load)(from + size + i));
        else
            for (int i = 0; i < count; i += STEP) {
                const VECTOR sum = NAME(load)(from + offset + i);
                NAME(store)(into + i, first ? sum : sum + NAME(load)(into + i));
            }
        if (adds) offset += size;
        terms = one, one = other, other = (REAL *)terms;
    }
}

/* Sums along row y of the key windows of one overlap, number i being the window around its column number i. Rows outside
 * the training image are zero. */
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
        NAME(box_sums)(products, count + radius, radius + 1, p->boxes, p->one, p->other);
        NAME(box_sums)(p->boxes, count, radius + 1, into, p->one, p->other);
    } else {
        NAME(box_sums)(products, count, 2 * radius + 1, into, p->one, p->other);
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
