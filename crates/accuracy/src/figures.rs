//! From an RTT record to what the report says of one side, and whether the bound held. Pure.

use std::time::Duration;

use cpumap_pping::abi::{RttEpoch, RttHandle};
use cpumap_pping::abi::{HIST_BUCKETS, HIST_FIRST_OCTAVE, HIST_FIRST_SUB, HIST_PER_OCTAVE};
use cpumap_pping::domain::Summary;
use cpumap_pping::rtt::window;

use crate::plan::Side;

/// Fewer samples are no measurement.
const ENOUGH: u64 = 20;

/// One side of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The delay line's.
    pub truth: Duration,
    /// None: not one sample.
    pub summary: Option<Summary>,
    /// Samples that cannot be: below the true delay by more than 1 ms.
    pub false_samples: u64,
}

/// What the bound says of a side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Held,
    /// So many samples are too low.
    False(u64),
    TooFew(u64),
    /// The median is this many ms too high (or, negative, too low).
    Off(f64),
}

impl Figures {
    /// Of a record that held nothing before the traffic; `now_ns`: ktime.
    pub fn of(record: &RttHandle, handle: u32, side: Side, truth: Duration, now_ns: u64) -> Self {
        let report = window::report(handle, record, now_ns);
        let summary = report.and_then(|report| match side {
            Side::Subscriber => report.subscriber,
            Side::Internet => report.internet,
        });
        let lowest = summary.map_or(u64::MAX, |summary| summary.min_ns);
        let bound = lower_bound(truth);
        let epochs = &record.epoch[side as usize];
        let false_samples = if lowest < bound { below(epochs, bound).max(1) } else { 0 };
        Self { truth, summary, false_samples }
    }

    pub fn verdict(&self) -> Verdict {
        if self.false_samples > 0 {
            return Verdict::False(self.false_samples);
        }
        match self.summary {
            Some(summary) if summary.count >= ENOUGH => {
                let off = ms(summary.median_ns) - self.truth.as_secs_f64() * 1e3;
                if agree(ms(summary.median_ns), self.truth) {
                    Verdict::Held
                } else {
                    Verdict::Off(off)
                }
            }
            summary => Verdict::TooFew(summary.map_or(0, |summary| summary.count)),
        }
    }
}

/// Within 1 ms + 5 % of the truth.
pub fn agree(measured_ms: f64, truth: Duration) -> bool {
    let truth = truth.as_secs_f64() * 1e3;
    (measured_ms - truth).abs() <= 1.0 + truth / 20.0
}

pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// No frame passes a delay line sooner than after its delay: what is further below is no RTT.
fn lower_bound(truth: Duration) -> u64 {
    truth.saturating_sub(Duration::from_millis(1)).as_nanos() as u64
}

/// Samples below a bound, by the histogram: the bucket that the bound lies in counts as a whole.
fn below(epochs: &[RttEpoch], bound_ns: u64) -> u64 {
    let buckets = (0..HIST_BUCKETS as usize).take_while(|bucket| lower_edge(*bucket) < bound_ns);
    let in_bucket = |bucket: usize| {
        epochs.iter().map(move |epoch| epoch.hist[bucket / 4] >> (bucket % 4 * 16) & 0xffff)
    };
    buckets.flat_map(in_bucket).sum()
}

/// Of a bucket, in ns (include/limits.h: bucket 1 begins at 2^(14 + 4/7) units of 8 ns).
fn lower_edge(bucket: usize) -> u64 {
    let Some(steps) = bucket.checked_sub(1) else { return 0 };
    let steps = (steps as u64 + HIST_FIRST_SUB) as f64 / HIST_PER_OCTAVE as f64;
    ((HIST_FIRST_OCTAVE as f64 + steps).exp2() * 8.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn figures(truth: Duration, median: Duration, count: u64) -> Figures {
        let summary = Summary { count, median_ns: median.as_nanos() as u64, ..Summary::default() };
        Figures { truth, summary: Some(summary), false_samples: 0 }
    }

    #[test]
    fn the_bound_is_a_millisecond_and_five_percent() {
        let held =
            [(0, 999), (1000, 50), (100_000, 106_000), (100_000, 94_000), (600_000, 631_000)];
        for (truth, median) in held.map(|(t, m)| (t * MS / 1000, m * MS / 1000)) {
            assert_eq!(figures(truth, median, 20).verdict(), Verdict::Held, "{truth:?} {median:?}");
        }
        let off = [(0, 1001), (5000, 6300), (5000, 3700), (600_000, 632_000)];
        for (truth, median) in off.map(|(t, m)| (t * MS / 1000, m * MS / 1000)) {
            let verdict = figures(truth, median, 20).verdict();
            assert!(matches!(verdict, Verdict::Off(_)), "{truth:?} {median:?} {verdict:?}");
        }
        assert_eq!(figures(5 * MS, 10 * MS, 20).verdict(), Verdict::Off(5.0));
    }

    #[test]
    fn few_samples_prove_nothing() {
        assert_eq!(figures(5 * MS, 5 * MS, 19).verdict(), Verdict::TooFew(19));
        let none = Figures { truth: MS, summary: None, false_samples: 0 };
        assert_eq!(none.verdict(), Verdict::TooFew(0));
    }

    /// A record with samples of one side, 8 ns units, in one epoch that `now` lies in.
    fn record(samples: &[Duration], now_ns: u64) -> RttHandle {
        let mut record = RttHandle::default();
        let tick = now_ns >> cpumap_pping::abi::RTT_TICK_BITS;
        let number = ((tick * cpumap_pping::abi::RTT_EPOCH_FACTOR) >> 32) as u32;
        let epoch = &mut record.epoch[1][number as usize % 4];
        *epoch = RttEpoch { epoch: number, last_tick: tick as u32, min: u32::MAX, ..*epoch };
        for sample in samples {
            let ns = sample.as_nanos() as u64;
            let bucket = (0..HIST_BUCKETS as usize).rev().find(|b| lower_edge(*b) <= ns).unwrap();
            epoch.hist[bucket / 4] += 1 << (bucket % 4 * 16);
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
            Figures::of(&record(samples, now), 5, Side::Internet, truth, now).false_samples
        };
        assert_eq!(of(&[42 * MS, 43 * MS], 42 * MS), 0);
        assert_eq!(of(&[41 * MS, 43 * MS], 42 * MS), 0, "1 ms is allowed");
        assert_eq!(of(&[30 * MS, 50 * MS], 42 * MS), 1);
        assert_eq!(of(&[MS, 20 * MS, 50 * MS], 42 * MS), 2);
        assert_eq!(of(&[MS / 10, 50 * MS], 42 * MS), 1, "below the histogram's range");
        assert_eq!(of(&[MS / 10], MS), 0, "nothing is below 0");
        assert_eq!(of(&[], 42 * MS), 0);
        // The bound's own bucket counts as a whole.
        assert_eq!(of(&[41 * MS - MS / 10, 41 * MS + MS / 10], 42 * MS), 2);
    }

    #[test]
    fn each_side_has_its_own_figures() {
        let now = 1_000_000_000_000;
        let record = record(&[42 * MS; 30], now);
        let internet = Figures::of(&record, 5, Side::Internet, 42 * MS, now);
        assert_eq!(internet.verdict(), Verdict::Held);
        let subscriber = Figures::of(&record, 5, Side::Subscriber, 42 * MS, now);
        assert_eq!(subscriber.verdict(), Verdict::TooFew(0));
    }

    #[test]
    fn the_edges_are_the_histograms() {
        assert_eq!(lower_edge(0), 0);
        assert_eq!(lower_edge(1) / 1000, 194); // 0.195 ms
        assert_eq!(lower_edge(HIST_BUCKETS as usize - 1) / 1_000_000, 4294); // 4.29 s
    }
}
