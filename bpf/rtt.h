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
#include "follow.h"
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

/* What a segment's flow needs to know of it, in one word: the mark in the low half. */
#define BRIEF_STARTS	    (1ULL << 32)
#define BRIEF_ACCEPTS	    (1ULL << 33)
#define BRIEF_ENDS	    (1ULL << 34)
#define BRIEF_ABORTS	    (1ULL << 35)
#define BRIEF_HAS_PAYLOAD   (1ULL << 36)
#define BRIEF_FIRST_IS_EDGE (1ULL << 37)

static __always_inline __u64 brief_of(const struct segment *segment)
{
	return segment->mark | (segment->starts ? BRIEF_STARTS : 0) |
	       (segment->accepts ? BRIEF_ACCEPTS : 0) | (segment->ends ? BRIEF_ENDS : 0) |
	       (segment->aborts ? BRIEF_ABORTS : 0) | (segment->payload ? BRIEF_HAS_PAYLOAD : 0) |
	       (segment->first_is_edge ? BRIEF_FIRST_IS_EDGE : 0);
}

/* Changes a direction's word, unless another CPU has, or another flow has taken the way. */
static __always_inline bool dir_swap(struct flow *flow, __u64 tag, int dir, __u64 old, __u64 new)
{
	__u64 *word = &flow->dir[pair_index(dir)];

	if (!slot_swap(word, old, new))
		return false;
	if (flow_is(flow, tag))
		return true;
	slot_swap(word, new, old);
	return false;
}

/* Forgets a direction. Returns how many marks are lost. */
static __always_inline __u32 dir_forget(struct flow *flow, __u64 tag, int dir, __u64 old)
{
	return dir_swap(flow, tag, dir, old, 0) ? slots_clear(flow, dir) : 0;
}

/*
 * A segment starts a connection. If its ports were used before, what we know is of
 * the old connection. A repeated start of the same handshake changes nothing. The answer
 * to a start that we have not seen says that the other direction is new, too, and echoes
 * its mark. Returns how many marks are lost.
 */
VERIFY_ONCE int flow_restart(struct flow *flow, __u64 tag, int dir, __u64 brief, __u32 echo)
{
	int other = other_dir(pair_index(dir));
	bool accepts = brief & BRIEF_ACCEPTS;
	__u64 own, others;
	__u32 lost = 0;

	if (!flow)
		return 0;
	own = READ_U64(flow->dir[pair_index(dir)]);
	others = READ_U64(flow->dir[pair_index(other)]);
	if (own & FLOW_DIR_ESTABLISHED ||
	    (own & FLOW_DIR_SEEN && mark_after((__u32)own, (__u32)brief))) {
		lost = dir_forget(flow, tag, dir, own);
		if (!accepts || others & FLOW_DIR_ESTABLISHED)
			lost += dir_forget(flow, tag, other, others);
	}
	if (accepts && echo)
		dir_swap(flow, tag, other, 0, FLOW_DIR_SEEN | echo);
	return lost;
}

/* How a segment's mark stands to the last of its direction. */
enum mark_order {
	MARK_KNOWN = 0,	 /* not the first packet of its mark, or too late to tell */
	MARK_FIRST = 1,	 /* the first mark that we see: it may not be new (rule 4) */
	MARK_NEW = 2,	 /* an edge: the first packet of a later mark */
	MARK_RESYNC = 3, /* another clock than we thought (rule 3) */
};

#define FLOW_BACK_COUNT(dir) ((__u32)((dir) >> FLOW_BACK_COUNT_SHIFT) & 0xf)
#define FLOW_BACK_TICK(dir)  ((__u32)((dir) >> FLOW_BACK_TICK_SHIFT) & 0xff)
#define FLOW_BACK_MARK(dir)  ((__u32)((dir) >> FLOW_BACK_MARK_SHIFT))
#define FLOW_DIR_FLAGS	     (0xfULL << 32)

/* Two marks agree if the second is less than 2^28 after the first. */
#define FLOW_BACK_NEAR (1U << 28 >> 16)

static __always_inline __u64 back_make(__u32 count, __u32 tick, __u32 mark)
{
	return (__u64)count << FLOW_BACK_COUNT_SHIFT |
	       (__u64)(tick & 0xff) << FLOW_BACK_TICK_SHIFT |
	       (__u64)(mark >> 16) << FLOW_BACK_MARK_SHIFT;
}

/* Returns the FLOW_BACK_* of a direction after one more segment behind its last mark. */
static __always_inline __u64 back_after(__u64 dir, __u32 mark, __u32 tick)
{
	__u32 count = FLOW_BACK_COUNT(dir);
	__u32 step = ((mark >> 16) - FLOW_BACK_MARK(dir)) & 0xffff;

	if (!count || step >= FLOW_BACK_NEAR)
		return back_make(1, tick, mark);
	return back_make(count < 0xf ? count + 1 : count, FLOW_BACK_TICK(dir), mark);
}

static __always_inline bool back_is_enough(__u64 back, __u32 tick)
{
	return FLOW_BACK_COUNT(back) >= FLOW_RESYNC_SEGMENTS &&
	       ((tick - FLOW_BACK_TICK(back)) & 0xff) > config.resync_ticks;
}

static __always_inline enum mark_order mark_order(__u64 dir, __u64 brief, __u32 tick)
{
	__u32 last = (__u32)dir, mark = (__u32)brief;

	if (!(dir & FLOW_DIR_SEEN))
		return brief & BRIEF_FIRST_IS_EDGE ? MARK_NEW : MARK_FIRST;
	if (mark_after(mark, last))
		return MARK_NEW;
	if (mark == last)
		return MARK_KNOWN;
	if (dir & FLOW_DIR_STALE)
		return MARK_FIRST;
	return back_is_enough(back_after(dir, mark, tick), tick) ? MARK_RESYNC : MARK_KNOWN;
}

/* Returns the flags of a direction after a segment. Data ends no direction for good. */
static __always_inline __u64 flags_after(__u64 dir, __u64 brief)
{
	__u64 flags = (dir & FLOW_DIR_FLAGS & ~FLOW_DIR_STALE) | FLOW_DIR_SEEN;

	if (!(brief & BRIEF_STARTS))
		flags |= FLOW_DIR_ESTABLISHED;
	if (brief & (BRIEF_ENDS | BRIEF_ABORTS))
		return flags | FLOW_DIR_ENDED;
	return brief & BRIEF_HAS_PAYLOAD ? flags & ~FLOW_DIR_ENDED : flags;
}

/* Returns the word of a direction (flow->dir) after a segment. */
static __always_inline __u64 dir_after(__u64 dir, __u64 brief, enum mark_order order, __u32 tick)
{
	__u64 flags = flags_after(dir, brief);
	__u32 mark = (__u32)brief;

	if (order != MARK_KNOWN || mark == (__u32)dir)
		return flags | mark;
	return flags | (__u32)dir | back_after(dir, mark, tick);
}

/* An RST ends the other direction, too; in a flow found idle any mark may be next in it. */
static __always_inline void mark_other(struct flow *flow, __u64 tag, int other, __u64 flags)
{
	__u64 old = READ_U64(flow->dir[pair_index(other)]);

	if (old & FLOW_DIR_SEEN && (old & flags) != flags)
		dir_swap(flow, tag, other, old, old | flags);
}

/* How the lost marks of a flow travel beside its enum mark_order. */
#define ADVANCED_ORDER(advanced) ((enum mark_order)((advanced)&0xff))
#define ADVANCED_LOST(advanced)	 ((__u32)(advanced) >> 8)

/* advance_mark() for every segment. Returns the order, and how many marks are lost. */
VERIFY_ONCE int flow_advance(struct flow *flow, __u64 tag, int dir, __u64 brief, __u32 tick)
{
	enum mark_order order = MARK_KNOWN;
	__u64 flags = brief & BRIEF_ABORTS ? FLOW_DIR_ENDED : 0, idle = 0;

	if (!flow)
		return MARK_KNOWN;
	if (flow_unswept(flow, tick) > (__s32)config.idle_ticks)
		idle = FLOW_DIR_STALE;
	mark_other(flow, tag, other_dir(pair_index(dir)), flags | idle);
#pragma clang loop unroll(disable)
	for (int try = 0; try < CAS_TRIES; try++) {
		__u64 old = READ_U64(flow->dir[pair_index(dir)]), new;

		order = mark_order(old | idle, brief, tick);
		new = dir_after(old, brief, order, tick);
		if (new == old || dir_swap(flow, tag, dir, old, new))
			break;
		order = MARK_KNOWN;
	}
	return order == MARK_RESYNC ? (int)(slots_clear(flow, dir) << 8 | order) : (int)order;
}

/* Notes the segment's mark as its direction's last. Returns how it stood to the last one.
 * Almost every segment is the next of an established direction: the rest is not inline. */
static __always_inline enum mark_order advance_mark(struct flow *flow, __u64 tag, int dir,
						    const struct segment *segment, bool due,
						    __u32 tick, struct stats *stats)
{
	const __u64 usual = FLOW_DIR_SEEN | FLOW_DIR_ESTABLISHED;
	__u64 old = READ_U64(flow->dir[pair_index(dir)]);
	bool rare = segment->starts || segment->ends || segment->aborts || due;
	int advanced;

	if (!rare && (__u32)(old >> 32) == (__u32)(usual >> 32)) {
		if ((__u32)old == segment->mark)
			return MARK_KNOWN;
		if (mark_after(segment->mark, (__u32)old) &&
		    dir_swap(flow, tag, dir, old, usual | segment->mark))
			return MARK_NEW;
	}
	advanced = flow_advance(flow, tag, dir, brief_of(segment), tick);
	count_many(stats, COUNT_rtt_evicted, ADVANCED_LOST(advanced));
	if (ADVANCED_ORDER(advanced) == MARK_RESYNC)
		count(stats, COUNT_rtt_resynced);
	return ADVANCED_ORDER(advanced);
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

/* Finds or enters the flow of a segment that carries a mark, and measures it. */
static __always_inline void rtt_packet(const struct ip_packet *ip, const struct segment *segment,
				       const struct rtt_context *at, struct rtt_result *result)
{
	struct flow_key key = rtt_key(ip, segment, at);
	struct flow_bucket *bucket = flow_bucket_of(key.tag);
	__u32 tick;
	int way;

	if (!bucket)
		return;
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
