/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes flow events into the ring buffer: openings, closings, RTTs. A flow is one
 * direction of a connection, and its opener is the end that sends in it. stream_flow
 * has, at the same number, the state that the table of flow.h has no room for: counts,
 * the least RTT, the last event.
 */
#ifndef CPP_EVENTS_H
#define CPP_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "atomics.h"
#include "limits.h"
#include "parse.h"
#include "segment.h"
#include "stream.h"
#include "stream_config.h"
#include "stream_maps.h"
#include "verifier.h"

/* A packet of a flow in the table, and the findings of rtt_packet(). */
struct stream_packet {
	const struct ip_packet *ip;
	const struct segment *segment;
	struct stream_stats *stats;
	__u64 tag;
	__u64 now;
	__u64 steady; /* clock.h: for time-outs */
	__u64 rtt_ns; /* of the other end; 0: no sample */
	__u32 flow;
	__u32 tc_handle;
	__u32 packets; /* more than one in a GRO segment */
	int dir;       /* whose packet: index of stream_flow.end */
	int sender;    /* enum side; on a shaper only */
	int receiver;  /* enum side; on a shaper only */
	bool on_egress;
};

static __always_inline struct stream_stats *stream_stats_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&stream_stats, &cpu);
}

static __always_inline void stream_count(struct stream_stats *stats, enum stream_counter what,
					 __u64 n)
{
	stats->counter[what] += n;
}

static __always_inline void addr_bytes(__u8 bytes[16], const struct ip_addr *addr)
{
	__builtin_memcpy(bytes, addr->half, sizeof(addr->half));
}

/* To wake the reader costs as much as a system call, so many events share one wake-up. */
static __always_inline __u64 wakeup_flag(void)
{
	if (bpf_ringbuf_query(&stream_events, BPF_RB_AVAIL_DATA) >= stream_config.wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/*
 * Reserves an event of the flow that the packet belongs to (`from_opener`) or
 * answers. The event calls the opener dst and the answerer src, so that the opener's
 * own packet goes from dst to src. Returns NULL if the ring buffer is full.
 */
static __always_inline struct stream_event *event_reserve(const struct stream_packet *at,
							  enum stream_kind kind, bool from_opener)
{
	struct stream_event *event =
		bpf_ringbuf_reserve(&stream_events, sizeof(struct stream_event), 0);
	struct ip_addr src = select_addr(from_opener, &at->ip->dst, &at->ip->src);
	struct ip_addr dst = select_addr(from_opener, &at->ip->src, &at->ip->dst);

	if (!event) {
		stream_count(at->stats, STREAM_events_lost, 1);
		return NULL;
	}
	stream_count(at->stats, STREAM_events, 1);
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = at->now;
	event->tag = at->tag;
	addr_bytes(event->src, &src);
	addr_bytes(event->dst, &dst);
	event->src_port = from_opener ? at->segment->dest : at->segment->source;
	event->dst_port = from_opener ? at->segment->source : at->segment->dest;
	event->tc_handle = at->tc_handle;
	event->flow = at->flow;
	event->kind = kind;
	event->protocol = at->ip->protocol;
	event->ip_version = at->ip->is_ipv6 ? 6 : 4;
	event->opener = pair_index(from_opener ? at->dir : other_dir(at->dir));
	event->side = from_opener ? at->receiver : at->sender;
	event->on_egress = at->on_egress;
	return event;
}

/* `time`: of the packet that the event is about. */
static __always_inline void emit_flow_event(const struct stream_packet *at, enum stream_kind kind,
					    __u8 reason, __u8 trigger, bool from_opener, __u64 time)
{
	struct stream_event *event;

	if (!stream_config.events)
		return;
	event = event_reserve(at, kind, from_opener);
	if (!event)
		return;
	event->time_ns = time;
	event->reason = reason;
	event->trigger = trigger;
	bpf_ringbuf_submit(event, wakeup_flag());
}

/* Clears the state of the last flow if another has taken its place in the table. */
static __always_inline void flow_begin(struct stream_flow *flow, __u64 tag)
{
	__u64 old = READ_U64(flow->tag);

	if (old == tag || __sync_val_compare_and_swap(&flow->tag, old, tag) != old)
		return;
	__builtin_memset(flow->end, 0, sizeof(flow->end));
}

static __always_inline __u32 opening_reason(const struct segment *segment)
{
	if (!segment->starts)
		return STREAM_REASON_FIRST_PACKET;
	return segment->accepts ? STREAM_REASON_SYN_ACK : STREAM_REASON_SYN;
}

/* The flow was idle for so long that user space has reported its end, or that its first
 * packet cannot be answered any more. */
static __always_inline bool is_over(const struct stream_packet *at,
				    const struct stream_direction *own)
{
	__u64 timeout =
		at->ip->protocol == IPPROTO_TCP ? STREAM_TIMEOUT_NS : STREAM_ICMP_TIMEOUT_NS;

	if (own->state == STREAM_STATE_WAIT_OPEN)
		timeout = STREAM_UNANSWERED_TIMEOUT_NS;
	return own->last_seen_ns && (__s64)(at->steady - own->last_seen_ns) > (__s64)timeout;
}

/* Whether a packet can open its flow. As in the eBPF pping, a pure ACK cannot. */
static __always_inline bool is_opener(const struct segment *segment)
{
	if (segment->ends || segment->aborts)
		return false;
	return segment->starts || segment->alone || segment->payload;
}

/* The sender's flow begins to wait for an answer. A start after the end is that of
 * another connection between the same ports. */
static __always_inline void flow_sent(const struct stream_packet *at, struct stream_direction *own)
{
	const struct segment *segment = at->segment;

	if ((own->state == STREAM_STATE_CLOSED && segment->starts) || is_over(at, own))
		__builtin_memset(own, 0, sizeof(*own));
	if (own->state == STREAM_STATE_NONE && is_opener(segment)) {
		own->opening_reason = opening_reason(segment);
		own->event_ns = at->now;
		own->state = STREAM_STATE_WAIT_OPEN;
	}
}

/* The other end's flow opens if this packet is its first answer. The event has the time of
 * the packet that is answered. */
static __always_inline void flow_answered(const struct stream_packet *at,
					  struct stream_direction *other)
{
	__u64 asked = other->event_ns;

	if (at->segment->aborts ||
	    __sync_val_compare_and_swap(&other->state, STREAM_STATE_WAIT_OPEN, STREAM_STATE_OPEN) !=
		    STREAM_STATE_WAIT_OPEN)
		return;
	other->event_ns = 0;
	emit_flow_event(at, STREAM_KIND_OPENING, other->opening_reason, STREAM_TRIGGER_DEST, false,
			asked);
}

static __always_inline void flow_close(const struct stream_packet *at, struct stream_direction *end,
				       __u8 reason, bool from_opener)
{
	__u32 state = *(volatile __u32 *)&end->state;

	if (state == STREAM_STATE_CLOSED ||
	    __sync_val_compare_and_swap(&end->state, state, STREAM_STATE_CLOSED) != state)
		return;
	if (state == STREAM_STATE_OPEN)
		emit_flow_event(at, STREAM_KIND_CLOSING, reason,
				from_opener ? STREAM_TRIGGER_DEST : STREAM_TRIGGER_SRC, from_opener,
				at->now);
}

/* Returns the least time between two RTT events of a flow, in ns. */
static __always_inline __u64 rtt_event_distance(const struct stream_direction *end)
{
	__u64 rtt = stream_config.smoothed ? end->smoothed_rtt_ns : end->min_rtt_ns;

	if (stream_config.rtt_rate)
		return rtt * stream_config.rtt_rate / RTT_RATE_ONE;
	return stream_config.rate_limit_ns;
}

static __always_inline void emit_rtt(const struct stream_packet *at, struct stream_direction *own,
				     struct stream_direction *other)
{
	struct stream_event *event = event_reserve(at, STREAM_KIND_RTT, false);

	if (!event)
		return;
	event->rtt_ns = at->rtt_ns;
	event->min_rtt_ns = other->min_rtt_ns;
	event->sent_packets = other->packets;
	event->sent_bytes = other->bytes;
	event->rec_packets = own->packets;
	event->rec_bytes = own->bytes;
	bpf_ringbuf_submit(event, wakeup_flag());
}

/* Notes an RTT sample of the other end's marks, and reports it unless that is too soon. */
static __always_inline void flow_rtt(const struct stream_packet *at, struct stream_direction *own,
				     struct stream_direction *other)
{
	__u64 last = other->state == STREAM_STATE_WAIT_OPEN ? 0 : other->event_ns;

	/* RFC 6298, 2.3 */
	other->smoothed_rtt_ns =
		other->smoothed_rtt_ns ?
			other->smoothed_rtt_ns - other->smoothed_rtt_ns / 8 + at->rtt_ns / 8 :
			at->rtt_ns;
	if (!other->min_rtt_ns || at->rtt_ns < other->min_rtt_ns)
		other->min_rtt_ns = at->rtt_ns;
	if (last && at->now - last < rtt_event_distance(other)) {
		stream_count(at->stats, STREAM_rtts_limited, 1);
		return;
	}
	other->event_ns = at->now;
	if (stream_config.events)
		emit_rtt(at, own, other);
}

/* Keeps a SYN whose flow is not in the table. If it was sent twice, the first counts. */
static __always_inline void syn_keep(const struct stream_packet *at)
{
	struct stream_syn fresh = { .time_ns = at->now, .packets = 1, .dir = at->dir };
	struct stream_syn *syn = bpf_map_lookup_elem(&stream_syn, &at->tag);

	if (syn && syn->dir == (__u32)at->dir &&
	    at->now - syn->time_ns <= STREAM_UNANSWERED_TIMEOUT_NS)
		__sync_fetch_and_add(&syn->packets, 1);
	else
		bpf_map_update_elem(&stream_syn, &at->tag, &fresh, BPF_ANY);
}

/* The flow was entered by its SYN-ACK: the other end's flow begins with the SYN. */
static __always_inline void syn_answered(const struct stream_packet *at,
					 struct stream_direction *other)
{
	struct stream_syn *syn = bpf_map_lookup_elem(&stream_syn, &at->tag);

	if (!syn)
		return;
	if (syn->dir == (__u32)other_dir(at->dir) &&
	    at->now - syn->time_ns <= STREAM_UNANSWERED_TIMEOUT_NS) {
		__builtin_memset(other, 0, sizeof(*other));
		other->packets = syn->packets;
		other->last_seen_ns = at->steady;
		other->event_ns = syn->time_ns;
		other->opening_reason = STREAM_REASON_SYN;
		other->state = STREAM_STATE_WAIT_OPEN;
	}
	bpf_map_delete_elem(&stream_syn, &at->tag);
}

/* Counts a packet in its own flow, and in the other end's as an answer. `syn_apart`, a
 * constant: SYNs are not in the flow table, but in stream_syn. */
static __always_inline void stream_segment(const struct stream_packet *at, bool syn_apart)
{
	struct stream_flow *flow = bpf_map_lookup_elem(&stream_flow, &at->flow);
	const struct segment *segment = at->segment;
	struct stream_direction *own, *other;

	if (!flow)
		return;
	flow_begin(flow, at->tag);
	own = &flow->end[pair_index(at->dir)];
	other = &flow->end[pair_index(other_dir(at->dir))];
	if (segment->asks)
		flow_sent(at, own);
	__sync_fetch_and_add(&own->packets, at->packets);
	__sync_fetch_and_add(&own->bytes, segment->payload);
	own->last_seen_ns = at->steady;
	if (syn_apart && segment->starts && segment->accepts)
		syn_answered(at, other);
	flow_answered(at, other);
	if (at->rtt_ns)
		flow_rtt(at, own, other);
	if (segment->ends || segment->aborts)
		flow_close(at, own, segment->aborts ? STREAM_REASON_RST : STREAM_REASON_FIN, true);
	if (segment->aborts)
		flow_close(at, other, STREAM_REASON_RST, false);
}

#endif
