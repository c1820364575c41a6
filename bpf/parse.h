/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one parser, from the link header to the network header. extension.h, tcp.h and
 * mark_icmp.h go on from there.
 *
 * Each parse_*() moves the cursor past one header, or returns why it cannot. A
 * frame that cannot be parsed is never dropped and never classified.
 */
#ifndef CPP_PARSE_H
#define CPP_PARSE_H

#include <stdbool.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "cursor.h"
#include "limits.h"

/* An address as in struct ip_prefix: two halves in network order. */
struct ip_addr {
	__u64 half[2];
};

/* One of two addresses, by value: taking their address would keep both on the
 * stack. */
static __always_inline struct ip_addr select_addr(bool first, const struct ip_addr *a,
						  const struct ip_addr *b)
{
	struct ip_addr selected = {
		.half = { first ? a->half[0] : b->half[0], first ? a->half[1] : b->half[1] },
	};

	return selected;
}

struct ip_packet {
	struct ip_addr src;
	struct ip_addr dst;
	__u32 l3_offset; /* of the IP header in the frame */
	__u32 l3_len;	 /* header and payload, from the IP header; 0: ask the frame (BIG TCP) */
	__u8 protocol;	 /* of the transport header at the cursor */
	__u8 ecn;	 /* RFC 3168, 5 */
	bool is_ipv6;
	bool has_ports; /* false: a later fragment */
};

struct vlan_tag {
	__be16 tci;
	__be16 next;
};

struct pppoe_session { /* RFC 2516, 4 and RFC 1661, 2 */
	__u8 version_type;
	__u8 code;
	__be16 session;
	__be16 length;
	__be16 ppp_protocol;
} __attribute__((packed));

struct mpls_label { /* RFC 3032, 2.1 */
	__u8 label_high[2];
	__u8 label_low_and_stack; /* with MPLS_BOTTOM */
	__u8 ttl;
};

#define ETHERTYPE_QINQ_OLD   0x9100
#define MPLS_BOTTOM	     0x01 /* the last label of the stack */
#define PPPOE_VERSION_1_TYPE 0x11
#define PPPOE_CODE_SESSION   0x00
#define PPP_IPV4	     0x0021
#define PPP_IPV6	     0x0057

static __always_inline bool is_vlan(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD) ||
	       ethertype == bpf_htons(ETHERTYPE_QINQ_OLD);
}

/* PPPoE session: the EtherType that its PPP protocol stands for. */
static __always_inline enum parse_result parse_pppoe(struct cursor *cur, __be16 *ethertype)
{
	struct pppoe_session *pppoe = TAKE(cur, struct pppoe_session);

	if (!pppoe)
		return PARSE_TRUNCATED;
	if (pppoe->version_type != PPPOE_VERSION_1_TYPE || pppoe->code != PPPOE_CODE_SESSION)
		return PARSE_MALFORMED;
	if (pppoe->ppp_protocol == bpf_htons(PPP_IPV4))
		*ethertype = bpf_htons(ETH_P_IP);
	else if (pppoe->ppp_protocol == bpf_htons(PPP_IPV6))
		*ethertype = bpf_htons(ETH_P_IPV6);
	else
		return PARSE_OTHER; /* LCP, IPCP, … */
	return PARSE_OK;
}

/* The EtherType of the IP version that the first half byte at the cursor names. */
static __always_inline enum parse_result parse_version(const struct cursor *cur, __be16 *ethertype)
{
	const __u8 *first = cur->data + cur->offset;

	if ((void *)(first + 1) > cur->end)
		return PARSE_TRUNCATED;
	if (*first >> 4 == 4)
		*ethertype = bpf_htons(ETH_P_IP);
	else if (*first >> 4 == 6)
		*ethertype = bpf_htons(ETH_P_IPV6);
	else
		return PARSE_OTHER;
	return PARSE_OK;
}

static __always_inline bool is_mpls(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_MPLS_UC) || ethertype == bpf_htons(ETH_P_MPLS_MC);
}

/* RFC 3032: labels to the bottom of the stack, which do not say what follows. IP begins
 * with its version; a pseudo-wire's control word (RFC 4385) begins with 0 or 1. */
static __always_inline enum parse_result parse_mpls(struct cursor *cur, __be16 *ethertype)
{
	cursor_forget(cur);
#pragma unroll
	for (int i = 0; i < MAX_MPLS_LABELS; i++) {
		struct mpls_label *label = TAKE(cur, struct mpls_label);

		if (!label)
			return PARSE_TRUNCATED;
		if (label->label_low_and_stack & MPLS_BOTTOM)
			return parse_version(cur, ethertype);
	}
	return PARSE_OTHER;
}

/* Ethernet, up to MAX_VLAN_TAGS tags, PPPoE or MPLS: leaves the cursor at the network
 * header and *ethertype at what that should be. */
static __always_inline enum parse_result parse_link(struct cursor *cur, __be16 *ethertype)
{
	struct ethhdr *eth = TAKE(cur, struct ethhdr);

	if (!eth)
		return PARSE_TRUNCATED;
	*ethertype = eth->h_proto;
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_tag *tag;

		if (!is_vlan(*ethertype))
			break;
		tag = TAKE(cur, struct vlan_tag);
		if (!tag)
			return PARSE_TRUNCATED;
		*ethertype = tag->next;
	}
	if (*ethertype == bpf_htons(ETH_P_PPP_SES))
		return parse_pppoe(cur, ethertype);
	if (is_mpls(*ethertype))
		return parse_mpls(cur, ethertype);
	return PARSE_OK;
}

static __always_inline struct ip_addr addr_from_ipv4(__be32 addr)
{
	/* ::ffff would be the standard's way; twelve 0xFF bytes is the contract's. */
	struct ip_addr mapped = {
		.half = { ~0ULL, (__u64)addr << 32 | 0xffffffff },
	};

	return mapped;
}

static __always_inline struct ip_addr addr_from_ipv6(const struct in6_addr *addr)
{
	const __u32 *word = addr->in6_u.u6_addr32;
	struct ip_addr copy = {
		.half = { (__u64)word[1] << 32 | word[0], (__u64)word[3] << 32 | word[2] },
	};

	return copy;
}

/* RFC 791. Options are stepped over. */
static __always_inline enum parse_result parse_ipv4(struct cursor *cur, struct ip_packet *ip)
{
	struct iphdr *header = TAKE(cur, struct iphdr);

	if (!header)
		return PARSE_TRUNCATED;
	if (header->version != 4 || header->ihl < 5)
		return PARSE_MALFORMED;
	if (!cursor_skip(cur, header->ihl * 4 - sizeof(*header)))
		return PARSE_TRUNCATED;
	ip->l3_len = bpf_ntohs(header->tot_len);
	if (ip->l3_len && ip->l3_len < header->ihl * 4)
		return PARSE_MALFORMED;
	ip->src = addr_from_ipv4(header->saddr);
	ip->dst = addr_from_ipv4(header->daddr);
	ip->protocol = header->protocol;
	ip->ecn = header->tos & 3;
	ip->is_ipv6 = false;
	ip->has_ports = !(header->frag_off & bpf_htons(0x1fff)); /* fragment offset */
	return PARSE_OK;
}

/* RFC 8200. Extension headers are find_transport()'s. */
static __always_inline enum parse_result parse_ipv6(struct cursor *cur, struct ip_packet *ip)
{
	struct ipv6hdr *header = TAKE(cur, struct ipv6hdr);

	if (!header)
		return PARSE_TRUNCATED;
	if (header->version != 6)
		return PARSE_MALFORMED;
	ip->l3_len = header->payload_len ? bpf_ntohs(header->payload_len) + sizeof(*header) : 0;
	ip->src = addr_from_ipv6(&header->saddr);
	ip->dst = addr_from_ipv6(&header->daddr);
	ip->protocol = header->nexthdr;
	ip->ecn = header->flow_lbl[0] >> 4 & 3; /* the low bits of the traffic class */
	ip->is_ipv6 = true;
	ip->has_ports = true;
	return PARSE_OK;
}

/* The network header that `ethertype` announces. */
static __always_inline enum parse_result parse_network(struct cursor *cur, __be16 ethertype,
						       struct ip_packet *ip)
{
	cursor_forget(cur);
	ip->l3_offset = cur->offset;
	if (ethertype == bpf_htons(ETH_P_IP))
		return parse_ipv4(cur, ip);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(cur, ip);
	return PARSE_OTHER;
}

/* Link and network header: enough to know whose packet it is. */
static __always_inline enum parse_result parse_ip(struct cursor *cur, struct ip_packet *ip)
{
	__be16 ethertype;
	enum parse_result result = parse_link(cur, &ethertype);

	return result == PARSE_OK ? parse_network(cur, ethertype, ip) : result;
}

/* The same where frames have no link header (tun, ppp, wg). */
static __always_inline enum parse_result parse_bare_ip(struct cursor *cur, struct ip_packet *ip)
{
	__be16 ethertype;
	enum parse_result result = parse_version(cur, &ethertype);

	return result == PARSE_OK ? parse_network(cur, ethertype, ip) : result;
}

#endif
