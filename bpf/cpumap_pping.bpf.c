/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cpumap-pping: the packet path.
 *
 *   NIC --XDP--> whose frame is it? -> cpumap -> that subscriber's CPU
 *                                                  | netstack
 *                       TC egress of the other NIC <-+
 *                       queue, class, RTT -> the CPU's own HTB
 *
 * steer.h     XDP: address -> CPU; the tc handle travels as XDP metadata
 * classify.h  TC: queue and class
 * rtt.h       TC: passive RTT of both sides, by marks and echoes (segment.h)
 * mapping.h   the look-up that both hooks share, and its cache
 * packet.h    the parser: parse.h, extension.h, tcp.h, mark_*.h
 *
 * Nothing here drops a packet: XDP redirects or passes, and TC always returns OK. A
 * packet that gets less than that is counted by the reason (include/counters.def).
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "classify.h"
#include "steer.h"

char LICENSE[] SEC("license") = "GPL";

SEC("xdp.frags")
int xdp_iphash_to_cpu(struct xdp_md *ctx)
{
	return steer(ctx);
}

SEC("tc")
int tc_classify(struct __sk_buff *skb)
{
	classify(skb);
	return TC_ACT_OK;
}
