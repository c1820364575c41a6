// SPDX-License-Identifier: GPL-2.0-only

//! Facts about a lab with a shaper at work.

use super::names::Counts;
use super::shaper::Shaper;
use cpumap_pping::kernel::memory::WritableArray;
use lab::{Host, Sandbox};
use libbpf_rs::{MapCore, MapFlags};
use std::sync::atomic::Ordering::SeqCst;

/// Returns how many frames the delay line carried to a host and from it.
pub fn carried(host: &Host) -> [u64; 2] {
    let link = host.link();
    [link.from_shaper.counters().forwarded, link.to_shaper.counters().forwarded]
}

/// Clears every RTT, so that the window holds those of the next traffic only.
pub fn forget_rtts(shaper: &Sandbox) {
    let rtts = shaper.map("cpp_rtt");
    let keys: Vec<_> = rtts.keys().collect();
    for key in keys {
        // A new handle starts with a record of zeroes.
        rtts.update(&key, &vec![0; rtts.value_size() as usize], MapFlags::EXIST).unwrap();
    }
    // Clear the samples that have not reached the records, too.
    let recent = shaper.map("cpp_rtt_recent");
    let lines = WritableArray::open(&recent).unwrap();
    for index in 0..(recent.max_entries() * recent.value_size() / 8) as usize {
        lines.word(index).unwrap().store(0, SeqCst);
    }
}

/// Counters that stay 0 whatever the traffic is.
const NEVER: [&str; 17] = [
    "tc_unmapped",
    "tc_no_class",
    "tc_truncated",
    "tc_malformed",
    "tc_no_queue",
    "tc_no_direction",
    "tc_not_ip",
    "xdp_no_cpu",
    "xdp_unmapped",
    "xdp_truncated",
    "xdp_malformed",
    "rtt_flow_full",
    "rtt_tcp_truncated",
    "rtt_tcp_malformed",
    "rtt_evicted",
    "rtt_raced",
    "rtt_handle_full",
];

/// Asserts that no packet was left out for a reason that healthy traffic does not give.
pub fn no_trouble(counts: &Counts) {
    for never in NEVER {
        assert_eq!(counts.of(never), 0, "{never}: {counts:?}");
    }
}
