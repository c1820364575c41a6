/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks that wait for their echo each by itself: ICMP requests. Most of those that mtr and
 * traceroute send are never answered, and answers come in any order; so the two slots of
 * a flow and the rules about order (rtt.h, 3 and 7) are not for them. A request is
 * remembered until its reply, or until the map needs its place.
 */
#ifndef CPP_ECHOES_H
#define CPP_ECHOES_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "limits.h"
#include "segment.h"
#include "stats.h"
#include "stream.h"
#include "stream_maps.h"

/* Remembers a request. If it was sent twice, the first counts, as long as it can count. */
static __always_inline void echo_open(const struct stream_echo_key *key, __u64 now,
				      struct stats *stats)
{
	__u64 *sent;

	if (bpf_map_update_elem(&stream_echo, key, &now, BPF_NOEXIST) == 0)
		return;
	sent = bpf_map_lookup_elem(&stream_echo, key);
	if (sent && now - *sent <= RTT_TIMEOUT_NS)
		return;
	count(stats, COUNT_rtt_timed_out);
	bpf_map_update_elem(&stream_echo, key, &now, BPF_ANY);
}

/* Ends the sample of the request that a reply answers. Returns its age in slot units, at
 * least 1, or 0. Of two replies, the one that deletes the entry has the sample. */
static __always_inline __u32 echo_match(const struct stream_echo_key *key, __u64 now,
					struct stats *stats)
{
	__u64 *sent = bpf_map_lookup_elem(&stream_echo, key);
	__u64 age;

	if (!sent)
		return 0;
	age = now - *sent;
	if (bpf_map_delete_elem(&stream_echo, key))
		return 0;
	if ((__s64)age < 0)
		count(stats, COUNT_rtt_clock_back);
	else if (age > RTT_TIMEOUT_NS)
		count(stats, COUNT_rtt_timed_out);
	else
		return (__u32)(age >> SLOT_UNIT_BITS) ?: 1;
	return 0;
}

/* `dir` is the way that the segment goes. Returns the RTT in slot units; 0: no sample. */
static __always_inline __u32 echo_segment(__u64 tag, int dir, const struct segment *segment,
					  __u64 now, struct stats *stats)
{
	struct stream_echo_key key = {
		.tag = tag,
		.mark = segment->asks ? segment->mark : segment->echo,
		.dir = segment->asks ? dir : other_dir(dir),
	};

	if (!segment->asks)
		return echo_match(&key, now, stats);
	echo_open(&key, now, stats);
	return 0;
}

#endif
