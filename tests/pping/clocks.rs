// SPDX-License-Identifier: GPL-2.0-only

//! Captures whose clocks step, stray or disagree. Each RTT is the difference between the times of its own two packets; where
//! time runs backwards there is none.

use crate::common::capture_file::{
    conversation, merged, pcap, Captured, Ends, EXCHANGES, MICROSECONDS, MS, RTTS, SECOND, START_NS,
};
use crate::common::replayed::Replayed;
use lab::packet::hosts;
use std::collections::BTreeMap;

const ALICE: Ends = Ends { client: hosts::ALICE, server: hosts::SERVER, port: 40_000 };
const BOB: Ends = Ends { client: hosts::BOB, server: hosts::SERVER, port: 50_000 };
const DAY: i64 = 86_400 * SECOND as i64;
const S: i64 = SECOND as i64;

fn talk(ends: Ends) -> Vec<Captured> {
    conversation(ends, START_NS)
}

/// Shifts the times of the packets that `which` chooses by their index.
fn shifted(packets: Vec<Captured>, by: i64, which: impl Fn(usize) -> bool) -> Vec<Captured> {
    let shift = |(index, packet): (usize, Captured)| match which(index) {
        true => Captured { time_ns: packet.time_ns.saturating_add_signed(by), ..packet },
        false => packet,
    };
    packets.into_iter().enumerate().map(shift).collect()
}

fn replay(packets: &[Captured]) -> Replayed {
    let replayed = Replayed::of(&pcap(MICROSECONDS, false, 1, packets));
    assert_eq!((replayed.code, replayed.err.as_str()), (0, ""));
    replayed
}

/// Asserts that the RTTs are 20 and 5 ms and nothing else, with at most `missing` of them missing, and that the summary
/// has every packet. Returns the output.
fn check(what: &str, packets: &[Captured], conversations: usize, missing: usize) -> Replayed {
    let replayed = replay(packets);
    let counts = replayed.counts();
    let (twenty, five) = (counts.get("20"), counts.get("5"));
    let found = twenty.unwrap_or(&0) + five.unwrap_or(&0);
    assert_eq!(found, counts.values().sum::<usize>(), "{what}: {counts:?}");
    let wanted = conversations * RTTS;
    assert!((wanted - missing..=wanted).contains(&found), "{what}: {counts:?} {replayed:?}");
    assert!(replayed.least().unwrap() >= 5 * MS, "{what}");
    let said = format!("{0} packets read, {0} measured", packets.len());
    assert!(replayed.summary.starts_with(&said), "{what}: {}", replayed.summary);
    replayed
}

fn closings(replayed: &Replayed) -> usize {
    replayed.events.iter().filter(|event| event["flow_event"] == "closing").count()
}

/// The clock steps at any packet, by any time: only RTTs across the step can be missing.
#[test]
fn a_step_of_the_clock() {
    lab::require_root();
    for by in [-30 * S, -35 * S, -5 * S, -2 * S, -S, -3600 * S, -400 * DAY, 30 * S, 299 * S] {
        for at in [30, 31, 32] {
            let what = format!("{by} at {at}");
            let replayed = check(&what, &shifted(talk(ALICE), by, |index| index >= at), 1, 2);
            assert_eq!(closings(&replayed), 0, "{what}: no flow has timed out");
        }
    }
}

/// A step back that is shorter than an RTT makes that RTT shorter, and no other.
#[test]
fn a_small_step_back() {
    lab::require_root();
    let replayed = replay(&shifted(talk(ALICE), -7 * MS as i64, |index| index >= 31));
    let expected = [("13", 1), ("20", RTTS / 2 - 1), ("5", RTTS / 2)];
    assert_eq!(replayed.counts(), expected.map(|(ms, n)| (ms.to_owned(), n)).into());
    // Longer than the RTT: time runs backwards between its two packets.
    let replayed = replay(&shifted(talk(ALICE), -21 * MS as i64, |index| index >= 31));
    let expected = [("20", RTTS / 2 - 1), ("5", RTTS / 2)];
    assert_eq!(replayed.counts(), expected.map(|(ms, n)| (ms.to_owned(), n)).into());
    // The packets are taken in the order of their times: the echo comes first, and is nobody's.
    assert_eq!(replayed.summary, "60 packets read, 60 measured");
    // A step that is too long for that is counted.
    let replayed = replay(&shifted(talk(ALICE), -130 * MS as i64, |index| index >= 31));
    let missed = "; RTTs missed: 1 because time ran backwards";
    assert!(replayed.summary.ends_with(missed), "{replayed:?}");
}

/// One packet bears any time: only its own RTTs can be missing.
#[test]
fn a_stray_time() {
    lab::require_root();
    for by in [DAY, 400 * DAY, -DAY, 30 * S, -30 * S, 34 * S, -(START_NS as i64)] {
        for at in [30, 31, 32] {
            let what = format!("{by} at {at}");
            let replayed = check(&what, &shifted(talk(ALICE), by, |index| index == at), 1, 2);
            assert_eq!(closings(&replayed), 0, "{what}: no flow has timed out");
        }
        check(&format!("first, {by}"), &shifted(talk(ALICE), by, |index| index == 0), 1, 2);
        let last = 3 * EXCHANGES - 1;
        check(&format!("last, {by}"), &shifted(talk(ALICE), by, |index| index == last), 1, 2);
    }
}

/// The packets of another flow bear wild times: this one is measured all the while.
#[test]
fn another_flow_with_wild_times() {
    lab::require_root();
    let mut number = 0_i64;
    let packets = merged([talk(ALICE), talk(BOB)]).into_iter().map(|packet| {
        let of_bob = packet.bytes[26..34].windows(4).any(|address| address == [100, 64, 2, 2]);
        number += 1;
        let by = if of_bob { (number * 7919 % 201 - 100) * 40 * S } else { 0 };
        Captured { time_ns: packet.time_ns.saturating_add_signed(by), ..packet }
    });
    let packets: Vec<_> = packets.collect();
    let replayed = replay(&packets);
    let of_alice = replayed.rtts_of(40_000);
    assert_eq!(
        of_alice,
        [20, 5].into_iter().cycle().take(RTTS).map(|ms| ms * MS).collect::<Vec<_>>()
    );
}

/// Two captures are appended: the second is older or younger.
#[test]
fn appended_captures() {
    lab::require_root();
    for by in [-DAY, -40 * S, -2 * S, 10 * S, DAY, 400 * DAY] {
        let second = shifted(talk(BOB), by, |_| true);
        let replayed = check(&format!("{by}"), &[talk(ALICE), second].concat(), 2, 0);
        // A pause of a day is a pause.
        assert_eq!(closings(&replayed), if by >= DAY { 2 } else { 0 }, "{by}");
    }
}

/// Two machines with clocks of their own, each with its own flow, in the order in which the packets came.
#[test]
fn a_clock_for_each_flow() {
    lab::require_root();
    for by in [-DAY, -30 * S, -34 * S, -S, S, 30 * S, 34 * S, DAY] {
        let packets = merged([talk(ALICE), talk(BOB)]);
        let is_bob: Vec<_> = packets
            .iter()
            .map(|packet| packet.bytes[26..34].windows(4).any(|address| address == [100, 64, 2, 2]))
            .collect();
        let replayed = check(&format!("{by}"), &shifted(packets, by, |index| is_bob[index]), 2, 0);
        assert_eq!(closings(&replayed), 0, "{by}");
    }
}

/// Each direction has a clock of its own. The RTTs are off by the difference of the clocks, as in every reading of such a
/// capture, or there is none; none is of nanoseconds.
#[test]
fn a_clock_for_each_direction() {
    lab::require_root();
    let reply = |index: usize| index % 3 == 1;
    for (by, expected) in [
        (-DAY, vec![]),
        (-30 * S, vec![]),
        (-S, vec![("1005", RTTS / 2)]),
        (-7 * MS as i64, vec![("13", RTTS / 2), ("12", RTTS / 2)]),
        (S, vec![("1020", RTTS / 2)]),
        (30 * S, vec![]),
        (33 * S, vec![]),
        (DAY, vec![]),
    ] {
        let replayed = replay(&shifted(talk(ALICE), by, reply));
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(ms, n)| (ms.to_owned(), n)).collect();
        assert_eq!(replayed.counts(), expected, "{by}: {replayed:?}");
    }
}

/// Time stands still: an RTT is the least there is, and not a large one.
#[test]
fn a_clock_that_stands_still() {
    lab::require_root();
    let packets: Vec<_> =
        talk(ALICE).into_iter().map(|packet| Captured { time_ns: START_NS, ..packet }).collect();
    let replayed = replay(&packets);
    assert!(replayed.rtts().all(|rtt| rtt <= 8), "{replayed:?}");
    let zero: Vec<_> =
        packets.into_iter().map(|packet| Captured { time_ns: 0, ..packet }).collect();
    assert!(replay(&zero).rtts().all(|rtt| rtt <= 8));
}

/// Captures of several queues are slightly out of order.
#[test]
fn packets_out_of_order() {
    lab::require_root();
    let packets = merged([talk(ALICE), talk(BOB)]);
    for distance in [1, 2, 3, 5] {
        let mut mixed = packets.clone();
        for pair in (0..mixed.len() - distance).step_by(2 * distance) {
            let apart = mixed[pair + distance].time_ns - mixed[pair].time_ns;
            if apart <= 100 * MS {
                mixed.swap(pair, pair + distance);
            }
        }
        check(&format!("{distance}"), &mixed, 2, 0);
    }
}

/// A capture in reverse order: no mark comes before its echo.
#[test]
fn a_capture_in_reverse() {
    lab::require_root();
    let replayed = replay(&talk(ALICE).into_iter().rev().collect::<Vec<_>>());
    assert_eq!(replayed.rtts().count(), 0, "{replayed:?}");
}

/// Time-outs and intervals go on by the clock that the packets agree on.
#[test]
fn time_outs_after_a_step() {
    lab::require_root();
    for by in [-3600 * S, -5 * S, 200 * S] {
        let later = conversation(BOB, START_NS + 320 * SECOND);
        let packets = shifted([talk(ALICE), later].concat(), by, |index| index >= 15);
        let replayed = replay(&packets);
        let closed: Vec<_> =
            replayed.events.iter().filter(|event| event["reason"] == "flow timeout").collect();
        // Both directions of Alice's connection.
        assert_eq!(closed.len(), 2, "{replayed:?}");
        for event in closed {
            let seconds = event["timestamp"].as_u64().unwrap() / SECOND;
            let expected = (START_NS.saturating_add_signed(by)) / SECOND + 303;
            assert!(seconds.abs_diff(expected) < 20, "{by}: {seconds} {expected}");
        }
    }
    // One stray time gives no interval of its own.
    let stray = shifted(talk(ALICE), DAY, |index| index == 20);
    let replayed = Replayed::with(&pcap(MICROSECONDS, false, 1, &stray), "-a 1");
    let times = replayed.events.iter().filter_map(|event| event["timestamp"].as_u64());
    let limit = START_NS + 10 * SECOND;
    assert!(times.clone().count() > 4 && times.clone().all(|time| time < limit), "{replayed:?}");
}
