/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The two clocks: nanoseconds for RTTs, jiffies (inlined to one load, no
 * helper call) for everything that may be off by a tick. Tests inject both
 * through cpp_control; with config.test_clock off the verifier removes that.
 */
#ifndef CPP_CLOCK_H
#define CPP_CLOCK_H

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

/* A frame's length: replayed captures may hold less than was on the wire. */
static __always_inline __u32 frame_len(__u32 len)
{
	__u32 zero = 0;
	struct control *control;

	if (!config.test_clock)
		return len;
	control = bpf_map_lookup_elem(&cpp_control, &zero);
	return control && control->test_frame_len ? control->test_frame_len : len;
}

#endif
