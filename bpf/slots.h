/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A direction's outstanding TSvals. Each slot is one 64-bit word, so that
 * claiming and filling it are single compare-and-swaps: one match, one sample,
 * whoever runs concurrently (rule 6), and never half a slot.
 */
#ifndef CPP_SLOTS_H
#define CPP_SLOTS_H

#include "flow.h"

#define SLOT_TIMEOUT ((__u32)(RTT_TIMEOUT_NS >> SLOT_UNIT_BITS))
#define SLOT_AHEAD   (1U << 28) /* 2 s: beyond what FLOW_IDLE + RTT_TIMEOUT leave */

static __always_inline __u32 slot_time(__u64 now)
{
	return (__u32)(now >> SLOT_UNIT_BITS) ?: 1; /* 0 would read as free */
}

static __always_inline __u64 slot_make(__u32 tsval, __u32 time)
{
	return (__u64)tsval << 32 | time;
}

static __always_inline __u32 slot_tsval(__u64 slot)
{
	return slot >> 32;
}

/* Age in slot units: right as long as the flow is swept in time (limits.h). */
static __always_inline __u32 slot_age(__u64 slot, __u32 time)
{
	return time - (__u32)slot;
}

/* A slot that another CPU opened just after `time` was read has a negative age:
 * that is not an old one. */
static __always_inline bool is_timed_out(__u32 age)
{
	return age - (SLOT_TIMEOUT + 1) < -SLOT_AHEAD - (SLOT_TIMEOUT + 1);
}

static __always_inline bool slot_swap(__u64 *slot, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(slot, old, new) == old;
}

/* TSval a is later than b (RFC 7323, 5.2). */
static __always_inline bool tsval_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* Remember a TSval that has just left. */
static __always_inline void slots_open(struct flow *flow, __u64 tag, int dir, __u32 tsval,
				       __u32 time, struct stats *stats)
{
	__u64 fresh = slot_make(tsval, time);

	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[dir & 1][i];
		__u64 old = READ_U64(*slot);

		if (old) {
			if (!is_timed_out(slot_age(old, time)))
				continue;
			count(stats, COUNT_rtt_timed_out);
		}
		if (!slot_swap(slot, old, fresh))
			continue;
		/* The way may have become another flow's since the look-up. */
		if (READ_U64(flow->tag) != tag)
			slot_swap(slot, fresh, 0);
		return;
	}
	count(stats, COUNT_rtt_no_slot);
}

/*
 * End the sample that `tsecr` echoes; its age in slot units, or 0 if there is
 * none (an age of 0 or less is reported as 1). TSvals before it were passed over and
 * will not be echoed any more (rule 7).
 */
static __always_inline __u32 slots_match(struct flow *flow, __u64 tag, int dir, __u32 tsecr,
					 __u32 time, struct stats *stats)
{
	__u32 rtt = 0;

	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[dir & 1][i];
		__u64 old = READ_U64(*slot);
		__u32 age;

		if (!old || tsval_after(slot_tsval(old), tsecr))
			continue;
		if (!slot_swap(slot, old, 0))
			continue; /* another CPU's sample */
		age = slot_age(old, time);
		if (is_timed_out(age))
			count(stats, COUNT_rtt_timed_out);
		else if (slot_tsval(old) != tsecr)
			count(stats, COUNT_rtt_unmatched);
		else if (READ_U64(flow->tag) == tag)
			rtt = (__s32)age > 0 ? age : 1;
	}
	return rtt;
}

/* Does a match of `tsecr` need the clock? Most ACKs of a bulk flow do not. */
static __always_inline bool slots_concern(const struct flow *flow, int dir, __u32 tsecr)
{
	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 slot = READ_U64(flow->slot[dir & 1][i]);

		if (slot && !tsval_after(slot_tsval(slot), tsecr))
			return true;
	}
	return false;
}

/* Frees the slots that have timed out; a flow idle for longer than any slot
 * lives has none worth keeping, and 32 bits could not tell their age. */
static __always_inline void slots_sweep(struct flow *flow, __u32 tick, __u32 time,
					struct stats *stats)
{
	bool dead = flow_unswept(flow, tick) > (__s32)config.idle_ticks;

	flow->swept = tick;
	for (int i = 0; i < 2 * FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[0][i];
		__u64 old = READ_U64(*slot);

		if (!old || (!dead && !is_timed_out(slot_age(old, time))))
			continue;
		if (slot_swap(slot, old, 0))
			count(stats, COUNT_rtt_timed_out);
	}
}

#endif
