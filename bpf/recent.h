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

/* Moves the samples of the line at `slot` to their handle's record. */
VERIFY_ONCE int recent_flush(__u32 slot, __u32 cpu)
{
	struct rtt_recent *line = bpf_map_lookup_elem(&cpp_rtt_recent, &slot);
	struct stats *stats = stats_of(cpu);
	struct rtt_handle *handle;
	__u32 samples;

	if (!line || !stats)
		return 0;
	samples = RECENT_COUNT(line->state);
	if (!samples)
		return 0;
	handle = rtt_handle_of(line->tc_handle);
	if (handle) {
		side_record(handle, line, SIDE_SUBSCRIBER, cpu);
		side_record(handle, line, SIDE_INTERNET, cpu);
	} else {
		count_many(stats, COUNT_rtt_handle_full, samples);
	}
	__builtin_memset(line->sample, 0, sizeof(line->sample));
	/* A full barrier: a reader that sees the flush counted sees the record with it. */
	__sync_fetch_and_add(&line->state, (1U << RECENT_COUNT_BITS) - samples);
	return 0;
}

/* Records a sample: `rtt` in slot units, `now` in ns. */
static __always_inline void rtt_record(__u32 tc_handle, enum side side, __u32 rtt, __u64 now,
				       __u32 cpu, struct stats *stats)
{
	__u32 slot = recent_slot(tc_handle, cpu), epoch = EPOCH_NUMBER(now >> RTT_TICK_BITS);
	__u32 samples;
	struct rtt_recent *line = bpf_map_lookup_elem(&cpp_rtt_recent, &slot);

	if (!line)
		return;
	count(stats, side == SIDE_SUBSCRIBER ? COUNT_rtt_subscriber : COUNT_rtt_internet);
	if (line->tc_handle != tc_handle || line->epoch != epoch)
		recent_flush(slot, cpu);
	samples = RECENT_COUNT(line->state);
	if (never(samples >= RECENT_SAMPLES))
		return; /* a flush leaves none */
	line->tc_handle = tc_handle;
	line->epoch = epoch;
	line->last_tick = now >> RTT_TICK_BITS;
	*(volatile __u32 *)&line->sample[samples] = RECENT_SAMPLE((__u32)side, rtt);
	*(volatile __u32 *)&line->state += 1;
	if (samples + 1 >= config.recent_samples)
		recent_flush(slot, cpu);
}

#endif
