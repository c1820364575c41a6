// SPDX-License-Identifier: GPL-2.0-only
//! The stream's counters, summed over the CPUs.

use crate::abi::{StreamStats, STREAM_COUNTERS};

/// Number of counters.
const COUNT: usize = STREAM_COUNTERS.len();

/// The values of all counters at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters([u64; COUNT]);

/// One counter, as its index in [`STREAM_COUNTERS`]. Assign [`StreamCounter::named`] to a constant:
/// then an unknown name is a compile error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCounter(usize);

impl StreamCounter {
    /// Returns the counter of that name in include/stream_counters.def.
    pub const fn named(name: &str) -> Self {
        let mut index = 0;
        while index < COUNT {
            if same(STREAM_COUNTERS[index].0.as_bytes(), name.as_bytes()) {
                return Self(index);
            }
            index += 1;
        }
        panic!("include/stream_counters.def has no such counter")
    }
}

/// Compares two strings. `==` on slices is not const.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut index = 0;
    while index < a.len() && index < b.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    a.len() == b.len()
}

impl StreamCounters {
    /// Returns the sum of all CPUs' values.
    pub fn sum<'a>(cpus: impl IntoIterator<Item = &'a StreamStats>) -> Self {
        let mut sum = Self::default();
        for cpu in cpus {
            sum.0.iter_mut().zip(cpu.counter).for_each(|(sum, value)| *sum += value);
        }
        sum
    }

    /// Returns the value of one counter.
    pub fn get(&self, counter: StreamCounter) -> u64 {
        self.0[counter.0]
    }

    /// Returns how much each counter has grown since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].saturating_sub(earlier.0[index])))
    }

    /// Returns name and value of the counters whose name begins with `prefix`. The names come
    /// without the prefix.
    pub fn with_prefix(&self, prefix: &'static str) -> impl Iterator<Item = (&'static str, u64)> {
        let values = self.0;
        let named = STREAM_COUNTERS.iter().zip(values);
        named.filter_map(move |((name, _), value)| Some((name.strip_prefix(prefix)?, value)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes one CPU's block in which `values` are set and the other counters are 0.
    pub(crate) fn stats(values: &[(StreamCounter, u64)]) -> StreamStats {
        let mut stats = StreamStats::default();
        values.iter().for_each(|(counter, value)| stats.counter[counter.0] = *value);
        stats
    }

    #[test]
    fn sums_and_differences() {
        const TCP: StreamCounter = StreamCounter::named("tcp_packets");
        const LOST: StreamCounter = StreamCounter::named("events_lost");
        let before = StreamCounters::sum(&[stats(&[(TCP, 1)]), stats(&[(TCP, 2), (LOST, 7)])]);
        assert_eq!((before.get(TCP), before.get(LOST)), (3, 7));
        let after = StreamCounters::sum(&[stats(&[(TCP, 10), (LOST, 7)])]);
        assert_eq!((after.since(&before).get(TCP), after.since(&before).get(LOST)), (7, 0));
        assert_eq!(before.since(&after).get(TCP), 0);
    }

    #[test]
    fn counters_are_found_by_their_prefix() {
        const CUT: StreamCounter = StreamCounter::named("error_truncated");
        let errors = StreamCounters::sum(&[stats(&[(CUT, 4)])]);
        let found: Vec<_> = errors.with_prefix("error_").collect();
        assert!(
            found.contains(&("truncated", 4)) && found.contains(&("malformed", 0)),
            "{found:?}"
        );
    }
}
