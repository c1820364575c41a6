/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Universal hashes with the random keys of .rodata, so that nobody can construct packets
 * that collide. The scheme is MULTILINEAR-HM (Lemire and Kaser, "Strongly universal string
 * hashing is fast", 2014): over 32-bit words w with 64-bit keys k,
 *
 *     (k0 + (k1 + w1) * (k2 + w2) + (k3 + w3) * (k4 + w4) + ...) mod 2^64 / 2^32
 *
 * Two different inputs have the same result for one key in 2^32, whatever bits they
 * differ in. Two lanes with independent keys make 64 bits.
 */
#ifndef CPP_HASH_H
#define CPP_HASH_H

#include <linux/types.h>
#include "config.h"
#include "maps.h"
#include "parse.h"

/* The words of a lane, its first key included; and where the keys of addr_fold() begin. */
#define HASH_LANE_KEYS 11
#define HASH_FOLD_KEYS (2 * HASH_LANE_KEYS)
_Static_assert(HASH_FOLD_KEYS + 5 == HASH_KEYS, "config.hash_key");

/* The product of two words: those with the numbers i and i + 1, which begin at 1. */
static __always_inline __u64 hash_pair(__u32 keys, __u32 i, __u32 a, __u32 b)
{
	return (config.hash_key[keys + i] + a) * (config.hash_key[keys + i + 1] + b);
}

/*
 * Spreads 64 bits over each other without losing one (the finaliser of MurmurHash3). Two
 * lanes collide for one pair in 2^64, but the sums of inputs in a row are nearly in a row,
 * too: without this, a million addresses and ports that count up have four times the
 * collisions in 32 bits that random ones have.
 */
static __always_inline __u64 hash_spread(__u64 hash)
{
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return hash ^ hash >> 33;
}

/* 32 bits that stand for an address. */
static __always_inline __u32 addr_fold(const struct ip_addr *addr)
{
	__u64 sum = config.hash_key[HASH_FOLD_KEYS];

	sum += hash_pair(HASH_FOLD_KEYS, 1, addr->half[0], addr->half[0] >> 32);
	sum += hash_pair(HASH_FOLD_KEYS, 3, addr->half[1], addr->half[1] >> 32);
	return sum >> 32;
}

#endif
