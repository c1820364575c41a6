/* SPDX-License-Identifier: GPL-2.0 */
/* The one parser: the TCP header. */
#ifndef CPP_TCP_H
#define CPP_TCP_H

#include <stdbool.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include "cursor.h"
#include "parse.h"
#include "segment.h"

/* RFC 9293. Fills the segment but for the marks, which are those of mark_tcp.h, and leaves
 * the cursor at the options: `options` bytes. A packet that is too big to say its length
 * (l3_len 0) has that of its frame, `frame_len`. */
static __always_inline enum parse_result parse_tcp(struct cursor *cur, const struct ip_packet *ip,
						   __u32 frame_len, struct segment *segment,
						   __u32 *options)
{
	__u32 available = frame_len - ip->l3_offset, l3_len = ip->l3_len ?: available;
	__u32 headers, length;
	struct tcphdr *header;

	if (!ip->has_ports)
		return PARSE_FRAGMENT;
	cursor_forget(cur);
	headers = cur->offset - ip->l3_offset;
	header = TAKE(cur, struct tcphdr);
	if (!header)
		return PARSE_TRUNCATED;
	if (header->doff < 5)
		return PARSE_MALFORMED;
	length = header->doff * 4 - sizeof(*header);
	headers += header->doff * 4;
	if ((void *)(header + 1) + length > cur->end || l3_len > available)
		return PARSE_TRUNCATED;
	if (headers > l3_len)
		return PARSE_MALFORMED;

	*options = length;
	segment->source = header->source;
	segment->dest = header->dest;
	segment->payload = l3_len - headers;
	segment->has_mark = false;
	segment->has_echo = header->ack; /* rule 2 */
	segment->first_is_edge = header->syn;
	segment->asks = true;
	segment->starts = header->syn;
	segment->accepts = header->ack;
	segment->ends = header->fin;
	segment->aborts = header->rst;
	segment->alone = false;
	return PARSE_OK;
}

#endif
