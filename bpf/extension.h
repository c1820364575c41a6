/* SPDX-License-Identifier: GPL-2.0 */
/* The one parser: IPv6 extension headers. */
#ifndef CPP_EXTENSION_H
#define CPP_EXTENSION_H

#include <stdbool.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include "cursor.h"
#include "limits.h"
#include "parse.h"

struct ipv6_extension { /* RFC 8200, 4: hop-by-hop, routing, destination options */
	__u8 next;
	__u8 length; /* in 8 bytes, without the first 8; AH: in 4 bytes, without 8 */
	__be16 fragment_offset;
	__be32 rest;
};

static __always_inline bool is_ipv6_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_FRAGMENT;
}

/* The result of find_transport(): the protocol of a header and the header's offset, or
 * in its place one of these two, at which no header begins. */
#define TRANSPORT_FRAGMENT 0 /* the header went with an earlier fragment */
#define TRANSPORT_TOO_DEEP 1 /* we do not follow the chain that far */

#define TRANSPORT_AT(offset, protocol) ((int)((protocol) << 16 | (offset)))
#define TRANSPORT_OFFSET(found)	       (0xffff & (found))
#define TRANSPORT_PROTOCOL(found)      ((found) >> 16)

/* Follows a chain of extension headers that begins at `offset` with one of
 * `protocol`. Returns TRANSPORT_*, or -1 if the frame ends before the chain does. */
static __always_inline int find_transport(struct cursor *cur, __u32 offset, __u32 protocol)
{
	cursor_seek(cur, offset);
	for (int i = 0; i < MAX_IPV6_EXT_HEADERS; i++) {
		struct ipv6_extension *ext = TAKE(cur, struct ipv6_extension);
		__u32 more = 0, next;

		if (!ext)
			return -1;
		next = ext->next;
		if (protocol == IPPROTO_AH)
			more = ext->length * 4; /* RFC 4302, 2.2: words less 2 */
		else if (protocol != IPPROTO_FRAGMENT)
			more = ext->length * 8;
		else if (ext->fragment_offset & bpf_htons(0xfff8))
			return TRANSPORT_AT(TRANSPORT_FRAGMENT, next);
		if (!cursor_skip(cur, more))
			return -1;
		if (cur->offset > MAX_HEADERS - MAX_TCP_HEADER)
			return TRANSPORT_AT(TRANSPORT_TOO_DEEP, next);
		if (!is_ipv6_extension(next))
			return TRANSPORT_AT(cur->offset, next);
		cursor_forget(cur);
		protocol = next;
	}
	return TRANSPORT_AT(TRANSPORT_TOO_DEEP, protocol);
}

/* Moves on to the transport header that find_transport() found. */
static __always_inline enum parse_result enter_transport(struct cursor *cur, int found,
							 struct ip_packet *ip)
{
	if (found < 0)
		return PARSE_TRUNCATED;
	ip->protocol = TRANSPORT_PROTOCOL(found);
	if (TRANSPORT_OFFSET(found) == TRANSPORT_TOO_DEEP)
		return PARSE_TOO_DEEP;
	ip->has_ports = TRANSPORT_OFFSET(found) != TRANSPORT_FRAGMENT;
	cursor_seek(cur, TRANSPORT_OFFSET(found));
	return PARSE_OK;
}

#endif
