// SPDX-License-Identifier: GPL-2.0-only

//! The BPF programs beside the reference model (crates/model): the same packets at the same times must give the same
//! results. A fixed seed repeats what was once found, and a fresh seed finds more.
//!
//! `FUZZ_SECONDS` sets the time of each (30; 0: without end), `FUZZ_SEED` the fresh seed. `make fuzz` runs until
//! interrupted.

#[path = "../common/mod.rs"]
mod common;
mod loaded;
mod play;
mod shrink;

use common::scene::on_interfaces;
use model::{Generator, Step};
use play::SideBySide;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The number of steps before both start afresh, since the flow table evicts flows and the model does not.
const ROUND: usize = 10_000;
const FIXED_SEED: u64 = 20_240_229;

#[test]
fn fixed_seed() {
    fuzz("fixed", FIXED_SEED);
}

#[test]
fn fresh_seed() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    fuzz("fresh", number("FUZZ_SEED").unwrap_or(clock.as_nanos() as u64 / 1000));
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|error| panic!("{variable}={value}: {error}")))
}

/// Prints a line past the capture of the test harness, so that the seed shows in a passed test, too.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn fuzz(name: &str, seed: u64) {
    let seconds = number("FUZZ_SECONDS").unwrap_or(30);
    on_interfaces(|[lan, wan, elsewhere]| {
        let mut stage = SideBySide::new(lan, wan, elsewhere);
        let started = Instant::now();
        let mut reported = started;
        let mut steps = 0;
        say(&format!("fuzz: {name} seed, FUZZ_SEED={seed}"));
        for round in 0.. {
            play_round(&mut stage, seed.wrapping_add(round));
            steps += ROUND;
            let due = seconds != 0 && started.elapsed() >= Duration::from_secs(seconds);
            if due || reported.elapsed() >= Duration::from_secs(60) {
                reported = Instant::now();
                let each = steps as f64 / started.elapsed().as_secs_f64();
                let (samples, refused) = (stage.samples, stage.refused);
                say(&format!(
                    "fuzz: {name} seed {seed}: {steps} steps, {each:.0} a second, {samples} samples, \
                     {refused} packets that no test run takes, no difference"
                ));
            }
            if due {
                break;
            }
        }
    });
}

fn play_round(stage: &mut SideBySide, seed: u64) {
    let mut generator = Generator::new(seed, stage.world.clone());
    let setup = generator.setup().clone();
    let steps: Vec<(u64, Step)> = generator.by_ref().take(ROUND).collect();
    if let Err(difference) = stage.play(seed, &setup, &steps) {
        let failure = shrink::Failure { seed, setup, steps, difference };
        panic!("{}", failure.report(stage));
    }
}

/// The sequences raise every counter that the model has.
#[test]
fn every_counter_is_compared() {
    on_interfaces(|[lan, wan, elsewhere]| {
        let mut stage = SideBySide::new(lan, wan, elsewhere);
        for seed in 0..8 {
            play_round(&mut stage, seed);
        }
        let counted: BTreeMap<&str, u64> = stage.counted().collect();
        for &name in model::counter::MODELLED.iter() {
            assert!(counted[name] > 0, "{name}: {counted:#?}");
        }
    });
}
