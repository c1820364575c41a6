/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pping: the stream of flow events.
 *
 *   alone    one interface: pping_ingress (or pping_xdp) and pping_egress
 *   follow   on a shaper: tc_classify hands each TCP packet that it has measured
 *            on to pping_follow (follow.h); no packet is measured twice
 *
 * packet.h     the parser                 rtt.h        the RTT rules
 * events.h     flow events                aggregate.h  counts by subnet
 *
 * Nothing here changes a packet or its verdict.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "cursor.h"
#include "events.h"
#include "follow.h"
#include "limits.h"
#include "packet.h"
#include "stream.h"
#include "verifier.h"
#include "watch.h"

char LICENSE[] SEC("license") = "GPL";

/* TCX_NEXT and TC_ACT_UNSPEC are the same -1: the next program decides. */
#define GO_ON TC_ACT_UNSPEC

SEC("tc")
int pping_ingress(struct __sk_buff *skb)
{
	watch_skb(skb, WATCH_INGRESS);
	return GO_ON;
}

SEC("tc")
int pping_egress(struct __sk_buff *skb)
{
	watch_skb(skb, WATCH_EGRESS);
	return GO_ON;
}

SEC("xdp.frags")
int pping_xdp(struct xdp_md *ctx)
{
	watch_frame(ctx);
	return XDP_PASS;
}

SEC("tc")
int pping_follow(struct __sk_buff *skb)
{
	struct stream_stats *stats = stream_stats_of(bpf_get_smp_processor_id());
	struct followed followed = follow_unpack(skb);
	__u64 now = now_ns();
	struct packet packet = UNSET;
	struct hook hook = {
		.ctx = skb,
		.no_link_header = followed.bare,
		.forgets = true,
		.frame_len = frame_len(skb->len),
	};
	struct stream_packet stream = {
		.ip = &packet.ip,
		.segment = &packet.segment,
		.stats = stats,
		.tag = followed.tag,
		.now = now,
		.steady = now,
		.rtt_ns = (__u64)followed.rtt << SLOT_UNIT_BITS,
		.flow = followed.flow,
		.tc_handle = followed.tc_handle,
		.packets = skb->gso_segs ?: 1,
		.dir = followed.dir,
		.sender = followed.sender,
		.receiver = followed.receiver,
		.on_egress = true,
	};

	if (!stats)
		return TC_ACT_OK;
	read_packet(&hook, &packet);
	if (packet.network != PARSE_OK || packet.transport != PARSE_OK)
		return TC_ACT_OK;
	if (followed.flow == FLOW_NONE)
		syn_keep(&stream);
	else
		stream_segment(&stream, true);
	return TC_ACT_OK;
}
