/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which flow a packet belongs to, and which way it goes. The two ends of a flow are sorted
 * by address, else by port, so that its directions are opposite whatever hook, interface
 * or capture a packet is seen at; with NAT on this host, the near end is what both hooks
 * see of it (docs/decisions/0010).
 */
#ifndef CPP_FLOW_KEY_H
#define CPP_FLOW_KEY_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include "abi.h"
#include "config.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"
#include "segment.h"
#include "verifier.h"

/* A packet's flow, and the way that the packet goes. */
struct flow_key {
	__u64 tag;
	int dir; /* 0: the end that sorts first sends */
};

/* The address and port of a translated packet's near end, at the other hook: NAT on this
 * host has changed them. Between two subscribers: the sender's, of whom the receiver sees
 * another address. */
struct translated {
	bool is;
	bool between;
	__u32 fold; /* addr_fold() of the address */
	__be16 port;
};

static __always_inline bool sorts_before(__u64 a, __u64 b)
{
	return bpf_be64_to_cpu(a) < bpf_be64_to_cpu(b);
}

/* Which end sends: 0 for the lower address, else for the lower port. If both ends are
 * equal, `tie` decides. */
static __always_inline int flow_dir(const struct ip_packet *ip, const struct segment *segment,
				    int tie)
{
	if (ip->src.half[0] != ip->dst.half[0])
		return !sorts_before(ip->src.half[0], ip->dst.half[0]);
	if (ip->src.half[1] != ip->dst.half[1])
		return !sorts_before(ip->src.half[1], ip->dst.half[1]);
	if (segment->source != segment->dest)
		return bpf_ntohs(segment->source) > bpf_ntohs(segment->dest);
	return tie;
}

/* The last word of every flow's hash: what tells flows with the same numbers apart. */
#define FLOW_KIND(protocol, is_ipv6, translated)                                                   \
	((__u32)(protocol) << 2 | (is_ipv6) << 1 | (translated))

/* One lane of the hash of a 5-tuple: its ends sorted, so that it is the same both ways. */
static __always_inline __u32 flow_lane(const struct ip_packet *ip, const struct ip_addr *low,
				       const struct ip_addr *high, __u32 ports, __u32 keys)
{
	__u64 sum = config.hash_key[keys];

	sum += hash_pair(keys, 1, low->half[1] >> 32, high->half[1] >> 32);
	sum += hash_pair(keys, 3, ports, FLOW_KIND(ip->protocol, ip->is_ipv6, 0));
	if (ip->is_ipv6) {
		sum += hash_pair(keys, 5, low->half[0], high->half[0]);
		sum += hash_pair(keys, 7, low->half[0] >> 32, high->half[0] >> 32);
		sum += hash_pair(keys, 9, low->half[1], high->half[1]);
	}
	return sum >> 32;
}

static __always_inline __u64 flow_tag(__u32 low, __u32 high)
{
	__u64 tag = hash_spread((__u64)high << 32 | low);

	return tag > FLOW_TAG_BUSY ? tag : tag + 2;
}

/* With 64 bits and secret keys, the tag identifies the flow. */
static __always_inline struct flow_key flow_key_of(const struct ip_packet *ip,
						   const struct segment *segment, int tie)
{
	struct flow_key key = { .dir = forget_value(flow_dir(ip, segment, tie)) };
	struct ip_addr low = select_addr(!key.dir, &ip->src, &ip->dst);
	struct ip_addr high = select_addr(!key.dir, &ip->dst, &ip->src);
	__u32 ports = key.dir ? (__u32)segment->dest << 16 | segment->source :
				(__u32)segment->source << 16 | segment->dest;

	key.tag = flow_tag(flow_lane(ip, &low, &high, ports, 0),
			   flow_lane(ip, &low, &high, ports, HASH_LANE_KEYS));
	return key;
}

/* The far end of a translated flow is the same at both hooks; the near end is what both
 * hooks see of it, the subscriber's and the public one. */
static __always_inline __u32 translated_lane(const struct ip_addr *far, __u32 far_port,
					     const __u32 fold[2], __u32 ports, __u32 kind,
					     __u32 keys)
{
	__u64 sum = config.hash_key[keys];

	sum += hash_pair(keys, 1, far->half[0], far->half[0] >> 32);
	sum += hash_pair(keys, 3, far->half[1], far->half[1] >> 32);
	sum += hash_pair(keys, 5, fold[0], fold[1]);
	sum += hash_pair(keys, 7, ports, far_port);
	return (sum + hash_pair(keys, 9, kind, 0)) >> 32;
}

/* The same flow seen from both sides of a NAT on this host. `towards`: 0 leaves by LAN,
 * 1 by WAN; the near end is the destination or the source. */
static __always_inline struct flow_key translated_key_of(const struct ip_packet *ip,
							 const struct segment *segment,
							 const struct translated *other,
							 int towards)
{
	struct ip_addr near = select_addr(!towards, &ip->dst, &ip->src);
	struct ip_addr far = select_addr(!towards, &ip->src, &ip->dst);
	__u32 far_port = towards ? segment->dest : segment->source;
	__u32 port = towards ? segment->source : segment->dest, own = addr_fold(&near);
	__u32 fold[2] = { towards ? other->fold : own, towards ? own : other->fold };
	__u32 ports = towards ? (__u32)other->port << 16 | port : port << 16 | other->port;
	__u32 kind = FLOW_KIND(ip->protocol, ip->is_ipv6, 1);
	struct flow_key key = { .dir = forget_value(towards) };

	key.tag = flow_tag(translated_lane(&far, far_port, fold, ports, kind, 0),
			   translated_lane(&far, far_port, fold, ports, kind, HASH_LANE_KEYS));
	return key;
}

/* The tag of a flow between two subscribers who see each other at another address. An end
 * is a fold and a port. */
VERIFY_ONCE __u64 between_tag(__u64 from, __u64 to, __u32 kind)
{
	const struct ip_addr nobody = {};
	__u64 low = from < to ? from : to, high = from < to ? to : from;
	__u32 fold[2] = { low >> 16, high >> 16 }, ports = (__u32)low << 16 | (high & 0xffff);

	return flow_tag(translated_lane(&nobody, 0, fold, ports, kind, 0),
			translated_lane(&nobody, 0, fold, ports, kind, HASH_LANE_KEYS));
}

/* Its ends are the sender as it came in, and the receiver as it leaves. */
static __always_inline struct flow_key between_key_of(const struct ip_packet *ip,
						      const struct segment *segment,
						      const struct translated *sender)
{
	__u64 from = (__u64)sender->fold << 16 | sender->port;
	__u64 to = (__u64)addr_fold(&ip->dst) << 16 | segment->dest;
	struct flow_key key = { .dir = forget_value(from > to) };

	key.tag = between_tag(from, to, FLOW_KIND(ip->protocol, ip->is_ipv6, 1));
	return key;
}

#endif
