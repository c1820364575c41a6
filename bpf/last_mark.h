/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The last mark of each direction of a flow, in one word (flow->dir) that is changed by
 * compare-and-swap: rules 3 and 4 of rtt.h.
 */
#ifndef CPP_LAST_MARK_H
#define CPP_LAST_MARK_H

#include <stdbool.h>
#include <linux/types.h>
#include "abi.h"
#include "atomics.h"
#include "flow.h"
#include "limits.h"
#include "maps.h"
#include "segment.h"
#include "stats.h"
#include "verifier.h"

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

/* Forgets a direction. Returns how many marks are lost. Not dir_swap(): another flow that
 * takes the way begins with 0, too, and to take this back would give it the old flow's word. */
static __always_inline __u32 dir_forget(struct flow *flow, __u64 tag, int dir, __u64 old)
{
	if (!slot_swap(&flow->dir[pair_index(dir)], old, 0) || !flow_is(flow, tag))
		return 0;
	return slots_clear(flow, dir);
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

#endif
