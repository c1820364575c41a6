// SPDX-License-Identifier: GPL-2.0-only

//! Counters by name, limits, and structs of the ABI.

#![allow(missing_docs)]

pub use cpumap_pping::abi as limits;
pub use cpumap_pping::abi::COUNTERS;

pub use cpumap_pping::abi::skel::cpumap_pping::types::{
    __sk_buff, control, flow, flow_bucket, ip_mapping, rtt_epoch, rtt_handle, rtt_recent,
    txq_config, xdp_md,
};
use std::collections::BTreeMap;
use std::fmt;

/// Returns the number of a counter.
pub fn counter(name: &str) -> usize {
    let found = COUNTERS.iter().position(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no counter is called {name}"))
}

/// Counters by name; those that are 0 are left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

/// Bookkeeping: most tests do not compare these counters.
const QUIET: [&str; 3] = ["cache_miss", "tc_looked_up", "rtt_flow_new"];

/// Returns whether a counter is a packet's fate: exactly one of those rises for each packet.
fn is_fate(name: &str) -> bool {
    let xdp = counter("xdp_redirected")..=counter("xdp_no_cpu");
    let tc = counter("tc_classified")..=counter("tc_no_class");
    xdp.contains(&counter(name)) || tc.contains(&counter(name))
}

impl Counts {
    /// Sums the blocks of `cpp_stats`, one a CPU; their words are in the order of include/counters.def.
    pub fn of_all_cpus(blocks: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut sums = BTreeMap::new();
        for block in blocks {
            for ((name, _), word) in COUNTERS.iter().zip(block.chunks_exact(8)) {
                *sums.entry(*name).or_default() +=
                    u64::from_ne_bytes(word.try_into().expect("8 bytes"));
            }
        }
        sums.retain(|_, value| *value != 0);
        Self(sums)
    }

    /// Returns what was added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let risen = self.0.iter().map(|(name, value)| (*name, value - before.of(name)));
        Self(risen.filter(|(_, value)| *value != 0).collect())
    }

    /// Returns one counter.
    pub fn of(&self, name: &str) -> u64 {
        counter(name); // panics at a misspelt name, which would read as 0
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Returns how many packets were counted, by any fate.
    pub fn packets(&self) -> u64 {
        self.0.iter().filter(|(name, _)| is_fate(name)).map(|(_, value)| value).sum()
    }

    /// Returns the fate of the only packet.
    pub fn fate(&self) -> &'static str {
        assert_eq!(self.packets(), 1, "one packet, one fate: {self:?}");
        self.0.keys().find(|name| is_fate(name)).expect("counted above")
    }

    /// Returns what is counted beside the fate, without bookkeeping: `"rtt_no_slot tc_wrong_cpu"`, `"rtt_unmatched×2"`.
    pub fn notes(&self) -> String {
        let notes = self.0.iter().filter(|(name, _)| !is_fate(name) && !QUIET.contains(name));
        let notes: Vec<String> = notes
            .map(
                |(name, value)| {
                    if *value == 1 {
                        (*name).into()
                    } else {
                        format!("{name}×{value}")
                    }
                },
            )
            .collect();
        notes.join(" ")
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
