// SPDX-License-Identifier: GPL-2.0-only

//! Recent samples, which are not in the record yet: readers see them at once, and none twice.

use crate::common::names::rtt_handle;
use crate::common::rig::{get, LoadOptions, RECENT_LINES};
use crate::common::scene::{spawn_in_scene, with_scene_of, Scene, ALICE_CLASS};
use crate::fixtures::{segment, Meter};
use model::SampleSide;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// The options of the loader.
const RECENT: LoadOptions = LoadOptions { recent_samples: 12, ..LoadOptions::DEFAULT };
const RTT: Duration = Duration::from_millis(20);

/// Returns the number of samples in the record itself, without the recent ones.
fn flushed(scene: &Scene) -> u64 {
    let bytes = get(&scene.cpp_rtt, &ALICE_CLASS.to_ne_bytes());
    let record = bytes.map(|bytes| crate::common::test_run::from_bytes::<rtt_handle>(&bytes));
    record.map_or(0, |record| record.total[SampleSide::Internet as usize].count)
}

fn seen(scene: &Scene) -> u64 {
    scene.records().get(&ALICE_CLASS).map_or(0, |record| record.total[1].count)
}

#[test]
fn a_dozen_samples_go_to_the_record_together_and_are_seen_before() {
    with_scene_of(RECENT, |scene| {
        let mut meter = Meter::new(scene, 1000);
        for sample in 1..=30 {
            meter.sample(Duration::from_millis(sample));
            assert_eq!(seen(scene), sample, "seen");
            assert_eq!(flushed(scene), sample / 12 * 12, "flushed");
        }
        let record = scene.records()[&ALICE_CLASS];
        assert_eq!(record.total[1].sum_ns, (1..=30).sum::<u64>() * 1_000_000);
        assert_eq!(scene.counters().of("rtt_internet"), 30);
    });
}

#[test]
fn an_epoch_takes_its_own_samples_only() {
    with_scene_of(RECENT, |scene| {
        let mut meter = Meter::new(scene, 1000);
        (0..3).for_each(|_| meter.sample(RTT));
        scene.advance(Duration::from_secs(20));
        meter.data();
        meter.sample(RTT);
        assert_eq!((flushed(scene), seen(scene)), (3, 4));
        let record = scene.records()[&ALICE_CLASS];
        let mut sums = record.epoch[1].map(|epoch| epoch.sum_ns / 20_000_000);
        sums.sort_unstable();
        assert_eq!(sums, [0, 0, 1, 3]);
    });
}

/// Two handles use the same line of recent samples.
#[test]
fn handles_that_share_a_line_lose_nothing() {
    with_scene_of(RECENT, |scene| {
        let other = ALICE_CLASS + RECENT_LINES;
        let mut meter = Meter::new(scene, 1000);
        for _ in 0..5 {
            scene.map("100.64.1.1", 0, ALICE_CLASS);
            meter.sample(RTT);
            meter.sample(RTT);
            scene.map("100.64.1.1", 0, other);
            meter.sample(RTT);
        }
        let records = scene.records();
        assert_eq!(records[&ALICE_CLASS].total[1].count, 10);
        assert_eq!(records[&other].total[1].count, 5);
    });
}

#[test]
fn a_handle_that_fell_silent_long_ago_adds_to_its_totals_only() {
    with_scene_of(RECENT, |scene| {
        let mut meter = Meter::new(scene, 1000);
        (0..3).for_each(|_| meter.sample(RTT));
        scene.advance(Duration::from_secs(300));
        meter.data();
        (0..12).for_each(|_| meter.sample(2 * RTT));
        let record = scene.records()[&ALICE_CLASS];
        assert_eq!(record.total[1].count, 15);
        let report = cpumap_pping::rtt::window::report(1, &converted(&record), now_ns(scene));
        assert_eq!(report.expect("a report").both.count, 12);
    });
}

fn now_ns(scene: &Scene) -> u64 {
    scene.now().as_nanos() as u64
}

fn converted(record: &rtt_handle) -> cpumap_pping::abi::RttHandle {
    cpumap_pping::abi::from_bytes(&crate::common::test_run::as_bytes(record))
}

/// Totals only grow for a reader while both CPUs write, and end at the counters' values.
#[test]
fn readers_beside_writers_see_each_sample_once() {
    with_scene_of(RECENT, |scene| {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2u16).map(|cpu| (cpu, 2000 + cpu)).collect();
            let reader = scope.spawn(|| {
                let (mut last, mut readings) = (0, 0);
                while !done.load(SeqCst) || readings == 0 {
                    let now = seen(scene);
                    assert!(now >= last, "{now} after {last}: samples were seen twice, or lost");
                    (last, readings) = (now, readings + 1);
                }
                readings
            });
            std::thread::scope(|inner| {
                for (cpu, port) in writers {
                    spawn_in_scene(inner, usize::from(cpu), move || {
                        for tsval in 100..3_000 {
                            let data = segment(false, port, tsval, 1).payload(10).build();
                            scene.classify_quickly(&data, scene.to_internet(), 1);
                            let echo = segment(false, port, 5, tsval).reply().build();
                            scene.classify_quickly(&echo, scene.to_subscriber(), 1);
                        }
                    });
                }
            });
            done.store(true, SeqCst);
            assert!(reader.join().expect("the reader") > 10);
        });
        let counted = scene.counters().of("rtt_internet");
        assert_eq!(seen(scene), counted);
        assert!(counted > 5_000, "{counted}");
    });
}
