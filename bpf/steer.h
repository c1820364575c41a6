/* SPDX-License-Identifier: GPL-2.0 */
/* XDP, ingress of both NICs: hand each frame to its subscriber's CPU. */
#ifndef CPP_STEER_H
#define CPP_STEER_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "ctx_xdp.h"
#include "cursor.h"
#include "mapping.h"
#include "maps.h"
#include "parse.h"
#include "shaper_maps.h"
#include "stats.h"

static __always_inline void count_unsteered(struct stats *stats, enum parse_result why)
{
	if (why == PARSE_TRUNCATED)
		count(stats, COUNT_xdp_truncated);
	else if (why == PARSE_MALFORMED)
		count(stats, COUNT_xdp_malformed);
	else
		count(stats, COUNT_xdp_not_ip);
}

static __always_inline void hand_on(struct xdp_md *ctx, const struct mapping *mapping,
				    enum direction ingress, struct stats *stats)
{
	struct xdp_metadata metadata = {
		.cookie = config.meta_cookie,
		.tc_handle = mapping->tc_handle,
		.cpu = mapping->cpu,
		.direction = ingress,
	};

	if (!xdp_hand_on(ctx, &metadata))
		count(stats, COUNT_xdp_no_metadata);
}

static __always_inline int redirect(struct xdp_md *ctx, const struct mapping *mapping,
				    enum direction ingress, struct stats *stats)
{
	if (mapping->state == MAPPING_UNMAPPED) {
		count(stats, COUNT_xdp_unmapped);
		return XDP_PASS;
	}
	if (config.metadata)
		hand_on(ctx, mapping, ingress, stats);
	/* Without an entry in cpu_map the helper returns its flags: XDP_PASS. */
	if (mapping->state != MAPPING_AVAILABLE ||
	    bpf_redirect_map(&cpu_map, mapping->cpu, XDP_PASS) != XDP_REDIRECT) {
		count(stats, COUNT_xdp_no_cpu);
		return XDP_PASS;
	}
	count(stats, COUNT_xdp_redirected);
	return XDP_REDIRECT;
}

static __always_inline int steer(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cursor cur = xdp_cursor(ctx);
	struct stats *stats = stats_of(cpu);
	enum direction ingress;
	enum parse_result result;
	struct ip_addr subscriber;
	struct mapping mapping;
	struct ip_packet ip;

	if (!stats)
		return XDP_PASS;
	ingress = direction_of(ctx->ingress_ifindex);
	if (ingress == DIRECTION_NONE) {
		count(stats, COUNT_xdp_no_direction);
		return XDP_PASS;
	}
	result = parse_ip(&cur, &ip);
	if (result != PARSE_OK) {
		count_unsteered(stats, result);
		return XDP_PASS;
	}
	subscriber = select_addr(ingress == DIRECTION_LAN, &ip.src, &ip.dst);
	mapping = mapping_of(&subscriber, stats);
	return redirect(ctx, &mapping, ingress, stats);
}

#endif
