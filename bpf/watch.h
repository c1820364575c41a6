/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Standalone: every packet of one interface, at both hooks; each hook measures the marks
 * that the other remembered.
 */
#ifndef CPP_WATCH_H
#define CPP_WATCH_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "aggregate.h"
#include "clock.h"
#include "cursor.h"
#include "echoes.h"
#include "events.h"
#include "hash.h"
#include "limits.h"
#include "packet.h"
#include "rtt.h"
#include "stats.h"
#include "stream.h"
#include "stream_maps.h"
#include "verifier.h"

#define WATCH_INGRESS 0
#define WATCH_EGRESS  1

/* A hook's knowledge of a packet beside its bytes. */
struct watched {
	__u32 cpu;
	__u32 packets;
	__u32 bytes;
	int hook;   /* WATCH_* */
	bool local; /* it leaves, and this host made it */
};

/* A TCP segment or an ICMP echo, if the user asked for that; or what may be a segment
 * behind too many extension headers. */
static __always_inline bool is_measured(const struct packet *packet)
{
	if (packet->transport == PARSE_OTHER)
		return false;
	if (packet->ip.protocol == IPPROTO_ICMP || packet->ip.protocol == IPPROTO_ICMPV6)
		return stream_config.icmp;
	return stream_config.tcp;
}

/* Returns STREAM_seen_* for a packet that the parser could not follow to its mark. */
static __always_inline enum stream_counter seen_as(const struct packet *packet)
{
	enum parse_result why = packet->network != PARSE_OK ? packet->network : packet->transport;

	if (packet->network == PARSE_OK && !is_measured(packet))
		return STREAM_seen_other;
	if (why == PARSE_TRUNCATED)
		return STREAM_seen_truncated;
	if (why == PARSE_MALFORMED)
		return STREAM_seen_malformed;
	if (why == PARSE_FRAGMENT)
		return STREAM_seen_fragment;
	if (why == PARSE_OK)
		return STREAM_seen_no_mark;
	return STREAM_seen_not_ip;
}

/* Counts a packet of a replay. */
static __always_inline void count_seen(struct stream_stats *stats, enum stream_counter seen)
{
	if (!never(seen >= NR_STREAM_COUNTERS))
		stream_count(stats, seen, 1);
}

/* Returns whether the packet can be measured; counts why if it cannot. */
static __always_inline bool is_usable(const struct packet *packet, struct stats *stats,
				      struct stream_stats *stream_stats)
{
	if (packet->network == PARSE_OK && is_measured(packet) && is_marked(packet, stats))
		return true;
	if (config.test_clock)
		count_seen(stream_stats, seen_as(packet));
	return false;
}

/* The way through the RTT rules. */
DEFINE_FORGET(forget_rules, struct rtt_result)

/* Counts a measured packet in its flow, and reports what happened to that. */
static __always_inline void watch_flow(const struct packet *packet, const struct watched *at,
				       const struct rtt_result *result, __u64 now, __u64 steady,
				       struct stream_stats *stats)
{
	struct stream_packet stream = {
		.ip = &packet->ip,
		.segment = &packet->segment,
		.stats = stats,
		.tag = result->tag,
		.now = now,
		.steady = steady,
		.rtt_ns = (__u64)result->rtt << SLOT_UNIT_BITS,
		.flow = result->flow,
		.packets = at->packets,
		.dir = result->dir,
		/* A capture has one hook: there, the packets of the lower end leave. */
		.on_egress = config.test_clock ? !result->dir : at->hook == WATCH_EGRESS,
	};

	if (!result->tag) {
		stream_count(stats, STREAM_flows_unfollowed, 1);
		return;
	}
	if (config.test_clock)
		count_seen(stats, STREAM_seen_measured);
	stream_segment(&stream, false);
}

static __always_inline void watch_packet(const struct packet *packet, const struct watched *at)
{
	struct stream_stats *stream_stats = stream_stats_of(at->cpu);
	struct stats *stats = stats_of(at->cpu);
	struct rtt_result result = {};
	struct rtt_context context = {
		.stats = stats,
		.cpu = at->cpu,
		.hook = at->hook,
		.owner = addr_fold(&packet->ip.src),
		.answers = stream_config.include_local || !at->local,
	};
	__u64 now, steady;
	bool usable;

	if (!stream_stats || !stats)
		return;
	usable = is_usable(packet, stats, stream_stats);
	if (usable)
		rtt_packet(&packet->ip, &packet->segment, &context, &result);
	else if (!stream_config.aggregate)
		return;
	if (!forget_rules(&result))
		return;
	now = result.now ?: now_ns(); /* rule 8: once, here or in rtt_packet() */
	steady = steady_ns(now);
	if (stream_config.aggregate)
		count_packet(packet, steady, at->packets, at->bytes, at->cpu);
	if (!usable)
		return;
	if (result.tag && packet->segment.alone && (packet->segment.asks || context.answers))
		result.rtt = echo_segment(result.tag, result.dir, &packet->segment, now, stats);
	watch_flow(packet, at, &result, now, steady, stream_stats);
}

/* A capture may have lost the frame's length on the wire: then IP says it. */
static __always_inline __u32 wire_bytes(const struct packet *packet, __u32 frame_len)
{
	__u32 said;

	if (!config.test_clock || packet->network != PARSE_OK || !packet->ip.l3_len)
		return frame_len;
	said = packet->ip.l3_offset + packet->ip.l3_len;
	return said > frame_len ? said : frame_len;
}

static __always_inline void watch_skb(struct __sk_buff *skb, int at_hook)
{
	struct packet packet = UNSET;
	struct hook hook = {
		.ctx = skb,
		.forgets = true,
		.no_link_header = stream_config.no_link_header,
		.echoes = stream_config.icmp,
		.frame_len = frame_len(skb->len),
	};
	struct watched at = {
		.cpu = bpf_get_smp_processor_id(),
		.packets = skb->gso_segs ?: 1,
		.bytes = hook.frame_len,
		.hook = at_hook,
		.local = at_hook == WATCH_EGRESS && !skb->ingress_ifindex,
	};

	read_packet(&hook, &packet);
	if (forget_the_way(&packet))
		watch_packet(&packet, &at);
}

/* A replay runs here, too: the kernel makes a frame of XDP in half the time. */
static __always_inline void watch_frame(struct xdp_md *ctx)
{
	struct packet packet = UNSET;
	struct hook hook = {
		.ctx = ctx,
		.is_xdp = true,
		.no_link_header = stream_config.no_link_header,
		.echoes = stream_config.icmp,
		.trusts_ip = config.test_clock,
		.frame_len = frame_len(bpf_xdp_get_buff_len(ctx)),
	};
	struct watched at = {
		.cpu = bpf_get_smp_processor_id(),
		.packets = 1,
		.bytes = hook.frame_len,
		.hook = WATCH_INGRESS,
	};

	read_packet(&hook, &packet);
	if (!forget_the_way(&packet))
		return;
	at.bytes = wire_bytes(&packet, hook.frame_len);
	watch_packet(&packet, &at);
}

#endif
