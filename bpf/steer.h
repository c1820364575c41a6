/* SPDX-License-Identifier: GPL-2.0 */
/* XDP, ingress of both NICs: hand each frame to its subscriber's CPU. */
#ifndef CPP_STEER_H
#define CPP_STEER_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "ctx_xdp.h"
#include "cursor.h"
#include "hash.h"
#include "mapping.h"
#include "maps.h"
#include "parse.h"
#include "shaper_maps.h"
#include "stats.h"
#include "verifier.h"

struct tcp_ports { /* RFC 9293, 3.1 */
	__be16 source;
	__be16 dest;
};

static __always_inline void count_unsteered(struct stats *stats, enum parse_result why)
{
	if (why == PARSE_TRUNCATED)
		count(stats, COUNT_xdp_truncated);
	else if (why == PARSE_MALFORMED)
		count(stats, COUNT_xdp_malformed);
	else
		count(stats, COUNT_xdp_not_ip);
}

/* The subscriber's port, where it can be had for one load. */
static __always_inline __be16 subscriber_port(struct cursor *cur, const struct ip_packet *ip,
					      enum direction ingress)
{
	struct tcp_ports *ports;

	if (ip->protocol != IPPROTO_TCP || !ip->has_ports)
		return 0;
	cursor_forget(cur);
	ports = TAKE(cur, struct tcp_ports);
	if (!ports)
		return 0;
	return ingress == DIRECTION_LAN ? ports->source : ports->dest;
}

/* What TC shall know of the frame. */
static __always_inline struct xdp_metadata describe(struct cursor *cur, const struct ip_packet *ip,
						    enum direction ingress, struct stats *stats)
{
	struct ip_addr subscriber = select_addr(ingress == DIRECTION_LAN, &ip->src, &ip->dst);
	__be16 port = forget_value(subscriber_port(cur, ip, ingress));
	struct mapping mapping = mapping_of(&subscriber, stats);
	struct xdp_metadata metadata = {
		.cookie = config.meta_cookie,
		.tc_handle = mapping.tc_handle,
		.cpu = mapping.cpu,
		.direction = ingress,
		.state = mapping.state,
		.fold = addr_fold(&subscriber),
		.port = port,
	};

	return metadata;
}

static __always_inline int redirect(struct xdp_md *ctx, const struct xdp_metadata *metadata,
				    struct stats *stats)
{
	if (config.metadata && !xdp_hand_on(ctx, metadata))
		count(stats, COUNT_xdp_no_metadata);
	if (metadata->state == MAPPING_UNMAPPED) {
		count(stats, COUNT_xdp_unmapped);
		return XDP_PASS;
	}
	/* Without an entry in cpu_map the helper returns its flags: XDP_PASS. */
	if (metadata->state != MAPPING_AVAILABLE ||
	    bpf_redirect_map(&cpu_map, metadata->cpu, XDP_PASS) != XDP_REDIRECT) {
		count(stats, COUNT_xdp_no_cpu);
		return XDP_PASS;
	}
	count(stats, COUNT_xdp_redirected);
	return XDP_REDIRECT;
}

static __always_inline int steer(struct xdp_md *ctx)
{
	struct stats *stats = stats_of(bpf_get_smp_processor_id());
	struct cursor cur = xdp_cursor(ctx);
	struct xdp_metadata metadata;
	enum direction ingress;
	enum parse_result result;
	struct ip_packet ip;

	if (!stats)
		return XDP_PASS;
	ingress = direction_of(ctx->ingress_ifindex);
	if (ingress == DIRECTION_NONE) {
		count(stats, COUNT_xdp_no_direction);
		return XDP_PASS;
	}
	result = config.no_link_header ? parse_bare_ip(&cur, &ip) : parse_ip(&cur, &ip);
	if (result != PARSE_OK) {
		count_unsteered(stats, result);
		return XDP_PASS;
	}
	metadata = describe(&cur, &ip, ingress, stats);
	return redirect(ctx, &metadata, stats);
}

#endif
