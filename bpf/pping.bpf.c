/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pping: the stream of flow events.
 *
 *   alone    one interface: pping_ingress (or pping_xdp) and pping_egress
 *   follow   on a shaper: tc_classify hands each TCP packet that it has measured
 *            on to pping_follow (follow.h); nothing is measured twice
 *
 * packet.h     the parser, at TC          rtt.h        the RTT rules
 * events.h     flow events                aggregate.h  counts by subnet
 *
 * Nothing here changes a packet or its verdict.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "follow.h"
#include "watch.h"

char LICENSE[] SEC("license") = "GPL";

/* TCX_NEXT and TC_ACT_UNSPEC are the same -1: whoever comes after us decides. */
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
	__u32 flow = skb->cb[FOLLOW_FLOW] - 2;
	struct packet packet = {};
	struct hook hook = { .ctx = skb, .frame_len = frame_len(skb->len) };
	struct stream_packet stream = {
		.ip = &packet.ip,
		.tcp = &packet.tcp,
		.stats = stats,
		.tag = (__u64)skb->cb[FOLLOW_TAG_HIGH] << 32 | skb->cb[FOLLOW_TAG_LOW],
		.now = now_ns(),
		.rtt_ns = (__u64)skb->cb[FOLLOW_RTT] << SLOT_UNIT_BITS,
		.flow = flow >> 1,
		.tc_handle = skb->cb[FOLLOW_HANDLE],
		.packets = skb->gso_segs ?: 1,
		.bytes = hook.frame_len,
		.dir = flow & 1,
		.on_egress = true,
	};

	if (!stats)
		return TC_ACT_OK;
	parse_packet(&hook, &packet);
	if (packet.network == PARSE_OK && packet.transport == PARSE_OK)
		stream_segment(&stream);
	return TC_ACT_OK;
}
