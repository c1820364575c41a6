/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TC, egress of both NICs: TX queue, HTB class, then the RTT.
 *
 * skb->priority is a tc handle here: HTB takes it as the class where its major
 * is the qdisc's. queue_mapping counts from 1 and picks mq's child; the two
 * must agree, or the packet falls into the HTB default class.
 */
#ifndef CPP_CLASSIFY_H
#define CPP_CLASSIFY_H

#include "ctx_tc.h"
#include "mapping.h"
#include "rtt.h"
#include "stats.h"

#define TC_HANDLE_MINOR(handle) ((handle)&0xffff)
#define TC_HANDLE(major, minor) ((__u32)(major) << 16 | (minor))
#define HOST_DEFAULT_MINOR	3
#define KEPT_MINOR_FIRST	3
#define KEPT_MINOR_LAST		9

struct egress {
	struct __sk_buff *skb;
	struct stats *stats;
	enum direction direction;
	__u32 cpu;
};

/* The queue of `cpu`, and the HTB major that goes with it; 0: not configured. */
static __always_inline __u16 set_queue(struct egress *egress, __u32 cpu)
{
	struct txq_config *txq = bpf_map_lookup_elem(&map_txq_config, &cpu);

	if (!txq || !txq->queue_mapping) {
		count(egress->stats, COUNT_tc_no_queue);
		return 0;
	}
	egress->skb->queue_mapping = txq->queue_mapping;
	return txq->htb_major;
}

/* This host's own packets, and those that something before us has classed:
 * the minor stays, the major becomes this CPU's. True: done. */
static __always_inline bool keep_minor(struct egress *egress, __u16 major)
{
	__u32 minor = TC_HANDLE_MINOR(egress->skb->priority);

	if (egress->skb->ingress_ifindex == 0) {
		if (egress->skb->priority == 0)
			minor = HOST_DEFAULT_MINOR;
		count(egress->stats, COUNT_tc_host);
	} else if (minor >= KEPT_MINOR_FIRST && minor <= KEPT_MINOR_LAST) {
		count(egress->stats, COUNT_tc_priority_kept);
	} else {
		return false;
	}
	if (major)
		egress->skb->priority = TC_HANDLE(major, minor);
	return true;
}

/* XDP looked the subscriber up, if the frame came in by the other side. (A
 * frame between two subscribers leaves by the side it came from: XDP looked up
 * the sender, and the class here is the receiver's.) */
static __always_inline bool mapping_handed_on(const struct egress *egress, struct mapping *mapping)
{
	const struct xdp_metadata *metadata = tc_handed_on(egress->skb);

	if (!metadata || metadata->direction == egress->direction)
		return false;
	mapping->tc_handle = metadata->tc_handle;
	mapping->cpu = metadata->cpu;
	mapping->state = MAPPING_AVAILABLE;
	return true;
}

static __always_inline void apply(struct egress *egress, const struct mapping *mapping)
{
	if (mapping->state == MAPPING_NONE) {
		count(egress->stats, COUNT_tc_unmapped);
		return;
	}
	if (mapping->cpu != egress->cpu) {
		/* Queue and class must agree, whatever CPU this is. */
		count(egress->stats, COUNT_tc_wrong_cpu);
		set_queue(egress, mapping->cpu);
	}
	if (!mapping->tc_handle) {
		count(egress->stats, COUNT_tc_no_class);
		return;
	}
	egress->skb->priority = mapping->tc_handle;
	count(egress->stats, COUNT_tc_classified);
}

static __always_inline void count_unclassified(struct stats *stats, enum parse_result why)
{
	if (why == PARSE_TRUNCATED)
		count(stats, COUNT_tc_truncated);
	else if (why == PARSE_MALFORMED)
		count(stats, COUNT_tc_malformed);
	else
		count(stats, COUNT_tc_not_ip);
}

struct egress_packet {
	struct ip_packet ip;
	struct tcp_segment tcp;	     /* valid with transport == PARSE_OK */
	enum parse_result network;   /* how far parse_ip() came */
	enum parse_result transport; /* how far parse_transport() came */
};

/* find_tcp_timestamps() for the packets that do not have them where every
 * kernel puts them: global, so that the verifier follows it once. */
__noinline int tc_find_timestamps(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	struct cursor cur = tc_cursor(skb);

	return find_tcp_timestamps(&cur, offset, length);
}

/* find_transport() for the few packets that have extension headers: global for
 * the same reason. */
__noinline int tc_find_transport(struct __sk_buff *skb, __u32 offset, __u32 protocol)
{
	struct cursor cur = tc_cursor(skb);

	return find_transport(&cur, offset, protocol);
}

static __always_inline void parse_linear(struct __sk_buff *skb, struct egress_packet *packet)
{
	struct cursor cur = tc_cursor(skb);

	packet->transport = PARSE_OTHER;
	packet->network = parse_ip(&cur, &packet->ip);
	if (!config.rtt || packet->network != PARSE_OK)
		return;
	if (packet->ip.is_ipv6 && is_ipv6_extension(packet->ip.protocol)) {
		int found = tc_find_transport(skb, cur.offset, packet->ip.protocol);

		packet->transport = enter_transport(&cur, found, &packet->ip);
		if (packet->transport != PARSE_OK)
			return;
	}
	packet->transport = parse_transport(&cur, &packet->ip, skb->len, &packet->tcp);
	if (packet->transport == PARSE_OK && packet->tcp.options_len) {
		int found = tc_find_timestamps(skb, cur.offset, packet->tcp.options_len);

		packet->transport = parse_timestamps(&cur, found, &packet->tcp);
	}
}

/* What is linear, and once more when headers turn out to be in a page fragment.
 * A loop, so that there is one copy of the parser in the program. */
static __always_inline void parse_packet(struct __sk_buff *skb, struct egress_packet *packet)
{
#pragma clang loop unroll(disable)
	for (int try = 0; try < 2; try++) {
		parse_linear(skb, packet);
		if (packet->network != PARSE_TRUNCATED && packet->transport != PARSE_TRUNCATED)
			return;
		if (!tc_pull_headers(skb))
			return;
	}
}

/* Class of a packet whose direction and subscriber are known: its tc handle. */
static __always_inline __u32 classify_packet(struct egress *egress, const struct ip_packet *ip)
{
	struct mapping mapping = {};

	if (!mapping_handed_on(egress, &mapping)) {
		struct ip_addr subscriber = subscriber_of(ip, egress->direction);

		count(egress->stats, COUNT_tc_looked_up);
		mapping = mapping_of(&subscriber, egress->cpu, egress->stats);
	}
	apply(egress, &mapping);
	return mapping.tc_handle;
}

static __always_inline void classify(struct __sk_buff *skb)
{
	struct egress egress = { .skb = skb, .cpu = bpf_get_smp_processor_id() };
	struct egress_packet packet = {}; /* the verifier: some of it may stay unset */
	__u32 tc_handle;
	__u16 major;

	egress.stats = stats_of(egress.cpu);
	if (!egress.stats)
		return;
	major = set_queue(&egress, egress.cpu);
	if (keep_minor(&egress, major))
		return;
	egress.direction = direction_of(skb->ifindex);
	if (egress.direction == DIRECTION_NONE) {
		count(egress.stats, COUNT_tc_no_direction);
		return;
	}
	parse_packet(skb, &packet);
	if (packet.network != PARSE_OK) {
		count_unclassified(egress.stats, packet.network);
		return;
	}
	tc_handle = classify_packet(&egress, &packet.ip);
	if (config.rtt && tc_handle && packet.transport != PARSE_OTHER) {
		struct rtt_context at = {
			.stats = egress.stats,
			.egress = egress.direction,
			.tc_handle = tc_handle,
			.cpu = egress.cpu,
		};

		rtt_packet(&packet.ip, &packet.tcp, packet.transport, &at);
	}
}

#endif
