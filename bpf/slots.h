/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The marks of a direction that wait for their echo. Each slot is one 64-bit word,
 * so that one compare-and-swap claims it and one fills it: one match gives one
 * sample, however many CPUs run at once (rule 6), and no CPU sees half a slot.
 */
#ifndef CPP_SLOTS_H
#define CPP_SLOTS_H

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

#define SLOT_TIMEOUT ((__u32)(RTT_TIMEOUT_NS >> SLOT_UNIT_BITS))
#define SLOT_AHEAD   (1U << 28) /* 2 s: beyond what FLOW_IDLE + RTT_TIMEOUT leave */

static __always_inline __u32 slot_time(__u64 now)
{
	return (__u32)(now >> SLOT_UNIT_BITS) ?: 1; /* 0 would read as free */
}

static __always_inline __u64 slot_make(__u32 mark, __u32 time)
{
	return (__u64)mark << 32 | time;
}

static __always_inline __u32 slot_mark(__u64 slot)
{
	return slot >> 32;
}

/* Age in slot units: right as long as the flow is swept in time (limits.h). */
static __always_inline __u32 slot_age(__u64 slot, __u32 time)
{
	return time - (__u32)slot;
}

/* Another CPU may have opened the slot just after `time` was read, and the clock of a
 * capture may step back. The age is then negative, within SLOT_AHEAD of the top of 32
 * bits, and the slot has not timed out. */
static __always_inline bool is_ahead(__u32 age)
{
	return age >= -SLOT_AHEAD;
}

static __always_inline bool is_timed_out(__u32 age)
{
	return age > SLOT_TIMEOUT && !is_ahead(age);
}

/* Remembers a mark that has just left. */
static __always_inline void slots_open(struct flow *flow, __u64 tag, int dir, __u32 mark,
				       __u32 time, struct stats *stats)
{
	__u64 fresh = slot_make(mark, time);

	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[pair_index(dir)][i];
		__u64 old = READ_U64(*slot);

		if (old) {
			if (!is_timed_out(slot_age(old, time)))
				continue;
			count(stats, COUNT_rtt_timed_out);
		}
		if (!slot_swap(slot, old, fresh))
			continue;
		/* Another flow may have taken the way since the look-up. */
		if (!flow_is(flow, tag))
			slot_swap(slot, fresh, 0);
		return;
	}
	count(stats, COUNT_rtt_no_slot);
}

/*
 * Ends the sample of the mark that `echo` returns. Returns its age in slot units, at
 * least 1, or 0 if no slot has the mark, or if the mark is of a time to come. Marks before
 * it were passed over; no echo of theirs will come any more (rule 7).
 */
static __always_inline __u32 slots_match(struct flow *flow, __u64 tag, int dir, __u32 echo,
					 __u32 time, struct stats *stats)
{
	__u32 rtt = 0;

	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[pair_index(dir)][i];
		__u64 old = READ_U64(*slot);
		__u32 age;

		if (!old || mark_after(slot_mark(old), echo))
			continue;
		if (!slot_swap(slot, old, 0))
			continue; /* another CPU's sample */
		age = slot_age(old, time);
		if (is_timed_out(age))
			count(stats, COUNT_rtt_timed_out);
		else if (slot_mark(old) != echo)
			count(stats, COUNT_rtt_unmatched);
		else if (is_ahead(age))
			count(stats, COUNT_rtt_clock_back);
		else if (flow_is(flow, tag))
			rtt = age ?: 1;
	}
	return rtt;
}

/* Returns whether slots_match() would find a slot to end, and so needs the clock. Most
 * ACKs of a bulk flow end none. */
static __always_inline bool slots_concern(const struct flow *flow, int dir, __u32 echo)
{
	for (int i = 0; i < FLOW_SLOTS; i++) {
		__u64 slot = READ_U64(flow->slot[pair_index(dir)][i]);

		if (slot && !mark_after(slot_mark(slot), echo))
			return true;
	}
	return false;
}

/* Frees the slots that have timed out, or all of them: 32 bits cannot tell the age of a
 * slot in a flow that was idle for longer than a slot lives. */
static __always_inline void slots_sweep(struct flow *flow, __u32 time, bool all,
					enum counter reason, struct stats *stats)
{
	for (int i = 0; i < 2 * FLOW_SLOTS; i++) {
		__u64 *slot = &flow->slot[0][i];
		__u64 old = READ_U64(*slot);

		if (!old || (!all && !is_timed_out(slot_age(old, time))))
			continue;
		if (slot_swap(slot, old, 0))
			count(stats, reason);
	}
}

#endif
