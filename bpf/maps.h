/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The configuration, and the maps that all our programs use (docs/ABI.md);
 * shaper_maps.h and stream_maps.h have the others. The loader sets the sizes that
 * depend on the machine.
 *
 * BPF_F_MMAPABLE serves more than mmap(): an array's values then start on a page, so
 * that a 64-byte flow is one cache line and no two CPUs' counters share a line.
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

/* The one entry of cpp_control. Never NULL, but the verifier does not know that. */
static __always_inline struct control *control_entry(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpp_control, &zero);
}

/* Flows and their marks that wait for an echo. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEFAULT_FLOWS / FLOW_WAYS);
	__type(key, __u32);
	__type(value, struct flow_bucket);
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_flow SEC(".maps");

/* Counters of each CPU. The value has no BTF type, because libbpf-cargo cannot derive
 * Default for arrays of more than 32; include/counters.def names the counters. The key
 * has none, because the kernel takes both or none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader sets: possible CPUs */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct stats));
	__uint(map_flags, BPF_F_MMAPABLE);
} cpp_stats SEC(".maps");

#endif
