/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the packet path to its follower (pping.bpf.c). A tail call hands the packet
 * on; without a follower the JIT makes a no-op of it. The packet path's findings
 * travel in skb->cb, which all BPF programs of a packet share.
 */
#ifndef CPP_FOLLOW_H
#define CPP_FOLLOW_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>

/* The packet path's findings about a packet of a flow in the table. */
struct followed {
	__u64 tag;	 /* of the flow */
	__u32 flow;	 /* its number in the table, or FLOW_NONE */
	__u32 rtt;	 /* of the other end, in slot units; 0: no sample */
	__u32 tc_handle; /* of the subscriber */
	int dir;	 /* 0 or 1: which end of the flow sends */
	bool bare;	 /* the packet begins with the IP header */
	int sender;	 /* enum side */
	int receiver;	 /* enum side: the same as the sender's between two subscribers */
};

/* The bits of FOLLOW_FLOW that a flow's number shares with the flags below it. */
#define FOLLOW_FLAG_BITS 4

/* The number of a flow that is not in the table: only its SYN was seen. One less than the
 * greatest that fits, so that the word of skb->cb is not 0 either. */
#define FLOW_NONE ((~0U >> FOLLOW_FLAG_BITS) - 1)

/* The words of skb->cb. */
enum follow_word {
	FOLLOW_FLOW =
		0, /* (flow << 4 | bare << 3 | receiver << 2 | sender << 1 | dir) + FOLLOW_FLOW_FIRST */
	FOLLOW_RTT = 1,
	FOLLOW_TAG_LOW = 2,
	FOLLOW_TAG_HIGH = 3,
	FOLLOW_HANDLE = 4,
};

#define FOLLOW_FLOW_FIRST 2 /* so that the word is never 0 */

static __always_inline void follow_pack(struct __sk_buff *skb, const struct followed *followed)
{
	__u32 flow = followed->flow << FOLLOW_FLAG_BITS | followed->bare << 3 |
		     followed->receiver << 2 | followed->sender << 1;

	skb->cb[FOLLOW_FLOW] = (flow | followed->dir) + FOLLOW_FLOW_FIRST;
	skb->cb[FOLLOW_RTT] = followed->rtt;
	skb->cb[FOLLOW_TAG_LOW] = (__u32)followed->tag;
	skb->cb[FOLLOW_TAG_HIGH] = followed->tag >> 32;
	skb->cb[FOLLOW_HANDLE] = followed->tc_handle;
}

static __always_inline struct followed follow_unpack(const struct __sk_buff *skb)
{
	__u32 flow = skb->cb[FOLLOW_FLOW] - FOLLOW_FLOW_FIRST;
	struct followed followed = {
		.tag = (__u64)skb->cb[FOLLOW_TAG_HIGH] << 32 | skb->cb[FOLLOW_TAG_LOW],
		.flow = flow >> FOLLOW_FLAG_BITS,
		.bare = flow >> 3 & 1,
		.rtt = skb->cb[FOLLOW_RTT],
		.tc_handle = skb->cb[FOLLOW_HANDLE],
		.dir = flow & 1,
		.sender = flow >> 1 & 1,
		.receiver = flow >> 2 & 1,
	};

	return followed;
}

#endif
