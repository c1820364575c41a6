/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Passive RTT of both sides, apart: a mark that leaves one way is remembered, and
 * its echo that leaves the other way ends the sample. segment.h says where marks
 * come from. The rules, to which the comments refer by number:
 *
 *  1. Only segments with payload open a sample: the echo of a pure ACK would include idle
 *     time. SYN and SYN-ACK do if config.handshake. Every segment advances the last mark.
 *  2. A TSecr is an echo only with the ACK flag, and if it is not 0.
 *  3. Only the first packet of a later mark opens a sample; the last mark never regresses.
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
#include "maps.h"
#include "parse.h"
#include "segment.h"
#include "slots.h"
#include "stats.h"
#include "verifier.h"

/* Where a packet was seen. */
struct rtt_context {
	struct stats *stats;
	__u32 cpu;
	int dir;      /* index of flow->dir and flow->slot: the way the packet goes */
	bool answers; /* may end a sample */
};

/* The findings about a packet. */
struct rtt_result {
	__u64 tag;  /* of the flow; 0: not in the table */
	__u32 flow; /* its number in the table */
	__u32 rtt;  /* of the other end, in slot units; 0: no sample */
	__u64 now;  /* ns; valid with rtt */
};

static __always_inline bool opens_sample(const struct segment *segment)
{
	if (segment->starts)
		return config.handshake;
	return segment->payload != 0; /* rule 1: a pure ACK would measure idle time */
}

/*
 * A segment starts a connection. If its ports were used before, what we know is of
 * the old connection. A repeated start of the same handshake changes nothing.
 */
static __always_inline void restart(struct flow *flow, int dir, const struct segment *segment,
				    struct stats *stats)
{
	__u64 own = READ_U64(flow->dir[pair_index(dir)]);
	bool established = own & FLOW_DIR_ESTABLISHED;
	bool regressed = own & FLOW_DIR_SEEN && mark_after((__u32)own, segment->mark);
	int other = other_dir(dir);
	__u32 lost;

	if (!established && !regressed)
		return;
	flow->dir[pair_index(dir)] = 0;
	lost = slots_clear(flow, pair_index(dir));
	if (!segment->accepts) {
		flow->dir[pair_index(other)] = 0;
		lost += slots_clear(flow, pair_index(other));
	}
	count_many(stats, COUNT_rtt_evicted, lost);
}

/* Rule 3: the last mark only moves up. */
static __always_inline bool moves_up(__u64 dir, __u32 mark)
{
	return !(dir & FLOW_DIR_SEEN) || mark_after(mark, (__u32)dir);
}

/* Returns the word of a direction (flow->dir) after a segment of `mark` that adds `flags`. */
static __always_inline __u64 dir_after(__u64 dir, __u64 flags, __u32 mark)
{
	return (dir >> 32) << 32 | flags | (moves_up(dir, mark) ? mark : (__u32)dir);
}

/* Rule 4: the first mark that we see may not be new. */
static __always_inline bool is_edge(__u64 dir, const struct segment *segment)
{
	if (!(dir & FLOW_DIR_SEEN))
		return segment->first_is_edge;
	return mark_after(segment->mark, (__u32)dir);
}

/* Notes the segment's mark as its direction's last. Returns true on an edge: this is the
 * first packet that carries the mark. */
static __always_inline bool advance_mark(struct flow *flow, int dir, const struct segment *segment)
{
	/* All loaded before the loop: verifier.h, "back-edge". */
	__u64 flags = segment->starts ? FLOW_DIR_SEEN : FLOW_DIR_SEEN | FLOW_DIR_ESTABLISHED;
	__u64 *word = &flow->dir[pair_index(dir)];
	__u32 mark = segment->mark;

#pragma clang loop unroll(disable)
	for (int try = 0; try < CAS_TRIES; try++) {
		__u64 old = READ_U64(*word), new = dir_after(old, flags, mark);

		if (new == old)
			return false;
		if (__sync_val_compare_and_swap(word, old, new) == old)
			return is_edge(old, segment);
	}
	return false;
}

/* Applies the rules to a segment of a flow that is in the table. */
static __always_inline void rtt_segment(struct flow *flow, __u64 tag, __u32 tick,
					const struct segment *segment, const struct rtt_context *at,
					struct rtt_result *result)
{
	int dir = at->dir, other = other_dir(dir);
	struct stats *stats = at->stats;
	bool sweep = flow_unswept(flow, tick) > (__s32)config.sweep_ticks;
	bool echoes = at->answers && segment->has_echo && segment->echo; /* rule 2 */
	bool edge, match;
	__u32 time;

	if (segment->starts)
		restart(flow, dir, segment, stats);
	edge = advance_mark(flow, dir, segment) && opens_sample(segment);
	match = echoes && slots_concern(flow, other, segment->echo);
	if (!edge && !match && !sweep)
		return;
	result->now = now_ns(); /* rule 8: once */
	time = slot_time(result->now);
	if (sweep)
		slots_sweep(flow, tick, time, stats);
	if (match)
		result->rtt = slots_match(flow, tag, other, segment->echo, time, stats);
	if (edge)
		slots_open(flow, tag, dir, segment->mark, time, stats);
}

/* Finds or enters the flow of a segment that carries a mark, and measures it. */
static __always_inline void rtt_packet(const struct ip_packet *ip, const struct segment *segment,
				       const struct rtt_context *at, struct rtt_result *result)
{
	__u64 tag = flow_hash(ip, segment, at->dir);
	struct flow_bucket *bucket = flow_bucket_of(tag);
	__u32 tick;
	int way;

	if (!bucket)
		return;
	tick = flow_tick();
	way = flow_find(bucket, tag);
	if (way < 0)
		way = flow_insert(tag, tick, at->cpu);
	if (way < 0)
		return;
	result->tag = tag;
	result->flow = flow_index(tag, way);
	rtt_segment(flow_way(bucket, tag, way), tag, tick, segment, at, result);
}

#endif
