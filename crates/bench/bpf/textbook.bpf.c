/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The textbook pair. XDP: one hash-map look-up by address, then the redirect to
 * that CPU. TC: one LRU-hash look-up by 5-tuple and one update of its value, in
 * place (a second map operation only when the flow is new). Nothing else: no
 * queue, no class, no options, no counters, no clock.
 */
#include "packet.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 wan; /* the interface: 1 faces the internet, 0 the subscribers */

struct flow {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, __u32);
} subscribers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, MAX_CPUS);
	__type(key, __u32);
	__type(value, __u32);
} cpu_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct tuple);
	__type(value, struct flow);
} flows SEC(".maps");

SEC("xdp")
int bench_xdp(struct xdp_md *ctx)
{
	struct packet packet;
	__u32 *cpu;

	read_addresses((void *)(long)ctx->data, (void *)(long)ctx->data_end, &packet);
	if (!packet.known)
		return XDP_PASS;
	cpu = bpf_map_lookup_elem(&subscribers, wan ? &packet.tuple.dst : &packet.tuple.src);
	if (!cpu)
		return XDP_PASS;
	return bpf_redirect_map(&cpu_map, *cpu, XDP_PASS);
}

SEC("tc")
int tc_classify(struct __sk_buff *skb)
{
	struct flow *flow, fresh = { .packets = 1, .bytes = skb->len };
	struct packet packet;

	read_tuple((void *)(long)skb->data, (void *)(long)skb->data_end, &packet);
	if (!packet.transport)
		return TC_ACT_OK;
	flow = bpf_map_lookup_elem(&flows, &packet.tuple);
	if (!flow) {
		bpf_map_update_elem(&flows, &packet.tuple, &fresh, BPF_ANY);
		return TC_ACT_OK;
	}
	flow->packets++;
	flow->bytes += skb->len;
	return TC_ACT_OK;
}
