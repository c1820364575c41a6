// SPDX-License-Identifier: GPL-2.0-only
//! Computes figures from the kernel's RTT records: chooses the epochs in the window and adds them up. No
//! I/O.

use crate::abi::{
    self, RttEpoch, RttHandle, RttRecent, RTT_EPOCHS, RTT_TICK_BITS, RTT_WINDOW_NS, SLOT_UNIT_BITS,
};
use crate::domain::summary::{HandleReport, Summary};
use crate::domain::TcHandle;
use crate::rtt::histogram::{count_in, Histogram};

/// The samples of one side, or of both sides, in the window.
#[derive(Clone, Debug, Default)]
struct Window {
    histogram: Histogram,
    /// Exact number of samples; the histogram may miss some of an epoch whose counters are full.
    count: u64,
    sum_ns: u64,
    /// Minimum and maximum in ns; `None` if there is no sample.
    range: Option<(u64, u64)>,
}

impl Window {
    /// Adds the epochs of one side that are in the window: the current one and the three before it, except
    /// those whose last sample is older than 60 s. `now_ns` is a ktime.
    fn add_side(&mut self, epochs: &[RttEpoch], now_ns: u64) {
        let number = epoch_number(now_ns);
        let in_window = |epoch: &&RttEpoch| {
            // The saturation makes an epoch that began after `now_ns` count as the current one.
            let age = number.saturating_sub(epoch.epoch);
            let idle_ns = idle_ns(epoch.last_tick, now_ns);
            age < RTT_EPOCHS as u32 && idle_ns <= RTT_WINDOW_NS && has_samples(epoch)
        };
        let epochs = epochs.iter().filter(in_window);
        for epoch in epochs.clone() {
            self.count += u64::from(epoch.count);
            self.sum_ns += epoch.sum_ns;
            self.widen(
                u64::from(epoch.min) << SLOT_UNIT_BITS,
                u64::from(epoch.max) << SLOT_UNIT_BITS,
            );
        }
        self.histogram.add_epochs(epochs.map(|epoch| (&epoch.hist, epoch.count)));
    }

    /// Includes a minimum and a maximum, in ns.
    fn widen(&mut self, min: u64, max: u64) {
        self.range = Some(match self.range {
            Some((low, high)) => (low.min(min), high.max(max)),
            None => (min, max),
        });
    }

    fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram);
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        if let Some((min, max)) = other.range {
            self.widen(min, max);
        }
    }

    /// Returns the figures; `None` if there is no sample.
    fn summary(&self) -> Option<Summary> {
        let (min_ns, max_ns) = self.range?;
        let count = self.count;
        // Samples that a CPU without lines is adding meanwhile may be in some of the figures only.
        let quantiles = self.histogram.quantiles([0.5, 0.95], min_ns, max_ns);
        let [median_ns, p95_ns] = quantiles.map(|ns| ns.clamp(min_ns, max_ns));
        Some(Summary {
            count,
            avg_ns: (self.sum_ns / count).clamp(min_ns, max_ns),
            min_ns,
            max_ns,
            median_ns,
            p95_ns,
        })
    }
}

/// Returns whether an epoch has samples. The packet path adds to the count last.
fn has_samples(epoch: &RttEpoch) -> bool {
    epoch.count > 0 && epoch.min <= epoch.max
}

/// Returns the number of the epoch at `now_ns` (ktime), as the packet path numbers epochs.
fn epoch_number(now_ns: u64) -> u32 {
    abi::epoch_number(now_ns >> RTT_TICK_BITS) as u32
}

/// Returns the time in ns since a tick, which is given by its low 32 bits (ticks of 2^24 ns). Returns 0
/// for a tick after `now_ns`.
fn idle_ns(tick: u32, now_ns: u64) -> u64 {
    let ticks = ((now_ns >> RTT_TICK_BITS) as u32).wrapping_sub(tick);
    if ticks > u32::MAX / 2 {
        return 0;
    }
    u64::from(ticks) << RTT_TICK_BITS
}

/// Returns the later of two ticks, which are given by their low 32 bits.
fn later(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b) > u32::MAX / 2 {
        b
    } else {
        a
    }
}

/// Adds the samples of a line that has not been flushed yet to its handle's record, like
/// `line_record()` of `bpf/histogram.h`.
pub fn add_recent(record: &mut RttHandle, line: &RttRecent) {
    // A sample of 0 is a free place.
    for sample in line.sample.iter().map(|sample| u64::from(*sample)).filter(|s| *s != 0) {
        let side = abi::recent_sample_side(sample) as usize;
        let units = abi::recent_sample_rtt(sample) as u32;
        let ns = u64::from(units) << SLOT_UNIT_BITS;
        record.total[side].count += 1;
        record.total[side].sum_ns += ns;
        let epoch = &mut record.epoch[side][line.epoch as usize % RTT_EPOCHS as usize];
        if epoch.epoch > line.epoch {
            continue; // The record has a later epoch in this place: the window has moved on.
        }
        if epoch.epoch != line.epoch || !has_samples(epoch) {
            *epoch = RttEpoch {
                epoch: line.epoch,
                min: u32::MAX,
                last_tick: line.last_tick,
                ..RttEpoch::default()
            };
        }
        epoch.count += 1;
        epoch.sum_ns += ns;
        epoch.min = epoch.min.min(units);
        epoch.max = epoch.max.max(units);
        epoch.last_tick = later(epoch.last_tick, line.last_tick);
        count_in(&mut epoch.hist, units);
    }
}

/// Returns the figures of one tc handle at `now_ns` (ktime). Returns `None` if there is no sample in the
/// window.
pub fn report(tc_handle: u32, record: &RttHandle, now_ns: u64) -> Option<HandleReport> {
    let [mut subscriber, mut internet] = [Window::default(), Window::default()];
    subscriber.add_side(&record.epoch[0], now_ns);
    internet.add_side(&record.epoch[1], now_ns);
    let sides = (subscriber.summary(), internet.summary());
    let both = match sides {
        (Some(_), Some(_)) => {
            subscriber.add(&internet);
            subscriber.summary()?
        }
        (one, other) => one.or(other)?,
    };
    Some(HandleReport {
        tc_handle: TcHandle(tc_handle),
        subscriber: sides.0,
        internet: sides.1,
        both,
    })
}

/// Like [`report`], but without the figures of each side, in half the time. The contract's JSON needs no
/// more.
pub fn report_both(tc_handle: u32, record: &RttHandle, now_ns: u64) -> Option<HandleReport> {
    let mut window = Window::default();
    window.add_side(&record.epoch[0], now_ns);
    window.add_side(&record.epoch[1], now_ns);
    let both = window.summary()?;
    Some(HandleReport { tc_handle: TcHandle(tc_handle), subscriber: None, internet: None, both })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Adds `count` samples of `ms` milliseconds at the ktime of `at` seconds.
    fn add(side: &mut [RttEpoch; 4], at: u64, ms: u64, count: u64) {
        let number = epoch_number(at * SECOND);
        let index = (number % 4) as usize;
        let units = ((ms * 1_000_000) >> SLOT_UNIT_BITS) as u32;
        let epoch = &mut side[index];
        if epoch.epoch != number {
            *epoch = RttEpoch { epoch: number, min: u32::MAX, ..RttEpoch::default() };
        }
        epoch.sum_ns += count * ms * 1_000_000;
        epoch.min = epoch.min.min(units);
        epoch.max = epoch.max.max(units);
        epoch.last_tick = ((at * SECOND) >> RTT_TICK_BITS) as u32;
        epoch.count += count as u32;
        (0..count).for_each(|_| count_in(&mut epoch.hist, units));
    }

    #[test]
    fn sides_are_reported_apart_and_together() {
        let mut record = RttHandle::default();
        add(&mut record.epoch[0], 1000, 10, 3);
        add(&mut record.epoch[1], 1000, 20, 1);
        let report = report(0x10005, &record, 1001 * SECOND).unwrap();
        assert_eq!(report.subscriber.unwrap().count, 3);
        assert_eq!(report.internet.unwrap().avg_ns, 20_000_000);
        assert_eq!(report.both.count, 4);
        assert_eq!(report.both.avg_ns, 12_500_000);
        assert_eq!((report.both.min_ns, report.both.max_ns), (10_000_000, 20_000_000));
        let both = report_both(0x10005, &record, 1001 * SECOND).unwrap();
        assert_eq!((both.both, both.subscriber), (report.both, None));
    }

    #[test]
    fn the_window_is_sixty_seconds() {
        for start in [1000, 1007, 1013, 1019] {
            let mut record = RttHandle::default();
            add(&mut record.epoch[0], start, 10, 1);
            assert!(report(1, &record, (start + 59) * SECOND).is_some(), "{start}");
            assert!(report(1, &record, (start + 61) * SECOND).is_none(), "{start}");
        }
    }

    #[test]
    fn samples_that_wait_in_a_line_count() {
        let number = epoch_number(1000 * SECOND);
        let mut line = RttRecent {
            tc_handle: 0x10005,
            epoch: number,
            last_tick: ((1000 * SECOND) >> RTT_TICK_BITS) as u32,
            ..RttRecent::default()
        };
        line.sample[..3].copy_from_slice(&[1_250_000, 1 << 31 | 2_500_000, 3_750_000]);
        let mut record = RttHandle::default();
        add(&mut record.epoch[0], 981, 15, 1);
        add_recent(&mut record, &line);
        let found = report(0x10005, &record, 1001 * SECOND).unwrap();
        let subscriber = found.subscriber.unwrap();
        assert_eq!((subscriber.count, subscriber.avg_ns), (3, (15 + 10 + 30) * 1_000_000 / 3));
        assert_eq!(found.internet.unwrap().min_ns, 20_000_000);
        assert_eq!((record.total[0].count, record.total[1].sum_ns), (2, 20_000_000));
        assert!(report(0x10005, &record, 1061 * SECOND).is_none());
    }

    #[test]
    fn samples_older_than_the_window_count_in_the_totals_only() {
        let mut record = RttHandle::default();
        add(&mut record.epoch[0], 1000, 10, 1);
        let number = epoch_number(1000 * SECOND) - 4;
        let mut line = RttRecent { epoch: number, ..RttRecent::default() };
        line.sample[11] = 2_500_000;
        add_recent(&mut record, &line);
        assert_eq!(report(1, &record, 1001 * SECOND).unwrap().both.count, 1);
        assert_eq!(record.total[0].count, 1);
    }

    #[test]
    fn the_later_sample_sets_the_time_of_an_epoch() {
        let number = epoch_number(1000 * SECOND);
        let tick = ((1000 * SECOND) >> RTT_TICK_BITS) as u32;
        let mut record = RttHandle::default();
        for back in [3, 1, 2] {
            let mut line = RttRecent { epoch: number, ..RttRecent::default() };
            (line.last_tick, line.sample[0]) = (tick - back, 2_500_000);
            add_recent(&mut record, &line);
        }
        assert_eq!(record.epoch[0][number as usize % 4].last_tick, tick - 1);
        assert_eq!((later(5, u32::MAX), later(u32::MAX, 5)), (5, 5));
    }

    /// Counters of the histogram have 16 bits, the count of an epoch has 32.
    #[test]
    fn more_samples_than_a_counter_holds_are_all_counted() {
        let mut record = RttHandle::default();
        add(&mut record.epoch[0], 1000, 10, 200_000);
        add(&mut record.epoch[0], 1000, 40, 100);
        let both = report(1, &record, 1001 * SECOND).unwrap().both;
        assert_eq!(
            (both.count, both.avg_ns),
            (200_100, (200_000 * 10 + 100 * 40) * 1_000_000 / 200_100)
        );
        assert!((both.p95_ns as f64 / 1e7 - 1.0).abs() < 0.044, "{both:?}");
    }

    #[test]
    fn a_record_without_samples_gives_no_report() {
        assert!(report(1, &RttHandle::default(), 5 * SECOND).is_none());
        assert!(report(1, &RttHandle::default(), 1000 * SECOND).is_none());
    }
}
