//! One load, several systems in turn, round after round.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use crate::generator::Generator;
use crate::stage::Stage;
use crate::stats::{between, of_system, Runs};
use crate::systems::{inside, Hook, System};
use crate::Result;
use lab::{LAN, WAN};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub rounds: usize,
    pub window: Duration,
    /// Between attaching and the window.
    pub settle: Duration,
    /// Once, the first time a system is attached: flows and caches fill.
    pub warm_up: Duration,
}

/// A system in one window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub xdp: Runs,
    pub tc: Runs,
    /// By interface: XDP on lan (ACKs), XDP on wan (data), TC on lan (data), TC on wan (ACKs).
    pub parts: [Runs; 4],
    pub sent: u64,
    /// ACKs that could end a sample.
    pub possible: u64,
    pub samples: Option<u64>,
}

impl Window {
    /// One XDP run and one TC run.
    pub fn per_packet(&self) -> f64 {
        self.xdp.ns_per_run() + self.tc.ns_per_run()
    }
}

/// A system over all rounds.
pub struct Series {
    pub name: &'static str,
    pub windows: Vec<Window>,
}

/// The value that a share `q` of the values is below.
pub fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

impl Series {
    pub fn median(&self, of: impl Fn(&Window) -> f64) -> f64 {
        median(self.windows.iter().map(of))
    }

    /// The quietest tenth: what the least disturbed windows cost.
    pub fn quiet(&self) -> f64 {
        quantile(self.windows.iter().map(Window::per_packet), 0.1)
    }

    /// Median of the rounds' ratios to `other`: what disturbs a whole round cancels out.
    pub fn ratio(&self, other: &Series) -> f64 {
        let rounds = self.windows.iter().zip(&other.windows);
        median(rounds.map(|(own, other)| own.per_packet() / other.per_packet()))
    }
}

pub fn compare(
    stage: &Stage,
    generator: &Generator,
    systems: &[System],
    schedule: &Schedule,
    mut tell: impl FnMut(usize, &str),
) -> Result<Vec<Series>> {
    let mut series: Vec<Series> =
        systems.iter().map(|each| Series { name: each.name, windows: Vec::new() }).collect();
    for round in 0..schedule.rounds {
        for (system, series) in systems.iter().zip(&mut series) {
            tell(round, system.name);
            inside(&stage.shaper, || system.attach())?;
            sleep(if round == 0 { schedule.warm_up } else { schedule.settle });
            series.windows.push(window(generator, system, schedule.window)?);
        }
    }
    Ok(series)
}

fn window(generator: &Generator, system: &System, length: Duration) -> Result<Window> {
    if !generator.is_running() {
        return Err("the generator has stopped".into());
    }
    let progress = &generator.progress;
    let count = || (progress.segments.load(Relaxed), progress.acks.load(Relaxed));
    let (possible_before, samples_before) = (count().1, system.samples()?);
    let (sent_before, before) = (count(), of_system(system)?);
    sleep(length);
    let (sent_after, after) = (count(), of_system(system)?);
    let (possible_after, samples_after) = (count().1, system.samples()?);
    let sum = |hook| between(system, &before, &after, |at, _| at == hook);
    let part = |hook, device| between(system, &before, &after, |at, on| at == hook && on == device);
    let acks = sent_after.1 - sent_before.1;
    Ok(Window {
        xdp: sum(Hook::Xdp),
        tc: sum(Hook::Tc),
        parts: [
            part(Hook::Xdp, LAN),
            part(Hook::Xdp, WAN),
            part(Hook::Tc, LAN),
            part(Hook::Tc, WAN),
        ],
        sent: sent_after.0 - sent_before.0 + acks,
        possible: possible_after - possible_before,
        samples: samples_after.zip(samples_before).map(|(after, before)| after - before),
    })
}
