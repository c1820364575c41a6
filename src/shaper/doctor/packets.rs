// SPDX-License-Identifier: GPL-2.0-only
//! Checks what the packets themselves have shown, and what the kernel sets in them.

use crate::domain::{Mapping, TcHandle};
use crate::shaper::counters::Counters;
use crate::shaper::doctor::finding::{Few, Findings};
use crate::shaper::inventory::Inventory;
use crate::shaper::queueing::Device;

/// The number of packets from which their shares say something.
const ENOUGH: u64 = 10_000;

/// Checks that most packets take the mapping that XDP has looked up.
pub(super) fn check_handed_on(found: &mut Findings, counters: &Counters) {
    let count = |name| counters.of(name).unwrap_or(0);
    let all = count("tc_classified") + count("tc_unmapped") + count("tc_no_class");
    if all < ENOUGH {
        return;
    }
    let share = |part: u64| part * 100 / all;
    let (looked_up, translated) = (count("tc_looked_up"), count("tc_translated"));
    if looked_up * 2 > all {
        let what = format!(
            "{} % of them reached TC without what XDP hands on, and were looked up again (tc_looked_up)",
            share(looked_up)
        );
        let remedy =
            "attach XDP to both sides, in native mode; between subscribers this is as it should be";
        found.warn("packets", what, remedy);
    }
    if translated * 2 > all {
        let what = format!(
            "NAT on this host has changed the addresses of {} % of them (tc_translated): those that leave \
             by WAN get the class of the public address",
            share(translated)
        );
        found.warn("packets", what, "map the public address, too, or do NAT on another host");
    }
}

/// Checks that the kernel does not set minors that are mapped. The classifier keeps minors from 3 to 9 that a
/// packet comes with; a kernel that routes sets some of these from the type of service, which any sender
/// picks.
pub(super) fn check_priorities(
    found: &mut Findings,
    inventory: &Inventory,
    devices: &[(u32, Device)],
    forward_sets_priority: bool,
) {
    let is_kept = |mapping: &&Mapping| (3..=9).contains(&mapping.tc_handle.minor());
    let mut kept: Vec<TcHandle> =
        inventory.mappings.iter().filter(is_kept).map(|mapping| mapping.tc_handle).collect();
    if !forward_sets_priority || kept.is_empty() || !devices.iter().any(|(_, device)| device.routes)
    {
        return;
    }
    kept.sort_unstable_by_key(|handle| handle.0);
    kept.dedup();
    let what = format!(
        "the kernel sets their minor from their type of service when it routes them, so any sender can pick \
         a mapped class: {}",
        Few(kept.iter().map(ToString::to_string).collect())
    );
    let remedy = "sysctl net.ipv4.ip_forward_update_priority=0, or map to minors above 9";
    found.warn("packets", what, remedy);
}
