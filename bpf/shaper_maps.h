/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of the shaper. The first four are the contract's; the maps with a name in
 * cpp_ are ours (docs/ABI.md). */
#ifndef CPP_SHAPER_MAPS_H
#define CPP_SHAPER_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "limits.h"

/* Subscriber address -> CPU and class. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_MAPPINGS);
	__type(key, struct ip_prefix);
	__type(value, struct ip_mapping);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} map_ip_hash SEC(".maps");

/* Which way an interface faces: enum direction. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_INTERFACES);
	__type(key, __u32);
	__type(value, __u32);
} map_ifindex_type SEC(".maps");

/* TX queue and HTB major of each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader sets: possible CPUs */
	__type(key, __u32);
	__type(value, struct txq_config);
} map_txq_config SEC(".maps");

/* The redirect itself: CPU -> queue size. */
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1); /* the loader sets: possible CPUs */
	__type(key, __u32);
	__type(value, __u32);
} cpu_map SEC(".maps");

/* Which CPUs take redirected frames: 1, or 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader sets: possible CPUs */
	__type(key, __u32);
	__type(value, __u32);
} cpus_available SEC(".maps");

/* The front of map_ip_hash. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ADDR_CACHE_ENTRIES);
	__type(key, __u32);
	__type(value, struct addr_cache);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_addr_cache SEC(".maps");

/* RTT record of each tc handle that has traffic. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RTT_HANDLES);
	__type(key, __u32);
	__type(value, struct rtt_handle);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cpp_rtt SEC(".maps");

/* Samples on their way to cpp_rtt. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RECENT_LINES_LEAST); /* the loader sets: x possible CPUs */
	__type(key, __u32);
	__type(value, struct rtt_recent);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_rtt_recent SEC(".maps");

/*
 * The follower: a program that runs after classification, or none. Never pinned: when
 * the follower's last descriptor closes, even by a crash, the kernel empties the
 * map (prog_array_map_clear), and the tail call is a no-op again. Version 1 of the ABI called
 * it cpp_follow: a follower of that version reads skb->cb otherwise, and finds no array here.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} cpp_follower SEC(".maps");

#endif
