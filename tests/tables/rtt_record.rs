// SPDX-License-Identifier: GPL-2.0-only

//! The RTT record of a tc handle: exact sums, a histogram within 5 %, rotating epochs, carries.

use crate::common::names::{limits, rtt_handle};
use crate::common::rig::{get, put, LoadOptions};
use crate::common::scene::{with_scene, with_scene_of, Scene, ALICE_CLASS};
use crate::common::test_run::{as_bytes, from_bytes};
use crate::fixtures::Meter;
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

fn histogram(record: &rtt_handle, side: SampleSide, index: usize) -> Vec<u64> {
    let words = &record.epoch[side as usize][index].hist;
    (0..BUCKETS).map(|bucket| words[bucket / 4] >> (bucket % 4 * 16) & 0xffff).collect()
}

/// Returns the harmonic mean of a bucket's edges: the value with the smallest largest relative error.
fn middle(bucket: usize) -> f64 {
    let edge = |k: usize| {
        let octaves = limits::HIST_FIRST_OCTAVE as f64;
        let parts = (limits::HIST_FIRST_SUB as usize + k) as f64 / limits::HIST_PER_OCTAVE as f64;
        8.0 * 2f64.powf(octaves + parts)
    };
    let (low, high) = (edge(bucket - 1), edge(bucket));
    2.0 * low * high / (low + high)
}

#[test]
fn the_buckets_middle_is_within_5_percent_from_200_us_to_4_s() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let mut rtt = 200e-6;
        let mut last = 0;
        while rtt <= 4.0 {
            let exact = Duration::from_nanos((rtt * 1e9) as u64 & !7);
            meter.sample(exact);
            let index = epoch_of(scene.now()) as usize % EPOCHS;
            let before = last_bucket(scene, index);
            let error = middle(before) / exact.as_nanos() as f64 - 1.0;
            assert!(error.abs() < 0.05, "{exact:?} in bucket {before}: {:+.2} %", error * 100.0);
            assert!(before >= last, "{exact:?}: bucket {before} after {last}");
            last = before;
            rtt *= 1.03;
            scene.cpp_rtt_clear();
        }
    });
}

/// Returns the bucket of the only sample.
fn last_bucket(scene: &Scene, index: usize) -> usize {
    let counts = histogram(&record(scene), SampleSide::Internet, index);
    assert_eq!(counts.iter().sum::<u64>(), 1, "{counts:?}");
    counts.iter().position(|count| *count == 1).expect("one sample")
}

#[test]
fn what_is_out_of_range_goes_to_the_outermost_buckets() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        for (rtt_ns, bucket) in [
            (8, 0),
            (1_000, 0),
            (194_000, 0),
            (196_000, 1),
            (4_250_000_000, BUCKETS - 2),
            (4_400_000_000, BUCKETS - 1),
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
        assert_eq!(counts.iter().sum::<u64>(), 1);
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

#[test]
fn the_65536th_sample_of_a_bucket_is_carried() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        let rtt = Duration::from_millis(20);
        meter.sample(rtt);
        let key = ALICE_CLASS.to_ne_bytes();
        let index = epoch_of(scene.now()) as usize % EPOCHS;
        let bucket = last_bucket(scene, index);
        let place = |bucket: usize| (bucket / 4, bucket % 4 * 16);
        // All neighbours are at their limit, so a carry that spills over shows.
        for bucket in bucket - 4..=bucket + 4 {
            let mut full = record(scene);
            let epochs = &mut full.epoch[SampleSide::Internet as usize];
            epochs[index].hist.fill(u64::MAX);
            epochs[index].carry = 0;
            put(&scene.cpp_rtt, &key, &as_bytes(&full));
            let rtt = Duration::from_nanos(middle(bucket) as u64 & !7);
            assert_eq!(
                epoch_of(scene.now() + rtt) as usize % EPOCHS,
                index,
                "the test must not cross an epoch"
            );
            meter.sample(rtt);
            let after = record(scene);
            let (_, epochs) = (
                &after.total[SampleSide::Internet as usize],
                &after.epoch[SampleSide::Internet as usize],
            );
            let (word, shift) = place(bucket);
            let mut expected = [u64::MAX; 26];
            expected[word] &= !(0xffff << shift);
            assert_eq!(epochs[index].hist, expected, "bucket {bucket}");
            assert_eq!(epochs[index].carry, (bucket as u64 + 1) << 8 | 1, "bucket {bucket}");
        }
        assert_eq!(scene.counters().of("rtt_carry_lost"), 0);
    });
}

#[test]
fn carries_have_four_places_and_255_times_each() {
    with_scene(|scene| {
        let mut meter = Meter::new(scene, 1000);
        meter.sample(Duration::from_millis(20));
        let key = ALICE_CLASS.to_ne_bytes();
        let index = epoch_of(scene.now()) as usize % EPOCHS;
        let pair = |bucket: u64, times: u64| (bucket + 1) << 8 | times;
        let pairs = |list: [u64; 4]| list.iter().rev().fold(0, |word, pair| word << 16 | pair);
        let bucket = 47;
        for (description, before, after, lost) in [
            ("the first", [0; 4], [pair(47, 1), 0, 0, 0], 0),
            ("again", [pair(47, 1), 0, 0, 0], [pair(47, 2), 0, 0, 0], 0),
            ("behind another's", [pair(3, 9), 0, 0, 0], [pair(3, 9), pair(47, 1), 0, 0], 0),
            (
                "the last place",
                [pair(3, 9), pair(4, 9), pair(5, 9), 0],
                [pair(3, 9), pair(4, 9), pair(5, 9), pair(47, 1)],
                0,
            ),
            (
                "a full place: the next",
                [pair(47, 255), 0, 0, 0],
                [pair(47, 255), pair(47, 1), 0, 0],
                0,
            ),
            (
                "bucket 102 is not mistaken",
                [pair(102, 1), pair(47, 7), 0, 0],
                [pair(102, 1), pair(47, 8), 0, 0],
                0,
            ),
            (
                "no place",
                [pair(3, 9), pair(4, 9), pair(5, 9), pair(6, 9)],
                [pair(3, 9), pair(4, 9), pair(5, 9), pair(6, 9)],
                1,
            ),
            ("all full", [pair(47, 255); 4], [pair(47, 255); 4], 1),
        ] {
            let mut full = record(scene);
            let epochs = &mut full.epoch[SampleSide::Internet as usize];
            epochs[index].hist.fill(u64::MAX);
            epochs[index].carry = pairs(before);
            put(&scene.cpp_rtt, &key, &as_bytes(&full));
            let lost_before = scene.counters().of("rtt_carry_lost");
            meter.sample(Duration::from_nanos(middle(bucket) as u64 & !7));
            assert_eq!(record(scene).epoch[1][index].carry, pairs(after), "{description}");
            assert_eq!(scene.counters().of("rtt_carry_lost") - lost_before, lost, "{description}");
        }
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
