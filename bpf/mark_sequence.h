/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks from TCP sequence numbers (RFC 9293, 3.4), for connections without timestamps: the
 * number after a segment's payload is a mark, and an acknowledgement number echoes it.
 * SYN and FIN take a number each.
 *
 * Weaker than timestamps: a retransmission has the mark of the lost segment, so that such an
 * RTT counts from the first transmission; and the echo 0, one number of 2^32, is none.
 */
#ifndef CPP_MARK_SEQUENCE_H
#define CPP_MARK_SEQUENCE_H

#include <stdbool.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include "cursor.h"
#include "segment.h"

/*
 * Marks a segment that may have timestamps already; its TCP header is at `offset`.
 *
 * A direction must not mix the two kinds of marks, because one would pass for later than the
 * other. So a reset, which has no timestamps even where the connection has them, stays
 * without a mark. And a SYN with timestamps only offers them: it loses its mark, because the
 * other end may decline.
 */
static __always_inline void mark_sequence(const struct cursor *cur, __u32 offset,
					  struct segment *segment)
{
	struct cursor at = *cur;
	struct tcphdr *header;

	if (segment->has_mark) {
		segment->has_mark = !segment->starts || segment->accepts;
		return;
	}
	if (segment->aborts)
		return;
	cursor_seek(&at, offset);
	header = TAKE(&at, struct tcphdr);
	if (!header)
		return;
	segment->mark = bpf_ntohl(header->seq) + segment->payload + segment->starts + segment->ends;
	segment->echo = bpf_ntohl(header->ack_seq);
	segment->has_mark = true;
}

#endif
