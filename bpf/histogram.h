/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The RTT record of a tc handle. User space reads it and never has to clean it:
 * each side rotates through RTT_EPOCHS epochs, and the first sample of a new epoch
 * resets the oldest.
 */
#ifndef CPP_HISTOGRAM_H
#define CPP_HISTOGRAM_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "atomics.h"
#include "limits.h"
#include "shaper_maps.h"
#include "stats.h"
#include "verifier.h"

/* Brings slot units to multiples of 2^-58 s: 2^58 / 125000000, rounded down. */
#define HIST_SCALE 0x89705f41U

/* floor(2^31 * 2^(k/8)): the end of part k of an octave, as a mantissa whose top bit is set. */
#define MANTISSA_1 0x8b95c1e3U
#define MANTISSA_2 0x9837f051U
#define MANTISSA_3 0xa5fed6a9U
#define MANTISSA_4 0xb504f333U
#define MANTISSA_5 0xc5672a11U
#define MANTISSA_6 0xd744fccaU
#define MANTISSA_7 0xeac0c6e7U

/* Returns floor(log2(value)). */
static __always_inline __u32 octave_of(__u32 value)
{
	__u32 octave = 0;

	if (value >> 16) {
		octave += 16;
		value >>= 16;
	}
	if (value >> 8) {
		octave += 8;
		value >>= 8;
	}
	if (value >> 4) {
		octave += 4;
		value >>= 4;
	}
	if (value >> 2) {
		octave += 2;
		value >>= 2;
	}
	return octave + (value >> 1);
}

/* Returns which of the eight parts of its octave a mantissa is in. */
static __always_inline __u32 octave_part(__u32 mantissa)
{
	if (mantissa <= MANTISSA_4) {
		if (mantissa <= MANTISSA_2)
			return mantissa > MANTISSA_1;
		return mantissa <= MANTISSA_3 ? 2 : 3;
	}
	if (mantissa <= MANTISSA_6)
		return mantissa <= MANTISSA_5 ? 4 : 5;
	return mantissa <= MANTISSA_7 ? 6 : 7;
}

#define OCTAVE_OF_SECOND 27 /* 2^27 units of 2^-27 s */

/*
 * Returns the bucket of an RTT in slot units (limits.h). The mantissa takes all bits of the
 * product: with its upper half alone, 51 of the 312 RTTs next to an edge get the wrong bucket.
 * The rounded-down scale leaves an RTT of exactly 2^k s below that power, where it belongs.
 */
static __always_inline __u32 hist_bucket(__u32 rtt)
{
	__u64 scaled = (__u64)rtt * HIST_SCALE;
	__u32 octave = octave_of(scaled >> 31), part = octave_part(scaled >> octave);
	__s32 octaves_from_second = (__s32)octave - OCTAVE_OF_SECOND;
	__s32 bucket = octaves_from_second * HIST_PER_OCTAVE + HIST_BIAS + 1 + (__s32)part;

	if (bucket < 0)
		return 0;
	return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

/* Adds a sample to an epoch's histogram. Two 16-bit counters share a word, because BPF
 * has no smaller atomics. A full counter stays as it is, so that it never overflows into its
 * neighbour. */
static __always_inline void hist_add(struct rtt_epoch *epoch, __u32 rtt, struct stats *stats)
{
	__u32 bucket = hist_bucket(rtt), shift = HIST_SHIFT(bucket), word = HIST_WORD(bucket);

	if (never(word >= HIST_WORDS))
		return;
	if ((READ_U32(epoch->hist[word]) >> shift & 0xffff) >= HIST_FULL)
		count(stats, COUNT_rtt_hist_full);
	else
		__sync_fetch_and_add(&epoch->hist[word], 1U << shift);
}

static __always_inline void epoch_reset(struct rtt_epoch *epoch, __u32 tick)
{
	__builtin_memset(epoch->hist, 0, sizeof(epoch->hist));
	epoch->sum_ns = 0;
	epoch->count = 0;
	epoch->min = ~0U;
	epoch->max = 0;
	epoch->last_tick = tick; /* not 0: in half of all times, 0 is the later tick */
}

/* What became of a try to enter an epoch. */
enum epoch_entry {
	EPOCH_UNTRIED = 0,
	EPOCH_ENTERED,
	EPOCH_PAST, /* its place has a later epoch: the window has left it behind */
	EPOCH_LOST, /* another CPU resets it for too long */
};

/* Makes `epoch` number `wanted`, if it is an earlier one. `tick` is the time of the samples. */
static __always_inline enum epoch_entry epoch_enter(struct rtt_epoch *epoch, __u32 wanted,
						    __u32 tick)
{
	for (int try = 0; try < 32; try++) {
		__u32 number = READ_U32(epoch->epoch);

		if (number == wanted)
			return EPOCH_ENTERED;
		if (number == RTT_EPOCH_RESETTING)
			continue;
		if (number > wanted)
			return EPOCH_PAST;
		if (__sync_val_compare_and_swap(&epoch->epoch, number, RTT_EPOCH_RESETTING) !=
		    number)
			continue;
		epoch_reset(epoch, tick);
		__sync_val_compare_and_swap(&epoch->epoch, RTT_EPOCH_RESETTING, wanted);
		return EPOCH_ENTERED;
	}
	return EPOCH_LOST;
}

static __always_inline struct rtt_handle *rtt_handle_of(__u32 tc_handle)
{
	/* Number 0 is that of the first 20 s after boot, and is in the window for 80 s. So
	 * even a new record must read as epochs without a sample. */
	OFF_STACK struct rtt_handle empty = {
		.epoch[0 ... 1][0 ... RTT_EPOCHS - 1].min = ~0U,
	};
	struct rtt_handle *handle = bpf_map_lookup_elem(&cpp_rtt, &tc_handle);

	if (handle)
		return handle;
	/* Two CPUs may do this at once: the second update fails, and both find the first's. */
	bpf_map_update_elem(&cpp_rtt, &tc_handle, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&cpp_rtt, &tc_handle);
}

/* The samples of one side of a line, added up. */
struct side_sum {
	__u64 sum; /* in slot units */
	__u32 count;
	__u32 min;
	__u32 max;
	__u32 entry; /* enum epoch_entry */
};

/* Returns the epoch of a side that has the number of a line's samples. */
static __always_inline struct rtt_epoch *epoch_of(struct rtt_handle *handle, __u32 side,
						  __u32 number)
{
	return &handle->epoch[pair_index(side)][number % RTT_EPOCHS];
}

/* Adds one sample of a line to its epoch's histogram, and to the sum of its side. A side's
 * first sample enters the epoch, so that a side without samples changes nothing. */
VERIFY_ONCE int sample_record(struct rtt_handle *handle, const struct rtt_recent *line,
			      __u32 sample, struct side_sum *add, __u32 cpu)
{
	struct stats *stats = stats_of(cpu);
	__u32 rtt = RECENT_SAMPLE_RTT(sample);
	struct rtt_epoch *epoch;

	if (!handle || !line || !add || !stats)
		return 0;
	epoch = epoch_of(handle, RECENT_SAMPLE_SIDE(sample), line->epoch);
	if (add->entry == EPOCH_UNTRIED)
		add->entry = epoch_enter(epoch, line->epoch, line->last_tick);
	if (add->entry == EPOCH_ENTERED)
		hist_add(epoch, rtt, stats);
	else if (add->entry == EPOCH_LOST)
		count(stats, COUNT_rtt_raced);
	add->sum += rtt;
	if (!add->count || rtt < add->min)
		add->min = rtt;
	if (rtt > add->max)
		add->max = rtt;
	add->count++;
	return 0;
}

/* Adds the sum of a side to the handle's record. Samples whose epoch was not entered count in
 * the totals only. */
static __always_inline void side_record(struct rtt_handle *handle, const struct rtt_recent *line,
					__u32 side, const struct side_sum *add)
{
	struct rtt_epoch *epoch = epoch_of(handle, side, line->epoch);
	struct rtt_totals *total = &handle->total[pair_index(side)];

	if (!add->count)
		return;
	if (add->entry == EPOCH_ENTERED) {
		__sync_fetch_and_add(&epoch->sum_ns, add->sum << SLOT_UNIT_BITS);
		min_to(&epoch->min, add->min);
		max_to(&epoch->max, add->max);
		later_to(&epoch->last_tick, line->last_tick);
		__sync_fetch_and_add(&epoch->count, add->count);
	}
	__sync_fetch_and_add(&total->count, add->count);
	__sync_fetch_and_add(&total->sum_ns, add->sum << SLOT_UNIT_BITS);
}

/* Adds a line's samples to its handle's record: each sample to a histogram, but only their
 * sums to the other fields. */
VERIFY_ONCE int line_record(const struct rtt_recent *line, __u32 cpu)
{
	struct side_sum add[2] = {};
	struct stats *stats = stats_of(cpu);
	struct rtt_handle *handle;

	if (!line || !stats)
		return 0;
	handle = rtt_handle_of(line->tc_handle);
	if (!handle) {
		count_many(stats, COUNT_rtt_handle_full, RECENT_COUNT(line->state));
		return 0;
	}
	for (int i = 0; i < RECENT_SAMPLES; i++) {
		__u32 sample = line->sample[i];

		if (!sample)
			break;
		if (RECENT_SAMPLE_SIDE(sample) == SIDE_SUBSCRIBER)
			sample_record(handle, line, sample, &add[SIDE_SUBSCRIBER], cpu);
		else
			sample_record(handle, line, sample, &add[SIDE_INTERNET], cpu);
	}
	side_record(handle, line, SIDE_SUBSCRIBER, &add[SIDE_SUBSCRIBER]);
	side_record(handle, line, SIDE_INTERNET, &add[SIDE_INTERNET]);
	return 0;
}

#endif
