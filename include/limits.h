/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sizes that both sides of the ABI agree on. Compiles in BPF and in user
 * space: no helpers, no SEC(). What an operator may change at load time is in
 * config.h; a change here changes a pinned map's shape (docs/ABI.md).
 */
#ifndef CPP_LIMITS_H
#define CPP_LIMITS_H

/* Raised when a map of ours changes its meaning or shape (docs/ABI.md). */
#define ABI_VERSION 2

/* Parser: deepest header chain that is followed. */
#define MAX_VLAN_TAGS	     4 /* 802.1Q, 802.1ad, 0x9100, in any order */
#define MAX_MPLS_LABELS	     4
#define MAX_IPV6_EXT_HEADERS 6
#define MAX_TCP_OPTION_BYTES 40 /* RFC 9293, 3.1: doff is at most 15 words */

/* Mappings: the contract's maps (docs/ABI.md); a reused pin keeps its own. */
#define MAX_MAPPINGS   1048576
#define MAX_INTERFACES 4096

/* Address cache of all CPUs: direct-mapped, a power of two. */
#define ADDR_CACHE_ENTRIES 262144

/*
 * Flow table. A flow is one cache line: an eight-way bucket is 512 bytes, and
 * the table is an array of buckets whose values start page-aligned.
 */
#define FLOW_WAYS      8
#define FLOW_SLOTS     2 /* marks a direction that wait for their echo */
#define DEFAULT_FLOWS  262144
#define SLOT_UNIT_BITS 3 /* a slot's time is in 8 ns units: wraps at 34 s */

/* RTT rules (bpf/rtt.h): nanoseconds. */
#define RTT_TIMEOUT_NS 10000000000ULL /* rule 5: one and only time-out */

/* A flow's slots are swept FLOW_SWEEP after the last sweep. A flow that was not swept for
 * FLOW_IDLE has no slot that could still match: its last packet is more than RTT_TIMEOUT
 * old. FLOW_IDLE + RTT_TIMEOUT < 34 s keeps the slots' 32-bit times unambiguous. */
#define FLOW_SWEEP_NS 4000000000ULL
#define FLOW_IDLE_NS  16000000000ULL

/* Rule 3: a direction whose marks stay behind for this long, in this many segments that
 * agree with each other, has another clock than we thought. */
#define FLOW_RESYNC_NS	     1000000000ULL
#define FLOW_RESYNC_SEGMENTS 4

/*
 * RTT per tc handle: RTT_EPOCHS rotating epochs of 20 s a side, so that the
 * three complete ones cover the 60 s window.
 */
#define RTT_HANDLES	 131072
#define RTT_EPOCHS	 4
#define RTT_WINDOW_NS	 60000000000ULL
#define RTT_TICK_BITS	 24	 /* epoch arithmetic is in 2^24 ns ticks */
#define RTT_EPOCH_FACTOR 3602880 /* epoch = ticks * FACTOR >> 32: 20 s each */

/*
 * Samples on their way to the records: a cache line a handle and CPU. Direct-
 * mapped by the handle's minor: on a CPU the minors are the subscribers.
 */
#define RECENT_SAMPLES	   12
#define RECENT_COUNT_BITS  4	  /* of rtt_recent.state */
#define RECENT_LINES	   131072 /* over the CPUs, a power of two a CPU, but */
#define RECENT_LINES_LEAST 4096	  /* on each CPU not less than, */
#define RECENT_LINES_MOST  32768  /* and not more */

/*
 * Histogram: bucket b holds the RTTs above 2^((b - 97)/8) s, up to and with
 * 2^((b - 96)/8) s: it is bucket b - HIST_BIAS of a native histogram of Prometheus of schema
 * 3. Bucket 0 also holds everything below its upper edge, 2^-12 s = 0.244 ms, and the last
 * bucket everything above 2 s. The harmonic middle of a bucket between them is within 4.4 %
 * of everything in it (docs/decisions/0009).
 */
#define HIST_PER_OCTAVE 8
#define HIST_BIAS	96
#define HIST_BUCKETS	106
#define HIST_WORDS	53 /* two 16-bit counters a word */
/* A counter goes up to this, and the samples that it misses are in rtt_epoch.count alone. CPUs
 * that add at the same time may take it higher, each by one; 8192 is the most CPUs that a kernel
 * can have. */
#define HIST_FULL 0xe000 /* 65536 - 8192 */

/*
 * A flow of the stream without a packet for this long has ended: user space reports
 * its end, and the next packet begins a new flow. The values are those of eBPF pping.
 */
#define STREAM_TIMEOUT_NS      300000000000ULL
#define STREAM_ICMP_TIMEOUT_NS 30000000000ULL
/* A flow that was never answered: its next packet opens it anew. */
#define STREAM_UNANSWERED_TIMEOUT_NS 30000000000ULL

/* ICMP requests that may wait for their reply at once. */
#define STREAM_ECHOES 65536
/* SYNs that wait for their SYN-ACK on a shaper. */
#define STREAM_SYNS 65536

/* Classes that a subnet's packets are counted in: enum stream_class. */
#define STREAM_CLASSES 3

#endif
