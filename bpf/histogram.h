/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The RTT record of a tc handle: what user space reads, and never has to
 * clean. Each side rotates through RTT_EPOCHS epochs; the first sample of a new
 * epoch resets the oldest.
 */
#ifndef CPP_HISTOGRAM_H
#define CPP_HISTOGRAM_H

#include "maps.h"
#include "stats.h"

/* How often a lost compare-and-swap is tried again before it is counted. */
#define CAS_TRIES 8

/* ceil(2^31 * 2^(k/7)): where bucket k of an octave starts, in a mantissa whose
 * top bit is set. */
#define MANTISSA_1 0x8d52ce21U
#define MANTISSA_2 0x9c08a3b2U
#define MANTISSA_3 0xac467520U
#define MANTISSA_4 0xbe350f95U
#define MANTISSA_5 0xd2017f76U
#define MANTISSA_6 0xe7dd818eU

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

/* Bucket of an RTT in slot units: 0 below the range, HIST_BUCKETS - 1 above. */
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

/* Bucket passed 65535: remember 65536 of it beside the histogram. */
static __always_inline void hist_carry(struct rtt_epoch *epoch, __u32 bucket, struct stats *stats)
{
	for (int try = 0; try < CAS_TRIES; try++) {
		__u64 old = *(volatile __u64 *)&epoch->carry, add = 0;

#pragma unroll
		for (int i = 0; i < HIST_CARRIES; i++) {
			__u32 pair = old >> (16 * i) & 0xffff;

			if (!add && pair >> 8 == bucket + 1 && (pair & 0xff) != 0xff)
				add = 1ULL << (16 * i);
			if (!add && !pair)
				add = ((__u64)(bucket + 1) << 8 | 1) << (16 * i);
		}
		if (!add)
			break;
		if (__sync_val_compare_and_swap(&epoch->carry, old, old + add) == old)
			return;
	}
	count(stats, COUNT_rtt_carry_lost);
}

/* Four 16-bit counters share a word, since BPF has no smaller atomics. */
static __always_inline void hist_add(struct rtt_epoch *epoch, __u32 bucket, struct stats *stats)
{
	__u32 shift = bucket % 4 * 16, word = bucket / 4;
	__u64 old;

	if (word >= HIST_WORDS)
		return;
	old = __sync_fetch_and_add(&epoch->hist[word], 1ULL << shift);
	if ((old >> shift & 0xffff) != 0xffff)
		return;
	if (shift < 48) /* take the overflow back out of the next counter */
		__sync_fetch_and_add(&epoch->hist[word], -(1ULL << (shift + 16)));
	hist_carry(epoch, bucket, stats);
}

static __always_inline void min_to(__u32 *min, __u32 value)
{
	for (int try = 0; try < CAS_TRIES; try++) {
		__u32 old = *(volatile __u32 *)min;

		if (old <= value || __sync_val_compare_and_swap(min, old, value) == old)
			return;
	}
}

static __always_inline void max_to(__u32 *max, __u32 value)
{
	for (int try = 0; try < CAS_TRIES; try++) {
		__u32 old = *(volatile __u32 *)max;

		if (old >= value || __sync_val_compare_and_swap(max, old, value) == old)
			return;
	}
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

/* Makes `epoch` number `wanted`. False: another CPU is at it and does not get
 * done, or has moved on to a later one. */
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
	/* Number 0 is that of the first 20 s after boot, and in the window for
	 * 80: all are epochs without a sample from the start. */
	static const struct rtt_handle empty = {
		.epoch[0 ... 1][0 ... RTT_EPOCHS - 1].min = ~0U,
	};
	struct rtt_handle *handle = bpf_map_lookup_elem(&cpp_rtt, &tc_handle);

	if (handle)
		return handle;
	/* Two CPUs may both come here: BPF_NOEXIST, and then whoever's it is. */
	bpf_map_update_elem(&cpp_rtt, &tc_handle, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&cpp_rtt, &tc_handle);
}

/*
 * Load the lines that a sample is going to change. The atomic operations below
 * wait for their line one after the other; plain loads wait together.
 */
static __always_inline void touch(const struct rtt_totals *total, const struct rtt_epoch *epoch,
				  __u32 bucket)
{
	__u32 word = bucket / 4;

	(void)*(volatile __u64 *)&total->count;
	(void)*(volatile __u64 *)&epoch->sum_ns;
	if (word < HIST_WORDS)
		(void)*(volatile __u64 *)&epoch->hist[word];
}

/* One sample into a side's current epoch. */
static __always_inline bool side_record(struct rtt_handle *handle, __u32 side, __u32 rtt, __u64 now,
					struct stats *stats)
{
	__u64 tick = now >> RTT_TICK_BITS, rtt_ns = (__u64)rtt << SLOT_UNIT_BITS;
	__u32 number = tick * RTT_EPOCH_FACTOR >> 32, bucket = hist_bucket(rtt);
	struct rtt_epoch *epoch = &handle->epoch[side & 1][number % RTT_EPOCHS];
	struct rtt_totals *total = &handle->total[side & 1];

	touch(total, epoch, bucket);
	if (!epoch_enter(epoch, number)) {
		count(stats, COUNT_rtt_raced);
		return false;
	}
	hist_add(epoch, bucket, stats);
	__sync_fetch_and_add(&epoch->sum_ns, rtt_ns);
	min_to(&epoch->min, rtt);
	max_to(&epoch->max, rtt);
	epoch->last_tick = tick;
	__sync_fetch_and_add(&total->count, 1);
	__sync_fetch_and_add(&total->sum_ns, rtt_ns);
	return true;
}

/* One sample: `rtt` in slot units, `now` in ns. Global for the verifier's sake,
 * as flow_insert() is. */
__noinline int rtt_record(__u32 tc_handle, __u32 side, __u32 rtt, __u64 now, __u32 cpu)
{
	struct rtt_handle *handle = rtt_handle_of(tc_handle);
	struct stats *stats = stats_of(cpu);

	if (!stats)
		return 0;
	if (!handle)
		count(stats, COUNT_rtt_handle_full);
	else if (side_record(handle, side, rtt, now, stats))
		count(stats, side == SIDE_SUBSCRIBER ? COUNT_rtt_subscriber : COUNT_rtt_internet);
	return 0;
}

#endif
