/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks from TCP timestamps (RFC 7323): a TSval is a mark, and a TSecr is its echo.
 * Almost every segment has them where kernels put them; the others have them anywhere
 * among the options, or not at all.
 */
#ifndef CPP_MARK_TCP_H
#define CPP_MARK_TCP_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include "cursor.h"
#include "limits.h"
#include "segment.h"
#include "verifier.h"

#define TCPOPT_EOL	  0
#define TCPOPT_NOP	  1
#define TCPOPT_TIMESTAMP  8
#define TCPOLEN_TIMESTAMP 10

struct tcp_timestamps { /* RFC 7323, 3.2 */
	__be32 tsval;
	__be32 tsecr;
} __attribute__((packed));

/* The first option of every kernel outside the handshake: NOP, NOP, timestamps. */
#define TIMESTAMPS_ALIGNED                                                                         \
	bpf_htonl(TCPOPT_NOP << 24 | TCPOPT_NOP << 16 | TCPOPT_TIMESTAMP << 8 | TCPOLEN_TIMESTAMP)

static __always_inline void mark_timestamps(struct segment *segment,
					    const struct tcp_timestamps *timestamps)
{
	segment->mark = bpf_ntohl(timestamps->tsval);
	segment->echo = bpf_ntohl(timestamps->tsecr);
	segment->has_mark = true;
}

/* Marks a segment whose `length` bytes of options, at the cursor, begin as kernels write
 * them. Returns false if they do not. */
static __always_inline bool mark_aligned(const struct cursor *cur, __u32 length,
					 struct segment *segment)
{
	const void *options = cur->data + cur->offset;
	const __be32 *first = options;

	if (length < 12 || options + 12 > cur->end || *first != TIMESTAMPS_ALIGNED)
		return false;
	mark_timestamps(segment, options + 4);
	return true;
}

/* The size of the option at `option`, which has `left` bytes until the header's end;
 * 0 if that is impossible. */
static __always_inline __u32 tcp_option_size(const __u8 *option, __u32 left, const void *end)
{
	__u32 size;

	if (option[0] == TCPOPT_NOP)
		return 1;
	if ((void *)(option + 2) > end)
		return 0;
	size = option[1];
	return size >= 2 && size <= left ? size : 0;
}

#define TCP_OPTIONS_MASK 0x3f /* covers MAX_TCP_OPTION_BYTES */

/*
 * Searches the options, which may have any order (RFC 9293, 3.1): `length` bytes at
 * `offset`, all within the frame. Returns the offset of the timestamps' two words, 0 if
 * there are none, or -1 if an option is impossible.
 *
 * forget_value() makes all ways through a round end in one state; otherwise their
 * number would double forty times.
 */
static __always_inline int find_tcp_timestamps(struct cursor *cur, __u32 offset, __u32 length)
{
	const __u8 *options = cur->data + bounded(offset, MAX_HEADERS);
	__u32 at = 0;

	for (int i = 0; i < MAX_TCP_OPTION_BYTES && at < length; i++) {
		const __u8 *option = options + at;
		__u32 size;

		if ((void *)(option + 1) > cur->end)
			return -1;
		if (option[0] == TCPOPT_EOL)
			return 0;
		size = tcp_option_size(option, length - at, cur->end);
		if (!size)
			return -1;
		if (option[0] == TCPOPT_TIMESTAMP)
			return size == TCPOLEN_TIMESTAMP ? (int)(offset + at + 2) : -1;
		at = bounded(forget_value(at + size), TCP_OPTIONS_MASK);
	}
	return 0;
}

/* Marks a segment whose timestamps find_tcp_timestamps() found. */
static __always_inline enum parse_result mark_found(struct cursor *cur, int found,
						    struct segment *segment)
{
	struct tcp_timestamps *timestamps;

	if (found <= 0)
		return found ? PARSE_MALFORMED : PARSE_OK;
	cursor_seek(cur, found);
	timestamps = TAKE(cur, struct tcp_timestamps);
	if (!timestamps)
		return PARSE_TRUNCATED;
	mark_timestamps(segment, timestamps);
	return PARSE_OK;
}

#endif
