//! Counters by name, limits, and structs of the ABI.

#![allow(missing_docs)]

pub use cpumap_pping::abi as limits;
pub use cpumap_pping::abi::COUNTERS;

pub use cpumap_pping::abi::skel::cpumap_pping::types::{
    __sk_buff, control, flow_bucket, ip_mapping, rtt_handle, txq_config, xdp_md,
};
use std::collections::BTreeMap;
use std::fmt;

/// Number of a counter.
pub fn counter(name: &str) -> usize {
    let found = COUNTERS.iter().position(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no counter is called {name}"))
}

/// Counters by name; those that are 0 are left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

/// Bookkeeping that most rows do not care about.
const QUIET: [&str; 3] = ["cache_miss", "tc_looked_up", "rtt_flow_new"];

/// The packet's fate: exactly one of these moves for each packet.
fn is_fate(name: &str) -> bool {
    let xdp = counter("xdp_redirected")..=counter("xdp_no_cpu");
    let tc = counter("tc_classified")..=counter("tc_no_class");
    xdp.contains(&counter(name)) || tc.contains(&counter(name))
}

impl Counts {
    /// From the counters' values, in the order of include/counters.def.
    pub fn new(values: &[u64]) -> Self {
        let named = COUNTERS.iter().zip(values).filter(|(_, value)| **value != 0);
        Self(named.map(|((name, _), value)| (*name, *value)).collect())
    }

    /// What was added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let risen = self.0.iter().map(|(name, value)| (*name, value - before.of(name)));
        Self(risen.filter(|(_, value)| *value != 0).collect())
    }

    /// One counter.
    pub fn of(&self, name: &str) -> u64 {
        counter(name); // a misspelt name is a mistake, not 0
        self.0.get(name).copied().unwrap_or(0)
    }

    /// How many packets came to an end.
    pub fn packets(&self) -> u64 {
        self.0.iter().filter(|(name, _)| is_fate(name)).map(|(_, value)| value).sum()
    }

    /// The one fate of the one packet.
    pub fn fate(&self) -> &'static str {
        assert_eq!(self.packets(), 1, "one packet, one fate: {self:?}");
        self.0.keys().find(|name| is_fate(name)).expect("counted above")
    }

    /// What is counted beside the fate, bookkeeping left out: `"rtt_no_slot tc_wrong_cpu"`, `"rtt_unmatched×2"`.
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
