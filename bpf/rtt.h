/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Passive RTT of both sides, apart: a mark that leaves one way is remembered, and
 * its echo that leaves the other way ends the sample. segment.h says where marks
 * come from. The rules, to which the comments refer by number:
 *
 *  1. Only segments with payload open a sample: the echo of a pure ACK would include idle
 *     time. SYN and SYN-ACK do if config.handshake. Every segment advances the last mark.
 *  2. A TSecr is an echo only with the ACK flag, and if it is not 0.
 *  3. Only the first packet of a later mark opens a sample; the last mark never regresses,
 *     except that a flow that was idle takes any mark, and that segments in a row that stay
 *     behind it and agree with each other give a new last mark, once they have lasted for
 *     FLOW_RESYNC_NS: a clock in microseconds wraps half its range in 36 minutes, and one
 *     stray segment must not blind a direction for ever.
 *  4. The first mark seen may not be new, unless the segment starts the connection.
 *  5. A mark that waits is not overwritten; it times out after RTT_TIMEOUT_NS.
 *  6. One match, one sample, however many CPUs run at once.
 *  7. An echo frees the slots of earlier marks without a sample.
 *  8. The clock is read once a packet.
 *  9. No assumption about the tick of the marks.
 * 10. A mark or segment that could not be measured is counted by its reason.
 */
#ifndef CPP_RTT_H
#define CPP_RTT_H

#include <stdbool.h>
#include <linux/types.h>
#include "abi.h"
#include "atomics.h"
#include "clock.h"
#include "flow.h"
#include "flow_key.h"
#include "follow.h"
#include "last_mark.h"
#include "maps.h"
#include "parse.h"
#include "segment.h"
#include "slots.h"
#include "stats.h"
#include "verifier.h"

/* Where a packet was seen. */
struct rtt_context {
	struct stats *stats;
	struct translated other; /* the near end at the other hook, if NAT has changed it */
	__u32 cpu;
	__u32 owner;  /* whose share of the flow table its flow takes */
	int hook;     /* 0 or 1: the way the packet goes here (LAN, WAN; in, out) */
	bool answers; /* may end a sample */
};

/* The findings about a packet. */
struct rtt_result {
	__u64 tag;  /* of the flow; 0: it found no place in the table */
	__u32 flow; /* its number in the table; FLOW_NONE: a SYN, which enters none */
	__u32 rtt;  /* of the other end, in slot units; 0: no sample */
	__u64 now;  /* ns; valid with rtt */
	int dir;    /* index of flow->dir and flow->slot: which end sends */
};

static __always_inline bool opens_sample(const struct segment *segment)
{
	if (segment->starts)
		return config.handshake;
	return segment->payload != 0; /* rule 1: a pure ACK would measure idle time */
}

/* Whether a segment enters its flow into the table. A SYN alone does not where handshakes
 * are not measured: the SYN-ACK echoes its TSval. Nor does what can open no sample. */
static __always_inline bool is_admitted(const struct segment *segment)
{
	if (config.enter_starts || config.handshake)
		return true;
	return segment->starts ? segment->accepts : segment->payload != 0;
}

/* The ticks by which the clock of a capture must go back so that ages are no longer right. */
static __always_inline __s32 back_ticks(void)
{
	return -(__s32)config.resync_ticks - 1;
}

static __always_inline bool is_sweep_due(const struct flow *flow, __u32 tick)
{
	__s32 unswept = flow_unswept(flow, tick);

	return unswept > (__s32)config.sweep_ticks || unswept < back_ticks();
}

/* Frees the slots of a flow that have timed out; all, if it was idle or the clock has gone
 * back, because 32 bits cannot tell their age. Then notes that. */
VERIFY_ONCE int flow_sweep(struct flow *flow, __u32 tick, __u32 time, __u32 cpu)
{
	struct stats *stats = stats_of(cpu);
	__s32 unswept;
	__u32 swept;

	if (!flow || !stats)
		return 0;
	swept = *(volatile __u32 *)&flow->swept;
	unswept = tick - swept;
	slots_sweep(flow, time, unswept > (__s32)config.idle_ticks || unswept < 0,
		    unswept < 0 ? COUNT_rtt_clock_back : COUNT_rtt_timed_out, stats);
	__sync_val_compare_and_swap(&flow->swept, swept, tick);
	return 0;
}

/* Applies the rules to a segment of a flow that is in the table. */
static __always_inline void rtt_segment(struct flow *flow, __u32 tick,
					const struct segment *segment, const struct rtt_context *at,
					struct rtt_result *result)
{
	int dir = result->dir, other = other_dir(dir);
	__u64 tag = result->tag;
	struct stats *stats = at->stats;
	bool due = is_sweep_due(flow, tick);
	bool echoes = at->answers && segment->has_echo && segment->echo; /* rule 2 */
	bool edge, match;
	__u32 time;

	if (segment->starts)
		count_many(stats, COUNT_rtt_evicted,
			   flow_restart(flow, tag, dir, brief_of(segment), segment->echo));
	edge = advance_mark(flow, tag, dir, segment, due, tick, stats) == MARK_NEW &&
	       opens_sample(segment);
	match = echoes && slots_concern(flow, other, segment->echo);
	if (!edge && !match && !due)
		return;
	result->now = now_ns(); /* rule 8: once */
	time = slot_time(result->now);
	if (due)
		flow_sweep(flow, tick, time, at->cpu);
	if (match)
		result->rtt = slots_match(flow, tag, other, segment->echo, time, stats);
	if (edge)
		slots_open(flow, tag, dir, segment->mark, time, stats);
}

/* Keeps a flow whose marks wait elsewhere (echoes.h) from looking idle or half open. */
static __always_inline void keep_flow(struct flow *flow, __u32 tick, __u64 tag, int dir)
{
	__u32 swept = *(volatile __u32 *)&flow->swept;

	if (is_sweep_due(flow, tick))
		__sync_val_compare_and_swap(&flow->swept, swept, tick);
	if (!READ_U64(flow->dir[pair_index(dir)]))
		dir_swap(flow, tag, dir, 0, FLOW_DIR_SEEN | FLOW_DIR_ESTABLISHED);
}

/* An RST without a mark ends a flow: there is nothing to measure in it. */
VERIFY_ONCE int flow_abort(__u64 tag)
{
	struct flow_bucket *bucket = flow_bucket_of(tag);

	if (!bucket)
		return 0;
	for (__u32 i = 0; i < FLOW_WAYS; i++) {
		struct flow *flow = &bucket->way[i];

		if (!flow_is(flow, tag))
			continue;
		mark_other(flow, tag, 0, FLOW_DIR_ENDED);
		mark_other(flow, tag, 1, FLOW_DIR_ENDED);
	}
	return 0;
}

static __always_inline struct flow_key
rtt_key(const struct ip_packet *ip, const struct segment *segment, const struct rtt_context *at)
{
	if (at->other.between)
		return between_key_of(ip, segment, &at->other);
	if (at->other.is)
		return translated_key_of(ip, segment, &at->other, at->hook);
	/* An ICMP echo to oneself: the request is direction 0, and the reply 1. */
	return flow_key_of(ip, segment, segment->asks ? at->hook : other_dir(at->hook));
}

/* Finds or enters the flow of a segment that carries a mark, and measures it. One without a
 * mark is an RST. */
static __always_inline void rtt_packet(const struct ip_packet *ip, const struct segment *segment,
				       const struct rtt_context *at, struct rtt_result *result)
{
	struct flow_key key = rtt_key(ip, segment, at);
	struct flow_bucket *bucket = flow_bucket_of(key.tag);
	__u32 tick;
	int way;

	if (!bucket)
		return;
	if (never(!segment->has_mark)) {
		flow_abort(key.tag);
		return;
	}
	tick = flow_tick();
	way = flow_find(bucket, key.tag);
	if (way < 0 && is_admitted(segment))
		way = flow_insert(key.tag, tick, at->owner, at->cpu);
	if (way < 0) {
		/* The follower reports openings: it notes the SYN, which is in no table. */
		result->tag = segment->starts && !is_admitted(segment) ? key.tag : 0;
		result->dir = key.dir;
		result->flow = FLOW_NONE;
		return;
	}
	way = forget_value(way); /* otherwise the rest is verified for each way */
	result->tag = key.tag;
	result->dir = key.dir;
	result->flow = flow_index(key.tag, way);
	if (segment->alone)
		keep_flow(flow_way(bucket, key.tag, way), tick, key.tag, result->dir);
	else
		rtt_segment(flow_way(bucket, key.tag, way), tick, segment, at, result);
}

#endif
