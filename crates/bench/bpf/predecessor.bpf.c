/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The predecessor's shape: the map operations of the C cpumap-pping, in a
 * program of our own. XDP: direction, longest prefix, CPU available, redirect.
 * TC: queue, direction, longest prefix, then for TCP with timestamps the
 * handle's record, the clock, the flow, a timestamp entered at each new TSval
 * and looked up and deleted by its echo, the RTT written into the handle's ring.
 *
 * The C program stops measuring a handle once its ring is full, until somebody
 * reads it; this one wraps around, so that it does its whole work all the time.
 */
#include "packet.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 wan; /* the interface: 1 faces the internet, 0 the subscribers */

#define RING 60

struct prefix {
	__u32 length;
	struct address address;
};

struct mapping {
	__u32 cpu;
	__u32 tc_handle;
};

struct queue {
	__u16 queue_mapping;
	__u16 htb_major;
};

struct direction_state {
	__u64 last_time;
	__u32 last_tsval;
	__u32 outstanding;
};

struct flow {
	struct direction_state direction[2];
};

struct stamp {
	struct tuple tuple;
	__u32 tsval;
};

struct ring {
	__u32 samples; /* ever */
	__u32 rtt[RING];
	__u32 next;
};

#define MAP(name, kind, entries, key_type, value_type, flags)                                      \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, entries);                                                      \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
		__uint(map_flags, flags);                                                          \
	} name SEC(".maps")

MAP(directions, BPF_MAP_TYPE_ARRAY, 256, __u32, __u32, 0);
MAP(mappings, BPF_MAP_TYPE_LPM_TRIE, 65536, struct prefix, struct mapping, BPF_F_NO_PREALLOC);
MAP(available, BPF_MAP_TYPE_ARRAY, MAX_CPUS, __u32, __u32, 0);
MAP(cpu_map, BPF_MAP_TYPE_CPUMAP, MAX_CPUS, __u32, __u32, 0);
MAP(queues, BPF_MAP_TYPE_ARRAY, MAX_CPUS, __u32, struct queue, 0);
MAP(rings, BPF_MAP_TYPE_LRU_HASH, 65534, __u32, struct ring, 0);
MAP(flows, BPF_MAP_TYPE_LRU_HASH, 131068, struct tuple, struct flow, 0);
MAP(stamps, BPF_MAP_TYPE_LRU_HASH, 131068, struct stamp, __u64, 0);

static __always_inline struct mapping *mapping_of(const struct address *address)
{
	struct prefix key = { .length = 128, .address = *address };
	struct mapping *found = bpf_map_lookup_elem(&mappings, &key);

	if (found)
		return found;
	map_ipv4(&key.address, 0xffffffff);
	return bpf_map_lookup_elem(&mappings, &key);
}

SEC("xdp")
int bench_xdp(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex & 255, cpu, *takes;
	struct mapping *mapping;
	struct packet packet;

	if (!bpf_map_lookup_elem(&directions, &ifindex))
		return XDP_PASS;
	read_addresses((void *)(long)ctx->data, (void *)(long)ctx->data_end, &packet);
	if (!packet.known)
		return XDP_PASS;
	mapping = mapping_of(wan ? &packet.tuple.dst : &packet.tuple.src);
	if (!mapping)
		return XDP_PASS;
	cpu = mapping->cpu;
	takes = bpf_map_lookup_elem(&available, &cpu);
	if (!takes || !*takes)
		return XDP_PASS;
	return bpf_redirect_map(&cpu_map, cpu, XDP_PASS);
}

struct timestamps {
	__u32 tsval, tsecr;
};

static __always_inline bool find_timestamps(struct tcphdr *tcp, void *end, struct timestamps *found)
{
	__u8 *pos = (__u8 *)(tcp + 1), *last = (__u8 *)tcp + tcp->doff * 4;

	for (int i = 0; i < 10; i++) {
		if (pos + 2 > last || (void *)(pos + 2) > end || pos[0] == 0)
			return false;
		if (pos[0] == 1) {
			pos++;
			continue;
		}
		if (pos[0] == 8) {
			if (pos[1] != 10 || (void *)(pos + 10) > end)
				return false;
			__builtin_memcpy(&found->tsval, pos + 2, 4);
			__builtin_memcpy(&found->tsecr, pos + 6, 4);
			found->tsval = bpf_ntohl(found->tsval);
			found->tsecr = bpf_ntohl(found->tsecr);
			return true;
		}
		if (pos[1] < 2)
			return false;
		pos += pos[1];
	}
	return false;
}

static __always_inline void reverse(struct tuple *to, const struct tuple *from)
{
	to->src = from->dst;
	to->dst = from->src;
	to->sport = from->dport;
	to->dport = from->sport;
	to->protocol = from->protocol;
}

static __always_inline void ring_add(__u32 tc_handle, __u64 rtt)
{
	struct ring *ring = bpf_map_lookup_elem(&rings, &tc_handle);
	__u32 place;

	if (!ring)
		return;
	place = ring->next;
	if (place >= RING)
		place = 0;
	ring->rtt[place] = rtt / 10000;
	ring->next = place + 1;
	ring->samples++;
}

static __always_inline void measure(struct packet *packet, void *end, __u32 tc_handle)
{
	struct stamp id = {}, reply = {};
	struct tcphdr *tcp = packet->transport;
	struct direction_state *own, *other;
	struct timestamps stamps_found = {};
	struct ring empty_ring = {};
	struct flow *flow, fresh = {};
	__u64 now, *sent;

	if (!bpf_map_lookup_elem(&rings, &tc_handle))
		bpf_map_update_elem(&rings, &tc_handle, &empty_ring, BPF_NOEXIST);
	if ((void *)(tcp + 1) > end || !find_timestamps(tcp, end, &stamps_found))
		return;
	now = bpf_ktime_get_ns();
	id.tuple = packet->tuple;
	id.tsval = stamps_found.tsval;
	reverse(&reply.tuple, &packet->tuple);
	reply.tsval = stamps_found.tsecr;

	flow = bpf_map_lookup_elem(&flows, wan ? &reply.tuple : &id.tuple);
	if (!flow) {
		bpf_map_update_elem(&flows, wan ? &reply.tuple : &id.tuple, &fresh, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&flows, wan ? &reply.tuple : &id.tuple);
		if (!flow)
			return;
	}
	own = &flow->direction[wan ? 1 : 0];
	other = &flow->direction[wan ? 0 : 1];
	if (tcp->doff * 4U < packet->length && own->last_tsval != id.tsval) {
		own->last_tsval = id.tsval;
		own->last_time = now;
		if (!bpf_map_update_elem(&stamps, &id, &now, BPF_NOEXIST))
			own->outstanding++;
	}
	if (!tcp->ack || !other->outstanding)
		return;
	sent = bpf_map_lookup_elem(&stamps, &reply);
	if (!sent)
		return;
	now -= *sent;
	if (bpf_map_delete_elem(&stamps, &reply))
		return;
	other->outstanding--;
	ring_add(tc_handle, now);
}

SEC("tc")
int tc_classify(struct __sk_buff *skb)
{
	__u32 cpu = bpf_get_smp_processor_id(), ifindex = skb->ifindex & 255;
	struct mapping *mapping;
	struct packet packet;
	struct queue *queue = bpf_map_lookup_elem(&queues, &cpu);

	if (!queue)
		return TC_ACT_OK;
	if (queue->queue_mapping)
		skb->queue_mapping = queue->queue_mapping;
	read_tuple((void *)(long)skb->data, (void *)(long)skb->data_end, &packet);
	if (!packet.known || !bpf_map_lookup_elem(&directions, &ifindex))
		return TC_ACT_OK;
	mapping = mapping_of(wan ? &packet.tuple.src : &packet.tuple.dst);
	if (!mapping)
		return TC_ACT_OK;
	skb->priority = mapping->tc_handle;
	if (packet.transport && packet.tuple.protocol == IPPROTO_TCP)
		measure(&packet, (void *)(long)skb->data_end, mapping->tc_handle);
	return TC_ACT_OK;
}
