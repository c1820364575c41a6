/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The flow table: a set-associative array without an allocator and without a
 * lock (docs/decisions/0001). A flow is in one of the eight ways of its bucket. The
 * look-up begins at the flow's home way, so that a hit usually costs one cache line.
 *
 * Admission: a new flow takes a free way, else that of a flow that has ended, else that
 * of the longest idle flow, which has no live sample, else that of a flow that was never seen
 * established in both directions (half-open: a flood recycles its own entries). No flow evicts
 * another that is measured, because that would lose the long RTTs first, except for
 * fairness: an owner with two ways more of the bucket than the new flow's owner gives one
 * up, so that one subscriber can fill the table while nobody else needs it, and no longer.
 * A flow that finds no room is counted.
 *
 * A take-over changes the tag to BUSY and then to the new tag by compare-and-swap. A
 * CPU may still hold a pointer to the old flow: it reads the tag again after each
 * change (flow_is()), and takes the change back, so that no mark gets into another
 * flow's sample.
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
#include "stats.h"
#include "verifier.h"

/* Coarse time of flows: 64 jiffies, at most 0.64 s. */
static __always_inline __u32 flow_tick(void)
{
	return now_jiffies() >> 6;
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

/* Whether the flow is still this one, and not another that has taken its way over. */
static __always_inline bool flow_is(const struct flow *flow, __u64 tag)
{
	return READ_U64(flow->tag) == tag;
}

/* Returns which way of the look-up has the flow, or -1. */
static __always_inline int flow_find(struct flow_bucket *bucket, __u64 tag)
{
#pragma unroll
	for (__u32 i = 0; i < FLOW_WAYS; i++) {
		if (flow_is(flow_way(bucket, tag, i), tag))
			return i;
	}
	return -1;
}

/* The flow's number in the whole table. */
static __always_inline __u32 flow_index(__u64 tag, __u32 i)
{
	return ((__u32)tag & config.flow_mask) * FLOW_WAYS + ((tag >> 61) + i) % FLOW_WAYS;
}

/* Whether both directions have a flag. */
static __always_inline bool flow_both(const struct flow *flow, __u64 flag)
{
	return READ_U64(flow->dir[0]) & READ_U64(flow->dir[1]) & flag;
}

/* Ticks since the last sweep: negative if another CPU has swept later, or if the clock of a
 * capture has gone back. */
static __always_inline __s32 flow_unswept(const struct flow *flow, __u32 tick)
{
	return tick - *(volatile __u32 *)&flow->swept;
}

/* Returns how many of the bucket's ways an owner has. */
VERIFY_ONCE int flows_of(const struct flow_bucket *bucket, __u32 owner)
{
	int ways = 0;

	if (!bucket)
		return 0;
	for (__u32 i = 0; i < FLOW_WAYS; i++)
		ways += bucket->way[i].owner == owner;
	return ways;
}

/* Claims on a way, the greater the better: nobody's, an ended flow's, an idle flow's. Then
 * come half-open flows and those of owners who have two ways more than the newcomer's: those
 * of the owner with the most ways first, then the longest idle. So a flood takes its own
 * places before anybody else's, and whoever holds half a bucket gives before a newcomer that
 * waits for its first answer does. */
#define CLAIM_FREE  ~0U
#define CLAIM_ENDED (~0U - 1)
#define CLAIM_IDLE  (1U << 30)
#define CLAIM_HALF_OPEN(ways, idle)                                                                \
	((__u32)(ways) << 16 | ((idle) < 0 ? 1 : (idle) < 0xffff ? (idle) + 1 : 0xffff))
#define CLAIM_SHARE(ways) ((ways) < FLOW_WAYS / 2 ? (__u32)(ways) : (__u32)(ways) << 16)

/* Whether a half-open flow may wait for its first answer, because the newcomer's owner has more
 * of the bucket already: the many live flows of an owner that find no room try with each of
 * their packets, and would leave nobody else the time to become established. */
static __always_inline bool may_wait(int ways, int own, __s32 idle)
{
	return ways < own && idle <= (__s32)config.resync_ticks;
}

/* Rates the way at `index` for a take-over by an owner who has `own` ways; 0: never. Inline,
 * its many ways through would cost the verifier 230000 instructions. */
VERIFY_ONCE __u32 flow_claim(const struct flow_bucket *bucket, __u32 index, __u32 tick, int own)
{
	const struct flow *flow;
	__s32 idle;
	__u64 tag;
	int ways;

	if (!bucket)
		return 0;
	flow = &bucket->way[bounded(index, FLOW_WAYS - 1)];
	idle = flow_unswept(flow, tick);
	tag = READ_U64(flow->tag);
	if (tag == FLOW_TAG_FREE)
		return CLAIM_FREE;
	if (tag == FLOW_TAG_BUSY)
		return 0;
	if (flow_both(flow, FLOW_DIR_ENDED))
		return CLAIM_ENDED;
	/* One comparison for both: idle for long, or last seen in a time to come, because the
	 * clock of a capture has stepped back. */
	if ((__u32)idle + config.idle_ticks > 2 * config.idle_ticks)
		return CLAIM_IDLE | (idle & (CLAIM_IDLE - 1));
	ways = flows_of(bucket, flow->owner);
	if (!flow_both(flow, FLOW_DIR_ESTABLISHED))
		return may_wait(ways, own, idle) ? 0 : CLAIM_HALF_OPEN(ways, idle);
	return ways >= own + 2 ? CLAIM_SHARE(ways) : 0;
}

/* Frees a slot whose content is still `old`. Returns whether it was. */
static __always_inline bool slot_swap(__u64 *slot, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(slot, old, new) == old;
}

/* Frees a direction's slots. Returns how many marks were lost with them. */
static __always_inline __u32 slots_clear(struct flow *flow, int dir)
{
	__u32 lost = 0;

#pragma unroll
	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[pair_index(dir)][i];
		__u64 old = READ_U64(*slot);

		lost += old && slot_swap(slot, old, 0);
	}
	return lost;
}

/* Takes the way over for `tag`. Returns false if another CPU was faster. */
static __always_inline bool flow_take(struct flow *flow, __u64 tag, __u32 tick, __u32 owner,
				      struct stats *stats)
{
	__u64 old = READ_U64(flow->tag);

	if (old == FLOW_TAG_BUSY ||
	    __sync_val_compare_and_swap(&flow->tag, old, FLOW_TAG_BUSY) != old)
		return false;
	count_many(stats, COUNT_rtt_evicted, slots_clear(flow, 0) + slots_clear(flow, 1));
	flow->dir[0] = 0;
	flow->dir[1] = 0;
	flow->swept = tick;
	flow->owner = owner;
	__sync_val_compare_and_swap(&flow->tag, FLOW_TAG_BUSY, tag); /* a full barrier */
	return true;
}

/* Returns the best way for a new flow, counted from its home, or -1. */
static __always_inline int flow_place(struct flow_bucket *bucket, __u64 tag, __u32 tick,
				      __u32 owner)
{
	int own = flows_of(bucket, owner), way = -1;
	__u32 best = 0;

	for (__u32 i = 0; i < FLOW_WAYS; i++) {
		__u32 claim = flow_claim(bucket, (tag >> 61) + i, tick, own);

		if (claim > best) {
			best = claim;
			way = i;
		}
	}
	return way;
}

/*
 * Another CPU may have entered the same flow at the same time. Whoever looks last sees both
 * entries: the one that look-ups find first stays, and the others are freed, whosever they
 * are; a CPU that still works on one of them finds that its flow is gone (flow_is()). Returns
 * the way that stays.
 */
static __always_inline int flow_settle(struct flow_bucket *bucket, __u64 tag, int way)
{
	int first = -1;

	for (__u32 i = 0; i < FLOW_WAYS; i++) {
		struct flow *flow = flow_way(bucket, tag, i);

		if (!flow_is(flow, tag))
			continue;
		if (first < 0)
			first = i;
		else
			__sync_val_compare_and_swap(&flow->tag, tag, FLOW_TAG_FREE);
	}
	return first < 0 ? way : first;
}

/* Enters a new flow. Returns its way (0 to FLOW_WAYS - 1 from its home), or -1. Only a
 * flow's first packet comes here. */
VERIFY_ONCE int flow_insert(__u64 tag, __u32 tick, __u32 owner, __u32 cpu)
{
	struct flow_bucket *bucket = flow_bucket_of(tag);
	struct stats *stats = stats_of(cpu);
	int way;

	if (!bucket || !stats)
		return -1;
	way = flow_place(bucket, tag, tick, owner);
	if (way < 0 || !flow_take(flow_way(bucket, tag, way), tag, tick, owner, stats)) {
		count(stats, COUNT_rtt_flow_full);
		return -1;
	}
	count(stats, COUNT_rtt_flow_new);
	return flow_settle(bucket, tag, way);
}

#endif
