/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A handle's latest samples, on one cache line of this CPU's. To add each to the
 * handle's record at once would touch four cache lines of a table that is too large for
 * any cache (docs/decisions/0005). So samples wait here and go there together: when
 * the line is full, when an epoch ends, or when another handle needs the line.
 */
#ifndef CPP_RECENT_H
#define CPP_RECENT_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "atomics.h"
#include "histogram.h"
#include "limits.h"
#include "maps.h"
#include "shaper_maps.h"
#include "stats.h"
#include "verifier.h"

static __always_inline __u32 recent_slot(__u32 tc_handle, __u32 cpu)
{
	__u32 lines = config.recent_mask + 1;

	return cpu * lines + RECENT_SLOT(tc_handle, lines);
}

/*
 * Moves the samples of the line at `slot` to their handle's record. Between the two marks in
 * `state`, samples of the line may be in the record, too, and readers take neither.
 */
VERIFY_ONCE int recent_flush(__u32 slot, __u32 cpu)
{
	struct rtt_recent *line = bpf_map_lookup_elem(&cpp_rtt_recent, &slot);
	__u32 state;

	if (!line)
		return 0;
	state = line->state;
	if (!RECENT_COUNT(state))
		return 0;
	store_in_order(&line->state, state | RECENT_FLUSHING);
	line_record(line, cpu);
	__builtin_memset(line->sample, 0, sizeof(line->sample));
	store_in_order(&line->state, RECENT_STATE(RECENT_FLUSHES(state) + 1, 0));
	return 0;
}

/* Gives the line at `slot`, which has no sample, to a handle and an epoch. */
static __always_inline void recent_take(struct rtt_recent *line, __u32 tc_handle, __u32 epoch)
{
	line->tc_handle = tc_handle;
	line->epoch = epoch;
	/* So that no reader sees a sample of this handle with the one before. */
	store_in_order(&line->state, line->state);
}

/* Records a sample of a CPU that has no line: it came online after the lines were made. */
VERIFY_ONCE int record_at_once(__u32 tc_handle, __u32 sample, __u64 now, __u32 cpu)
{
	struct rtt_recent line = {
		.tc_handle = tc_handle,
		.epoch = EPOCH_NUMBER(now >> RTT_TICK_BITS),
		.last_tick = now >> RTT_TICK_BITS,
		.state = 1,
		.sample = { sample },
	};

	return line_record(&line, cpu);
}

/* Records a sample: `rtt` in slot units, `now` in ns. */
static __always_inline void rtt_record(__u32 tc_handle, enum side side, __u32 rtt, __u64 now,
				       __u32 cpu, struct stats *stats)
{
	__u32 slot = recent_slot(tc_handle, cpu), epoch = EPOCH_NUMBER(now >> RTT_TICK_BITS);
	__u32 sample = RECENT_SAMPLE((__u32)side, rtt), samples;
	struct rtt_recent *line = bpf_map_lookup_elem(&cpp_rtt_recent, &slot);

	count(stats, side == SIDE_SUBSCRIBER ? COUNT_rtt_subscriber : COUNT_rtt_internet);
	if (!line) {
		record_at_once(tc_handle, sample, now, cpu);
		return;
	}
	if (line->tc_handle != tc_handle || line->epoch != epoch) {
		recent_flush(slot, cpu);
		recent_take(line, tc_handle, epoch);
	}
	samples = RECENT_COUNT(line->state);
	if (never(samples >= RECENT_SAMPLES))
		return; /* a flush leaves none */
	line->last_tick = now >> RTT_TICK_BITS;
	*(volatile __u32 *)&line->sample[samples] = sample;
	*(volatile __u32 *)&line->state += 1;
	if (samples + 1 >= config.recent_samples)
		recent_flush(slot, cpu);
}

#endif
