/* SPDX-License-Identifier: GPL-2.0 */
/* The empty pair: what bpf_stats itself costs. */
#include "packet.h"

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int bench_xdp(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int tc_classify(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}
