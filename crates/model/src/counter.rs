// SPDX-License-Identifier: GPL-2.0-only
//! The counters of `include/counters.def` that the model raises, by name.

/// The names of the counters raised, one per increment, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RaisedCounters(Vec<&'static str>);

impl RaisedCounters {
    /// Raises a counter by one.
    pub fn add(&mut self, name: &'static str) {
        debug_assert!(MODELLED.contains(&name), "{name} is not in MODELLED");
        self.0.push(name);
    }

    /// Returns the names, one per increment.
    pub fn into_names(self) -> Vec<&'static str> {
        self.0
    }
}

/// The counters that the BPF programs and the model must raise alike.
pub const MODELLED: [&str; 29] = [
    "xdp_redirected",
    "xdp_no_direction",
    "xdp_not_ip",
    "xdp_truncated",
    "xdp_malformed",
    "xdp_unmapped",
    "xdp_no_cpu",
    "tc_classified",
    "tc_host",
    "tc_priority_kept",
    "tc_no_direction",
    "tc_not_ip",
    "tc_truncated",
    "tc_malformed",
    "tc_unmapped",
    "tc_no_class",
    "tc_no_queue",
    "tc_wrong_cpu",
    "rtt_subscriber",
    "rtt_internet",
    "rtt_no_ports",
    "rtt_tcp_truncated",
    "rtt_tcp_malformed",
    "rtt_no_timestamps",
    "rtt_unmatched",
    "rtt_timed_out",
    "rtt_evicted",
    "rtt_no_slot",
    "rtt_flow_new",
];

/// The counters that depend on caches, metadata, memory limits and concurrency, which the model does not
/// have.
pub const UNMODELLED: [&str; 7] = [
    "xdp_no_metadata",
    "tc_looked_up",
    "cache_miss",
    "rtt_flow_full",
    "rtt_handle_full",
    "rtt_raced",
    "rtt_carry_lost",
];

#[cfg(test)]
mod tests {
    use super::{MODELLED, UNMODELLED};

    #[test]
    fn every_counter_of_the_abi_is_modelled_or_known_not_to_be() {
        let mut abi: Vec<&str> = include_str!("../../../include/counters.def")
            .lines()
            .filter_map(|line| line.strip_prefix("COUNTER(")?.split(',').next())
            .collect();
        let mut ours = [&MODELLED[..], &UNMODELLED[..]].concat();
        abi.sort_unstable();
        ours.sort_unstable();
        assert_eq!(abi, ours);
    }
}
