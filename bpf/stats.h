/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counters by reason. A program looks its CPU's block up once and passes the pointer
 * on. The additions are plain, because both hooks run with bottom halves off.
 */
#ifndef CPP_STATS_H
#define CPP_STATS_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "maps.h"

static __always_inline struct stats *stats_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&cpp_stats, &cpu);
}

static __always_inline void count(struct stats *stats, enum counter reason)
{
	stats->counter[reason]++;
}

static __always_inline void count_many(struct stats *stats, enum counter reason, __u32 n)
{
	stats->counter[reason] += n;
}

#endif
