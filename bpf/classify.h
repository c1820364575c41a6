/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TC, egress of both NICs: TX queue, HTB class, then the RTT.
 *
 * skb->priority is a tc handle here: HTB takes it as the class if its major is the
 * qdisc's. queue_mapping counts from 1 and picks mq's child. If the two disagree,
 * the packet goes into HTB's default class.
 */
#ifndef CPP_CLASSIFY_H
#define CPP_CLASSIFY_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "ctx_tc.h"
#include "cursor.h"
#include "flow_key.h"
#include "follow.h"
#include "hash.h"
#include "mapping.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "recent.h"
#include "rtt.h"
#include "shaper_maps.h"
#include "stats.h"
#include "verifier.h"

#define TC_HANDLE_MINOR(handle) (0xffff & (handle))
#define TC_HANDLE(major, minor) ((__u32)(major) << 16 | (minor))
#define HOST_DEFAULT_MINOR	3
#define KEPT_MINOR_FIRST	3
#define KEPT_MINOR_LAST		9

struct egress {
	struct __sk_buff *skb;
	struct stats *stats;
	enum direction direction;
	__u32 cpu;
	struct translated other; /* the subscriber's end as XDP saw it, if it was another */
	__u32 handed_handle;	 /* the class that XDP looked up for it */
};

/* Sets the queue of `cpu`. Returns the HTB major of that queue; 0: not configured. */
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

/* Packets of this host, and packets that another program has classed, keep their minor
 * and get the major of this CPU. Returns true for such a packet. */
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

/* Notes what XDP saw of a packet whose address NAT on this host has changed since. */
static __always_inline void note_translated(struct egress *egress,
					    const struct xdp_metadata *metadata)
{
	egress->other.is = true;
	egress->other.fold = metadata->fold;
	egress->other.port = metadata->port;
	egress->handed_handle = metadata->tc_handle;
	count(egress->stats, COUNT_tc_translated);
}

/* Takes the mapping that XDP looked up, if it is that of the packet's own address. It is
 * another's after NAT; and of a frame between two subscribers, which leaves by the side it
 * came from, XDP looked up the sender, but the class is the receiver's. */
static __always_inline bool mapping_handed_on(struct egress *egress, const struct ip_packet *ip,
					      const struct ip_addr *own, struct mapping *mapping)
{
	struct xdp_metadata metadata;

	if (!tc_handed_on(egress->skb, &metadata)) {
		count(egress->stats, COUNT_tc_looked_up);
		return false;
	}
	if (metadata.direction == egress->direction) {
		count(egress->stats, COUNT_tc_looked_up);
		if (metadata.direction == DIRECTION_LAN && metadata.fold != addr_fold(&ip->src)) {
			egress->other.between = true;
			note_translated(egress, &metadata);
		}
		return false;
	}
	if (metadata.fold != addr_fold(own)) {
		note_translated(egress, &metadata);
		return false;
	}
	mapping->tc_handle = metadata.tc_handle;
	mapping->cpu = metadata.cpu;
	mapping->state = metadata.state;
	return true;
}

static __always_inline void apply(struct egress *egress, const struct mapping *mapping)
{
	if (mapping->state == MAPPING_UNMAPPED) {
		count(egress->stats, COUNT_tc_unmapped);
		return;
	}
	if (mapping->cpu != egress->cpu) {
		/* Queue and class must agree, so the queue is that of the mapping's CPU. */
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

/* Classifies an IP packet that is not ours. Returns its tc handle; 0: no class. */
static __always_inline __u32 classify_packet(struct egress *egress, const struct ip_packet *ip)
{
	struct ip_addr subscriber = subscriber_of(ip, egress->direction);
	struct mapping mapping = {};

	if (!mapping_handed_on(egress, ip, &subscriber, &mapping))
		mapping = mapping_of(&subscriber, egress->stats);
	apply(egress, &mapping);
	return mapping.tc_handle;
}

static __always_inline void hand_to_follower(const struct egress *egress,
					     const struct rtt_result *result, enum side sender,
					     __u32 tc_handle)
{
	struct followed followed = {
		.tag = result->tag,
		.flow = result->flow,
		.rtt = result->rtt,
		.tc_handle = tc_handle,
		.dir = result->dir,
		.bare = config.no_link_header,
		.sender = sender,
		.receiver = egress->direction == DIRECTION_LAN ? SIDE_SUBSCRIBER : SIDE_INTERNET,
	};

	follow_pack(egress->skb, &followed);
	bpf_tail_call(egress->skb, &cpp_follower, 0);
}

/* The side of a packet's sender: that of the interface it came in by. */
static __always_inline enum side sender_side(const struct egress *egress)
{
	enum direction ingress = direction_of(egress->skb->ingress_ifindex);

	if (ingress == DIRECTION_NONE)
		ingress = egress->direction == DIRECTION_LAN ? DIRECTION_WAN : DIRECTION_LAN;
	return ingress == DIRECTION_LAN ? SIDE_SUBSCRIBER : SIDE_INTERNET;
}

/* Returns the class of an address; 0: none. Seldom called: between two subscribers. */
VERIFY_ONCE int class_of_addr(__u64 high, __u64 low, __u32 cpu)
{
	struct ip_addr addr = { .half = { high, low } };
	struct stats *stats = stats_of(cpu);

	return stats ? (int)mapping_of(&addr, stats).tc_handle : 0;
}

/* The subscriber whose sample it is. Between two subscribers, the packet's class is the
 * receiver's, but the sample is the sender's. */
static __always_inline __u32 sampled_handle(const struct egress *egress, const struct ip_packet *ip,
					    enum side side, __u32 tc_handle)
{
	if (egress->direction != DIRECTION_LAN || side != SIDE_SUBSCRIBER)
		return tc_handle;
	if (egress->other.is)
		return egress->handed_handle;
	return class_of_addr(ip->src.half[0], ip->src.half[1], egress->cpu);
}

static __always_inline void record_sample(const struct egress *egress, const struct ip_packet *ip,
					  const struct rtt_result *result, enum side side,
					  __u32 tc_handle)
{
	__u32 handle = sampled_handle(egress, ip, side, tc_handle);

	if (handle)
		rtt_record(handle, side, result->rtt, result->now, egress->cpu, egress->stats);
	else
		count(egress->stats, COUNT_rtt_no_class);
}

/* The class whose RTT a packet's is: the subscriber's, whose own address is that on the LAN
 * side of a NAT on this host. */
static __always_inline __u32 subscriber_handle(const struct egress *egress, __u32 tc_handle)
{
	if (egress->other.is && egress->direction == DIRECTION_WAN)
		return egress->handed_handle;
	return tc_handle;
}

/* Measures the RTT of a subscriber's packet, and hands it to the follower. */
static __always_inline void measure(const struct egress *egress, const struct packet *packet,
				    __u32 tc_handle)
{
	struct rtt_result result = {};
	struct rtt_context at = {
		.stats = egress->stats,
		.other = egress->other,
		.cpu = egress->cpu,
		.owner = tc_handle,
		.hook = egress->direction == DIRECTION_LAN ? 0 : 1,
		.answers = true,
	};
	enum side side;

	if (!is_of_a_flow(packet, egress->stats))
		return;
	rtt_packet(&packet->ip, &packet->segment, &at, &result);
	if (!result.tag)
		return;
	side = sender_side(egress);
	if (result.rtt)
		record_sample(egress, &packet->ip, &result, side, tc_handle);
	hand_to_follower(egress, &result, side, tc_handle);
}

static __always_inline void classify(struct __sk_buff *skb)
{
	struct egress egress = { .skb = skb, .cpu = bpf_get_smp_processor_id() };
	struct packet packet = UNSET;
	struct hook hook = {
		.ctx = skb,
		.no_link_header = config.no_link_header,
		.frame_len = skb->len,
	};
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
	read_packet(&hook, &packet);
	if (packet.network != PARSE_OK) {
		count_unclassified(egress.stats, packet.network);
		return;
	}
	tc_handle = classify_packet(&egress, &packet.ip);
	tc_handle = subscriber_handle(&egress, tc_handle);
	if (config.rtt && tc_handle && packet.transport != PARSE_OTHER)
		measure(&egress, &packet, tc_handle);
}

#endif
