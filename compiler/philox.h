/* philox.h: Philox4x32-10 (Salmon and others, SC 2011), the counter-based generator behind BITS: a keyed bijection
   of 128-bit counters, so that a draw depends on its place alone. The evaluator calls it; emitted code computes the
   same words. */
#ifndef PHILOX_H
#define PHILOX_H
#include <stdint.h>

enum { PHILOX_ROUNDS = 10 };
#define PHILOX_M0 0xD2511F53u                              /* multipliers of words 0 and 2 */
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u                              /* added to the key after each round */
#define PHILOX_W1 0xBB67AE85u

/* One round: (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)). */
static inline void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t word[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++, k0 += PHILOX_W0, k1 += PHILOX_W1) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
    }
    word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
}

/* The word of BITS: key = (lo seed ^ hi site, hi seed ^ lo site), counter = (lo element, lo item, lo step, hi step). */
static inline uint32_t philox_bits(uint64_t seed, uint64_t site, uint64_t step, uint64_t item, uint64_t element,
                                   int word)
{
    uint32_t key[2] = { (uint32_t)seed ^ (uint32_t)(site >> 32), (uint32_t)(seed >> 32) ^ (uint32_t)site };
    uint32_t counter[4] = { (uint32_t)element, (uint32_t)item, (uint32_t)step, (uint32_t)(step >> 32) }, out[4];
    philox(counter, key, out);
    return out[word & 3];
}
#endif
