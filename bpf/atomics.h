/* SPDX-License-Identifier: GPL-2.0 */
/* Words that several CPUs may change at once. */
#ifndef CPP_ATOMICS_H
#define CPP_ATOMICS_H

#include <linux/types.h>

#define READ_U32(x)	(*(volatile __u32 *)&(x))
#define READ_U64(x)	(*(volatile __u64 *)&(x))
#define WRITE_U64(x, y) (*(volatile __u64 *)&(x) = (y))

/* Stores a word. All stores before it are seen before it, and all stores after it are seen
 * after it: BPF's exchange is a full barrier, and an addition without a result is none on arm64. */
static __always_inline void store_in_order(__u32 *word, __u32 value)
{
	__sync_lock_test_and_set(word, value);
}

/* How often a compare-and-swap that another CPU has beaten is tried. */
#define CAS_TRIES 8

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

/* Sets `tick` to `value` if that is later. Ticks wrap. */
static __always_inline void later_to(__u32 *tick, __u32 value)
{
	for (int try = 0; try < CAS_TRIES; try++) {
		__u32 old = READ_U32(*tick);

		if ((__s32)(old - value) >= 0 ||
		    __sync_val_compare_and_swap(tick, old, value) == old)
			return;
	}
}

#endif
