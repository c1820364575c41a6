/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The subscriber of a packet. A look-up in the longest-prefix map costs 130 to 260 ns, so
 * all CPUs share a direct-mapped cache of answers in front of it (addr_cache.h);
 * "unmapped" is an answer, too. An answer is valid until the mapping's generation changes
 * (our own tools raise it after each change), but no longer than
 * config.cache_ttl_jiffies, less than a second, because bpftool and other tools do not
 * raise the generation. So an entry is written about once a second, and read by all.
 */
#ifndef CPP_MAPPING_H
#define CPP_MAPPING_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "addr_cache.h"
#include "atomics.h"
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

static __always_inline struct mapping mapping_from(__u64 answer)
{
	struct mapping mapping = {
		.tc_handle = CACHE_ANSWER_HANDLE(answer),
		.cpu = CACHE_ANSWER_CPU(answer),
		.state = CACHE_ANSWER_STATE(answer),
	};

	return mapping;
}

/* Asks the map itself for the longest prefix of an address. */
static __always_inline __u64 map_answer(const struct ip_addr *addr)
{
	struct ip_prefix key = { .prefixlen = 128 };
	struct ip_mapping *found;
	enum mapping_state state;
	__u32 *available, cpu;

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	found = bpf_map_lookup_elem(&map_ip_hash, &key);
	if (!found)
		return CACHE_ANSWER(0, NO_SUCH_CPU, MAPPING_UNMAPPED);
	cpu = found->cpu;
	available = bpf_map_lookup_elem(&cpus_available, &cpu);
	state = available && *available ? MAPPING_AVAILABLE : MAPPING_NO_CPU;
	return CACHE_ANSWER(found->tc_handle, cpu < NO_SUCH_CPU ? cpu : NO_SUCH_CPU, state);
}

/* The time of an answer that is asked for now. Read before the map, so that a change in
 * between makes the answer stale, not wrong. */
static __always_inline __u64 cache_now(void)
{
	struct control *control = control_entry();

	return CACHE_STAMP(now_jiffies(), control ? READ_U64(control->generation) : 0);
}

static __always_inline struct addr_cache *cache_entry(const struct ip_addr *addr)
{
	__u64 high = bpf_be64_to_cpu(addr->half[0]), low = bpf_be64_to_cpu(addr->half[1]);
	__u32 slot = cache_slot(low ^ high ^ high >> 8);

	return bpf_map_lookup_elem(&cpp_addr_cache, &slot);
}

/* Returns whether the cache has an answer for the address that still counts. */
static __always_inline bool cache_answers(const struct addr_cache *entry,
					  const struct ip_addr *addr, __u64 now,
					  struct cached *cached)
{
	return entry && cache_read(entry, addr->half, cached) && cached->answer &&
	       cache_is_fresh(cached->stamp, now);
}

/* The default entry is that of the all-ones address, also in the cache. Its answer keeps
 * its age there: it counts no longer for those who took it over. */
static __always_inline struct cached default_answer(__u64 now, struct stats *stats)
{
	const struct ip_addr all_ones = { .half = { ~0ULL, ~0ULL } };
	struct addr_cache *entry = cache_entry(&all_ones);
	struct cached cached;

	if (cache_answers(entry, &all_ones, now, &cached))
		return cached;
	count(stats, COUNT_cache_miss);
	cached.answer = map_answer(&all_ones);
	cached.stamp = now;
	if (entry)
		cache_write(entry, all_ones.half, &cached);
	return cached;
}

/* Asks the cache, then the map for the address, then for the default entry. */
static __always_inline struct mapping mapping_of(const struct ip_addr *addr, struct stats *stats)
{
	struct addr_cache *entry = cache_entry(addr);
	__u64 now = cache_now();
	struct cached cached;

	if (cache_answers(entry, addr, now, &cached))
		return mapping_from(cached.answer);
	count(stats, COUNT_cache_miss);
	cached.answer = map_answer(addr);
	cached.stamp = now;
	if (CACHE_ANSWER_STATE(cached.answer) == MAPPING_UNMAPPED)
		cached = default_answer(now, stats);
	if (entry)
		cache_write(entry, addr->half, &cached);
	return mapping_from(cached.answer);
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
