// SPDX-License-Identifier: GPL-2.0-only

//! The RTT record of a tc handle: exact sums, a histogram within 4.4 %, rotating epochs, full counters.

use crate::common::names::{limits, rtt_epoch, rtt_handle};
use crate::common::rig::{get, put, LoadOptions};
use crate::common::scene::{with_scene, with_scene_of, Scene, ALICE_CLASS};
use crate::common::test_run::{as_bytes, from_bytes};
use crate::fixtures::Meter;
use cpumap_pping::rtt::histogram::{bucket_of, counter_in, Histogram};
use model::SampleSide;
use std::time::Duration;

const BUCKETS: usize = limits::HIST_BUCKETS as usize;
const EPOCHS: usize = limits::RTT_EPOCHS as usize;

fn record(scene: &Scene) -> rtt_handle {
    from_bytes(&get(&scene.cpp_rtt, &ALICE_CLASS.to_ne_bytes()).expect("a record"))
}

fn ns(units: u32) -> u64 {
    u64::from(units) << limits::SLOT_UNIT_BITS
}

/// Returns the number of the epoch of this moment, as the header defines it.
fn epoch_of(now: Duration) -> u32 {
    let tick = now.as_nanos() as u64 >> limits::RTT_TICK_BITS;
    ((u128::from(tick) * u128::from(limits::RTT_EPOCH_FACTOR)) >> 32) as u32
}

fn histogram(record: &rtt_handle, side: SampleSide, index: usize) -> Vec<u32> {
    let words = &record.epoch[side as usize][index].hist;
    (0..BUCKETS).map(|bucket| counter_in(words, bucket)).collect()
}

/// Returns the upper edge of a bucket in ns, by the definition: 2^(n/8) seconds for the index n of Prometheus.
fn upper_edge(bucket: usize) -> f64 {
    1e9 * 2f64.powf((bucket as f64 - 96.0) / 8.0)
}

/// Returns the harmonic mean of a bucket's edges: the value with the smallest largest relative error.
fn middle(bucket: usize) -> f64 {
    let (low, high) = (upper_edge(bucket - 1), upper_edge(bucket));
    2.0 * low * high / (low + high)
}

/// Returns the bucket that the kernel counts an RTT in.
fn bucket_in_kernel(scene: &Scene, meter: &mut Meter<'_>, units: u32) -> usize {
    scene.cpp_rtt_clear();
    meter.sample(Duration::from_nanos(ns(units)));
    last_bucket(scene, epoch_of(scene.now()) as usize % EPOCHS)
}

/// The kernel, user space, the model and the definition ⌈8 · log2(seconds)⌉ agree at each edge and one unit
/// beside it.
#[test]
fn all_four_agree_at_every_edge() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        for edge in (0..BUCKETS - 1).map(|bucket| (upper_edge(bucket) / 8.0) as u32) {
            for units in edge - 1..=edge + 1 {
                let index = (8.0 * (f64::from(units) / 125e6).log2()).ceil();
                let wanted = (index + 96.0).clamp(0.0, BUCKETS as f64 - 1.0) as usize;
                assert_eq!(bucket_in_kernel(scene, &mut meter, units), wanted, "kernel, {units}");
                assert_eq!(bucket_of(units), wanted, "user space, {units}");
                assert_eq!(model::histogram::bucket(units), wanted, "model, {units}");
            }
        }
    });
}

#[test]
fn the_buckets_middle_is_within_the_bound_from_244_us_to_2_s() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let mut rtt = 244.2e-6;
        let mut last = 0;
        while rtt <= 2.0 {
            let units = (rtt * 125e6) as u32;
            let bucket = bucket_in_kernel(scene, &mut meter, units);
            let error = middle(bucket) / ns(units) as f64 - 1.0;
            assert!(error.abs() < 0.0434, "{rtt} s in bucket {bucket}: {:+.2} %", error * 100.0);
            assert!(bucket >= last, "{rtt} s: bucket {bucket} after {last}");
            last = bucket;
            rtt *= 1.03;
        }
    });
}

/// Returns the bucket of the only sample.
fn last_bucket(scene: &Scene, index: usize) -> usize {
    let counts = histogram(&record(scene), SampleSide::Internet, index);
    assert_eq!(counts.iter().sum::<u32>(), 1, "{counts:?}");
    counts.iter().position(|count| *count == 1).expect("one sample")
}

#[test]
fn what_is_out_of_range_goes_to_the_outermost_buckets() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        for (rtt_ns, bucket) in [
            (8, 0),
            (1_000, 0),
            (244_136, 0),
            (244_144, 1),
            (2_000_000_000, BUCKETS - 2),
            (2_000_000_008, BUCKETS - 1),
            (9_900_000_000, BUCKETS - 1),
        ] {
            meter.sample(Duration::from_nanos(rtt_ns));
            let index = epoch_of(scene.now()) as usize % EPOCHS;
            assert_eq!(last_bucket(scene, index), bucket, "{rtt_ns} ns");
            scene.cpp_rtt_clear();
        }
    });
}

#[test]
fn count_sum_minimum_and_maximum_are_exact() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let rtts = [20_000_000, 5_000_008, 123_456_784, 5_000_000, 80_000_000];
        rtts.into_iter().for_each(|rtt| meter.sample(Duration::from_nanos(rtt)));
        let record = record(scene);
        let (total, epochs) = (
            &record.total[SampleSide::Internet as usize],
            &record.epoch[SampleSide::Internet as usize],
        );
        assert_eq!((total.count, total.sum_ns), (5, rtts.iter().sum()));
        let number = epoch_of(scene.now());
        let epoch = &epochs[number as usize % EPOCHS];
        assert_eq!((epoch.epoch, epoch.sum_ns), (number, rtts.iter().sum()));
        assert_eq!(epoch.count, 5);
        assert_eq!((ns(epoch.min), ns(epoch.max)), (5_000_000, 123_456_784));
        assert_eq!(u128::from(epoch.last_tick), scene.now().as_nanos() >> limits::RTT_TICK_BITS);
        let other = &record.total[SampleSide::Subscriber as usize];
        assert_eq!((other.count, other.sum_ns), (0, 0));
    });
}

/// In the first 20 s after boot the epoch's number is that of an untouched record.
#[test]
fn the_minimum_is_right_soon_after_boot() {
    let start = Duration::from_secs(3);
    with_scene_of(LoadOptions { start, ..LoadOptions::default() }, |scene| {
        let mut meter = Meter::new(scene, 1000);
        meter.sample(Duration::from_millis(20));
        meter.sample(Duration::from_millis(10));
        let epoch = record(scene).epoch[SampleSide::Internet as usize][0];
        assert_eq!((ns(epoch.min), ns(epoch.max)), (10_000_000, 20_000_000));
    });
}

#[test]
fn epochs_rotate_by_the_first_sample_and_keep_60_s() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let mut seen: Vec<(u32, u64)> = Vec::new();
        for n in 1..=20 {
            let rtt = Duration::from_millis(n);
            meter.sample(rtt);
            let number = epoch_of(scene.now());
            match seen.last_mut().filter(|(last, _)| *last == number) {
                Some((_, sum)) => *sum += rtt.as_nanos() as u64,
                None => seen.push((number, rtt.as_nanos() as u64)),
            }
            let handle = record(scene);
            let (_, epochs) = (
                &handle.total[SampleSide::Internet as usize],
                &handle.epoch[SampleSide::Internet as usize],
            );
            for (number, sum) in seen.iter().rev().take(EPOCHS) {
                let epoch = &epochs[*number as usize % EPOCHS];
                if seen.last().expect("one at least").0 - number < EPOCHS as u32 {
                    assert_eq!((epoch.epoch, epoch.sum_ns), (*number, *sum), "sample {n}");
                }
            }
            scene.advance(Duration::from_millis(6_700));
        }
        assert!(seen.len() >= 6, "{seen:?}: the epochs never came round");
        let handle = record(scene);
        let (total, _) = (
            &handle.total[SampleSide::Internet as usize],
            &handle.epoch[SampleSide::Internet as usize],
        );
        assert_eq!(total.count, 20, "totals only grow");
        // After a pause longer than the window only the current epoch is written; the others have old numbers.
        scene.advance(Duration::from_secs(600));
        meter.data(); // takes the idle flow up again
        meter.sample(Duration::from_millis(1));
        let number = epoch_of(scene.now());
        let record = record(scene);
        let (_, epochs) = (
            &record.total[SampleSide::Internet as usize],
            &record.epoch[SampleSide::Internet as usize],
        );
        let current: Vec<u32> =
            epochs.iter().map(|epoch| epoch.epoch).filter(|epoch| number - epoch < 4).collect();
        assert_eq!(current, [number]);
        let counts = histogram(&record, SampleSide::Internet, number as usize % EPOCHS);
        assert_eq!(counts.iter().sum::<u32>(), 1);
    });
}

#[test]
fn an_epoch_is_between_19_and_21_s_long_and_the_window_60() {
    for seconds in [1u64, 1_000, 1_000_000, 100_000_000] {
        let start = Duration::from_secs(seconds);
        let number = epoch_of(start);
        let change = (0..30_000).find(|ms| epoch_of(start + Duration::from_millis(*ms)) != number);
        let begin = start + Duration::from_millis(change.expect("an epoch ends within 30 s"));
        let length =
            (0..30_000).find(|ms| epoch_of(begin + Duration::from_millis(*ms)) != number + 1);
        let length = length.expect("the next one too");
        assert!((19_900..20_100).contains(&length), "{length} ms");
    }
}

/// Replaces the record of the current epoch by what `change` makes of it.
fn change_epoch(scene: &Scene, change: impl Fn(&mut rtt_epoch)) {
    let mut changed = record(scene);
    let index = epoch_of(scene.now()) as usize % EPOCHS;
    change(&mut changed.epoch[SampleSide::Internet as usize][index]);
    put(&scene.cpp_rtt, &ALICE_CLASS.to_ne_bytes(), &as_bytes(&changed));
}

/// A counter that is full stays, and so do its neighbours; the count of the epoch is exact, and readers give the
/// samples to the bucket.
#[test]
fn a_full_counter_stays_and_no_sample_is_lost() {
    const FULL: u32 = limits::HIST_FULL as u32;
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        meter.sample(Duration::from_millis(20));
        let bucket = last_bucket(scene, epoch_of(scene.now()) as usize % EPOCHS);
        // One below the limit, at it, and above it, as CPUs that add at the same time leave it.
        for (bucket, counter, counted) in [
            (bucket, FULL - 1, FULL),
            (bucket, FULL, FULL),
            (bucket + 1, FULL - 1, FULL),
            (bucket + 1, FULL + 8191, FULL + 8191),
        ] {
            let neighbour = 0xffff;
            let (word, shift) = (bucket / 2, bucket % 2 * 16);
            change_epoch(scene, |epoch| {
                epoch.hist.fill(0);
                epoch.hist[word] = counter << shift | neighbour << (16 - shift);
                epoch.count = counter + neighbour;
            });
            let full_before = scene.counters().of("rtt_hist_full");
            meter.sample(Duration::from_nanos(middle(bucket) as u64 & !7));
            let index = epoch_of(scene.now()) as usize % EPOCHS;
            let epoch = record(scene).epoch[SampleSide::Internet as usize][index];
            assert_eq!(counter_in(&epoch.hist, bucket), counted, "bucket {bucket}");
            assert_eq!(counter_in(&epoch.hist, bucket ^ 1), neighbour, "beside bucket {bucket}");
            assert_eq!(epoch.count, counter + neighbour + 1);
            let missed = u64::from(counter == counted);
            assert_eq!(scene.counters().of("rtt_hist_full") - full_before, missed);
            let mut histogram = Histogram::default();
            histogram.add_epochs([(&epoch.hist, epoch.count)].into_iter());
            assert_eq!(histogram.total(), u64::from(counter + neighbour + 1));
        }
    });
}

/// A sample whose epoch another CPU resets for too long is counted as raced; it is in the totals.
#[test]
fn a_sample_lost_to_a_reset_is_counted() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let rtt = Duration::from_millis(20);
        meter.sample(rtt);
        change_epoch(scene, |epoch| epoch.epoch = limits::RTT_EPOCH_RESETTING as u32);
        meter.sample(rtt);
        let index = epoch_of(scene.now()) as usize % EPOCHS;
        let after = record(scene);
        assert_eq!((after.epoch[1][index].count, after.total[1].count), (1, 2));
        assert_eq!(scene.counters().of("rtt_raced"), 1);
    });
}

/// The window has left the epoch of a sample behind: the sample counts in the totals, and none is lost.
#[test]
fn a_sample_of_the_past_counts_in_the_totals() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let rtt = Duration::from_millis(20);
        meter.sample(rtt);
        change_epoch(scene, |epoch| epoch.epoch += EPOCHS as u32);
        meter.sample(rtt);
        let index = epoch_of(scene.now()) as usize % EPOCHS;
        let after = record(scene);
        assert_eq!((after.epoch[1][index].count, after.total[1].count), (1, 2));
        assert_eq!(scene.counters().of("rtt_raced"), 0);
    });
}

/// A CPU that is late does not set the time of an epoch back, also when the ticks wrap.
#[test]
fn the_last_tick_of_an_epoch_only_moves_up() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let tick = |scene: &Scene| (scene.now().as_nanos() as u64 >> limits::RTT_TICK_BITS) as u32;
        meter.sample(Duration::from_millis(20));
        for (distance, kept) in [(5u32, true), (1 << 30, true), (5u32.wrapping_neg(), false)] {
            let set = tick(scene).wrapping_add(distance);
            change_epoch(scene, |epoch| epoch.last_tick = set);
            meter.sample(Duration::from_micros(500));
            let index = epoch_of(scene.now()) as usize % EPOCHS;
            let found = record(scene).epoch[1][index].last_tick;
            assert_eq!(found, if kept { set } else { tick(scene) }, "{distance}");
        }
    });
}

/// Long after boot the low half of a tick is in its upper half: a reset epoch must not keep a tick of 0, which
/// would be later.
#[test]
fn a_new_epoch_has_the_tick_of_its_sample() {
    let start = Duration::from_nanos(0xc000_0000 << limits::RTT_TICK_BITS);
    with_scene_of(LoadOptions { start, ..LoadOptions::default() }, |scene| {
        Meter::new(scene, 1000).sample(Duration::from_millis(20));
        let index = epoch_of(scene.now()) as usize % EPOCHS;
        let tick = (scene.now().as_nanos() as u64 >> limits::RTT_TICK_BITS) as u32;
        assert_eq!(record(scene).epoch[1][index].last_tick, tick);
    });
}

/// A line with samples of one side leaves the epochs of the other side alone.
#[test]
fn a_side_without_samples_enters_no_epoch() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        meter.sample(Duration::from_millis(20));
        let epochs = record(scene).epoch[SampleSide::Subscriber as usize];
        assert!(epochs.iter().all(|epoch| (epoch.epoch, epoch.last_tick) == (0, 0)));
    });
}

#[test]
fn no_room_for_another_handle_is_counted() {
    with_scene_of(LoadOptions { rtt_handles: 1, ..LoadOptions::default() }, |scene| {
        scene.map("203.0.113.5", 0, 0x0001_0005);
        Meter::new(scene, 1000).sample(Duration::from_millis(20));
        let before = scene.counters();
        let other = std::net::IpAddr::from([203, 0, 113, 5]);
        let packet = |tsval, tsecr| {
            let tcp = lab::packet::Tcp::new(5, 6).timestamps(tsval, tsecr);
            lab::packet::Packet::new(other, lab::packet::hosts::SERVER).tcp(tcp).payload(10)
        };
        scene.classify(&packet(1, 1).build(), scene.to_internet());
        scene.classify(&packet(2, 1).build(), scene.to_internet());
        let outcome = scene.classify(&packet(9, 2).reply().build(), scene.to_subscriber());
        assert_eq!(outcome.samples, []);
        assert_eq!(outcome.priority, 0x0001_0005);
        assert_eq!(scene.counters().since(&before).of("rtt_handle_full"), 1);
    });
}
