// SPDX-License-Identifier: GPL-2.0-only
//! The stream's counters, summed over the CPUs.

use crate::abi::{StreamStats, STREAM_COUNTERS};

/// StreamCounters in `STREAM_COUNTERS`.
const COUNT: usize = STREAM_COUNTERS.len();

/// A reading of all counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters([u64; COUNT]);

/// One counter; made at compile time, where an unknown name is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCounter(usize);

impl StreamCounter {
    /// The counter of that name in include/stream_counters.def.
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
    /// The sum of all CPUs' values.
    pub fn sum<'a>(cpus: impl IntoIterator<Item = &'a StreamStats>) -> Self {
        let mut sum = Self::default();
        for cpu in cpus {
            sum.0.iter_mut().zip(cpu.counter).for_each(|(sum, value)| *sum += value);
        }
        sum
    }

    /// One of them.
    pub fn get(&self, counter: StreamCounter) -> u64 {
        self.0[counter.0]
    }

    /// What was counted since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].saturating_sub(earlier.0[index])))
    }

    /// Name and value of those whose name begins with `prefix`, without it.
    pub fn with_prefix(&self, prefix: &'static str) -> impl Iterator<Item = (&'static str, u64)> {
        let values = self.0;
        let named = STREAM_COUNTERS.iter().zip(values);
        named.filter_map(move |((name, _), value)| Some((name.strip_prefix(prefix)?, value)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One CPU's block with some counters set.
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
    fn families_of_counters() {
        const CUT: StreamCounter = StreamCounter::named("error_truncated");
        let errors = StreamCounters::sum(&[stats(&[(CUT, 4)])]);
        let found: Vec<_> = errors.with_prefix("error_").collect();
        assert!(
            found.contains(&("truncated", 4)) && found.contains(&("malformed", 0)),
            "{found:?}"
        );
    }
}
