/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A packet as the RTT rules and the flow events see it: it carries a mark, and it may
 * echo a mark of the other end. An RTT is the time from a mark to its echo.
 *
 * Each source of marks, such as TCP timestamps or ICMP echoes, is a file mark_*.h and its
 * call in packet.h; flow.h, slots.h, rtt.h and the records know nothing of it. The marks of
 * one direction must be of one source: those of two cannot be compared.
 */
#ifndef CPP_SEGMENT_H
#define CPP_SEGMENT_H

#include <stdbool.h>
#include <linux/types.h>

struct segment {
	__be16 source; /* a port, or another number that tells the flows of a host apart */
	__be16 dest;
	__u32 mark;	    /* valid with has_mark; grows along the direction, modulo 2^32 */
	__u32 echo;	    /* valid with has_mark and has_echo; 0: none */
	__u32 payload;	    /* bytes behind the header; 0: the mark opens no sample (rule 1) */
	bool has_mark;	    /* false: cannot be measured */
	bool has_echo;	    /* echo counts (rule 2) */
	bool first_is_edge; /* the mark is new even if it is the first seen (rule 4) */
	bool asks;	    /* its flow waits for an answer */
	bool starts;	    /* the first of a connection */
	bool accepts;	    /* if it starts one: answers the other end's start */
	bool ends;	    /* the last of its direction */
	bool aborts;	    /* the last of both directions */
	bool alone;	    /* its mark waits by itself (echoes.h): marks come in any order */
};

/* Mark a is later than b: RFC 7323, 5.2, and the same for other marks. */
static __always_inline bool mark_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* Directions are 0 and 1: which end of the flow sends (flow.h). */
static __always_inline int other_dir(int dir)
{
	return dir ^ 1;
}

#endif
