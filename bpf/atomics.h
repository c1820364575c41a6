/* SPDX-License-Identifier: GPL-2.0 */
/* Words that several CPUs may change at once. */
#ifndef CPP_ATOMICS_H
#define CPP_ATOMICS_H

#include <linux/types.h>

#define READ_U64(x)	(*(volatile __u64 *)&(x))
#define WRITE_U64(x, y) (*(volatile __u64 *)&(x) = (y))

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

#endif
