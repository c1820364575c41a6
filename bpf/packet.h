/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A whole packet, read by the one parser as far as it can follow, and the same at
 * both hooks.
 */
#ifndef CPP_PACKET_H
#define CPP_PACKET_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "ctx_tc.h"
#include "ctx_xdp.h"
#include "cursor.h"
#include "extension.h"
#include "maps.h"
#include "mark_icmp.h"
#include "mark_tcp.h"
#include "parse.h"
#include "segment.h"
#include "stats.h"
#include "tcp.h"
#include "verifier.h"

struct packet {
	struct ip_packet ip;	     /* valid with network == PARSE_OK */
	struct segment segment;	     /* valid with transport == PARSE_OK */
	enum parse_result network;   /* how far the network header was read */
	enum parse_result transport; /* how far the transport header was read */
};

/* The source of a packet. All but the context and the length are constants, so that
 * the compiler leaves one way through the parser. */
struct hook {
	void *ctx; /* struct xdp_md or struct __sk_buff */
	bool is_xdp;
	bool no_link_header;
	bool echoes;	/* ICMP echoes are measured, too */
	bool trusts_ip; /* the capture may have lost the frame's length: IP says it */
	bool forgets;	/* forget_the_way() may have the packet's address: it stays on the stack */
	__u32 frame_len;
};

/* Returns a frame's length on the wire. A replayed capture may hold less of the frame, so
 * the replay sets the length beside the clock. */
static __always_inline __u32 frame_len(__u32 len)
{
	struct control *control;

	if (!config.test_clock)
		return len;
	control = control_entry();
	return control && control->test_frame_len ? control->test_frame_len : len;
}

/*
 * Defines the global functions of one hook. Each hook has its own, because the
 * verifier wants a context of the hook's own type (VERIFY_ONCE). They serve the few
 * packets with options or extension headers; the packet path seldom calls them.
 */
#define DEFINE_HOOK(hook, context)                                                                 \
	VERIFY_ONCE int hook##_find_timestamps(struct context *ctx, __u32 offset, __u32 length)    \
	{                                                                                          \
		struct cursor cur = hook##_cursor(ctx);                                            \
                                                                                                   \
		return find_tcp_timestamps(&cur, offset, length);                                  \
	}                                                                                          \
                                                                                                   \
	VERIFY_ONCE int hook##_find_transport(struct context *ctx, __u32 offset, __u32 protocol)   \
	{                                                                                          \
		struct cursor cur = hook##_cursor(ctx);                                            \
                                                                                                   \
		return find_transport(&cur, offset, protocol);                                     \
	}

DEFINE_HOOK(tc, __sk_buff)
DEFINE_HOOK(xdp, xdp_md)

/* Calls tc_NAME(ctx, ...) or xdp_NAME(ctx, ...), as the packet's hook is. */
#define AT_HOOK(hook, name, ...)                                                                   \
	((hook)->is_xdp ? xdp_##name((hook)->ctx, ##__VA_ARGS__) :                                 \
			  tc_##name((hook)->ctx, ##__VA_ARGS__))

static __always_inline enum parse_result read_tcp(const struct hook *hook, struct cursor *cur,
						  const struct ip_packet *ip,
						  struct segment *segment)
{
	__u32 options, frame_len = hook->frame_len;
	enum parse_result result;

	if (hook->trusts_ip && ip->l3_len)
		frame_len = ip->l3_offset + ip->l3_len;
	result = parse_tcp(cur, ip, frame_len, segment, &options);

	if (result != PARSE_OK || !options || mark_aligned(cur, options, segment))
		return result;
	return mark_found(cur, AT_HOOK(hook, find_timestamps, cur->offset, options), segment);
}

/* The extension headers that we do not follow may hide a packet that is measured. */
static __always_inline bool may_be_measured(const struct hook *hook, __u8 protocol)
{
	return protocol == IPPROTO_TCP || (hook->echoes && protocol == IPPROTO_ICMPV6) ||
	       is_ipv6_extension(protocol);
}

/* Reads the transport header of a packet whose network header was read. */
static __always_inline enum parse_result read_transport(const struct hook *hook, struct cursor *cur,
							struct packet *packet)
{
	if (packet->ip.is_ipv6 && is_ipv6_extension(packet->ip.protocol)) {
		int found = AT_HOOK(hook, find_transport, cur->offset, packet->ip.protocol);
		enum parse_result result = enter_transport(cur, found, &packet->ip);

		if (result == PARSE_TOO_DEEP && !may_be_measured(hook, packet->ip.protocol))
			return PARSE_OTHER;
		if (result != PARSE_OK)
			return result;
	}
	if (packet->ip.protocol == IPPROTO_TCP)
		return read_tcp(hook, cur, &packet->ip, &packet->segment);
	if (hook->echoes)
		return parse_echo(cur, &packet->ip, &packet->segment);
	return PARSE_OTHER;
}

static __always_inline void read_linear(const struct hook *hook, struct packet *packet)
{
	struct cursor cur = AT_HOOK(hook, cursor);

	packet->transport = PARSE_OTHER;
	if (hook->no_link_header)
		packet->network = parse_bare_ip(&cur, &packet->ip);
	else
		packet->network = parse_ip(&cur, &packet->ip);
	if (config.rtt && packet->network == PARSE_OK)
		packet->transport = read_transport(hook, &cur, packet);
}

/* The way through the parser. Where the packet is in registers (`forgets` is false), the
 * verifier copes without it. */
DEFINE_FORGET(forget_the_way, struct packet)

/* Reads the linear part of the frame, and reads it once more when headers turn out
 * to be in a page fragment. A loop, so that the program has one copy of the parser. */
static __always_inline void read_packet(const struct hook *hook, struct packet *packet)
{
#pragma clang loop unroll(disable)
	for (int try = 0; try < 2; try++) {
		read_linear(hook, packet);
		if (packet->network != PARSE_TRUNCATED && packet->transport != PARSE_TRUNCATED)
			return;
		if (!AT_HOOK(hook, pull_headers))
			return;
		if (hook->forgets)
			forget_the_way(packet);
	}
}

static __always_inline void count_unmeasured(struct stats *stats, enum parse_result why)
{
	if (why == PARSE_FRAGMENT)
		count(stats, COUNT_rtt_no_ports);
	else if (why == PARSE_TOO_DEEP)
		count(stats, COUNT_rtt_too_deep);
	else if (why == PARSE_TRUNCATED)
		count(stats, COUNT_rtt_tcp_truncated);
	else
		count(stats, COUNT_rtt_tcp_malformed);
}

/* Returns whether a packet of a protocol that is measured carries a mark; counts why if
 * it does not. */
static __always_inline bool is_marked(const struct packet *packet, struct stats *stats)
{
	if (packet->transport != PARSE_OK) {
		count_unmeasured(stats, packet->transport);
		return false;
	}
	if (!packet->segment.has_mark)
		count(stats, COUNT_rtt_no_timestamps);
	return packet->segment.has_mark;
}

/* Whether the flow table must know of a packet: it carries a mark, or is an RST, which
 * usually has none (RFC 7323, 3.2) and ends its flow all the same. Counts it if it has none. */
static __always_inline bool is_of_a_flow(const struct packet *packet, struct stats *stats)
{
	return is_marked(packet, stats) ||
	       (packet->transport == PARSE_OK && packet->segment.aborts);
}

#endif
