/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks from ICMP and ICMPv6 echoes: the sequence number of a request is a mark, and
 * the reply echoes it. The identifier tells flows apart, as ports do.
 */
#ifndef CPP_MARK_ICMP_H
#define CPP_MARK_ICMP_H

#include <stdbool.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include "cursor.h"
#include "parse.h"
#include "segment.h"

struct echo_header { /* RFC 792, RFC 4443 4.1 */
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 identifier;
	__be16 sequence;
};

#define ICMP_ECHO_REQUEST   8
#define ICMP_ECHO_REPLY	    0
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY   129

/* Fills the segment. A reply has no mark of its own. */
static __always_inline void mark_echo(const struct echo_header *echo, bool request,
				      struct segment *segment)
{
	__u32 sequence = bpf_ntohs(echo->sequence);

	*segment = (struct segment){
		.source = echo->identifier,
		.dest = echo->identifier,
		.mark = request ? sequence : 0,
		.echo = request ? 0 : sequence,
		.has_mark = true,
		.has_echo = !request,
		.asks = request,
		.alone = true,
	};
}

/* The echo at the cursor: PARSE_OTHER unless it is one. */
static __always_inline enum parse_result parse_echo(struct cursor *cur, const struct ip_packet *ip,
						    struct segment *segment)
{
	struct echo_header *echo;
	bool request, reply;
	__u32 headers;

	if (ip->protocol != (ip->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return PARSE_OTHER;
	if (!ip->has_ports)
		return PARSE_FRAGMENT;
	cursor_forget(cur);
	echo = TAKE(cur, struct echo_header);
	if (!echo)
		return PARSE_TRUNCATED;
	request = echo->type == (ip->is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST);
	reply = echo->type == (ip->is_ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY);
	if (!request && !reply)
		return PARSE_OTHER;
	mark_echo(echo, request, segment);
	headers = cur->offset - ip->l3_offset;
	segment->payload = ip->l3_len > headers ? ip->l3_len - headers : 0;
	return PARSE_OK;
}

#endif
