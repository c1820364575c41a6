/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the packet path to whoever follows it (pping.bpf.c): a tail call, which
 * is a no-op of the JIT's while nobody does. What was found out about the packet
 * travels in skb->cb, which BPF programs of a packet share.
 */
#ifndef CPP_FOLLOW_H
#define CPP_FOLLOW_H

#include <linux/types.h>

enum follow_word {
	FOLLOW_FLOW = 0, /* number in the flow table << 1 | direction, + 2: never 0 */
	FOLLOW_RTT = 1,	 /* slot units, or 0 */
	FOLLOW_TAG_LOW = 2,
	FOLLOW_TAG_HIGH = 3,
	FOLLOW_HANDLE = 4,
};

#define FOLLOW_FLOW_MADE(flow, dir) (((flow) << 1 | (dir)) + 2)

#endif
