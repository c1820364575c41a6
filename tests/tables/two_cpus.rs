// SPDX-License-Identifier: GPL-2.0-only

//! Two CPUs at once on the same flows: a TSval gives one sample at most, and nothing is counted twice.

use crate::common::names::{flow_bucket, Counts};
use crate::common::rig::{get, Rig, SkbCtx};
use crate::common::scene::{spawn_in_scene, with_scene, Scene, ALICE_CLASS};
use crate::common::test_run::from_bytes;
use crate::fixtures::segment;
use lab::packet::{hosts::*, Packet, Tcp, RST};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::Barrier;
use std::time::Duration;

const ROUNDS: u32 = 3000;

fn send(rig: &Rig, packet: &[u8], skb: SkbCtx) {
    rig.classify_quickly(packet, skb, 1);
}

/// Asserts that counters and record agree on the number of samples.
fn assert_totals(scene: &Scene, counts: &Counts) {
    let record = scene.records()[&ALICE_CLASS];
    for (side, name) in [(0, "rtt_subscriber"), (1, "rtt_internet")] {
        let (total, epochs) = (&record.total[side], &record.epoch[side]);
        assert_eq!(total.count, counts.of(name), "{name}");
        let in_epochs: u64 = epochs.iter().map(|epoch| epoch.sum_ns).sum();
        assert_eq!(total.sum_ns, in_epochs, "{name}: the sums");
        let in_epochs: u64 = epochs.iter().map(|epoch| u64::from(epoch.count)).sum();
        assert_eq!(total.count, in_epochs, "{name}: the counts");
        let in_histogram: u64 = epochs
            .iter()
            .flat_map(|epoch| epoch.hist)
            .map(|word| u64::from((word & 0xffff) + (word >> 16)))
            .sum();
        assert_eq!(total.count, in_histogram, "{name}: the histogram");
    }
}

/// Both CPUs see the echo of the same TSval at the same time: one sample.
#[test]
fn one_match_one_sample() {
    with_scene(|scene| {
        lab::require_cpus(2);
        let before = scene.counters();
        let (start, end) = (Barrier::new(2), Barrier::new(2));
        send(scene, &segment(false, 1000, 99, 1).payload(10).build(), scene.to_internet());
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let (start, end) = (&start, &end);
                spawn_in_scene(scope, cpu, move || {
                    for tsval in 100..100 + ROUNDS {
                        if cpu == 0 {
                            let data = segment(false, 1000, tsval, 1).payload(10).build();
                            send(scene, &data, scene.to_internet());
                            scene.advance(Duration::from_millis(1));
                        }
                        start.wait();
                        let echo = segment(false, 1000, 5, tsval).reply().build();
                        send(scene, &echo, scene.to_subscriber());
                        end.wait();
                    }
                });
            }
        });
        let counts = scene.counters().since(&before);
        assert_eq!(counts.of("rtt_internet"), u64::from(ROUNDS), "{counts:?}");
        assert_eq!(counts.notes(), format!("rtt_internet×{ROUNDS} tc_wrong_cpu×{ROUNDS}"));
        assert_totals(scene, &counts);
        let total = scene.records()[&ALICE_CLASS].total[1];
        assert_eq!(total.sum_ns, u64::from(ROUNDS) * 1_000_000);
    });
}

/// Both CPUs see the first packet of the same TSval at the same time: one slot.
#[test]
fn one_edge_one_slot() {
    with_scene(|scene| {
        lab::require_cpus(2);
        let before = scene.counters();
        let barrier = Barrier::new(2);
        send(scene, &segment(false, 1000, 99, 1).payload(10).build(), scene.to_internet());
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let barrier = &barrier;
                spawn_in_scene(scope, cpu, move || {
                    for tsval in 100..100 + ROUNDS {
                        let data = segment(false, 1000, tsval, 1).payload(10).build();
                        barrier.wait();
                        send(scene, &data, scene.to_internet());
                        barrier.wait();
                        if cpu == 0 {
                            scene.advance(Duration::from_millis(1));
                            let echo = segment(false, 1000, 5, tsval).reply().build();
                            send(scene, &echo, scene.to_subscriber());
                        }
                    }
                });
            }
        });
        let counts = scene.counters().since(&before);
        assert_eq!(counts.of("rtt_internet"), u64::from(ROUNDS), "{counts:?}");
        assert_eq!(counts.of("rtt_unmatched"), 0, "a TSval stood in both slots: {counts:?}");
        assert_totals(scene, &counts);
    });
}

/// Both CPUs see the first packets of a flow at the same time, one direction each: the flow is in the table once, and its
/// TSvals meet.
#[test]
fn a_flow_is_entered_once() {
    let setup = crate::common::rig::LoadOptions { flow_buckets: 1, ..Default::default() };
    crate::common::scene::with_scene_of(setup, |scene| {
        lab::require_cpus(2);
        let barrier = Barrier::new(2);
        // A panic would leave the other thread at the barrier.
        let twice = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let (barrier, twice) = (&barrier, &twice);
                spawn_in_scene(scope, cpu, move || {
                    for port in 1..=ROUNDS as u16 {
                        let first = segment(false, port, 100, 1).payload(10);
                        let (packet, skb) = match cpu {
                            0 => (first, scene.to_internet()),
                            _ => (first.reply(), scene.to_subscriber()),
                        };
                        barrier.wait();
                        send(scene, &packet.build(), skb);
                        barrier.wait();
                        if cpu == 0 {
                            let tags = tags(scene);
                            let once: std::collections::BTreeSet<_> = tags.iter().collect();
                            twice.fetch_add((tags.len() - once.len()) as u32, SeqCst);
                            // Its end makes room for the next.
                            let end = Tcp::new(port, 443).flags(RST).timestamps(100, 1);
                            let end = Packet::new(ALICE, SERVER).tcp(end);
                            send(scene, &end.build(), scene.to_internet());
                        }
                    }
                });
            }
        });
        assert_eq!(twice.load(SeqCst), 0, "flows that were entered twice");
    });
}

/// The tags in bucket 0.
fn tags(scene: &Scene) -> Vec<u64> {
    let bytes = get(&scene.cpp_flow, &0u32.to_ne_bytes()).expect("bucket 0");
    let bucket: flow_bucket = from_bytes(&bytes);
    bucket.way.iter().map(|way| way.tag).filter(|tag| *tag > 1).collect()
}

/// Each CPU sees one direction while the clock moves: no RTT is longer than the run or made up, and every TSval is
/// accounted for.
#[test]
fn each_cpu_a_direction() {
    with_scene(|scene| {
        lab::require_cpus(2);
        let (before, began) = (scene.counters(), scene.now());
        let last: [AtomicU32; 2] = [AtomicU32::new(100), AtomicU32::new(100)];
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let last = &last;
                spawn_in_scene(scope, cpu, move || {
                    for tsval in 101..101 + 10 * ROUNDS {
                        // Echo the last TSval of the other side, as a receiver does.
                        let echo = last[1 - cpu].load(SeqCst);
                        let packet = segment(false, 1000, tsval, echo).payload(10);
                        if cpu == 0 {
                            send(scene, &packet.build(), scene.to_internet());
                            scene.advance(Duration::from_micros(100));
                        } else {
                            send(scene, &packet.reply().build(), scene.to_subscriber());
                        }
                        last[cpu].store(tsval, SeqCst);
                    }
                });
            }
        });
        let counts = scene.counters().since(&before);
        assert_totals(scene, &counts);
        let record = scene.records()[&ALICE_CLASS];
        let run = (scene.now() - began).as_nanos() as u64;
        for (side, name) in [(0, "rtt_subscriber"), (1, "rtt_internet")] {
            let samples = counts.of(name);
            assert!(samples > 0 && samples <= u64::from(10 * ROUNDS), "{counts:?}");
            let max = record.epoch[side].iter().map(|epoch| epoch.max).max().unwrap_or(0);
            assert!(u64::from(max) << 3 <= run, "{name}: {max} units in a run of {run} ns");
        }
        // Each direction opened at most 10 × ROUNDS - 1 TSvals. Each is accounted for, except up to four that still wait
        // for their echo.
        let ends = [
            "rtt_subscriber",
            "rtt_internet",
            "rtt_unmatched",
            "rtt_no_slot",
            "rtt_timed_out",
            "rtt_evicted",
            "rtt_raced",
        ];
        let ended: u64 = ends.iter().map(|name| counts.of(name)).sum();
        let opened = 2 * u64::from(10 * ROUNDS - 1);
        assert!((opened - 4..=opened).contains(&ended), "{ended} of {opened}: {counts:?}");
        assert_eq!(counts.of("rtt_timed_out") + counts.of("rtt_evicted"), 0, "{counts:?}");
        assert_eq!(counts.of("rtt_flow_new"), 1);
    });
}

/// Both CPUs enter and measure flows in a table of one bucket, in which they take ways from each other.
#[test]
fn ways_change_hands() {
    let setup = crate::common::rig::LoadOptions { flow_buckets: 1, ..Default::default() };
    crate::common::scene::with_scene_of(setup, |scene| {
        lab::require_cpus(2);
        let before = scene.counters();
        let rtt = Duration::from_millis(20);
        std::thread::scope(|scope| {
            for cpu in 0..2u16 {
                spawn_in_scene(scope, cpu.into(), move || {
                    // No two flows have the same TSval, so no echo can match another flow's.
                    for n in 0..ROUNDS {
                        let port = 1000 + 20 * cpu + (n % 20) as u16;
                        let tsval = u32::from(port) * 100_000 + n;
                        let echo = |tsecr| segment(false, port, 5, tsecr).reply().build();
                        for step in 0..2 {
                            let data = segment(false, port, tsval + step, 1).payload(10).build();
                            send(scene, &data, scene.to_internet());
                        }
                        send(scene, &echo(tsval + 1), scene.to_subscriber());
                    }
                });
            }
        });
        scene.advance(rtt);
        let counts = scene.counters().since(&before);
        assert_totals(scene, &counts);
        assert_eq!(counts.of("tc_classified"), u64::from(2 * 3 * ROUNDS));
        assert_eq!(scene.records()[&ALICE_CLASS].total[0].count, 0, "{counts:?}");
        assert!(counts.of("rtt_internet") <= u64::from(2 * 2 * ROUNDS), "{counts:?}");
    });
}
