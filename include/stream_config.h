/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The .rodata of the stream: the reader's decisions, made before its programs are
 * verified.
 */
#ifndef CPP_STREAM_CONFIG_H
#define CPP_STREAM_CONFIG_H

#include <linux/types.h>

/* RTT events of a flow are at least this share of its RTT apart: 16.16 fixed
 * point, as `rtt_rate`. */
#define RTT_RATE_ONE 65536

struct stream_config {
	__u64 rate_limit_ns; /* least time between a flow's RTT events; 0: every RTT */
	__u64 wakeup_bytes;  /* unread bytes of the ring buffer that wake its reader */
	__u32 rtt_rate;	     /* x RTT_RATE_ONE; 0: rate_limit_ns counts */
	__u8 smoothed;	     /* rtt_rate is of the smoothed RTT, not of the least */
	__u8 events;	     /* put events into the ring buffer */
	__u8 aggregate;	     /* count by subnet and protocol */
	__u8 subnet_v4;	     /* prefix lengths of the aggregates */
	__u8 subnet_v6;
	__u8 tcp; /* protocols that are measured: standalone only */
	__u8 icmp;
	__u8 include_local;  /* RTTs of this host's own answers too: standalone only */
	__u8 no_link_header; /* frames begin with the IP header: standalone only */
	__u8 reserved[3];
};
_Static_assert(sizeof(struct stream_config) == 32, "stream_config");

#endif
