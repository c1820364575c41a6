/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole of .rodata: the loader's decisions, made before the programs are verified.
 * The verifier takes them for constants and removes the code that is off.
 */
#ifndef CPP_CONFIG_H
#define CPP_CONFIG_H

#include <linux/types.h>

/*
 * The first eight bytes keep their places for ever. By them, a load finds the options of a
 * running program of any ABI version, to replace it by one with the same options
 * (src/kernel/program_config.rs). Version 1 had no such head: its .rodata has 48 bytes, with
 * `rtt` at 44 and `handshake` at 45. So no later version may have 48 bytes.
 */
struct config {
	__u32 abi_version;
	__u8 rtt;		 /* measure RTTs */
	__u8 handshake;		 /* SYN and SYN-ACK open samples too */
	__u8 metadata;		 /* XDP hands the mapping on to TC */
	__u8 test_clock;	 /* time is control.test_now_ns: tests only */
	__u64 hash_seed;	 /* control.hash_seed */
	__u32 meta_cookie;	 /* control.meta_cookie */
	__u32 cache_mask;	 /* address-cache entries a CPU - 1 */
	__u32 cache_ttl_jiffies; /* age at which an entry is looked up again */
	__u32 flow_mask;	 /* flow buckets - 1 */
	__u32 sweep_ticks;	 /* FLOW_SWEEP_NS in units of 64 jiffies */
	__u32 idle_ticks;	 /* FLOW_IDLE_NS in units of 64 jiffies */
	__u32 jiffy_ns;		 /* 1e9 / HZ */
	__u32 recent_mask;	 /* lines of recent samples a CPU - 1 */
	__u32 recent_samples;	 /* samples that fill a line: 1 to RECENT_SAMPLES */
	__u32 reserved;
};
_Static_assert(sizeof(struct config) == 56, "config");
_Static_assert(__builtin_offsetof(struct config, rtt) == 4, "config.rtt");
_Static_assert(__builtin_offsetof(struct config, handshake) == 5, "config.handshake");

#endif
