/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of the stream. Never pinned: they go with their reader. */
#ifndef CPP_STREAM_MAPS_H
#define CPP_STREAM_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "limits.h"
#include "stream.h"
#include "stream_config.h"

const volatile struct stream_config stream_config = {
	.rate_limit_ns = 100000000,
	.events = 1,
	.tcp = 1,
};

/* The events, struct stream_event each. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} stream_events SEC(".maps");

/* Counts of each flow, and its last event. The loader sets the size to that of the flow
 * table. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, __u32);
	__type(value, struct stream_flow);
	__uint(map_flags, BPF_F_MMAPABLE);
} stream_flow SEC(".maps");

/* ICMP requests that wait for their reply. The loader sets the size: 1 without ICMP. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STREAM_ECHOES);
	__type(key, struct stream_echo_key);
	__type(value, __u64);
} stream_echo SEC(".maps");

/* SYNs that wait for their SYN-ACK: on a shaper only. A flood recycles its own. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STREAM_SYNS);
	__type(key, __u64);
	__type(value, struct stream_syn);
} stream_syn SEC(".maps");

/* Packets and bytes by subnet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct stream_subnet_key);
	__type(value, struct stream_subnet);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} stream_subnet SEC(".maps");

/* Counters of each CPU: stream_counters.def. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader sets: possible CPUs */
	__type(key, __u32);
	__type(value, struct stream_stats);
	__uint(map_flags, BPF_F_MMAPABLE);
} stream_stats SEC(".maps");

/* Puts the type into BTF: the ring buffer does not name it. */
const struct stream_event *stream_event_type __attribute__((unused));

#endif
