/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the reference programs read of a packet: one small parser for XDP and
 * TC. Ethernet, up to two VLAN tags, IPv4 or IPv6 without extension headers,
 * ports. Addresses are 16 bytes for both families, as in the contract's maps.
 */
#ifndef BENCH_PACKET_H
#define BENCH_PACKET_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_CPUS 256

struct address {
	__u32 word[4];
};

struct tuple {
	struct address src, dst;
	__u16 sport, dport;
	__u32 protocol;
};

struct vlan_header {
	__be16 tci;
	__be16 protocol;
};

struct packet {
	struct tuple tuple; /* ports: host order of nobody, as on the wire */
	void *transport;    /* NULL: not TCP or UDP, or cut short */
	__u32 length;	    /* of the IP payload */
	bool known;	    /* addresses are valid */
};

static __always_inline __u16 skip_vlans(void **pos, void *end, __u16 protocol)
{
#pragma unroll
	for (int i = 0; i < 2; i++) {
		struct vlan_header *tag = *pos;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return 0;
		protocol = tag->protocol;
		*pos = tag + 1;
	}
	return protocol;
}

static __always_inline void map_ipv4(struct address *to, __be32 from)
{
	to->word[0] = to->word[1] = to->word[2] = 0xffffffff;
	to->word[3] = from;
}

static __always_inline void read_network(void *pos, void *end, __u16 protocol,
					 struct packet *packet)
{
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = pos;

		if ((void *)(ip + 1) > end)
			return;
		map_ipv4(&packet->tuple.src, ip->saddr);
		map_ipv4(&packet->tuple.dst, ip->daddr);
		packet->tuple.protocol = ip->protocol;
		packet->length = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
		packet->transport = pos + ip->ihl * 4;
		packet->known = true;
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = pos;

		if ((void *)(ip + 1) > end)
			return;
		__builtin_memcpy(&packet->tuple.src, &ip->saddr, 16);
		__builtin_memcpy(&packet->tuple.dst, &ip->daddr, 16);
		packet->tuple.protocol = ip->nexthdr;
		packet->length = bpf_ntohs(ip->payload_len);
		packet->transport = ip + 1;
		packet->known = true;
	}
}

/* Addresses only: what XDP needs. */
static __always_inline void read_addresses(void *data, void *end, struct packet *packet)
{
	struct ethhdr *eth = data;
	void *pos = eth + 1;
	__u16 protocol;

	__builtin_memset(packet, 0, sizeof(*packet));
	if (pos > end)
		return;
	protocol = skip_vlans(&pos, end, eth->h_proto);
	read_network(pos, end, protocol, packet);
}

/* Addresses and ports: what TC needs. */
static __always_inline void read_tuple(void *data, void *end, struct packet *packet)
{
	__be16 *ports;

	read_addresses(data, end, packet);
	ports = packet->transport;
	if (!ports || (void *)(ports + 2) > end ||
	    (packet->tuple.protocol != IPPROTO_TCP && packet->tuple.protocol != IPPROTO_UDP)) {
		packet->transport = NULL;
		return;
	}
	packet->tuple.sport = ports[0];
	packet->tuple.dport = ports[1];
}

#endif
