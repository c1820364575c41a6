/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The flow table: a set-associative array without an allocator and without a
 * lock (docs/decisions/0001). A flow is in one of the eight ways of its bucket. The
 * look-up begins at the flow's home way, so that a hit usually costs one cache line.
 *
 * Admission: a new flow takes a free way, else the longest idle one among the flows
 * that have no live sample (idle) or that were never seen established in both
 * directions (half-open: a SYN flood recycles its own entries). No flow evicts
 * another that is measured: that would lose the long RTTs first. A flow that finds
 * no room is counted.
 *
 * A take-over changes the tag to BUSY and then to the new tag by compare-and-swap. A
 * CPU may still hold a pointer to the old flow: it reads the tag again after each
 * slot operation (slots_*()), so that no mark gets into another flow's sample.
 */
#ifndef CPP_FLOW_H
#define CPP_FLOW_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "atomics.h"
#include "clock.h"
#include "limits.h"
#include "maps.h"
#include "parse.h"
#include "segment.h"
#include "stats.h"
#include "verifier.h"

/* Coarse time of flows: 64 jiffies, at most 0.64 s. */
static __always_inline __u32 flow_tick(void)
{
	return now_jiffies() >> 6;
}

/* A multiplication does not carry the top bits any further. The rotation moves them
 * down, where the seed has a say in the result. */
static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash ^= word;
	hash = (hash << 29 | hash >> 35) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Hash of the 5-tuple, the same in both directions: first the end that packets of
 * direction 0 go to (the subscriber's). With 64 bits and a seed it identifies the flow. */
static __always_inline __u64 flow_hash(const struct ip_packet *ip, const struct segment *segment,
				       int dir)
{
	struct ip_addr near = select_addr(!dir, &ip->dst, &ip->src);
	struct ip_addr far = select_addr(!dir, &ip->src, &ip->dst);
	__u32 near_port = dir ? segment->source : segment->dest;
	__u32 far_port = dir ? segment->dest : segment->source;
	__u64 hash = config.hash_seed;

	if (ip->is_ipv6) {
		hash = mix(hash, near.half[0]);
		hash = mix(hash, far.half[0]);
		hash = mix(hash, near.half[1]);
		hash = mix(hash, far.half[1]);
	} else {
		hash = mix(hash, (near.half[1] & ~0xffffffffULL) | far.half[1] >> 32);
	}
	hash = mix(hash, (__u64)ip->protocol << 33 | (__u64)ip->is_ipv6 << 32 | near_port << 16 |
				 far_port);
	hash *= 0xd6e8feb86659fd93ULL;
	hash ^= hash >> 32;
	return hash > FLOW_TAG_BUSY ? hash : hash + 2;
}

static __always_inline struct flow_bucket *flow_bucket_of(__u64 tag)
{
	__u32 index = (__u32)tag & config.flow_mask;

	return bpf_map_lookup_elem(&cpp_flow, &index);
}

/* The i-th way of the look-up, which begins at the tag's home. */
static __always_inline struct flow *flow_way(struct flow_bucket *bucket, __u64 tag, __u32 i)
{
	return &bucket->way[((tag >> 61) + i) % FLOW_WAYS];
}

/* Returns which way of the look-up has the flow, or -1. */
static __always_inline int flow_find(struct flow_bucket *bucket, __u64 tag)
{
#pragma unroll
	for (__u32 i = 0; i < FLOW_WAYS; i++) {
		if (READ_U64(flow_way(bucket, tag, i)->tag) == tag)
			return i;
	}
	return -1;
}

/* The flow's number in the whole table. */
static __always_inline __u32 flow_index(__u64 tag, __u32 i)
{
	return ((__u32)tag & config.flow_mask) * FLOW_WAYS + ((tag >> 61) + i) % FLOW_WAYS;
}

static __always_inline bool flow_is_established(const struct flow *flow)
{
	return READ_U64(flow->dir[0]) & READ_U64(flow->dir[1]) & FLOW_DIR_ESTABLISHED;
}

/* Ticks since the last sweep: -1 if another CPU has swept a tick later. */
static __always_inline __s32 flow_unswept(const struct flow *flow, __u32 tick)
{
	return tick - flow->swept;
}

/* Rates a way for a take-over: 0 never, else the more, the longer it was idle. */
static __always_inline __u32 flow_claim(const struct flow *flow, __u32 tick)
{
	__s32 idle = flow_unswept(flow, tick);
	__u64 tag = READ_U64(flow->tag);

	if (tag == FLOW_TAG_FREE)
		return ~0U;
	if (tag == FLOW_TAG_BUSY)
		return 0;
	if (idle > (__s32)config.idle_ticks || !flow_is_established(flow))
		return idle + 1;
	return 0;
}

/* Frees a direction's slots. Returns how many marks were lost with them. */
static __always_inline __u32 slots_clear(struct flow *flow, int dir)
{
	__u32 lost = 0;

#pragma unroll
	for (int i = 0; i < FLOW_SLOTS; i++) {
		lost += READ_U64(flow->slot[dir][i]) != 0;
		*(volatile __u64 *)&flow->slot[dir][i] = 0;
	}
	return lost;
}

/* Takes the way over for `tag`. Returns false if another CPU was faster. */
static __always_inline bool flow_take(struct flow *flow, __u64 tag, __u32 tick, struct stats *stats)
{
	__u64 old = READ_U64(flow->tag);

	if (old == FLOW_TAG_BUSY ||
	    __sync_val_compare_and_swap(&flow->tag, old, FLOW_TAG_BUSY) != old)
		return false;
	count_many(stats, COUNT_rtt_evicted, slots_clear(flow, 0) + slots_clear(flow, 1));
	flow->dir[0] = 0;
	flow->dir[1] = 0;
	flow->swept = tick;
	__sync_val_compare_and_swap(&flow->tag, FLOW_TAG_BUSY, tag); /* a full barrier */
	count(stats, COUNT_rtt_flow_new);
	return true;
}

/* Enters a new flow. Returns its way (0 to FLOW_WAYS - 1 from its home), or -1. Only a
 * flow's first packet comes here. */
VERIFY_ONCE int flow_insert(__u64 tag, __u32 tick, __u32 cpu)
{
	struct flow_bucket *bucket = flow_bucket_of(tag);
	struct stats *stats = stats_of(cpu);
	__u32 best = 0;
	int way = -1;

	if (!bucket || !stats)
		return -1;
	for (__u32 i = 0; i < FLOW_WAYS; i++) {
		__u32 claim = flow_claim(flow_way(bucket, tag, i), tick);

		if (claim > best) {
			best = claim;
			way = i;
		}
	}
	if (way < 0 || !flow_take(flow_way(bucket, tag, way), tag, tick, stats)) {
		count(stats, COUNT_rtt_flow_full);
		return -1;
	}
	return way;
}

#endif
