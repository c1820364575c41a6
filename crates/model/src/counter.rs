// SPDX-License-Identifier: GPL-2.0-only
//! The counters of `include/counters.def` that the model raises, by name.

use std::sync::LazyLock;

/// The names of the counters raised, one per increment, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RaisedCounters(Vec<&'static str>);

impl RaisedCounters {
    /// Raises a counter by one.
    pub fn add(&mut self, name: &'static str) {
        debug_assert!(MODELLED.contains(&name), "{name} is not modelled");
        self.0.push(name);
    }

    /// Returns the names, one per increment.
    pub fn into_names(self) -> Vec<&'static str> {
        self.0
    }
}

/// The list that the BPF programs are compiled with.
const COUNTERS: &str = include_str!("../../../include/counters.def");

/// Returns the names of the counters of which `keep` accepts the line.
fn named(keep: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let lines = COUNTERS.lines().filter(|line| keep(line));
    lines.filter_map(|line| line.strip_prefix("COUNTER(")?.split(',').next()).collect()
}

/// The counters that the BPF programs and the model must raise alike.
pub static MODELLED: LazyLock<Vec<&str>> =
    LazyLock::new(|| named(|line| !line.contains(NOT_MODELLED)));

/// The counters that depend on caches, metadata, memory limits and concurrency, which the model does not
/// have.
pub static UNMODELLED: LazyLock<Vec<&str>> =
    LazyLock::new(|| named(|line| line.contains(NOT_MODELLED)));

/// The comment in counters.def that marks them.
const NOT_MODELLED: &str = "/* not modelled */";

#[cfg(test)]
mod tests {
    use super::{MODELLED, UNMODELLED};

    #[test]
    fn the_list_is_read_whole() {
        assert!(MODELLED.contains(&"xdp_redirected") && MODELLED.contains(&"rtt_flow_new"));
        assert!(UNMODELLED.contains(&"cache_miss") && !MODELLED.contains(&"cache_miss"));
        assert!(MODELLED.len() >= 29 && UNMODELLED.len() >= 7);
    }
}
