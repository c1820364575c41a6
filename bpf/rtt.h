/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Passive RTT from TCP timestamps (RFC 7323), both sides apart: a TSval seen
 * leaving one way is remembered; the TSecr that echoes it, seen leaving the
 * other way, ends the sample. The rules are DESIGN.md's, by their numbers.
 */
#ifndef CPP_RTT_H
#define CPP_RTT_H

#include "flow.h"
#include "slots.h"

/* Where a packet was seen. */
struct rtt_context {
	struct stats *stats;
	__u32 cpu;
	int dir;      /* flow->dir and flow->slot index: the way the packet is going */
	bool answers; /* may end a sample */
};

/* What came of it. */
struct rtt_result {
	__u64 tag;  /* of the flow, or 0: not in the table */
	__u32 flow; /* its number in the table */
	__u32 rtt;  /* of the other end, in slot units; 0: no sample */
	__u64 now;  /* ns; valid with rtt */
};

static __always_inline bool opens_sample(const struct tcp_segment *tcp)
{
	if (tcp->syn)
		return config.handshake;
	return tcp->payload != 0; /* rule 1: a pure ACK would measure idle time */
}

/*
 * A SYN starts a connection: on 5-tuple reuse, what we knew is the old one's.
 * A repeated SYN of the same handshake goes on in it.
 */
static __always_inline void restart_on_syn(struct flow *flow, int dir,
					   const struct tcp_segment *tcp, struct stats *stats)
{
	__u64 own = READ_U64(flow->dir[dir & 1]);
	bool established = own & FLOW_DIR_ESTABLISHED;
	bool regressed = own & FLOW_DIR_SEEN && tsval_after((__u32)own, tcp->tsval);
	__u32 lost;

	if (!established && !regressed)
		return;
	flow->dir[dir & 1] = 0;
	lost = slots_clear(flow, dir & 1);
	if (!tcp->ack) {
		flow->dir[(dir ^ 1) & 1] = 0;
		lost += slots_clear(flow, (dir ^ 1) & 1);
	}
	count_many(stats, COUNT_rtt_evicted, lost);
}

/*
 * Move the direction's last TSval up (rule 3: only up). True on an edge: the
 * first packet of a strictly greater TSval. The first TSval of all may not be
 * one (rule 4), except in a SYN or an echo request.
 */
static __always_inline bool advance_tsval(struct flow *flow, int dir, const struct tcp_segment *tcp)
{
	__u64 *last = &flow->dir[dir & 1];

	for (int try = 0; try < CAS_TRIES; try++) {
		__u64 old = READ_U64(*last), flags = (old >> 32) << 32 | FLOW_DIR_SEEN;
		bool first = !(old & FLOW_DIR_SEEN);
		bool later = first || tsval_after(tcp->tsval, (__u32)old);

		if (!tcp->syn)
			flags |= FLOW_DIR_ESTABLISHED;
		if (!later && (flags | (__u32)old) == old)
			return false;
		if (__sync_val_compare_and_swap(last, old,
						flags | (later ? tcp->tsval : (__u32)old)) == old)
			return later && (!first || tcp->first_is_edge);
	}
	return false;
}

/* A segment of a flow that is in the table. */
static __always_inline void rtt_segment(struct flow *flow, __u64 tag, __u32 tick,
					const struct tcp_segment *tcp, const struct rtt_context *at,
					struct rtt_result *result)
{
	int dir = at->dir;
	struct stats *stats = at->stats;
	bool echoes = at->answers && tcp->ack && tcp->tsecr; /* rule 2 */
	bool sweep = flow_unswept(flow, tick) > (__s32)config.sweep_ticks;
	bool edge, match;
	__u32 time;

	if (tcp->syn)
		restart_on_syn(flow, dir, tcp, stats);
	edge = advance_tsval(flow, dir, tcp) && opens_sample(tcp);
	match = echoes && slots_concern(flow, dir ^ 1, tcp->tsecr);
	if (!edge && !match && !sweep)
		return;
	result->now = now_ns(); /* rule 8: once */
	time = slot_time(result->now);
	if (sweep)
		slots_sweep(flow, tick, time, stats);
	if (match)
		result->rtt = slots_match(flow, tag, dir ^ 1, tcp->tsecr, time, stats);
	if (edge)
		slots_open(flow, tag, dir, tcp->tsval, time, stats);
}

static __always_inline void count_unmeasured(struct stats *stats, enum parse_result why)
{
	if (why == PARSE_FRAGMENT)
		count(stats, COUNT_rtt_no_ports);
	else if (why == PARSE_TRUNCATED)
		count(stats, COUNT_rtt_tcp_truncated);
	else
		count(stats, COUNT_rtt_tcp_malformed);
}

/* A TCP packet; `parsed` is parse_transport()'s. */
static __always_inline void rtt_packet(const struct ip_packet *ip, const struct tcp_segment *tcp,
				       enum parse_result parsed, const struct rtt_context *at,
				       struct rtt_result *result)
{
	struct stats *stats = at->stats;
	struct flow_bucket *bucket;
	__u64 tag;
	__u32 tick;
	int way;

	if (parsed != PARSE_OK) {
		count_unmeasured(stats, parsed);
		return;
	}
	if (!tcp->has_timestamps) {
		count(stats, COUNT_rtt_no_timestamps);
		return;
	}
	tag = flow_hash(ip, tcp, at->dir);
	bucket = flow_bucket_of(tag);
	if (!bucket)
		return;
	tick = flow_tick();
	way = flow_find(bucket, tag);
	if (way < 0)
		way = flow_insert(tag, tick, at->cpu);
	if (way < 0)
		return;
	result->tag = tag;
	result->flow = flow_index(tag, way);
	rtt_segment(flow_way(bucket, tag, way), tag, tick, tcp, at, result);
}

#endif
