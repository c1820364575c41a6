// SPDX-License-Identifier: GPL-2.0-only

//! Recent samples, which are not in the record yet: readers see them at once, and none twice.

use crate::common::names::{limits, rtt_handle, rtt_recent};
use crate::common::rig::{get, put, LoadOptions, RECENT_LINES};
use crate::common::scene::{run_on_cpu, spawn_in_scene, with_scene_of, Scene, ALICE_CLASS};
use crate::common::test_run::{as_bytes, from_bytes};
use crate::fixtures::{segment, Meter};
use cpumap_pping::rtt::window;
use model::SampleSide;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The options of the loader.
const RECENT: LoadOptions = LoadOptions { recent_samples: 12, ..LoadOptions::DEFAULT };
const RTT: Duration = Duration::from_millis(20);

/// Returns the number of samples in the record itself, without the recent ones.
fn flushed(scene: &Scene) -> u64 {
    let bytes = get(&scene.cpp_rtt, &ALICE_CLASS.to_ne_bytes());
    let record = bytes.map(|bytes| from_bytes::<rtt_handle>(&bytes));
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
        let report = window::report(1, &record, now_ns(scene));
        assert_eq!(report.expect("a report").both.count, 12);
    });
}

fn now_ns(scene: &Scene) -> u64 {
    scene.now().as_nanos() as u64
}

/// A CPU beyond the array of lines, such as one that came online later, records each sample at once.
#[test]
fn a_cpu_without_lines_loses_no_sample() {
    lab::require_cpus(2);
    with_scene_of(LoadOptions { recent_cpus: 1, ..RECENT }, |scene| {
        run_on_cpu(1);
        let mut meter = Meter::new(scene, 1000);
        for sample in 1..=30 {
            meter.sample(Duration::from_millis(sample));
            assert_eq!((seen(scene), flushed(scene)), (sample, sample));
        }
        run_on_cpu(0);
        (0..5).for_each(|_| meter.sample(RTT));
        assert_eq!((seen(scene), flushed(scene)), (35, 30));
        let record = scene.records()[&ALICE_CLASS];
        let sum_ms = (1..=30).sum::<u64>() + 5 * 20;
        assert_eq!(record.total[1].sum_ns, sum_ms * 1_000_000);
        let counts: u32 = record.epoch[1].iter().map(|epoch| epoch.count).sum();
        assert_eq!((counts, scene.counters().of("rtt_internet")), (35, 35));
    });
}

/// The line of Alice's class on CPU 0, and her record, as the maps hold them.
#[derive(Clone, Copy)]
struct Moment {
    line: rtt_recent,
    record: rtt_handle,
}

impl Moment {
    fn now(scene: &Scene) -> Self {
        let line = get(&scene.cpp_rtt_recent, &line_of_alice()).expect("a line");
        let record = get(&scene.cpp_rtt, &ALICE_CLASS.to_ne_bytes()).expect("a record");
        Self { line: from_bytes(&line), record: from_bytes(&record) }
    }

    fn write(&self, scene: &Scene) {
        put(&scene.cpp_rtt, &ALICE_CLASS.to_ne_bytes(), &as_bytes(&self.record));
        put(&scene.cpp_rtt_recent, &line_of_alice(), &as_bytes(&self.line));
    }

    /// Returns what the maps hold at each point at which the writer of a flush may stop, in the order of
    /// `recent_flush()`: from the begin mark to the last write before the end mark.
    fn stop_points(self) -> Vec<(&'static str, Self)> {
        let mut full = self.record;
        window::add_recent(&mut full, &self.line);
        let mut points = Vec::new();
        let mut at = self;
        let mut stop = |what, change: &dyn Fn(&mut Self)| {
            change(&mut at);
            points.push((what, at));
        };
        stop("the begin mark", &|at| at.line.state |= limits::RECENT_FLUSHING as u32);
        stop("the histogram", &|at| {
            let epochs = at.record.epoch[1].iter_mut().zip(&full.epoch[1]);
            epochs.for_each(|(epoch, full)| epoch.hist = full.hist);
        });
        stop("the epoch", &|at| at.record.epoch = full.epoch);
        stop("the total count", &|at| at.record.total[1].count = full.total[1].count);
        stop("the total sum", &|at| at.record = full);
        stop("half of the samples cleared", &|at| at.line.sample[..6].fill(0));
        stop("all samples cleared", &|at| at.line.sample.fill(0));
        points
    }

    /// Returns the maps after the end mark.
    fn ended(mut self) -> Self {
        let flushes = limits::recent_flushes(self.line.state.into());
        self.line.state = limits::recent_state(flushes + 1, 0) as u32;
        self
    }
}

fn line_of_alice() -> [u8; 4] {
    let slot = limits::recent_slot(ALICE_CLASS.into(), RECENT_LINES.into());
    (slot as u32).to_ne_bytes()
}

/// Returns Alice's total, unless she is left out.
fn total_unless_left_out(scene: &Scene) -> Option<(u64, u64)> {
    let collected = scene.records_that_stand_still();
    let alice = collected.found.iter().find(|(handle, _)| *handle == ALICE_CLASS);
    assert_eq!(collected.left_out, usize::from(alice.is_none()));
    alice.map(|(_, record)| (record.total[1].count, record.total[1].sum_ns))
}

/// Fills Alice's line with eleven samples, after twelve that are in her record already.
fn before_a_flush(scene: &Scene) -> Moment {
    let mut meter = Meter::new(scene, 1000);
    (0..23).for_each(|_| meter.sample(RTT));
    assert_eq!((flushed(scene), seen(scene)), (12, 23));
    Moment::now(scene)
}

const TOTAL: (u64, u64) = (23, 23 * 20_000_000);

/// While a writer is stopped within a flush, whatever it has written, a reader leaves the handle out and ends soon.
/// When the writer has gone on, the totals are what they were.
#[test]
fn a_reader_beside_a_writer_stopped_inside_a_flush() {
    with_scene_of(RECENT, |scene| {
        let before = before_a_flush(scene);
        for (what, moment) in before.stop_points() {
            moment.write(scene);
            let start = Instant::now();
            assert_eq!(total_unless_left_out(scene), None, "stopped after {what}");
            assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
        }
        let last = before.stop_points().pop().expect("stop points").1;
        last.ended().write(scene);
        assert_eq!(total_unless_left_out(scene), Some(TOTAL));
        // The proof that the mark is what counts: without it, the reader would add the samples twice.
        let mut unmarked = before.stop_points()[4].1;
        unmarked.line.state &= !(limits::RECENT_FLUSHING as u32);
        unmarked.write(scene);
        assert_eq!(seen(scene), 23 + 11);
    });
}

/// A reader that waits for a stopped writer has the handle as soon as the writer goes on.
#[test]
fn a_writer_that_goes_on_in_time_is_waited_for() {
    with_scene_of(RECENT, |scene| {
        let before = before_a_flush(scene);
        let ended = before.stop_points().pop().expect("stop points").1.ended();
        for (what, moment) in before.stop_points() {
            moment.write(scene);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| total_unless_left_out(scene));
                sleep(Duration::from_millis(10));
                // The end mark comes last.
                Moment { line: rtt_recent { state: moment.line.state, ..ended.line }, ..ended }
                    .write(scene);
                ended.write(scene);
                assert_eq!(reader.join().expect("the reader"), Some(TOTAL), "stopped after {what}");
            });
        }
    });
}

/// A reader that looks all the time while a slow writer flushes again and again sees the right totals or none.
#[test]
fn totals_never_step_back_beside_a_slow_writer() {
    with_scene_of(RECENT, |scene| {
        let mut before = before_a_flush(scene);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut readings = 0;
                while !done.load(SeqCst) {
                    if let Some(total) = total_unless_left_out(scene) {
                        assert_eq!(total, TOTAL);
                        readings += 1;
                    }
                }
                readings
            });
            for round in 0..60 {
                let mut last = before;
                for (_, moment) in before.stop_points() {
                    moment.write(scene);
                    last = moment;
                    // Some flushes are slow at each point, some are quick, and some outlast a reader's patience.
                    sleep(Duration::from_micros([0, 300, 3_000][round % 3]));
                }
                last.ended().write(scene);
                sleep(Duration::from_millis(2));
                before = fill_again(scene, before);
            }
            done.store(true, SeqCst);
            assert!(reader.join().expect("the reader") > 20);
        });
    });
}

/// Takes the samples of a flush back into the line, in the guise of another flush, so that no reader takes one twice.
fn fill_again(scene: &Scene, before: Moment) -> Moment {
    let flushes = limits::recent_flushes(before.line.state.into()) + 1;
    let mut moment = Moment::now(scene);
    moment.line.state |= limits::RECENT_FLUSHING as u32;
    moment.write(scene);
    (moment.record, moment.line.sample) = (before.record, before.line.sample);
    moment.write(scene);
    moment.line.state = limits::recent_state(flushes + 1, 11) as u32;
    moment.write(scene);
    moment
}

/// A flush of another handle's samples in a line that both use does not concern a handle.
#[test]
fn another_handles_flush_in_the_same_line_does_not_concern_a_handle() {
    with_scene_of(RECENT, |scene| {
        let other = ALICE_CLASS + RECENT_LINES;
        let mut meter = Meter::new(scene, 1000);
        meter.sample(RTT);
        scene.map("100.64.1.1", 0, other);
        (0..3).for_each(|_| meter.sample(RTT));
        assert_eq!(seen(scene), 1);
        let mut moment = Moment::now(scene);
        assert_eq!(moment.line.tc_handle, other);
        moment.line.state |= limits::RECENT_FLUSHING as u32;
        put(&scene.cpp_rtt_recent, &line_of_alice(), &as_bytes(&moment.line));
        let collected = scene.records_that_stand_still();
        assert_eq!((collected.found.len(), collected.left_out), (1, 1));
        assert_eq!((collected.found[0].0, collected.found[0].1.total[1].count), (ALICE_CLASS, 1));
    });
}

/// A flush begins anew over a line that says it is being flushed: nothing but a test leaves one like that.
#[test]
fn a_flush_ends_whatever_the_mark_said() {
    with_scene_of(RECENT, |scene| {
        let mut meter = Meter::new(scene, 1000);
        (0..11).for_each(|_| meter.sample(RTT));
        let line = get(&scene.cpp_rtt_recent, &line_of_alice()).expect("a line");
        let mut line: rtt_recent = from_bytes(&line);
        line.state |= limits::RECENT_FLUSHING as u32;
        put(&scene.cpp_rtt_recent, &line_of_alice(), &as_bytes(&line));
        meter.sample(RTT);
        assert_eq!((seen(scene), flushed(scene)), (12, 12));
        meter.sample(RTT);
        assert_eq!((seen(scene), flushed(scene)), (13, 12));
    });
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
