/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A cursor over the bytes of a frame. The parser works on it, and so does not
 * know whether the frame came from XDP (ctx_xdp.h) or from TC (ctx_tc.h).
 */
#ifndef CPP_CURSOR_H
#define CPP_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>
#include "verifier.h"

struct cursor {
	void *data;
	void *end;
	__u32 offset; /* of the next header from data */
};

#define MAX_HEADERS    0x1ff /* bytes; a mask. The parser gives up beyond this offset. */
#define MAX_TCP_HEADER 60    /* bytes: RFC 9293, 3.1 */

/* How far a parse_*() function came. */
enum parse_result {
	PARSE_OK = 0,
	PARSE_OTHER,	 /* a protocol that we do not follow */
	PARSE_TRUNCATED, /* the frame ends inside a header */
	PARSE_MALFORMED, /* a header contradicts itself */
	PARSE_FRAGMENT,	 /* the transport header went with an earlier fragment */
	PARSE_TOO_DEEP,	 /* more extension headers than we follow */
};

/* Takes the next header: NULL if the frame ends before the header does. */
#define TAKE(cursor, type)                                                                         \
	({                                                                                         \
		type *__header = (cursor)->data + (cursor)->offset;                                \
		if ((void *)(__header + 1) > (cursor)->end)                                        \
			__header = NULL;                                                           \
		else                                                                               \
			(cursor)->offset += sizeof(*__header);                                     \
		__header;                                                                          \
	})

/* Steps over `bytes`. Returns false if the frame ends before that. */
static __always_inline bool cursor_skip(struct cursor *cur, __u32 bytes)
{
	void *pos = cur->data + cur->offset;

	if (pos + bytes > cur->end)
		return false;
	cur->offset += bytes;
	return true;
}

/* Moves to an offset that a global function returned. */
static __always_inline void cursor_seek(struct cursor *cur, __u32 offset)
{
	cur->offset = bounded(offset, MAX_HEADERS);
}

/* Stays there, but the verifier no longer knows behind how many tags and extensions. */
static __always_inline void cursor_forget(struct cursor *cur)
{
	cursor_seek(cur, forget_value(cur->offset));
}

#endif
