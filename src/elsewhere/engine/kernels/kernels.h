/* What Python and C share: the structs and functions of the compiled kernels.
 *
 * C includes this file, and loader.py has cffi parse it: a struct is declared here and nowhere else. Therefore it holds
 * plain declarations only, no preprocessor directives; vectors.h includes it once, behind the types of stdint.h. */

/* Which sources and flags a library was compiled from: see build.py. */
const char *kernels_identity(void);

/* sliding.c: sliding-window sums. */

/* Rows (or columns) of the training images that meet rows of x: row r in [start, stop) meets row r + shift of x. */
typedef struct {
    int32_t shift, start, stop;
} axis_overlap;

/* Rows (overlaps first_row to end_row - 1) and columns that meet in every combination. */
typedef struct {
    int32_t first_row, end_row, first_column, end_column;
} region_pair;

typedef struct {
    const void *pixels; /* of all training images, uint8 or float (N, channels, height, width) */
    int64_t first, count; /* the training images of this call */
    int32_t is_byte, channels, height, width;
    double centre; /* subtracted from pixels */
    const double *x; /* (batch, channels, rows, columns), in units of the pixels, without the centre */
    int32_t batch, rows, columns, radius;
    /* Rows of x from `repeat_row` on repeat those of `period_rows` before and stand for them; columns likewise. */
    int32_t repeat_row, period_rows, repeat_column, period_columns;
    int32_t afresh; /* whether squared differences are summed afresh for every window, of radius 1 or 2, in float */
    int32_t taper;  /* whether weights fall linearly with the distance from the centre of a window */
    const double *precision; /* 1 / sigma^2 in those units, for pixels of weight one, (batch) */
    const axis_overlap *overlaps;
    const region_pair *regions;
    int32_t region_count;
    double *peak, *total; /* (batch, rows * columns), written by the first pass and read by the attribution pass */
    double *weighted;     /* (batch, rows * columns, channels), written by the first pass */
    int32_t top;          /* 0 for the first pass; else the number of windows to keep for each pixel */
    const float *log_counts; /* log of the number of windows that each stands for, -inf for none, (N, height, width);
                                NULL for one each */
    float *logs;    /* the largest log-weights, minus the peak: heaps, the least first, (batch, rows * columns, top) */
    int64_t *keys;  /* their windows, counted through (N, height, width), -1 for none */
    double *shares; /* sums of weights / total, (batch, count) */
} sliding_task;

/* Sums in float or in double. They return 0, or 1 where there is not enough memory. */
int sliding_float(const sliding_task *t);
int sliding_double(const sliding_task *t);

/* blocks.c: keys weighed one by one. */

/* Keys, and what queries ask of them. */
typedef struct {
    const void *keys; /* pixels as stored, of keys from number `skipped` on, (T, width) */
    const float *log_counts; /* how many windows each stands for, (T); NULL for one each */
    int64_t skipped;
    const int64_t *centres; /* positions of the values in a key, (channels) */
    double centre, scale;   /* what is taken off pixels, and what values are divided by */
    int32_t is_byte, width, channels;
    const float *queries;   /* (Q, width), for squared differences; NULL where products are to be made */
    const int16_t *digits;  /* for products, what queries ask of keys, (Q, 2 (width + 1) / 2) */
    const float *precision; /* 1 / sigma^2 in units of the pixels, (Q) */
    const float *factor;    /* of the sums of products or of squares, (Q) */
    const float *offset;    /* what is added to logs, (Q) */
} asking;

typedef struct {
    asking a;
    int32_t first_group, end_group, block; /* groups to open, and cells of a block */
    const int64_t *starts, *bounds;        /* see `Index` */
    int64_t cells;
    const float *const *masses; /* for each level (rows, cells); the least counts */
    const float *values;        /* (channels, rows - directions - 2, cells) */
    int32_t levels, rows, directions;
    const float *asked; /* what queries ask of masses, (Q, rows), and from 2 + directions on of values */
    int64_t count;         /* queries of this round */
    const int64_t *who;    /* their numbers */
    const uint8_t *opened; /* which groups each opens, (groups, count) */
    const float *until, *before; /* log shares between which blocks are read, (count) */
    int32_t judged;              /* whether what is read is compared with what was expected */
    float band;                  /* where its log share is so near to `until` */
    double largest, most;        /* logs of the largest numbers in float and double */
    int32_t kept;                /* of the keys read the heaviest so many are named, one of a block at most */
    double *floors;              /* logs below which none need be named; raised for those who read other groups, (count) */
    double *peaks, *read, *left, *left_squares, *bands, *tops; /* see `Found`: (count), or (count, ...) */
    int64_t *top_keys;
} reading;

/* Both return 0, or 1 where there is not enough memory. */
int read_blocks(const reading *t);
int read_all(const asking *t, int64_t count, int64_t queries, double *peaks, double *sums);
void pair_distances(const void *keys, int64_t is_byte, int64_t width, const double *queries, const int64_t *who,
                    int64_t count, double *squares);
void copy_windows(const void *pixels, int64_t bytes, const int64_t *shape, const int64_t *grid, const int64_t *window,
                  int64_t corner, const int64_t *places, int64_t count, void *copies);

/* naming.c: windows beside those that were found beside a query. */

typedef struct {
    const void *pixels;            /* of all images, (N, channels, height, width) */
    const int64_t *shape, *grid;   /* channels, height and width; rows and columns of places */
    const int64_t *window;         /* rows and columns */
    int64_t corner;                /* where the first window begins in an image */
    const void *numbers;           /* the key at each place, -1 for none; NULL where places are keys */
    const double *log_counts;      /* of the windows that each key stands for; NULL for one each */
    int64_t skipped;               /* the first so many keys are never asked for */
    const int64_t *sides, *beside; /* (8, 2) steps down and right, and which query is there, (Q, 8), -1 for none */
    const uint8_t *told;           /* which queries tell what they found, (Q) */
    const int64_t *found;          /* places of keys that each query found, -1 for none, (Q, kept) */
    const double *queries;         /* as pixels are stored, (Q, channels * window) */
    const double *least;           /* the log-weight that a key must have, (Q) */
    double factor;                 /* of squared distances in log-weights, below 0 */
    int32_t is_byte, is_wide, kept; /* of the pixels, and of the numbers */
} naming;

/* Returns how many pairs were found, or -1 where there is not enough memory. */
int64_t name_keys(const naming *t, int64_t first, int64_t end, int64_t *who, int64_t *keys);

/* cells.c: sets of keys cut in two. Returns 0, or 1 where there is not enough memory. */
int split_keys(const float *table, int64_t width, int64_t *keys, int64_t count, int64_t first, int64_t steps);
