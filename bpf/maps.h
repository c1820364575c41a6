/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every map and the configuration. Included by the object's main file and by
 * the headers that use the maps. The first four are the contract's; the cpp_
 * ones are ours (docs/ABI.md). The loader sets the sizes that depend on the
 * machine.
 *
 * BPF_F_MMAPABLE is there for more than mmap(): it makes an array's values
 * start on a page, so that a 64-byte flow is one cache line and a CPU's
 * counters share no line with another CPU's.
 */
#ifndef CPP_MAPS_H
#define CPP_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "config.h"

const volatile struct config config = {
	.cache_mask = ADDR_CACHE_ENTRIES - 1,
	.flow_mask = DEFAULT_FLOWS / FLOW_WAYS - 1,
	.recent_mask = RECENT_LINES_LEAST - 1,
	.recent_samples = RECENT_SAMPLES,
	.rtt = 1,
	.metadata = 1,
};

/* Whose packet is it: subscriber address -> CPU and class. */
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

/* Shared by all loaded programs: cache generation, seeds, ABI version. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_control SEC(".maps");

/* Per-CPU front of map_ip_hash. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ADDR_CACHE_ENTRIES); /* the loader sets: x possible CPUs */
	__type(key, __u32);
	__type(value, struct addr_cache);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_addr_cache SEC(".maps");

/* TCP flows and their outstanding TSvals. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEFAULT_FLOWS / FLOW_WAYS);
	__type(key, __u32);
	__type(value, struct flow_bucket);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_flow SEC(".maps");

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

/* Counters of each CPU. (No BTF type for the value: libbpf-cargo cannot derive
 * a Default for arrays of more than 32; include/counters.def names them. Nor
 * for the key: the kernel takes both or none.) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader sets: possible CPUs */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct stats));
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_stats SEC(".maps");

#endif
