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
    double *entropy; /* of the weights / total of all windows, one by one, in nats, (batch, rows * columns) */
    const double *image_logs; /* added to the log-weights of all windows of a training image, (batch, count); NULL for 0 */
    const double *overlap_logs; /* for each of `overlaps`, added to the log-weights of its pairs; NULL for 0 */
    /* The pasting pass: NULL and 0 for the others. */
    int32_t reach;        /* radius of the patches that are pasted, at most that of the windows */
    const float *profile; /* weights of their rows, and of their columns, symmetric, (2 reach + 1) */
    /* For positions.c: a pixel in the rows and columns where there are queries gets the pixels of patches at most
       `near` from their centres alone, as farther ones count for nothing beside the patch around it. */
    int32_t near, first_query_row, end_query_row, first_query_column, end_query_column;
    float least; /* and weights below this are not pasted */
    /* positions.c, where the few keys of every query are looked for: how many nats below the largest log-weight they may
       lie, and what was found. `peak` holds log-weights that are reached, and is raised. */
    double band;
    int64_t room;      /* for so many pairs; 0 for the other passes */
    int64_t *found;    /* number of pairs; above `room` where there was not enough */
    int32_t *found_queries, *found_keys; /* position in x, and in all training images; (room) */
    double *pasted_total; /* sums of weights of what was pasted on each pixel of x, (batch, rows * columns) */
    double *pasted;       /* and of its values, (batch, rows * columns, channels) */
} sliding_task;

/* Sums in float or in double. They return 0, or 1 where there is not enough memory. */
int sliding_float(const sliding_task *t);
int sliding_double(const sliding_task *t);

/* positions.c: the same averages and pastings for few training images; no attribution, and no `afresh`. */
int positions_float(const sliding_task *t);
int positions_double(const sliding_task *t);

/* few.c: the few keys that matter to each query. */

typedef struct {
    const double *x;     /* one image (channels, rows, columns), in units of the pixels, without the centre */
    const double *keys;  /* one training image, the same, (channels, height, width) */
    int32_t channels, rows, columns, height, width, radius;
    int32_t first_row, end_row, first_column, end_column;                 /* of the queries */
    int32_t first_key_row, end_key_row, first_key_column, end_key_column; /* and of the keys that all of them meet */
    int32_t rounds;
    int32_t *nearest;  /* a key for each position in x, (rows * columns) */
    double *squares;   /* and its squared distance */
} nearest_task;

/* Keys that are near, though not always nearest. Returns 0, or 1 where there is not enough memory. */
int near_keys(const nearest_task *t);

typedef struct {
    const double *x, *keys; /* as above */
    int32_t channels, rows, columns, height, width, radius;
    const int32_t *found_queries, *found_keys; /* pairs, in any order, (count) */
    int64_t count;
    int32_t first_query, end_query; /* positions in x whose patches are pasted */
    double precision, least; /* 1 / sigma^2; weights below `least` are not pasted */
    int32_t reach;
    const float *profile; /* (2 reach + 1) */
    double *pasted_total, *pasted; /* added to: (rows * columns), (rows * columns, channels) */
} few_task;

/* Returns 0, or 1 where there is not enough memory. */
int paste_few(const few_task *t);

/* scan.c: keys weighed one by one, all of them or those of the blocks of an index that matter. */

/* Keys, and the queries that they are weighed against. */
typedef struct {
    const void *keys;        /* pixels as stored, of keys from number `skipped` on, (T, width) */
    const float *log_counts; /* log of the number of windows that each stands for, (T); NULL for one each */
    int64_t skipped;
    const int64_t *centres; /* positions of the values in a key, (channels) */
    double centre, scale;   /* what is subtracted from pixels, and what values are divided by */
    int32_t is_byte, width, channels;
    const float *roots;       /* square roots of the metric's weights, (width); NULL where all are one */
    const float *queries;     /* for squared differences: times the roots, (Q, width); NULL where products are made */
    const int16_t *quantised; /* for products: times the weights, in steps, (Q, 2 (width + 1) / 2) */
    const float *precision;   /* 1 / sigma^2 in units of the pixels, (Q) */
    const float *factor;      /* of the sums of products or of squares, (Q) */
    const float *offset;      /* added to log-weights, (Q) */
} scan_input;

typedef struct {
    scan_input in;
    int32_t first_group, end_group, block; /* groups to open, and cells of a block */
    const int64_t *starts, *bounds;        /* see `Index` */
    int64_t cells;
    const float *const *masses; /* for each level (rows, cells); the least counts */
    const float *values;        /* (channels, rows - directions - 2, cells) */
    int32_t levels, rows, directions;
    const float *queries;   /* products with `masses` are log masses, (Q, rows); from 2 + directions on with `values` */
    int64_t count;          /* queries of this round */
    const int64_t *members; /* their positions among all queries */
    const uint8_t *opened;  /* which groups each opens, (groups, count) */
    const float *lower, *upper; /* blocks whose log share lies from one to the other are read, (count) */
    int32_t compares;           /* whether what is read is compared with what was expected */
    float band;                 /* ... in the blocks whose log share lies this near to `lower` */
    double largest, most;       /* logs of the largest numbers in float and double */
    int32_t kept;               /* the heaviest key is kept of each of so many blocks */
    double *floors; /* logs below which no key need be kept, (count); raised for the threads that read other groups */
    double *peaks, *read, *left, *left_squares, *bands, *tops; /* see `ScanResult`: (count), or (count, ...) */
    int64_t *top_keys;
} scan_task;

/* Both return 0, or 1 where there is not enough memory. */
int scan_groups(const scan_task *t);
int scan_all(const scan_input *t, int64_t count, int64_t queries, double *peaks, double *sums);

/* windows.c */

void pair_distances(const void *keys, int64_t is_byte, int64_t width, const double *roots, const double *queries,
                    const int64_t *query, int64_t count, double *squares);
void copy_windows(const void *pixels, int64_t bytes, const int64_t *shape, const int64_t *grid, const int64_t *window,
                  int64_t corner, const int64_t *places, int64_t count, void *copies);

/* attribution.c: which keys weigh most, and how much of the weight belongs to each training image. */

/* Which training images the windows of each key come from. */
typedef struct {
    const void *kept;      /* the place of a window of each key, all windows counted; NULL where keys are places */
    int32_t is_wide;       /* whether these are 64 bits wide */
    int64_t each;          /* places of an image */
    int64_t merged_count;
    const int64_t *merged; /* keys that stand for several windows, rising, (merged_count) */
    const int64_t *bounds; /* where the images of each of these begin, (merged_count + 1) */
    const int32_t *images; /* each once for a key */
    const float *shares;   /* share of the key's windows that lie in that image */
} key_sources;

/* Ranges of keys that are weighed again. */
typedef struct {
    scan_input in; /* its offsets make log-weights relative to the total of each query */
    key_sources from;
    int64_t ranges;
    const int64_t *first, *end; /* keys of each range, rising, (ranges) */
    const int64_t *bounds;      /* where the requests of each range begin, (ranges + 1) */
    const int64_t *queries;     /* that ask for it, rising */
    const int64_t *image;       /* which image drawn each query belongs to, rising, (Q) */
    int64_t batch;
    int32_t top;   /* so many of the largest weights are kept */
    double *logs;  /* heaps, the least first, (Q, top) */
    int64_t *keys; /* (Q, top) */
    double *read;  /* weight of all keys read, (Q) */
    double *shares; /* (training images, batch) */
} attribution_task;

/* Returns 0, or 1 where there is not enough memory. */
int attribute_keys(const attribution_task *t);
void spread_weights(const key_sources *from, int64_t ranges, const int64_t *first, const int64_t *end, const double *weights_of, const double *counts, int64_t batch, double *shares);


/* neighbours.c: keys adjacent to those that adjacent queries found. */

typedef struct {
    const void *pixels;            /* of all images, (N, channels, height, width) */
    const int64_t *shape, *grid;   /* channels, height and width; rows and columns of places */
    const int64_t *window;         /* rows and columns */
    int64_t corner;                /* where the first window begins in an image */
    const void *numbers;           /* the key at each place, -1 for none; NULL where places are keys */
    const double *log_counts;      /* of the windows that each key stands for; NULL for one each */
    int64_t skipped;               /* the first so many keys are not propagated */
    const int64_t *sides, *adjacent; /* (8, 2) steps down and right, and which query is there, (Q, 8), -1 for none */
    const int64_t *found;          /* places of keys that each query found, -1 for none, (Q, kept) */
    const double *queries;         /* in units of the pixels, times the roots, (Q, channels * window) */
    const double *roots;           /* square roots of the metric's weights, (channels * window) */
    const double *least;           /* the log-weight that a key must have, (Q) */
    double factor;                 /* of squared distances in log-weights, below 0 */
    int32_t is_byte, is_wide, kept; /* of the pixels, and of the numbers */
} propagation;

/* Returns how many pairs were found, or -1 where there is not enough memory. */
int64_t propagate_keys(const propagation *t, int64_t first, int64_t end, int64_t *query_of, int64_t *keys);

/* partition.c: sets of keys cut in two. Returns 0, or 1 where there is not enough memory. */
int split_keys(const float *table, int64_t width, int64_t *keys, int64_t count, int64_t first, int64_t steps);
