/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The configuration, and the maps that every program of ours uses
 * (docs/ABI.md); shaper_maps.h and stream_maps.h have the rest. The loader sets
 * the sizes that depend on the machine.
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
#include "limits.h"

const volatile struct config config = {
	.cache_mask = ADDR_CACHE_ENTRIES - 1,
	.flow_mask = DEFAULT_FLOWS / FLOW_WAYS - 1,
	.recent_mask = RECENT_LINES_LEAST - 1,
	.recent_samples = RECENT_SAMPLES,
	.rtt = 1,
	.metadata = 1,
};

/* Shared by all loaded programs: cache generation, seeds, ABI version. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_control SEC(".maps");

/* TCP flows and their outstanding TSvals. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEFAULT_FLOWS / FLOW_WAYS);
	__type(key, __u32);
	__type(value, struct flow_bucket);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_flow SEC(".maps");

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
