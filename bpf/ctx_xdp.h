/* SPDX-License-Identifier: GPL-2.0 */
/* How the parser reads a frame of XDP: the linear part of struct xdp_md. */
#ifndef CPP_CTX_XDP_H
#define CPP_CTX_XDP_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "cursor.h"

static __always_inline struct cursor xdp_cursor(const struct xdp_md *ctx)
{
	struct cursor cur = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};

	return cur;
}

/* XDP has no helper that makes more of a frame linear. */
static __always_inline bool xdp_pull_headers(struct xdp_md *ctx __attribute__((unused)))
{
	return false;
}

/* Puts the metadata in front of the frame. Returns false if the driver has no room;
 * the frame is then unchanged. All packet pointers are void afterwards. */
static __always_inline bool xdp_hand_on(struct xdp_md *ctx, const struct xdp_metadata *content)
{
	struct xdp_metadata *metadata;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*metadata)))
		return false;
	metadata = (void *)(long)ctx->data_meta;
	if ((void *)(metadata + 1) > (void *)(long)ctx->data)
		return false;
	*metadata = *content;
	return true;
}

#endif
