// SPDX-License-Identifier: GPL-2.0-only
//! From an RTT record to the figures of one side, and whether the bound held. No I/O.

use std::time::Duration;

use cpumap_pping::abi::{RttEpoch, RttHandle};
use cpumap_pping::domain::Summary;
use cpumap_pping::rtt::histogram::{counter_in, lower_edges};
use cpumap_pping::rtt::window;

use crate::accuracy::cases::ShaperSide;

/// Least number of samples of a measurement.
const ENOUGH: u64 = 20;

/// The figures of one side in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideFigures {
    /// The delay of the delay line.
    pub truth: Duration,
    /// Our figures; None without samples.
    pub summary: Option<Summary>,
    /// Samples that are impossible: more than 1 ms below the true delay.
    pub false_samples: u64,
}

/// Whether the bound held for a side, and why not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoundVerdict {
    /// The bound held.
    Held,
    /// This many samples are too low.
    False(u64),
    /// There are only this many samples.
    TooFew(u64),
    /// The median is this many ms too high (if negative, too low).
    Off(f64),
}

impl SideFigures {
    /// Reads the figures from a record that was empty before the traffic; `now_ns` is ktime.
    pub fn of(
        record: &RttHandle,
        handle: u32,
        side: ShaperSide,
        truth: Duration,
        now_ns: u64,
    ) -> Self {
        let report = window::report(handle, record, now_ns);
        let summary = report.and_then(|report| match side {
            ShaperSide::Subscriber => report.subscriber,
            ShaperSide::Internet => report.internet,
        });
        let lowest = summary.map_or(u64::MAX, |summary| summary.min_ns);
        let bound = lower_bound(truth);
        let epochs = &record.epoch[side as usize];
        let false_samples = if lowest < bound { below(epochs, bound).max(1) } else { 0 };
        Self { truth, summary, false_samples }
    }

    /// Returns whether the bound held.
    pub fn verdict(&self) -> BoundVerdict {
        if self.false_samples > 0 {
            return BoundVerdict::False(self.false_samples);
        }
        match self.summary {
            Some(summary) if summary.count >= ENOUGH => {
                let off = ms(summary.median_ns) - self.truth.as_secs_f64() * 1e3;
                if agree(ms(summary.median_ns), self.truth) {
                    BoundVerdict::Held
                } else {
                    BoundVerdict::Off(off)
                }
            }
            summary => BoundVerdict::TooFew(summary.map_or(0, |summary| summary.count)),
        }
    }
}

/// Returns whether a figure is within 1 ms + 5 % of the truth.
fn agree(measured_ms: f64, truth: Duration) -> bool {
    let truth = truth.as_secs_f64() * 1e3;
    (measured_ms - truth).abs() <= 1.0 + truth / 20.0
}

/// Converts nanoseconds to milliseconds.
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Returns the lowest possible RTT in ns. No frame leaves a delay line before its delay has passed, so
/// that a lower sample is not an RTT. 1 ms is allowed for.
fn lower_bound(truth: Duration) -> u64 {
    truth.saturating_sub(Duration::from_millis(1)).as_nanos() as u64
}

/// Counts the samples below a bound by the histogram. All samples of the bucket that holds the bound
/// count as below.
fn below(epochs: &[RttEpoch], bound_ns: u64) -> u64 {
    let buckets = 0..lower_edges().partition_point(|edge| *edge < bound_ns);
    let in_bucket =
        |bucket: usize| epochs.iter().map(move |epoch| u64::from(counter_in(&epoch.hist, bucket)));
    buckets.flat_map(in_bucket).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpumap_pping::rtt::histogram::count_in;

    const MS: Duration = Duration::from_millis(1);

    fn figures(truth: Duration, median: Duration, count: u64) -> SideFigures {
        let summary = Summary { count, median_ns: median.as_nanos() as u64, ..Summary::default() };
        SideFigures { truth, summary: Some(summary), false_samples: 0 }
    }

    #[test]
    fn the_bound_is_a_millisecond_and_five_percent() {
        let held =
            [(0, 999), (1000, 50), (100_000, 106_000), (100_000, 94_000), (600_000, 631_000)];
        for (truth, median) in held.map(|(t, m)| (t * MS / 1000, m * MS / 1000)) {
            assert_eq!(
                figures(truth, median, 20).verdict(),
                BoundVerdict::Held,
                "{truth:?} {median:?}"
            );
        }
        let off = [(0, 1001), (5000, 6300), (5000, 3700), (600_000, 632_000)];
        for (truth, median) in off.map(|(t, m)| (t * MS / 1000, m * MS / 1000)) {
            let verdict = figures(truth, median, 20).verdict();
            assert!(matches!(verdict, BoundVerdict::Off(_)), "{truth:?} {median:?} {verdict:?}");
        }
        assert_eq!(figures(5 * MS, 10 * MS, 20).verdict(), BoundVerdict::Off(5.0));
    }

    #[test]
    fn few_samples_prove_nothing() {
        assert_eq!(figures(5 * MS, 5 * MS, 19).verdict(), BoundVerdict::TooFew(19));
        let none = SideFigures { truth: MS, summary: None, false_samples: 0 };
        assert_eq!(none.verdict(), BoundVerdict::TooFew(0));
    }

    /// Returns a record with samples of one side, in units of 8 ns, in the epoch of `now_ns`.
    fn record(samples: &[Duration], now_ns: u64) -> RttHandle {
        let mut record = RttHandle::default();
        let tick = now_ns >> cpumap_pping::abi::RTT_TICK_BITS;
        let number = ((tick * cpumap_pping::abi::RTT_EPOCH_FACTOR) >> 32) as u32;
        let epoch = &mut record.epoch[1][number as usize % 4];
        *epoch = RttEpoch { epoch: number, last_tick: tick as u32, min: u32::MAX, ..*epoch };
        for sample in samples {
            let ns = sample.as_nanos() as u64;
            count_in(&mut epoch.hist, (ns / 8) as u32);
            epoch.count += 1;
            (epoch.min, epoch.max) =
                (epoch.min.min((ns / 8) as u32), epoch.max.max((ns / 8) as u32));
            epoch.sum_ns += ns;
        }
        record
    }

    #[test]
    fn false_samples_are_counted() {
        let now = 1_000_000_000_000;
        let of = |samples: &[Duration], truth| {
            SideFigures::of(&record(samples, now), 5, ShaperSide::Internet, truth, now)
                .false_samples
        };
        assert_eq!(of(&[42 * MS, 43 * MS], 42 * MS), 0);
        assert_eq!(of(&[41 * MS, 43 * MS], 42 * MS), 0, "1 ms is allowed");
        assert_eq!(of(&[30 * MS, 50 * MS], 42 * MS), 1);
        assert_eq!(of(&[MS, 20 * MS, 50 * MS], 42 * MS), 2);
        assert_eq!(of(&[MS / 10, 50 * MS], 42 * MS), 1, "below the histogram's range");
        assert_eq!(of(&[MS / 10], MS), 0, "nothing is below 0");
        assert_eq!(of(&[], 42 * MS), 0);
        // All samples of the bound's bucket count.
        assert_eq!(of(&[41 * MS - MS / 10, 41 * MS + MS / 10], 42 * MS), 2);
    }

    #[test]
    fn each_side_has_its_own_figures() {
        let now = 1_000_000_000_000;
        let record = record(&[42 * MS; 30], now);
        let internet = SideFigures::of(&record, 5, ShaperSide::Internet, 42 * MS, now);
        assert_eq!(internet.verdict(), BoundVerdict::Held);
        let subscriber = SideFigures::of(&record, 5, ShaperSide::Subscriber, 42 * MS, now);
        assert_eq!(subscriber.verdict(), BoundVerdict::TooFew(0));
    }

    #[test]
    fn the_edges_are_the_histograms() {
        assert_eq!(lower_edges()[0], 0);
        assert_eq!(lower_edges()[1] / 1000, 244); // 0.244 ms
        assert_eq!(lower_edges()[lower_edges().len() - 1] / 1_000_000, 2000); // 2 s
    }
}
