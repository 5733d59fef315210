/* Vectors of LANES floats, and operations on them. Included once for each width, with NAME to distinguish the names. */

#define weights NAME(weights)
#define integers NAME(integers)
#define words NAME(words)

typedef float weights __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));

INLINE weights NAME(larger)(weights a, weights b) {
#if defined(__AVX512F__) && LANES == 16
    return (weights)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__) && LANES == 8
    return (weights)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE__) && LANES == 4
    return (weights)_mm_max_ps((__m128)a, (__m128)b);
#else
    const integers above = a > b;
    return (weights)(((integers)a & above) | ((integers)b & ~above));
#endif
}

INLINE int NAME(any_above)(weights a, float least) {
#if defined(__AVX512F__) && LANES == 16
    return _mm512_cmp_ps_mask((__m512)a, _mm512_set1_ps(least), _CMP_GT_OQ) != 0;
#elif defined(__AVX__) && LANES == 8
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, _mm256_set1_ps(least), _CMP_GT_OQ)) != 0;
#elif defined(__SSE__) && LANES == 4
    return _mm_movemask_ps(_mm_cmpgt_ps((__m128)a, _mm_set1_ps(least))) != 0;
#else
    const integers mask = a > least;
    int64_t pairs[LANES / 2], found = 0;
    memcpy(pairs, &mask, sizeof pairs);
    for (int i = 0; i < LANES / 2; i++) found |= pairs[i];
    return found != 0;
#endif
}

INLINE float NAME(sum_of)(weights a) {
#if LANES >= 4
    typedef float four __attribute__((vector_size(4 * sizeof(float))));
    four parts[LANES / 4];
    memcpy(parts, &a, sizeof a);
    for (int i = 1; i < LANES / 4; i++) parts[0] += parts[i];
    return (parts[0][0] + parts[0][2]) + (parts[0][1] + parts[0][3]);
#else
    return a[0] + a[1];
#endif
}

/* e^a of numbers up to 80, and e^-80 of those below -80: products of weights stay normal numbers, because denormal ones cost a
 * hundred times as much. A test whether any number is above -80 costs more than it saves. */
INLINE weights NAME(exponential)(weights a) {
    a = NAME(larger)(a, (weights){0} - 80.0f);
    /* a = n log 2 + r; adding 1.5 2^23 rounds to a whole number and leaves it in the lowest bits. The error of r grows with
     * |a|, by 2e-8 of it; most numbers are 0 or below, where the weight falls faster. */
    const weights shifted = a * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const weights r = a - n * 0.693147181f;
    /* 1 + r and the minimax polynomial for the rest, off by 1e-7 of e^r. */
    weights p = r * 8.31479411e-3f + 4.18902856e-2f;
    p = p * r + 1.66670883e-1f;
    p = p * r + 4.99992309e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (weights)((words)p + ((words)shifted << 23));
}
