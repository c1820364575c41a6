/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two clocks: nanoseconds for RTTs, and jiffies for times that may be off by a tick. To
 * read jiffies is one load, not a helper call. Tests and replays set both through
 * cpp_control; with config.test_clock off the verifier removes that code.
 *
 * The clock of a capture may step back or run wild. In a replay, now_ns() is a packet's own
 * time, whatever that is; time-outs that user space shares go by steady_ns().
 */
#ifndef CPP_CLOCK_H
#define CPP_CLOCK_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "maps.h"

static __always_inline __u64 test_now_ns(void)
{
	struct control *control = control_entry();

	return control ? control->test_now_ns : 0;
}

static __always_inline __u64 now_ns(void)
{
	if (config.test_clock)
		return test_now_ns();
	return bpf_ktime_get_ns();
}

/* The time for time-outs, at a packet whose own time is `now`. */
static __always_inline __u64 steady_ns(__u64 now)
{
	struct control *control;

	if (!config.test_clock)
		return now;
	control = control_entry();
	return control && control->test_steady_ns ? control->test_steady_ns : now;
}

static __always_inline __u64 now_jiffies(void)
{
	if (config.test_clock)
		return test_now_ns() / (config.jiffy_ns ?: 1);
	return bpf_jiffies64();
}

#endif
