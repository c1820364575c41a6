/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The subscriber of a packet. A look-up in the longest-prefix map costs 130 to 260 ns, so
 * each CPU keeps a direct-mapped cache of answers in front of it; "unmapped" is an
 * answer, too. An answer is valid until the mapping's generation changes (our own tools
 * raise it after each change), but no longer than config.cache_ttl_jiffies, less than a
 * second, because bpftool and other tools do not raise the generation.
 */
#ifndef CPP_MAPPING_H
#define CPP_MAPPING_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "clock.h"
#include "maps.h"
#include "parse.h"
#include "shaper_maps.h"
#include "stats.h"

struct mapping {
	__u32 tc_handle;
	__u16 cpu;  /* or NO_SUCH_CPU */
	__u8 state; /* enum mapping_state */
};

/*
 * Neighbouring addresses (IPv4), and neighbouring /64s or /56s (IPv6), have
 * neighbouring slots: providers number their subscribers one after the other,
 * and these then share cache lines and pages. The bits above the 14th are mixed in.
 */
static __always_inline __u32 addr_cache_slot(const struct ip_addr *addr)
{
	__u64 high = bpf_be64_to_cpu(addr->half[0]), low = bpf_be64_to_cpu(addr->half[1]);
	__u64 number = low ^ high ^ high >> 8;
	__u64 mixed = (number >> 14) * 0x9e3779b97f4a7c15ULL; /* 2^64 / golden ratio */

	return (__u32)(number ^ mixed >> 40) & config.cache_mask;
}

/* Asks the map itself: the longest prefix, else the default entry. */
static __always_inline struct mapping mapping_read(const struct ip_addr *addr)
{
	struct mapping mapping = { .state = MAPPING_UNMAPPED };
	struct ip_prefix key = { .prefixlen = 128 };
	struct ip_mapping *found;
	__u32 *available, cpu;

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	found = bpf_map_lookup_elem(&map_ip_hash, &key);
	if (!found) {
		__builtin_memset(key.addr, 0xff, sizeof(key.addr));
		found = bpf_map_lookup_elem(&map_ip_hash, &key);
	}
	if (!found)
		return mapping;
	cpu = found->cpu;
	mapping.cpu = cpu < NO_SUCH_CPU ? cpu : NO_SUCH_CPU;
	mapping.tc_handle = found->tc_handle;
	available = bpf_map_lookup_elem(&cpus_available, &cpu);
	mapping.state = available && *available ? MAPPING_AVAILABLE : MAPPING_NO_CPU;
	return mapping;
}

static __always_inline bool cache_is_fresh(const struct addr_cache *entry,
					   const struct ip_addr *addr, __u32 generation,
					   __u32 jiffies)
{
	return entry->addr[1] == addr->half[1] && entry->addr[0] == addr->half[0] &&
	       entry->generation == generation && entry->state != MAPPING_NONE &&
	       jiffies - entry->jiffies < config.cache_ttl_jiffies;
}

/* Asks the cache, then the map. */
static __always_inline struct mapping mapping_of(const struct ip_addr *addr, __u32 cpu,
						 struct stats *stats)
{
	__u32 slot = cpu * (config.cache_mask + 1) + addr_cache_slot(addr);
	__u32 jiffies = now_jiffies(), generation, zero = 0;
	struct control *control = bpf_map_lookup_elem(&cpp_control, &zero);
	struct addr_cache *entry = bpf_map_lookup_elem(&cpp_addr_cache, &slot);
	struct mapping mapping;

	if (!control || !entry)
		return mapping_read(addr);
	/* Read before the map, so that a change in between makes the entry stale, not wrong. */
	generation = *(volatile __u64 *)&control->generation;
	if (cache_is_fresh(entry, addr, generation, jiffies)) {
		mapping.tc_handle = entry->tc_handle;
		mapping.cpu = entry->cpu;
		mapping.state = entry->state;
		return mapping;
	}
	count(stats, COUNT_cache_miss);
	mapping = mapping_read(addr);
	entry->addr[0] = addr->half[0];
	entry->addr[1] = addr->half[1];
	entry->generation = generation;
	entry->jiffies = jiffies;
	entry->tc_handle = mapping.tc_handle;
	entry->cpu = mapping.cpu;
	entry->state = mapping.state;
	return mapping;
}

static __always_inline enum direction direction_of(__u32 ifindex)
{
	__u32 *direction = bpf_map_lookup_elem(&map_ifindex_type, &ifindex);

	return direction ? *direction : DIRECTION_NONE;
}

/* Returns the subscriber's address in a packet that leaves by an interface that faces
 * `egress`. */
static __always_inline struct ip_addr subscriber_of(const struct ip_packet *ip,
						    enum direction egress)
{
	return select_addr(egress == DIRECTION_LAN, &ip->dst, &ip->src);
}

#endif
