/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stream's interface to user space: flow events in a BPF ring buffer, and counts by
 * subnet and protocol. Not pinned: both ends are of one build.
 *
 * A flow here is one direction of a connection: the opener sends, the answerer
 * answers. Events name the ends from the view of an RTT's reader: `src` is the host that
 * answered, and `dst` is the opener, whose mark was echoed.
 */
#ifndef CPP_STREAM_H
#define CPP_STREAM_H

#include <linux/types.h>
#include "abi.h"
#include "limits.h"

/* What an event reports. */
enum stream_kind {
	STREAM_KIND_NONE = 0,	 /* no event */
	STREAM_KIND_RTT = 1,	 /* one RTT sample */
	STREAM_KIND_OPENING = 2, /* the first answer to a flow */
	STREAM_KIND_CLOSING = 3, /* the end of a flow that was open */
};

/* Why a flow opened or closed. */
enum stream_reason {
	STREAM_REASON_NONE = 0,		/* an RTT event has no reason */
	STREAM_REASON_SYN = 1,		/* opened: the opener's SYN */
	STREAM_REASON_SYN_ACK = 2,	/* opened: the opener's SYN-ACK */
	STREAM_REASON_FIRST_PACKET = 3, /* opened: the first packet seen was no SYN */
	STREAM_REASON_FIN = 4,		/* closed: a FIN */
	STREAM_REASON_RST = 5,		/* closed: an RST */
	STREAM_REASON_TIMEOUT = 6,	/* closed: idle for too long; made in user space only */
};

/* Whose packet opened or closed the flow: an end as the event writes them. */
enum stream_trigger {
	STREAM_TRIGGER_NONE = 0, /* an RTT event has no trigger */
	STREAM_TRIGGER_SRC = 1,	 /* the answerer */
	STREAM_TRIGGER_DEST = 2, /* the opener */
	STREAM_TRIGGER_GC = 3,	 /* nobody: garbage collection; made in user space only */
};

/* One event. */
struct stream_event {
	__u64 time_ns; /* ktime, or the capture's clock; of an opening: of the opener's packet */
	__u64 rtt_ns;  /* 0 unless STREAM_KIND_RTT */
	__u64 min_rtt_ns;
	__u64 sent_packets; /* by the opener (dst), GRO segments counted */
	__u64 sent_bytes;   /* payload of TCP; of ICMP, what follows the echo's header */
	__u64 rec_packets;  /* by the answerer (src) */
	__u64 rec_bytes;
	__u64 tag;    /* the connection's hash, the same for both directions */
	__u8 src[16]; /* as in ip_prefix.addr: IPv4 after twelve 0xFF bytes */
	__u8 dst[16];
	__be16 src_port; /* ICMP: the echo identifier */
	__be16 dst_port;
	__u32 tc_handle; /* 0: none, or no shaper */
	__u32 flow;	 /* index in stream_flow */
	__u8 kind;	 /* enum stream_kind */
	__u8 reason;	 /* enum stream_reason */
	__u8 trigger;	 /* enum stream_trigger */
	__u8 protocol;	 /* IPPROTO_* */
	__u8 ip_version; /* 4 or 6 */
	__u8 side;	 /* enum side, of the answerer; shaper only */
	__u8 on_egress;	 /* the answer was seen leaving */
	__u8 opener;	 /* 0 or 1: which direction of stream_flow the opener sends in */
	__u32 reserved[3];
};
ASSERT_SIZE(stream_event, 128);

/* stream_flow value: index = bucket * FLOW_WAYS + way of the flow table. */
struct stream_direction { /* of what one end sends */
	__u64 packets;
	__u64 bytes; /* payload */
	__u64 last_seen_ns;
	__u64 event_ns; /* of the packet that waits for an answer; once answered, of the last
			 * RTT event of this end's marks (0: none) */
	__u64 min_rtt_ns;
	__u64 smoothed_rtt_ns;
	__u32 state; /* enum stream_state */
	__u32 opening_reason;
};
ASSERT_SIZE(stream_direction, 56);

enum stream_state {
	STREAM_STATE_NONE = 0,	    /* nothing sent yet */
	STREAM_STATE_WAIT_OPEN = 1, /* sent, not answered yet */
	STREAM_STATE_OPEN = 2,	    /* answered */
	STREAM_STATE_CLOSED = 3,    /* FIN or RST seen: later packets do not open it again */
};

struct stream_flow {
	__u64 tag; /* of the flow in this place, or of an earlier one */
	__u64 reserved;
	struct stream_direction end[2];
};
ASSERT_SIZE(stream_flow, 128);

/* How the counts of a subnet are split: the index of stream_subnet's arrays. */
enum stream_class {
	STREAM_CLASS_TCP_TIMESTAMPS = 0, /* TCP segments with the timestamps option */
	STREAM_CLASS_TCP_OTHER = 1,	 /* other TCP packets */
	STREAM_CLASS_OTHER = 2,		 /* IP packets of other protocols */
};
_Static_assert(STREAM_CLASSES == STREAM_CLASS_OTHER + 1, "stream_subnet's arrays");

struct stream_count {
	__u64 packets;
	__u64 bytes;
};

/* stream_subnet value; the key is the masked address. Counts only grow. */
struct stream_subnet {
	struct stream_count sent[STREAM_CLASSES];     /* packets from the subnet */
	struct stream_count received[STREAM_CLASSES]; /* packets to the subnet */
	__u64 last_seen_ns;
	__u64 reserved;
};
ASSERT_SIZE(stream_subnet, 112);

struct stream_subnet_key {
	__u8 addr[16]; /* as in ip_prefix.addr */
};
ASSERT_SIZE(stream_subnet_key, 16);

/* stream_syn value; the key is the flow's tag. A SYN that the shaper does not enter in its
 * flow table waits here for the SYN-ACK, which it does enter. */
struct stream_syn {
	__u64 time_ns;
	__u64 packets;
	__u32 dir; /* whose SYN: index of stream_flow.end */
	__u32 reserved;
};
ASSERT_SIZE(stream_syn, 24);

/* stream_echo key: an ICMP request that waits for its reply. The value is when it was seen. */
struct stream_echo_key {
	__u64 tag;  /* of the flow */
	__u32 mark; /* of the request */
	__u32 dir;  /* the way that the request goes */
};
ASSERT_SIZE(stream_echo_key, 16);

/* stream_stats: index = CPU; only grow. The names are those of the JSON. */
enum stream_counter {
#define STREAM_COUNTER(name, help) STREAM_##name,
#include "stream_counters.def"
#undef STREAM_COUNTER
	NR_STREAM_COUNTERS
};

#define MAX_STREAM_COUNTERS 32
_Static_assert(NR_STREAM_COUNTERS <= MAX_STREAM_COUNTERS, "stream_stats has no room");

struct stream_stats {
	__u64 counter[MAX_STREAM_COUNTERS];
};
ASSERT_SIZE(stream_stats, 256);

#endif
