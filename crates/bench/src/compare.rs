//! One stage, several systems in turn, round after round.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::generator::Generator;
use crate::quantile::{median, quantile};
use crate::stage::Stage;
use crate::stats::{between, of_system, Runs};
use crate::systems::{inside, Hook, System};
use crate::Result;
use lab::{LAN, WAN};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Times that every system has its turn.
    pub rounds: usize,
    /// How long it is measured then.
    pub window: Duration,
    /// Between attaching and the window.
    pub settle: Duration,
    /// Instead of that the first time a system is attached: flows and caches fill.
    pub warm_up: Duration,
    /// And at least so many segments are sent then.
    pub warm_up_segments: u64,
}

/// A system in one window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// XDP on both interfaces.
    pub xdp: Runs,
    /// TC on both interfaces.
    pub tc: Runs,
    /// By interface: XDP on lan (ACKs), XDP on wan (data), TC on lan (data), TC on wan (ACKs).
    pub parts: [Runs; 4],
    /// Frames sent both ways.
    pub sent: u64,
    /// Samples that were possible.
    pub possible: u64,
    /// Samples that the system took, if it takes any.
    pub samples: Option<u64>,
}

impl Window {
    /// One XDP run and one TC run, in nanoseconds.
    pub fn per_packet(&self) -> f64 {
        self.xdp.ns_per_run() + self.tc.ns_per_run()
    }

    /// Samples taken of those possible.
    pub fn kept(&self) -> Option<f64> {
        let possible = (self.possible > 0).then_some(self.possible as f64)?;
        self.samples.map(|samples| samples as f64 / possible)
    }
}

/// A system over all rounds.
pub struct Series {
    /// The system's name.
    pub name: String,
    /// One a round.
    pub windows: Vec<Window>,
}

impl Series {
    /// The rounds' median of a figure.
    pub fn median(&self, of: impl Fn(&Window) -> f64) -> f64 {
        median(self.windows.iter().map(of))
    }

    /// Nanoseconds a packet in the quietest tenth: what the least disturbed windows cost.
    pub fn quiet(&self) -> f64 {
        quantile(self.windows.iter().map(Window::per_packet), 0.1)
    }

    /// Each round's cost beside that of `other`: what disturbs a whole round cancels out.
    pub fn ratios<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = f64> + Clone + 'a {
        let rounds = self.windows.iter().zip(&other.windows);
        rounds.map(|(own, other)| own.per_packet() / other.per_packet())
    }
}

/// Measures all systems in every round; `tell` hears of each turn.
pub fn compare(
    stage: &Stage,
    generator: &Generator,
    systems: &[System],
    schedule: &Schedule,
    mut tell: impl FnMut(usize, &str),
) -> Result<Vec<Series>> {
    let empty = |each: &System| Series { name: each.name.clone(), windows: Vec::new() };
    let mut series: Vec<Series> = systems.iter().map(empty).collect();
    for round in 0..schedule.rounds {
        for (system, series) in systems.iter().zip(&mut series) {
            tell(round, &system.name);
            inside(&stage.shaper, || system.attach())?;
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

fn window(generator: &Generator, system: &System, length: Duration) -> Result<Window> {
    if !generator.is_running() {
        return Err("the generator has stopped".into());
    }
    let sent = || generator.progress.frames();
    let (possible_before, samples_before) = samples(generator, system)?;
    let (sent_before, before) = (sent(), of_system(system)?);
    sleep(length);
    let (sent_after, after) = (sent(), of_system(system)?);
    let (possible_after, samples_after) = samples(generator, system)?;
    let sum = |hook| between(system, &before, &after, |at, _| at == hook);
    let part = |hook, device| between(system, &before, &after, |at, on| at == hook && on == device);
    Ok(Window {
        xdp: sum(Hook::Xdp),
        tc: sum(Hook::Tc),
        parts: [
            part(Hook::Xdp, LAN),
            part(Hook::Xdp, WAN),
            part(Hook::Tc, LAN),
            part(Hook::Tc, WAN),
        ],
        sent: sent_after - sent_before,
        possible: possible_after - possible_before,
        // Evicted records take their count with them.
        samples: samples_after
            .zip(samples_before)
            .map(|(after, before)| after.saturating_sub(before)),
    })
}

/// Samples that were possible so far, and those that the system took. Counting the latter takes some
/// systems milliseconds: it is compared with what was possible in the middle of that.
fn samples(generator: &Generator, system: &System) -> Result<(u64, Option<u64>)> {
    let possible = || generator.progress.possible.load(Relaxed);
    let before = possible();
    let samples = system.samples()?;
    Ok((before + (possible() - before) / 2, samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(costs: &[u64]) -> Series {
        let window = |ns: &u64| Window {
            xdp: Runs { ns: *ns * 10, count: 10 },
            tc: Runs { ns: *ns * 30, count: 10 },
            ..Window::default()
        };
        Series { name: String::new(), windows: costs.iter().map(window).collect() }
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let (own, other) = (series(&[10, 100, 30]), series(&[20, 200, 20]));
        assert_eq!(own.ratios(&other).collect::<Vec<_>>(), [0.5, 0.5, 1.5]);
        assert_eq!(median(own.ratios(&other)), 0.5);
        assert_eq!(own.median(Window::per_packet), 120.0);
        assert_eq!(series(&[10; 3]).quiet(), 40.0);
    }

    #[test]
    fn kept_needs_something_possible() {
        let window = Window { possible: 200, samples: Some(150), ..Window::default() };
        assert_eq!(window.kept(), Some(0.75));
        assert_eq!(Window { possible: 0, ..window }.kept(), None);
        assert_eq!(Window { samples: None, ..window }.kept(), None);
    }
}
