/* SPDX-License-Identifier: GPL-2.0 */
/* Packets and bytes: by subnet, by protocol, by ECN mark. */
#ifndef CPP_AGGREGATE_H
#define CPP_AGGREGATE_H

#include <stdbool.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "cursor.h"
#include "events.h"
#include "limits.h"
#include "packet.h"
#include "parse.h"
#include "stream.h"
#include "stream_maps.h"
#include "verifier.h"

/* A packet as the counts see it. */
struct counted {
	struct stream_stats *stats;
	__u64 steady; /* clock.h: for time-outs */
	__u32 packets;
	__u32 bytes;
};

static __always_inline void count_protocol(const struct counted *at, enum stream_counter packets)
{
	stream_count(at->stats, packets, at->packets);
	stream_count(at->stats, packets + 1, at->bytes); /* the pair in stream_counters.def */
}

static __always_inline enum stream_counter protocol_counter(__u8 protocol)
{
	if (protocol == IPPROTO_TCP)
		return STREAM_tcp_packets;
	if (protocol == IPPROTO_UDP)
		return STREAM_udp_packets;
	if (protocol == IPPROTO_ICMP)
		return STREAM_icmp_packets;
	if (protocol == IPPROTO_ICMPV6)
		return STREAM_icmpv6_packets;
	return STREAM_other_packets;
}

static __always_inline enum stream_counter ecn_counter(__u8 ecn)
{
	/* RFC 3168, 5: 01 is ECT(1), 10 is ECT(0) */
	if (ecn == 0)
		return STREAM_ecn_not_ect;
	if (ecn == 1)
		return STREAM_ecn_ect1;
	return ecn == 2 ? STREAM_ecn_ect0 : STREAM_ecn_ce;
}

static __always_inline enum stream_class class_of(const struct packet *packet)
{
	if (packet->ip.protocol != IPPROTO_TCP)
		return STREAM_CLASS_OTHER;
	if (packet->transport == PARSE_OK && packet->segment.has_mark)
		return STREAM_CLASS_TCP_TIMESTAMPS;
	return STREAM_CLASS_TCP_OTHER;
}

/* Keeps the first `length` bits of half an address in network order. */
static __always_inline __u64 mask_half(__u64 half, __u32 length)
{
	if (length >= 64)
		return half;
	return length ? half & bpf_cpu_to_be64(~0ULL << (64 - length)) : 0;
}

static __always_inline struct stream_subnet_key subnet_of(const struct ip_addr *addr, bool is_ipv6)
{
	__u32 length = is_ipv6 ? stream_config.subnet_v6 : 96 + stream_config.subnet_v4;
	struct ip_addr masked = {
		.half = { mask_half(addr->half[0], length),
			  mask_half(addr->half[1], length > 64 ? length - 64 : 0) },
	};
	struct stream_subnet_key key;

	addr_bytes(key.addr, &masked);
	return key;
}

static __always_inline void count_subnet(const struct counted *at, const struct ip_addr *addr,
					 bool is_ipv6, bool sent, enum stream_class class)
{
	struct stream_subnet_key key = subnet_of(addr, is_ipv6);
	struct stream_subnet *subnet = bpf_map_lookup_elem(&stream_subnet, &key);
	struct stream_count *count;

	if (!subnet) {
		OFF_STACK struct stream_subnet empty;

		bpf_map_update_elem(&stream_subnet, &key, &empty, BPF_NOEXIST);
		subnet = bpf_map_lookup_elem(&stream_subnet, &key);
	}
	if (!subnet) {
		stream_count(at->stats, STREAM_subnets_full, at->packets);
		return;
	}
	if (never(class >= STREAM_CLASSES))
		return;
	count = sent ? &subnet->sent[class] : &subnet->received[class];
	__sync_fetch_and_add(&count->packets, at->packets);
	__sync_fetch_and_add(&count->bytes, at->bytes);
	subnet->last_seen_ns = at->steady;
}

static __always_inline void count_parsed(const struct counted *at, const struct packet *packet)
{
	enum stream_class class;

	if (packet->network == PARSE_TRUNCATED || packet->transport == PARSE_TRUNCATED)
		stream_count(at->stats, STREAM_error_truncated, at->packets);
	if (packet->network == PARSE_MALFORMED || packet->transport == PARSE_MALFORMED)
		stream_count(at->stats, STREAM_error_malformed, at->packets);
	if (packet->network != PARSE_OK) {
		count_protocol(at, STREAM_not_ip_packets);
		return;
	}
	class = class_of(packet);
	count_protocol(at, protocol_counter(packet->ip.protocol));
	stream_count(at->stats, ecn_counter(packet->ip.ecn), at->packets);
	count_subnet(at, &packet->ip.src, packet->ip.is_ipv6, true, class);
	count_subnet(at, &packet->ip.dst, packet->ip.is_ipv6, false, class);
}

/* Counts a packet. Returns 0. */
VERIFY_ONCE int count_packet(const struct packet *packet, __u64 steady, __u32 packets, __u32 bytes,
			     __u32 cpu)
{
	struct counted counted = {
		.stats = stream_stats_of(cpu),
		.steady = steady,
		.packets = packets,
		.bytes = bytes,
	};

	if (packet && counted.stats)
		count_parsed(&counted, packet);
	return 0;
}

#endif
