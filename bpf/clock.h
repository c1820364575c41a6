/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two clocks: nanoseconds for RTTs, and jiffies for times that may be off by a tick. To
 * read jiffies is one load, not a helper call. Tests set both through cpp_control;
 * with config.test_clock off the verifier removes that code.
 */
#ifndef CPP_CLOCK_H
#define CPP_CLOCK_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "maps.h"

static __always_inline __u64 test_now_ns(void)
{
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&cpp_control, &zero);

	return control ? control->test_now_ns : 0;
}

static __always_inline __u64 now_ns(void)
{
	if (config.test_clock)
		return test_now_ns();
	return bpf_ktime_get_ns();
}

static __always_inline __u64 now_jiffies(void)
{
	if (config.test_clock)
		return test_now_ns() / (config.jiffy_ns ?: 1);
	return bpf_jiffies64();
}

#endif
