/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole of .rodata: the loader's decisions, made before the programs are verified.
 * The verifier takes them for constants and removes the code that is off.
 *
 * A load finds the options of a running program of any ABI version, to replace it by one with
 * the same options: by the BTF names `config`, `abi_version`, `rtt` and `handshake`, wherever
 * they are (src/kernel/program_config.rs). These names and the meaning of zero stay. Version 1
 * had no `abi_version`.
 */
#ifndef CPP_CONFIG_H
#define CPP_CONFIG_H

#include <linux/types.h>

/* Keys of the hashes (bpf/hash.h). */
#define HASH_KEYS 27

struct config {
	__u64 hash_key[HASH_KEYS]; /* random: drawn from control.hash_seed (splitmix64) */
	__u32 meta_cookie;	   /* control.meta_cookie */
	__u32 abi_version;	   /* ABI_VERSION */
	__u32 cache_mask;	   /* address-cache entries - 1 */
	__u32 cache_ttl_jiffies;   /* age at which an entry is looked up again */
	__u32 flow_mask;	   /* flow buckets - 1 */
	__u32 sweep_ticks;	   /* FLOW_SWEEP_NS in units of 64 jiffies */
	__u32 idle_ticks;	   /* FLOW_IDLE_NS in units of 64 jiffies */
	__u32 resync_ticks;	   /* FLOW_RESYNC_NS in units of 64 jiffies */
	__u32 jiffy_ns;		   /* 1e9 / HZ */
	__u32 recent_mask;	   /* lines of recent samples a CPU - 1 */
	__u32 recent_samples;	   /* samples that fill a line: 1 to RECENT_SAMPLES */
	__u8 rtt;		   /* measure RTTs */
	__u8 handshake;		   /* SYN and SYN-ACK open samples too */
	__u8 metadata;		   /* XDP hands the mapping on to TC */
	__u8 test_clock;	   /* time is control.test_now_ns: tests only */
	__u8 enter_starts;	   /* a SYN enters its flow: pping, which reports openings */
	__u8 no_link_header;	   /* frames begin with the IP header: tun, ppp, wg */
	__u8 reserved[6];
};
_Static_assert(sizeof(struct config) == 8 * HASH_KEYS + 56, "config");

#endif
