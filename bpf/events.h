/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flow events into the ring buffer: openings, closings, RTTs. A flow is one
 * direction of a connection; its opener is who sends in it. What the table of
 * rtt.h has no room for (counts, the least RTT, what was last said) stands in
 * stream_flow at the same number.
 */
#ifndef CPP_EVENTS_H
#define CPP_EVENTS_H

#include "atomics.h"
#include "clock.h"
#include "transport.h"
#include "stream_maps.h"

/* A packet of a flow in the table, and what rtt_packet() found. */
struct stream_packet {
	const struct ip_packet *ip;
	const struct tcp_segment *tcp;
	struct stream_stats *stats;
	__u64 tag;
	__u64 now;
	__u64 rtt_ns; /* of the other end; 0: no sample */
	__u32 flow;
	__u32 tc_handle;
	__u32 packets; /* more than one in a GRO segment */
	__u32 bytes;
	int dir; /* whose: stream_flow.end index */
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

/* Waking the reader costs a system call's worth: once for many events. */
static __always_inline __u64 wakeup_flag(void)
{
	if (bpf_ringbuf_query(&stream_events, BPF_RB_AVAIL_DATA) >= stream_config.wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/*
 * An event of the flow whose opener is end `opener`. `from_opener`: this packet
 * is the opener's own, so it goes from dst to src as the event writes them.
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
	event->src_port = from_opener ? at->tcp->dest : at->tcp->source;
	event->dst_port = from_opener ? at->tcp->source : at->tcp->dest;
	event->tc_handle = at->tc_handle;
	event->flow = at->flow;
	event->kind = kind;
	event->protocol = at->ip->protocol;
	event->ip_version = at->ip->is_ipv6 ? 6 : 4;
	event->opener = (from_opener ? at->dir : at->dir ^ 1) & 1;
	/* The opener of direction 0 sends to the subscriber, who answers. */
	event->side = event->opener ? SIDE_INTERNET : SIDE_SUBSCRIBER;
	event->on_egress = at->on_egress;
	return event;
}

static __always_inline void emit_flow_event(const struct stream_packet *at, enum stream_kind kind,
					    __u8 reason, __u8 trigger, bool from_opener)
{
	struct stream_event *event;

	if (!stream_config.events)
		return;
	event = event_reserve(at, kind, from_opener);
	if (!event)
		return;
	event->reason = reason;
	event->trigger = trigger;
	bpf_ringbuf_submit(event, wakeup_flag());
}

/* A flow has taken this place in the table: nothing of the last one stays. */
static __always_inline void flow_begin(struct stream_flow *flow, __u64 tag)
{
	__u64 old = READ_U64(flow->tag);

	if (old == tag || __sync_val_compare_and_swap(&flow->tag, old, tag) != old)
		return;
	__builtin_memset(flow->end, 0, sizeof(flow->end));
}

static __always_inline __u32 opening_reason(const struct tcp_segment *tcp)
{
	if (!tcp->syn)
		return STREAM_REASON_FIRST_PACKET;
	return tcp->ack ? STREAM_REASON_SYN_ACK : STREAM_REASON_SYN;
}

/* Nothing was sent for so long that user space has said its end. */
static __always_inline bool is_over(const struct stream_packet *at,
				    const struct stream_direction *own)
{
	__u64 timeout =
		at->ip->protocol == IPPROTO_TCP ? STREAM_TIMEOUT_NS : STREAM_ICMP_TIMEOUT_NS;

	return own->last_seen_ns && (__s64)(at->now - own->last_seen_ns) > (__s64)timeout;
}

/* The sender's flow: it begins to wait for an answer. A SYN after the end is
 * another connection between the same ports. */
static __always_inline void flow_sent(const struct stream_packet *at, struct stream_direction *own)
{
	const struct tcp_segment *tcp = at->tcp;

	if ((own->state == STREAM_STATE_CLOSED && tcp->syn) || is_over(at, own))
		__builtin_memset(own, 0, sizeof(*own));
	if (own->state == STREAM_STATE_NONE && !tcp->fin && !tcp->rst) {
		own->opening_reason = opening_reason(tcp);
		own->state = STREAM_STATE_WAIT_OPEN;
	}
}

/* The other end's flow: this packet is the first answer, so it is open. */
static __always_inline void flow_answered(const struct stream_packet *at,
					  struct stream_direction *other)
{
	if (at->tcp->rst ||
	    __sync_val_compare_and_swap(&other->state, STREAM_STATE_WAIT_OPEN, STREAM_STATE_OPEN) !=
		    STREAM_STATE_WAIT_OPEN)
		return;
	emit_flow_event(at, STREAM_KIND_OPENING, other->opening_reason, STREAM_TRIGGER_DEST, false);
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
				from_opener ? STREAM_TRIGGER_DEST : STREAM_TRIGGER_SRC,
				from_opener);
}

/* RTT events of a flow are at least so far apart. */
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

/* A sample of the other end's TSvals. */
static __always_inline void flow_rtt(const struct stream_packet *at, struct stream_direction *own,
				     struct stream_direction *other)
{
	__u64 last = other->last_rtt_event_ns;

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
	other->last_rtt_event_ns = at->now;
	if (stream_config.events)
		emit_rtt(at, own, other);
}

/* An echo's reply asks for no answer: its direction is no flow. */
static __always_inline bool opens_flows(const struct stream_packet *at)
{
	return at->ip->protocol == IPPROTO_TCP || at->tcp->first_is_edge;
}

static __always_inline void stream_segment(const struct stream_packet *at)
{
	struct stream_flow *flow = bpf_map_lookup_elem(&stream_flow, &at->flow);
	struct stream_direction *own, *other;

	if (!flow)
		return;
	flow_begin(flow, at->tag);
	own = &flow->end[at->dir & 1];
	other = &flow->end[(at->dir ^ 1) & 1];
	if (opens_flows(at))
		flow_sent(at, own);
	__sync_fetch_and_add(&own->packets, at->packets);
	__sync_fetch_and_add(&own->bytes, at->bytes);
	own->last_seen_ns = at->now;
	flow_answered(at, other);
	if (at->rtt_ns)
		flow_rtt(at, own, other);
	if (at->tcp->fin || at->tcp->rst)
		flow_close(at, own, at->tcp->rst ? STREAM_REASON_RST : STREAM_REASON_FIN, true);
	if (at->tcp->rst)
		flow_close(at, other, STREAM_REASON_RST, false);
}

#endif
