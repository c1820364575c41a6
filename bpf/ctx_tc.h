/* SPDX-License-Identifier: GPL-2.0 */
/* How the parser reads a packet of TC: the linear part of struct __sk_buff. */
#ifndef CPP_CTX_TC_H
#define CPP_CTX_TC_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "cursor.h"
#include "maps.h"
#include "verifier.h"

/* More than any chain of headers that the parser follows usually takes. */
#define TC_HEADERS_MAX 256

static __always_inline struct cursor tc_cursor(const struct __sk_buff *skb)
{
	struct cursor cur = {
		.data = (void *)(long)skb->data,
		.end = (void *)(long)skb->data_end,
	};

	return cur;
}

/* Drivers may leave headers in page fragments. Returns true if more of them can be read
 * now; every packet pointer is then void. The content does not change. */
static __always_inline bool tc_pull_headers(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < TC_HEADERS_MAX ? skb->len : TC_HEADERS_MAX;

	if ((void *)(long)skb->data + wanted <= (void *)(long)skb->data_end)
		return false;
	return bpf_skb_pull_data(skb, wanted) == 0;
}

/* A test run of TC has no metadata: skb->cb holds it there. Tests only. */
static __always_inline bool test_handed_on(const struct __sk_buff *skb,
					   struct xdp_metadata *content)
{
	const __u32 words[] = { skb->cb[0], skb->cb[1], skb->cb[2], skb->cb[3], skb->cb[4] };

	_Static_assert(sizeof(words) == sizeof(*content), "skb->cb");
	__builtin_memcpy(content, words, sizeof(*content));
	keep_apart();
	return content->cookie == config.meta_cookie;
}

/* Reads the metadata that our XDP program handed on with this packet. Returns false if
 * there is none, or another program's. */
static __always_inline bool tc_handed_on(const struct __sk_buff *skb, struct xdp_metadata *content)
{
	const struct xdp_metadata *metadata = (void *)(long)skb->data_meta;

	if (config.test_clock)
		return test_handed_on(skb, content);
	if ((void *)(metadata + 1) > (void *)(long)skb->data)
		return false;
	*content = *metadata;
	return content->cookie == config.meta_cookie;
}

#endif
