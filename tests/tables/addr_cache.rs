// SPDX-License-Identifier: GPL-2.0-only

//! The address cache, which all CPUs share without a lock: an entry with words of several writers is nobody's.

use crate::common::rig::LoadOptions;
use crate::common::scene::{
    spawn_in_scene, with_bare_scene, with_scene_of, Scene, ALICE_CLASS, BOB_CLASS, DEFAULT_CLASS,
};
use crate::common::test_run::parse_metadata;
use cpumap_pping::kernel::memory::WritableArray;
use lab::packet::{hosts::*, Packet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// A cache with one entry, which is every address's.
const ONE_ENTRY: LoadOptions = LoadOptions { cache_entries: 1, ..LoadOptions::DEFAULT };

/// The four words of an entry.
type Words = [u64; 4];

fn frame_of(subscriber: IpAddr) -> Vec<u8> {
    let server = if subscriber.is_ipv4() { SERVER } else { SERVER6 };
    Packet::new(subscriber, server).udp(1000, 53).payload(20).build()
}

/// Returns the class that XDP hands on for the subscriber.
fn class_of(scene: &Scene, frame: &[u8]) -> u32 {
    let run = scene.try_steer(&[], frame, scene.lan).expect("XDP test run");
    parse_metadata(run.split_metadata().0).expect("metadata").tc_handle
}

/// The only entry of the cache, in memory.
struct Entry(WritableArray);

impl Entry {
    fn of(scene: &Scene) -> Self {
        Self(WritableArray::open(&scene.cpp_addr_cache).expect("mmap"))
    }

    fn read(&self) -> Words {
        [0, 1, 2, 3].map(|index| self.0.word(index).expect("a word").load(SeqCst))
    }

    fn write(&self, words: Words) {
        for (index, word) in words.into_iter().enumerate() {
            self.0.word(index).expect("a word").store(word, SeqCst);
        }
    }
}

fn v6(site: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, host).into()
}

/// Neighbours, and addresses of which two halves make a third; with the class of each.
fn subscribers() -> Vec<(IpAddr, u32)> {
    vec![
        (ALICE, ALICE_CLASS),
        (Ipv4Addr::new(100, 64, 1, 2).into(), DEFAULT_CLASS),
        (Ipv4Addr::new(100, 64, 1, 3).into(), DEFAULT_CLASS),
        (ALICE6, ALICE_CLASS),
        (v6(0x10, 1), DEFAULT_CLASS),
        (v6(0x11, 2), DEFAULT_CLASS),
        (v6(0x10, 2), BOB_CLASS),
        (v6(0x11, 1), DEFAULT_CLASS),
    ]
}

/// Returns an entry of each subscriber, some with the same values, some of another time, and one with an answer that has
/// changed since.
fn written(scene: &Scene, entry: &Entry) -> Vec<Words> {
    let write = |(subscriber, class): &(IpAddr, u32)| {
        assert_eq!(class_of(scene, &frame_of(*subscriber)), *class, "{subscriber}");
        entry.read()
    };
    let subscribers = subscribers();
    scene.map("100.64.1.1", 0, BOB_CLASS);
    let mut entries = vec![write(&(ALICE, BOB_CLASS))];
    scene.map_quietly("100.64.1.1", 0, ALICE_CLASS);
    entry.write([0; 4]);
    entries.extend(subscribers[..7].iter().map(write));
    scene.advance(Duration::from_millis(20));
    entry.write([0; 4]);
    entries.extend(subscribers[..2].iter().map(write));
    entries
}

/// Calls `visit` with each entry that has words of up to three of the writers, and is none of theirs.
fn for_each_torn(entries: &[Words], mut visit: impl FnMut(Words)) {
    let count = entries.len();
    for first in 0..count {
        for second in first + 1..count {
            for third in second + 1..count {
                let of = [first, second, third].map(|writer| entries[writer]);
                for choice in 0..81 {
                    let writer = [choice % 3, choice / 3 % 3, choice / 9 % 3, choice / 27];
                    let words = [0, 1, 2, 3].map(|word| of[writer[word]][word]);
                    if !entries.contains(&words) {
                        visit(words);
                    }
                }
            }
        }
    }
}

#[test]
fn words_of_several_writers_answer_nobody() {
    with_scene_of(ONE_ENTRY, |scene| {
        scene.map("2001:db8:10::2", 0, BOB_CLASS);
        let entry = Entry::of(scene);
        let entries = written(scene, &entry);
        let frames: Vec<_> =
            subscribers().into_iter().map(|(addr, class)| (addr, frame_of(addr), class)).collect();
        let mut torn = 0;
        for_each_torn(&entries, |words| {
            torn += 1;
            for (addr, frame, class) in &frames {
                entry.write(words);
                assert_eq!(class_of(scene, frame), *class, "{addr} took {words:x?}");
                // A look-up that takes an entry leaves it as it is.
                assert_ne!(entry.read(), words, "{addr} took {words:x?}");
            }
        });
        assert!(torn > 5000, "{torn}");
    });
}

/// Two CPUs write one entry in turn, and each gets its own answers.
#[test]
fn two_cpus_share_an_entry() {
    with_scene_of(ONE_ENTRY, |scene| {
        lab::require_cpus(2);
        let half = [
            &[(ALICE, ALICE_CLASS), (BOB6, BOB_CLASS)],
            &[(BOB, BOB_CLASS), (ALICE6, ALICE_CLASS)],
        ];
        std::thread::scope(|scope| {
            for (cpu, own) in half.into_iter().enumerate() {
                spawn_in_scene(scope, cpu, move || {
                    let own = own.map(|(addr, class)| (frame_of(addr), class));
                    for (frame, class) in own.iter().cycle().take(20_000) {
                        assert_eq!(class_of(scene, frame), *class);
                    }
                });
            }
        });
    });
}

/// The map is asked twice for the first address without a mapping, and once for each other: the default entry's answer is
/// in the cache.
#[test]
fn the_default_entry_is_looked_up_once() {
    with_bare_scene(LoadOptions::default(), |scene| {
        let misses = |last: u8| {
            let frame = frame_of(Ipv4Addr::new(10, 0, 0, last).into());
            let outcome = scene.steer(&frame, scene.lan);
            let class = outcome.metadata.expect("metadata").tc_handle;
            (outcome.counters.of("cache_miss"), class)
        };
        assert_eq!([misses(1), misses(2), misses(2)], [(2, 0), (1, 0), (0, 0)]);
        scene.map("255.255.255.255", 0, DEFAULT_CLASS);
        let class = DEFAULT_CLASS;
        assert_eq!([misses(1), misses(2), misses(2)], [(2, class), (1, class), (0, class)]);
    });
}

/// The answer that an address took over from the default entry is not younger than the default entry's own.
#[test]
fn the_default_entrys_answer_does_not_get_younger() {
    with_bare_scene(LoadOptions::default(), |scene| {
        let class = |last: u8| class_of(scene, &frame_of(Ipv4Addr::new(10, 0, 0, last).into()));
        scene.map("255.255.255.255", 0, DEFAULT_CLASS);
        assert_eq!(class(1), DEFAULT_CLASS);
        scene.map_quietly("255.255.255.255", 0, BOB_CLASS);
        scene.advance(Duration::from_millis(500));
        assert_eq!(class(2), DEFAULT_CLASS, "within the second");
        scene.advance(Duration::from_millis(500));
        assert_eq!([class(2), class(1)], [BOB_CLASS; 2], "one second after the write");
    });
}

/// Subscribers who are numbered one after the other do not drive each other out.
#[test]
fn neighbours_have_entries_of_their_own() {
    const COUNT: u32 = 1024;
    type Pool = (&'static str, fn(u32) -> IpAddr);
    let pools: [Pool; 3] = [
        ("IPv4", |n| Ipv4Addr::from(0x6440_0000 + n).into()),
        ("IPv6 /64s", |n| Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n) << 64 | 1).into()),
        ("IPv6 hosts", |n| Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n)).into()),
    ];
    let options = LoadOptions { cache_entries: COUNT, ..LoadOptions::default() };
    for (pool, address) in pools {
        with_scene_of(options, |scene| {
            let misses = || {
                let before = scene.counters();
                for n in 0..COUNT {
                    class_of(scene, &frame_of(address(n)));
                }
                scene.counters().since(&before).of("cache_miss")
            };
            assert!(misses() >= u64::from(COUNT), "{pool}");
            // The default entry has its place in the cache, too.
            assert!(misses() <= 1, "{pool}");
        });
    }
}
