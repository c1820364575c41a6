/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A whole packet, through the one parser: as far as it can be followed, and how
 * far that was. The same at both hooks.
 */
#ifndef CPP_PACKET_H
#define CPP_PACKET_H

#include "clock.h"
#include "ctx_tc.h"
#include "ctx_xdp.h"
#include "transport.h"

struct packet {
	struct ip_packet ip;
	struct tcp_segment tcp;	     /* valid with transport == PARSE_OK */
	enum parse_result network;   /* how far parse_ip() came */
	enum parse_result transport; /* how far parse_transport() came */
};

/* Where the packet comes from. Constants but for the context and the length:
 * the compiler leaves one way through the parser. */
struct hook {
	void *ctx; /* struct xdp_md or struct __sk_buff */
	bool is_xdp;
	bool no_link_header;
	bool echoes; /* ICMP echoes are followed, too */
	__u32 frame_len;
};

static __always_inline struct cursor hook_cursor(const struct hook *hook)
{
	return hook->is_xdp ? xdp_cursor(hook->ctx) : tc_cursor(hook->ctx);
}

/*
 * find_tcp_timestamps() for the packets that do not have them where every kernel
 * puts them, and find_transport() for the few that have extension headers:
 * global, so that the verifier follows them once.
 */
__noinline int tc_find_timestamps(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	struct cursor cur = tc_cursor(skb);

	return find_tcp_timestamps(&cur, offset, length);
}

__noinline int tc_find_transport(struct __sk_buff *skb, __u32 offset, __u32 protocol)
{
	struct cursor cur = tc_cursor(skb);

	return find_transport(&cur, offset, protocol);
}

__noinline int xdp_find_timestamps(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	struct cursor cur = xdp_cursor(ctx);

	return find_tcp_timestamps(&cur, offset, length);
}

__noinline int xdp_find_transport(struct xdp_md *ctx, __u32 offset, __u32 protocol)
{
	struct cursor cur = xdp_cursor(ctx);

	return find_transport(&cur, offset, protocol);
}

static __always_inline int hook_find_timestamps(const struct hook *hook, __u32 offset, __u32 length)
{
	return hook->is_xdp ? xdp_find_timestamps(hook->ctx, offset, length) :
			      tc_find_timestamps(hook->ctx, offset, length);
}

static __always_inline int hook_find_transport(const struct hook *hook, __u32 offset,
					       __u32 protocol)
{
	return hook->is_xdp ? xdp_find_transport(hook->ctx, offset, protocol) :
			      tc_find_transport(hook->ctx, offset, protocol);
}

/* The transport header of a packet whose network header was read. */
static __always_inline void parse_above(const struct hook *hook, struct cursor *cur,
					struct packet *packet)
{
	if (packet->ip.is_ipv6 && is_ipv6_extension(packet->ip.protocol)) {
		int found = hook_find_transport(hook, cur->offset, packet->ip.protocol);

		packet->transport = enter_transport(cur, found, &packet->ip);
		if (packet->transport != PARSE_OK)
			return;
	}
	packet->transport = parse_transport(cur, &packet->ip, hook->frame_len, &packet->tcp);
	if (packet->transport == PARSE_OK && packet->tcp.options_len) {
		int found = hook_find_timestamps(hook, cur->offset, packet->tcp.options_len);

		packet->transport = parse_timestamps(cur, found, &packet->tcp);
	} else if (packet->transport == PARSE_OTHER && hook->echoes) {
		packet->transport = parse_echo(cur, &packet->ip, &packet->tcp);
	}
}

static __always_inline void parse_linear(const struct hook *hook, struct packet *packet)
{
	struct cursor cur = hook_cursor(hook);

	packet->transport = PARSE_OTHER;
	if (hook->no_link_header)
		packet->network = parse_bare_ip(&cur, &packet->ip);
	else
		packet->network = parse_ip(&cur, &packet->ip);
	if (config.rtt && packet->network == PARSE_OK)
		parse_above(hook, &cur, packet);
}

/* What is linear, and once more when headers turn out to be in a page fragment.
 * A loop, so that there is one copy of the parser in the program. */
static __always_inline void parse_packet(const struct hook *hook, struct packet *packet)
{
#pragma clang loop unroll(disable)
	for (int try = 0; try < 2; try++) {
		parse_linear(hook, packet);
		if (packet->network != PARSE_TRUNCATED && packet->transport != PARSE_TRUNCATED)
			return;
		if (hook->is_xdp || !tc_pull_headers(hook->ctx))
			return;
	}
}

#endif
