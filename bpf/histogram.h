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

/* ceil(2^31 * 2^(k/7)): the start of bucket k of an octave, as a mantissa whose top bit
 * is set. */
#define MANTISSA_1 0x8d52ce21U
#define MANTISSA_2 0x9c08a3b2U
#define MANTISSA_3 0xac467520U
#define MANTISSA_4 0xbe350f95U
#define MANTISSA_5 0xd2017f76U
#define MANTISSA_6 0xe7dd818eU

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

/* Returns which of the seven buckets of its octave a mantissa is in. */
static __always_inline __u32 octave_part(__u32 mantissa)
{
	if (mantissa < MANTISSA_4) {
		if (mantissa < MANTISSA_2)
			return mantissa >= MANTISSA_1;
		return mantissa < MANTISSA_3 ? 2 : 3;
	}
	if (mantissa < MANTISSA_6)
		return mantissa < MANTISSA_5 ? 4 : 5;
	return 6;
}

/* Returns the bucket of an RTT in slot units: 0 below the range, HIST_BUCKETS - 1 above. */
static __always_inline __u32 hist_bucket(__u32 rtt)
{
	__s32 octave, bucket;

	if (!rtt)
		return 0;
	octave = octave_of(rtt);
	bucket = (octave - HIST_FIRST_OCTAVE) * HIST_PER_OCTAVE - HIST_FIRST_SUB + 1 +
		 (__s32)octave_part(rtt << (31 - octave));
	if (bucket < 0)
		return 0;
	return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

/*
 * Returns the addition to rtt_epoch.carry that notes 65536 more samples of a bucket: to
 * the bucket's pair, else to a free one. 0: there is no pair for it.
 */
static __always_inline __u64 carry_step(__u64 carry, __u32 bucket)
{
#pragma unroll
	for (int i = 0; i < HIST_CARRIES; i++) {
		__u32 shift = 16 * i, pair = carry >> shift & 0xffff;

		if (!pair)
			return ((__u64)(bucket + 1) << 8 | 1) << shift;
		if (pair >> 8 == bucket + 1 && (pair & 0xff) != 0xff)
			return 1ULL << shift;
	}
	return 0;
}

/* A bucket has passed 65535: notes 65536 of its samples beside the histogram. */
VERIFY_ONCE int hist_carry(struct rtt_epoch *epoch, __u32 bucket, __u32 cpu)
{
	struct stats *stats = stats_of(cpu);

	if (!epoch || !stats)
		return 0;
	for (int try = 0; try < CAS_TRIES; try++) {
		__u64 old = READ_U64(epoch->carry), add = carry_step(old, bucket);

		if (!add)
			break;
		if (__sync_val_compare_and_swap(&epoch->carry, old, old + add) == old)
			return 0;
	}
	count(stats, COUNT_rtt_carry_lost);
	return 0;
}

/* Adds a sample to an epoch's histogram. Four 16-bit counters share a word, because BPF
 * has no smaller atomics. */
VERIFY_ONCE int hist_add(struct rtt_epoch *epoch, __u32 rtt, __u32 cpu)
{
	__u32 bucket = hist_bucket(rtt), shift = HIST_SHIFT(bucket), word = HIST_WORD(bucket);
	__u64 old;

	if (!epoch || never(word >= HIST_WORDS))
		return 0;
	old = __sync_fetch_and_add(&epoch->hist[word], 1ULL << shift);
	if ((old >> shift & 0xffff) != 0xffff)
		return 0;
	if (shift < 48) /* the overflow went into the next counter: take it out */
		__sync_fetch_and_add(&epoch->hist[word], -(1ULL << (shift + 16)));
	hist_carry(epoch, bucket, cpu);
	return 0;
}

static __always_inline void epoch_reset(struct rtt_epoch *epoch)
{
	__builtin_memset(epoch->hist, 0, sizeof(epoch->hist));
	epoch->sum_ns = 0;
	epoch->carry = 0;
	epoch->min = ~0U;
	epoch->max = 0;
	epoch->last_tick = 0;
}

/* Makes `epoch` number `wanted`. Returns false if another CPU resets it for too long, or
 * has made it a later one. */
static __always_inline bool epoch_enter(struct rtt_epoch *epoch, __u32 wanted)
{
	for (int try = 0; try < 32; try++) {
		__u32 number = *(volatile __u32 *)&epoch->epoch;

		if (number == wanted)
			return true;
		if (number == RTT_EPOCH_RESETTING)
			continue;
		if (number > wanted)
			return false;
		if (__sync_val_compare_and_swap(&epoch->epoch, number, RTT_EPOCH_RESETTING) !=
		    number)
			continue;
		epoch_reset(epoch);
		__sync_val_compare_and_swap(&epoch->epoch, RTT_EPOCH_RESETTING, wanted);
		return true;
	}
	return false;
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
};

/*
 * Adds a line's samples of one side to the handle's record: each sample to the
 * histogram, but only their sums to the other fields. Samples of an epoch that the
 * window has left behind count in the totals only.
 */
VERIFY_ONCE int side_record(struct rtt_handle *handle, const struct rtt_recent *line, __u32 side,
			    __u32 cpu)
{
	struct side_sum add = { .min = ~0U };
	struct stats *stats = stats_of(cpu);
	struct rtt_totals *total;
	struct rtt_epoch *epoch;
	bool entered;
	__u32 number;

	if (!handle || !line || !stats)
		return 0;
	number = line->epoch;
	epoch = &handle->epoch[pair_index(side)][number % RTT_EPOCHS];
	entered = epoch_enter(epoch, number);
	for (int i = 0; i < RECENT_SAMPLES; i++) {
		__u32 sample = line->sample[i], rtt = RECENT_SAMPLE_RTT(sample);

		if (!rtt || RECENT_SAMPLE_SIDE(sample) != side)
			continue;
		if (entered)
			hist_add(epoch, rtt, cpu);
		add.sum += rtt;
		add.count++;
		add.min = rtt < add.min ? rtt : add.min;
		add.max = rtt > add.max ? rtt : add.max;
	}
	if (!add.count)
		return 0;
	if (entered) {
		__sync_fetch_and_add(&epoch->sum_ns, add.sum << SLOT_UNIT_BITS);
		min_to(&epoch->min, add.min);
		max_to(&epoch->max, add.max);
		epoch->last_tick = line->last_tick;
	} else if (*(volatile __u32 *)&epoch->epoch == RTT_EPOCH_RESETTING) {
		count_many(stats, COUNT_rtt_raced, add.count);
	}
	total = &handle->total[pair_index(side)];
	__sync_fetch_and_add(&total->count, add.count);
	__sync_fetch_and_add(&total->sum_ns, add.sum << SLOT_UNIT_BITS);
	return 0;
}

#endif
