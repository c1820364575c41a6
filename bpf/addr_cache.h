/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An entry of the address cache, which all CPUs share without a lock (docs/decisions/0002).
 * Its four words are read and written one by one, so a reader may see words of several
 * writers. The two check words make such an entry nobody's: each is half of the address,
 * mixed with what the two value words say.
 */
#ifndef CPP_ADDR_CACHE_H
#define CPP_ADDR_CACHE_H

#include <stdbool.h>
#include <linux/types.h>
#include "abi.h"
#include "atomics.h"
#include "maps.h"

/* An answer, and when the map gave it: the value words of an entry. */
struct cached {
	__u64 answer; /* CACHE_ANSWER() */
	__u64 stamp;  /* CACHE_STAMP() */
};

#define CACHE_ANSWER(handle, cpu, state) ((__u64)(handle) << 32 | (__u32)(cpu) << 16 | (state))
#define CACHE_ANSWER_HANDLE(answer)	 ((__u32)((answer) >> 32))
#define CACHE_ANSWER_CPU(answer)	 ((__u16)((answer) >> 16))
#define CACHE_ANSWER_STATE(answer)	 ((__u8)(answer))

/* 40 bits of jiffies come round after decades; 24 bits of the generation are enough for
 * the second that an entry lives. */
#define CACHE_GENERATION_BITS 24
#define CACHE_GENERATION_MASK ((1ULL << CACHE_GENERATION_BITS) - 1)
#define CACHE_STAMP(jiffies, generation)                                                           \
	((jiffies) << CACHE_GENERATION_BITS | ((generation)&CACHE_GENERATION_MASK))

/* One to one in either word as long as the other stays: of two writers' value words, none
 * can be exchanged unnoticed. The key keeps the result from those who choose addresses. */
static __always_inline __u64 cache_mix(const struct cached *cached)
{
	__u64 mixed = (cached->answer ^ config.hash_key[0]) * 0x9e3779b97f4a7c15ULL;

	mixed = ((mixed ^ mixed >> 32) + cached->stamp) * 0xd6e8feb86659fd93ULL;
	return mixed ^ mixed >> 29;
}

/* The second check word's share of what the first one mixes in, and of the first half of
 * the address: words of two entries with the same values do not make a third address. */
static __always_inline __u64 cache_mix_again(__u64 mixed, __u64 half)
{
	return ((mixed << 32 | mixed >> 32) + half) * 0xa0761d6478bd642fULL;
}

/* Returns whether the entry is one writer's, of this address; `cached` has its values. */
static __always_inline bool cache_read(const struct addr_cache *entry, const __u64 addr[2],
				       struct cached *cached)
{
	__u64 mixed;

	cached->answer = READ_U64(entry->answer);
	cached->stamp = READ_U64(entry->stamp);
	mixed = cache_mix(cached);
	return READ_U64(entry->check[0]) == (addr[0] ^ mixed) &&
	       READ_U64(entry->check[1]) == (addr[1] ^ cache_mix_again(mixed, addr[0]));
}

static __always_inline void cache_write(struct addr_cache *entry, const __u64 addr[2],
					const struct cached *cached)
{
	__u64 mixed = cache_mix(cached);

	WRITE_U64(entry->check[0], addr[0] ^ mixed);
	WRITE_U64(entry->check[1], addr[1] ^ cache_mix_again(mixed, addr[0]));
	WRITE_U64(entry->answer, cached->answer);
	WRITE_U64(entry->stamp, cached->stamp);
}

/* Returns whether an answer still counts. One of a later jiffy, by another CPU, is too old
 * by far, and is looked up once more. */
static __always_inline bool cache_is_fresh(__u64 stamp, __u64 now)
{
	__u64 age = now - stamp; /* the generation's bits are 0 if both are of one */

	return !(age & CACHE_GENERATION_MASK) &&
	       age >> CACHE_GENERATION_BITS < config.cache_ttl_jiffies;
}

/*
 * Neighbouring addresses (IPv4), and neighbouring /64s or /56s (IPv6), have neighbouring
 * entries: providers number their subscribers one after the other, and 256 of these share
 * two pages. Within a region of 2^18 addresses no two share an entry. Each region has its
 * blocks of 256 in an order of its own, so that no two pools lie upon each other.
 */
static __always_inline __u32 cache_slot(__u64 number)
{
	__u64 region = (number >> 18) * 0x9e3779b97f4a7c15ULL; /* 2^64 / golden ratio */
	__u64 block = (number >> 8) * (region >> 32 | 1) + (region >> 44);

	return (__u32)(block << 8 | ((number ^ region >> 56) & 0xff)) & config.cache_mask;
}

#endif
