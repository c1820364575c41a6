/* SPDX-License-Identifier: GPL-2.0 */
/* The only place that knows struct __sk_buff. */
#ifndef CPP_CTX_TC_H
#define CPP_CTX_TC_H

#include "maps.h"
#include "parse.h"

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

/* Drivers may leave headers in page fragments. True: more of them can be read
 * now, and every packet pointer is void. The content does not change. */
static __always_inline bool tc_pull_headers(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < TC_HEADERS_MAX ? skb->len : TC_HEADERS_MAX;

	if ((void *)(long)skb->data + wanted <= (void *)(long)skb->data_end)
		return false;
	return bpf_skb_pull_data(skb, wanted) == 0;
}

/* What our XDP program handed on with this packet, or NULL: nothing, or
 * somebody else's. */
static __always_inline const struct xdp_metadata *tc_handed_on(const struct __sk_buff *skb)
{
	const struct xdp_metadata *metadata = (void *)(long)skb->data_meta;

	if ((void *)(metadata + 1) > (void *)(long)skb->data)
		return NULL;
	if (metadata->cookie != config.meta_cookie)
		return NULL;
	return metadata;
}

#endif
