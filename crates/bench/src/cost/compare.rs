// SPDX-License-Identifier: GPL-2.0-only
//! Measures several systems in turn, round after round, on one testbed.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::{LAN, WAN};

use crate::cost::generator::FrameGenerator;
use crate::cost::program_stats::Runs;
use crate::cost::systems::system::{inside, AttachPoint, System};
use crate::cost::testbed::Testbed;
use crate::error::Result;
use crate::quantile::{median, quantile};

/// How long and how often each system is measured.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Number of rounds. Every system has one turn in each.
    pub rounds: usize,
    /// How long a system is measured in its turn.
    pub window: Duration,
    /// Time between attaching a system and its window.
    pub settle: Duration,
    /// The same in the first round, in which flows and caches fill.
    pub warm_up: Duration,
    /// Segments that the generator sends in the first round before the window, at least.
    pub warm_up_segments: u64,
}

/// The figures of a system in one window.
#[derive(Clone, Copy, Debug, Default)]
pub struct CostWindow {
    /// XDP, both interfaces together.
    pub xdp: Runs,
    /// TC, both interfaces together.
    pub tc: Runs,
    /// Each interface: XDP on lan (ACKs), XDP on wan (data), TC on lan (data), TC on wan (ACKs).
    pub parts: [Runs; 4],
    /// Frames sent both ways.
    pub sent: u64,
    /// Samples that were possible.
    pub possible: u64,
    /// Samples that the system took; None if it takes none.
    pub samples: Option<u64>,
}

impl CostWindow {
    /// Returns the cost of one XDP run and one TC run, in nanoseconds.
    pub fn per_packet(&self) -> f64 {
        self.xdp.ns_per_run() + self.tc.ns_per_run()
    }

    /// Returns the share of the possible samples that the system took.
    pub fn kept(&self) -> Option<f64> {
        let possible = (self.possible > 0).then_some(self.possible as f64)?;
        self.samples.map(|samples| samples as f64 / possible)
    }
}

/// The windows of a system.
pub struct Series {
    /// The system's name.
    pub name: String,
    /// One window for each round.
    pub windows: Vec<CostWindow>,
}

impl Series {
    /// Returns the median of a figure over the rounds.
    pub fn median(&self, of: impl Fn(&CostWindow) -> f64) -> f64 {
        median(self.windows.iter().map(of))
    }

    /// Returns the cost of a packet in nanoseconds that a tenth of the windows, the least disturbed ones,
    /// stays below.
    pub fn quiet(&self) -> f64 {
        quantile(self.windows.iter().map(CostWindow::per_packet), 0.1)
    }

    /// Returns the ratio of the cost to that of `other` in each round. A disturbance that lasts a whole
    /// round cancels out.
    pub fn ratios<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = f64> + Clone + 'a {
        let rounds = self.windows.iter().zip(&other.windows);
        rounds.map(|(own, other)| own.per_packet() / other.per_packet())
    }
}

/// Measures all systems in every round. Calls `tell` with the round and the system before each turn.
pub fn compare(
    testbed: &Testbed,
    generator: &FrameGenerator,
    systems: &[System],
    schedule: &Schedule,
    mut tell: impl FnMut(usize, &str),
) -> Result<Vec<Series>> {
    let empty = |each: &System| Series { name: each.name.clone(), windows: Vec::new() };
    let mut series: Vec<Series> = systems.iter().map(empty).collect();
    for round in 0..schedule.rounds {
        for (system, series) in systems.iter().zip(&mut series) {
            tell(round, &system.name);
            inside(&testbed.shaper, || system.attach())?;
            generator.select(system.load);
            if round == 0 {
                let began = Instant::now();
                generator.wait_for_segments(schedule.warm_up_segments)?;
                sleep(schedule.warm_up.saturating_sub(began.elapsed()));
            } else {
                sleep(schedule.settle);
            }
            series.windows.push(window(generator, system, schedule.window)?);
        }
    }
    Ok(series)
}

fn window(generator: &FrameGenerator, system: &System, length: Duration) -> Result<CostWindow> {
    if !generator.is_running() {
        return Err("the generator has stopped".into());
    }
    let sent = || generator.counts.frames();
    let (possible_before, samples_before) = samples(generator, system)?;
    let (sent_before, before) = (sent(), system.runs()?);
    sleep(length);
    let (sent_after, after) = (sent(), system.runs()?);
    let (possible_after, samples_after) = samples(generator, system)?;
    let sum = |hook| system.between(&before, &after, |at, _| at == hook);
    let part = |hook, device| system.between(&before, &after, |at, on| at == hook && on == device);
    Ok(CostWindow {
        xdp: sum(AttachPoint::Xdp),
        tc: sum(AttachPoint::Tc),
        parts: [
            part(AttachPoint::Xdp, LAN),
            part(AttachPoint::Xdp, WAN),
            part(AttachPoint::Tc, LAN),
            part(AttachPoint::Tc, WAN),
        ],
        sent: sent_after - sent_before,
        possible: possible_after - possible_before,
        // The count of an evicted record is lost, so that the sum may shrink.
        samples: samples_after
            .zip(samples_before)
            .map(|(after, before)| after.saturating_sub(before)),
    })
}

/// Returns how many samples were possible so far, and how many the system took. Counting the samples of
/// some systems takes milliseconds; the possible samples are those in the middle of that time.
fn samples(generator: &FrameGenerator, system: &System) -> Result<(u64, Option<u64>)> {
    let possible = || generator.counts.possible.load(Relaxed);
    let before = possible();
    let samples = system.samples()?;
    Ok((before + (possible() - before) / 2, samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(costs: &[u64]) -> Series {
        let window = |ns: &u64| CostWindow {
            xdp: Runs { ns: *ns * 10, count: 10 },
            tc: Runs { ns: *ns * 30, count: 10 },
            ..CostWindow::default()
        };
        Series { name: String::new(), windows: costs.iter().map(window).collect() }
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let (own, other) = (series(&[10, 100, 30]), series(&[20, 200, 20]));
        assert_eq!(own.ratios(&other).collect::<Vec<_>>(), [0.5, 0.5, 1.5]);
        assert_eq!(median(own.ratios(&other)), 0.5);
        assert_eq!(own.median(CostWindow::per_packet), 120.0);
        assert_eq!(series(&[10; 3]).quiet(), 40.0);
    }

    #[test]
    fn kept_needs_something_possible() {
        let window = CostWindow { possible: 200, samples: Some(150), ..CostWindow::default() };
        assert_eq!(window.kept(), Some(0.75));
        assert_eq!(CostWindow { possible: 0, ..window }.kept(), None);
        assert_eq!(CostWindow { samples: None, ..window }.kept(), None);
    }
}
