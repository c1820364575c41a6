/* SPDX-License-Identifier: GPL-2.0 */
/* The stream of flow events: standalone, and for the shaper's followers. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "stream_maps.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tc")
int pping_follow(struct __sk_buff *skb)
{
	struct stream_event *event = bpf_ringbuf_reserve(&stream_events, sizeof(*event), 0);

	if (!event)
		return TC_ACT_OK;
	event->rtt_ns = stream_config.rate_limit_ns + skb->len;
	bpf_ringbuf_submit(event, 0);
	return TC_ACT_OK;
}
