// SPDX-License-Identifier: GPL-2.0-only
use std::collections::BTreeMap;

use super::*;
use crate::classify::{HandedOn, Model, ModelConfig, Verdict};
use crate::counter::MODELLED;

fn world() -> World {
    World { lan: 2, wan: 3, elsewhere: 4, cpus: vec![0, 1], absent_cpu: 9 }
}

/// Returns the packet that leaves in a step, and what XDP hands on of it.
fn leaving(model: &Model, step: Step, now_ns: u64) -> (Vec<u8>, Skb, Option<HandedOn>) {
    match step {
        Step::Classify { frame, skb } => (frame, skb, None),
        Step::Forward { arrived, frame, skb } => {
            let handed_on = model.steer(&arrived, skb.ingress_ifindex, now_ns).handed_on;
            (frame, skb, handed_on)
        }
        other => panic!("{other:?} does not leave"),
    }
}

/// Plays one sequence to a model and counts the counters.
fn play(seed: u64, steps: usize, counts: &mut BTreeMap<&'static str, u32>) -> Model {
    let mut generator = Generator::new(seed, world());
    let mut model = Model::new(ModelConfig { handshake: seed % 2 == 1, ..ModelConfig::new(250) });
    generator.setup().apply(&mut model);
    for (now_ns, step) in generator.by_ref().take(steps) {
        match step {
            Step::Steer { frame, ifindex } => {
                let steered = model.steer(&frame, ifindex, now_ns);
                let redirected = steered.verdict != Verdict::Pass;
                assert_eq!(redirected, steered.counter == "xdp_redirected");
                *counts.entry(steered.counter).or_default() += 1;
            }
            Step::Classify { .. } | Step::Forward { .. } => {
                let (frame, skb, handed_on) = leaving(&model, step, now_ns);
                let result = model.classify_forwarded(&frame, skb, handed_on, now_ns);
                let measured = |name: &&str| ["rtt_subscriber", "rtt_internet"].contains(name);
                assert_eq!(result.sample.is_some(), result.counters.iter().any(measured));
                assert!(result.sample.is_none_or(|sample| sample.rtt_ns <= 10 * S));
                for name in result.counters {
                    *counts.entry(name).or_default() += 1;
                }
            }
            Step::Map { prefix, cpu, handle } => model.map(prefix, cpu, handle),
        }
    }
    model
}

#[test]
fn a_seed_repeats_its_sequence() {
    let run = |seed| Generator::new(seed, world()).take(500).collect::<Vec<_>>();
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn every_counter_is_reached_many_times() {
    let mut counts = BTreeMap::new();
    for seed in 0..20 {
        play(seed, 5_000, &mut counts);
    }
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{counts:#?}");
    }
    for &name in MODELLED.iter() {
        // A sender loses its class between its data and the echo: rare.
        let least = if name == "rtt_no_class" { 1 } else { 50 };
        assert!(counts.get(name).is_some_and(|&n| n >= least), "{name}: {counts:#?}");
    }
}

#[test]
fn histograms_hold_every_sample_and_flows_stay_few() {
    let mut counts = BTreeMap::new();
    let model = play(1, 10_000, &mut counts);
    assert!(model.flow_count() < 1000, "{} flows", model.flow_count());
    let samples: u64 = model.histograms().map(|(_, _, histogram)| histogram.count).sum();
    let counted = counts["rtt_subscriber"] + counts["rtt_internet"];
    assert_eq!(samples, u64::from(counted));
}

#[test]
fn frames_are_long_enough_for_a_test_run() {
    for (_, step) in Generator::new(3, world()).take(5_000) {
        let frames = match step {
            Step::Steer { frame, .. } | Step::Classify { frame, .. } => vec![frame],
            Step::Forward { arrived, frame, .. } => vec![arrived, frame],
            Step::Map { .. } => vec![],
        };
        for frame in frames {
            assert!((MIN_FRAME..3000).contains(&frame.len()), "{}", frame.len());
        }
    }
}
