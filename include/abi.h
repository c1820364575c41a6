/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The contract between the BPF programs, the loader and every program that opens the
 * pinned maps. Every byte of padding has a name. docs/ABI.md draws the bpffs tree and
 * has the rule for raising ABI_VERSION.
 */
#ifndef CPP_ABI_H
#define CPP_ABI_H

#include <linux/types.h>
#include "limits.h"

/* Two fields of one word are packed and unpacked as little endian has them. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "only little endian is supported");

#define ASSERT_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#define ASSERT_OFFSET(type, field, bytes)                                                          \
	_Static_assert(__builtin_offsetof(struct type, field) == (bytes), #type "." #field)

/* --- the contract's four maps: these layouts never change ---------------- */

/* map_ip_hash key. IPv4: twelve 0xFF bytes, then the address; prefixlen is the
 * IPv4 length + 96. Network byte order. The all-ones address is the default. */
struct ip_prefix {
	__u32 prefixlen;
	__u8 addr[16];
};
ASSERT_SIZE(ip_prefix, 20);

/* map_ip_hash value. */
struct ip_mapping {
	__u32 cpu;
	__u32 tc_handle; /* major << 16 | minor; 0: steer only, no class */
};
ASSERT_SIZE(ip_mapping, 8);

/* A foreign writer may name any CPU. What XDP hands on, and what the cache keeps, has 16
 * bits: numbers beyond them are no CPU's, and neither is this one. */
#define NO_SUCH_CPU 0xffff

/* map_ifindex_type value: index is the ifindex. */
enum direction {
	DIRECTION_NONE = 0, /* not configured: the programs leave its packets alone */
	DIRECTION_WAN = 1,  /* faces the internet: the subscriber is the destination on ingress */
	DIRECTION_LAN = 2,  /* faces the subscribers: the subscriber is the source on ingress */
};

/* map_txq_config value: index is the CPU. */
struct txq_config {
	__u16 queue_mapping; /* TX queue, counted from 1; 0: not configured */
	__u16 htb_major;
};
ASSERT_SIZE(txq_config, 4);

/* --- ours ----------------------------------------------------------------- */

/* cpp_control: one entry, shared by every loaded program. `generation` and `abi_version` keep
 * their places for ever: commands of other versions write the one and read the other. */
struct control {
	__u64 generation;  /* raised after each change of the mapping: ends caches */
	__u64 hash_seed;   /* random, drawn once */
	__u32 meta_cookie; /* random, drawn once: marks XDP metadata as ours */
	__u32 abi_version;
	__u64 test_now_ns;    /* the clock when config.test_clock is set, else unused */
	__u64 test_frame_len; /* frame lengths when config.test_clock is set; 0: the frame's own */
	__u64 test_steady_ns; /* the clock of a replay's time-outs, which never steps back */
	__u32 recent_lines;   /* lines a CPU of cpp_rtt_recent, a power of two */
	__u32 reserved0;
	__u64 reserved[1];
};
ASSERT_SIZE(control, 64);
ASSERT_OFFSET(control, generation, 0);
ASSERT_OFFSET(control, abi_version, 20);

/* XDP hands this to TC in front of the frame. A multiple of 4 bytes; the same for all
 * packets of a flow's direction, so that GRO still merges them. */
struct xdp_metadata {
	__u32 cookie; /* control.meta_cookie; else another program's metadata */
	__u32 tc_handle;
	__u16 cpu;	/* or NO_SUCH_CPU */
	__u8 direction; /* of the interface that the frame came in by */
	__u8 state;	/* enum mapping_state */
	__u32 fold;	/* addr_fold() of the address that was looked up */
	__be16 port;	/* the subscriber's TCP port; 0: another protocol, or not read */
	__u16 reserved;
};
ASSERT_SIZE(xdp_metadata, 20);

/* cpp_addr_cache: index = slot of the address. All CPUs read and write an entry, word by
 * word; one that was torn is nobody's (bpf/addr_cache.h). */
struct addr_cache {
	__u64 check[2]; /* the address, mixed with the words below */
	__u64 answer;	/* tc_handle << 32 | cpu << 16 | enum mapping_state; 0: never filled */
	__u64 stamp;	/* jiffies << 24 | low bits of control.generation, before the look-up */
};
ASSERT_SIZE(addr_cache, 32);

enum mapping_state {
	MAPPING_NONE = 0,      /* no answer yet: the cache entry was never filled */
	MAPPING_UNMAPPED = 1,  /* no prefix and no default entry */
	MAPPING_NO_CPU = 2,    /* mapped to a CPU that is not available */
	MAPPING_AVAILABLE = 3, /* mapped; the CPU takes frames */
};

/*
 * cpp_flow: index = bucket. The two ends of a flow are sorted: end 0 has the lower address,
 * else the lower port. Direction 0 is what end 0 sends.
 */
#define FLOW_TAG_FREE 0ULL
#define FLOW_TAG_BUSY 1ULL /* being taken over */

#define FLOW_DIR_SEEN	     (1ULL << 32) /* the low half holds a mark */
#define FLOW_DIR_ESTABLISHED (1ULL << 33) /* a segment was seen that does not start a connection */
#define FLOW_DIR_ENDED	     (1ULL << 34) /* a FIN or an RST was seen, and no data after it */
#define FLOW_DIR_STALE	     (1ULL << 35) /* the flow was idle: any mark may be the next */

/* Above the flags: segments in a row whose mark was before the last (rule 3). Their number,
 * the low bits of the tick of the first, and the high half of the latest's mark. */
#define FLOW_BACK_COUNT_SHIFT 36 /* 4 bits */
#define FLOW_BACK_TICK_SHIFT  40 /* 8 bits */
#define FLOW_BACK_MARK_SHIFT  48 /* 16 bits */

struct flow {
	__u64 tag;    /* hash of the 5-tuple, or FLOW_TAG_* */
	__u64 dir[2]; /* last mark (a TSval) in the low half, FLOW_DIR_*, FLOW_BACK_* above */
	__u32 swept;  /* low half of (jiffies >> 6) at the last sweep */
	__u32 owner;  /* whose share of the table it is: a tc handle (pping: an address) */
	/* mark << 32 | time in slot units (never 0); 0: free. Claimed and filled by
	 * compare-and-swap only. */
	__u64 slot[2][FLOW_SLOTS];
};
ASSERT_SIZE(flow, 32 + 16 * FLOW_SLOTS);
ASSERT_OFFSET(flow, slot, 32);

struct flow_bucket {
	struct flow way[FLOW_WAYS];
};

/* cpp_rtt value; the key is the tc handle. Times without a unit in the name
 * are in slot units (8 ns). */
struct rtt_epoch {
	__u64 sum_ns;
	__u32 count; /* exact, also when counters of the histogram are full */
	__u32 min;
	__u32 max;
	__u32 last_tick;	/* of the last sample: ktime >> RTT_TICK_BITS */
	__u32 epoch;		/* number, or RTT_EPOCH_RESETTING */
	__u32 hist[HIST_WORDS]; /* bucket 2n + i in bits 16i to 16i + 15 */
};
ASSERT_SIZE(rtt_epoch, 240);

#define RTT_EPOCH_RESETTING 0xffffffffU

struct rtt_totals { /* since the handle's first sample: only grow */
	__u64 count;
	__u64 sum_ns;
};

/* Which end's RTT: the end that echoes. */
enum side {
	SIDE_SUBSCRIBER = 0, /* between this host and the subscriber */
	SIDE_INTERNET = 1,   /* between this host and the internet host */
};

/*
 * 1952 + a hash element's header and key: one 2048-byte allocation. The totals
 * come first, next to that header: one sample costs the lines of the header
 * and the totals (adjacent), of the epoch, and of the histogram word.
 */
struct rtt_handle {
	struct rtt_totals total[2];	       /* enum side */
	struct rtt_epoch epoch[2][RTT_EPOCHS]; /* enum side, number % RTT_EPOCHS */
};
ASSERT_SIZE(rtt_handle, 1952);

/*
 * cpp_rtt_recent: index = CPU * control.recent_lines + slot of the tc handle. A CPU's
 * latest samples of one handle, on one cache line; they go to the handle's
 * record together. One CPU writes a line, under disabled bottom halves; readers add
 * the line's samples to the record (src/rtt/records.rs). The array has room for the CPUs that
 * were online when it was made; a later CPU has no line.
 */
struct rtt_recent {
	__u32 tc_handle;
	__u32 epoch;		      /* number of the epoch that all samples here are of */
	__u32 last_tick;	      /* of the last sample: ktime >> RTT_TICK_BITS */
	__u32 state;		      /* RECENT_STATE(), while a flush runs with RECENT_FLUSHING */
	__u32 sample[RECENT_SAMPLES]; /* RECENT_SAMPLE(side, rtt); 0: free, for no RTT is 0 */
};
ASSERT_SIZE(rtt_recent, 64);

/* cpp_stats: index = CPU. */
#define MAX_COUNTERS 64

struct stats {
	__u64 counter[MAX_COUNTERS];
};
ASSERT_SIZE(stats, 512);

enum counter {
#define COUNTER(name, help) COUNT_##name,
#include "counters.def"
#undef COUNTER
	NR_COUNTERS
};
_Static_assert(NR_COUNTERS <= MAX_COUNTERS, "cpp_stats has no room");

/* --- shared arithmetic ----------------------------------------------------- */

/*
 * build.rs makes a Rust `const fn` on u64 of each of these macros. So they use
 * only their arguments, constants of limits.h, parentheses and the operators
 * + - * & | ^ << >>, which have the same order of precedence in both languages.
 */

/* The number of the epoch that a tick (ktime >> RTT_TICK_BITS, 64 bits) lies in. */
#define EPOCH_NUMBER(tick) (RTT_EPOCH_FACTOR * (tick) >> 32)

/* A handle's slot among one CPU's `lines` (a power of two) of cpp_rtt_recent. On a
 * CPU the minors are the subscribers; the major is mixed in above them. */
#define RECENT_SLOT(handle, lines) (((0xffff & (handle)) ^ (handle) >> 16 << 10) & ((lines)-1))

/*
 * The parts of rtt_recent.state: how many flushes have ended, whether one runs, and how many
 * samples are in the line. While a flush runs, some of the samples may be in the record already.
 */
#define RECENT_FLUSHING		     (1 << RECENT_COUNT_BITS)
#define RECENT_STATE(flushes, count) ((flushes) << RECENT_COUNT_BITS << 1 | (count))
#define RECENT_COUNT(state)	     (((1 << RECENT_COUNT_BITS) - 1) & (state))
#define RECENT_FLUSHES(state)	     ((state) >> RECENT_COUNT_BITS >> 1)

/* rtt_recent.sample: enum side, and the RTT in slot units. That fits into 31 bits, because
 * it is at most RTT_TIMEOUT_NS. */
#define RECENT_SAMPLE(side, rtt)   ((side) << 31 | (rtt))
#define RECENT_SAMPLE_SIDE(sample) ((sample) >> 31)
#define RECENT_SAMPLE_RTT(sample)  (0x7fffffff & (sample))

/* Where rtt_epoch.hist counts a bucket: the word, and the bit that its 16 bits begin at. */
#define HIST_WORD(bucket)  ((bucket) >> 1)
#define HIST_SHIFT(bucket) ((1 & (bucket)) << 4)

#endif
