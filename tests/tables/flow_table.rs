// SPDX-License-Identifier: GPL-2.0-only

//! The flow table: the flows that enter and the flows that stay; no flow's TSval becomes another flow's sample.

use crate::common::names::{flow_bucket, limits};
use crate::common::rig::{get, LoadOptions};
use crate::common::scene::{with_scene_of, Scene};
use crate::common::test_run::from_bytes;
use crate::fixtures::segment;
use lab::packet::{hosts::*, Packet, Tcp, ACK, FIN, RST, SYN};
use model::SampleSide;
use std::time::Duration;

const WAYS: u16 = limits::FLOW_WAYS as u16;
const RTT: Duration = Duration::from_millis(20);

/// A table of one bucket: every flow collides with every other.
fn one_bucket() -> LoadOptions {
    LoadOptions { flow_buckets: 1, ..LoadOptions::default() }
}

fn up(scene: &Scene, port: u16, tsval: u32, tsecr: u32) -> String {
    let packet = segment(false, port, tsval, tsecr).payload(10).build();
    scene.classify(&packet, scene.to_internet()).counters.notes()
}

/// Returns the counters that an answer without payload raises, and the number of its samples.
fn down(scene: &Scene, port: u16, tsval: u32, tsecr: u32) -> (String, usize) {
    let packet = segment(false, port, tsval, tsecr).reply().build();
    let outcome = scene.classify(&packet, scene.to_subscriber());
    (outcome.counters.notes(), outcome.samples.len())
}

/// Enters an established flow: both directions are seen.
fn establish(scene: &Scene, port: u16) {
    assert_eq!(up(scene, port, 100, 1), "", "port {port}");
    assert_eq!(down(scene, port, 200, 1).0, "", "port {port}");
}

/// Asserts that data and its echo after 20 ms give one sample.
fn assert_measures(scene: &Scene, port: u16, tsval: u32) {
    assert_eq!(up(scene, port, tsval, 1), "", "port {port}");
    scene.advance(RTT);
    assert_eq!(down(scene, port, tsval, tsval), ("rtt_internet".into(), 1), "port {port}");
}

fn syn(scene: &Scene, port: u16) -> String {
    let tcp = Tcp::new(port, 443).flags(SYN).timestamps(7, 0);
    let packet = Packet::new(ALICE, SERVER).tcp(tcp).build();
    scene.classify(&packet, scene.to_internet()).counters.notes()
}

/// The answer to a SYN: it enters its flow, and the flow is half open.
fn syn_ack(scene: &Scene, port: u16) -> String {
    let tcp = Tcp::new(port, 443).flags(SYN | ACK).timestamps(7, 3);
    let packet = Packet::new(ALICE, SERVER).tcp(tcp).build();
    scene.classify(&packet, scene.to_internet()).counters.notes()
}

fn end(scene: &Scene, port: u16, down: bool, flags: u8) -> String {
    let tcp = Tcp::new(port, 443).flags(flags).timestamps(300, 1);
    let packet = Packet::new(ALICE, SERVER).tcp(tcp);
    let (packet, skb) = match down {
        true => (packet.reply(), scene.to_subscriber()),
        false => (packet, scene.to_internet()),
    };
    scene.classify(&packet.build(), skb).counters.notes()
}

fn ways(scene: &Scene) -> usize {
    let bytes = get(&scene.cpp_flow, &0u32.to_ne_bytes()).expect("bucket 0");
    let bucket: flow_bucket = from_bytes(&bytes);
    bucket.way.iter().filter(|way| way.tag != 0).count()
}

#[test]
fn established_flows_stay_and_the_ninth_is_counted() {
    with_scene_of(one_bucket(), |scene| {
        (1..=WAYS).for_each(|port| establish(scene, port));
        assert_eq!(ways(scene), usize::from(WAYS));
        for tsval in 101..104 {
            assert_eq!(up(scene, 99, tsval, 1), "rtt_flow_full");
            assert_eq!(syn_ack(scene, 98), "rtt_flow_full");
            assert_eq!(syn(scene, 97), "", "a SYN alone is not entered");
            (1..=WAYS).for_each(|port| assert_measures(scene, port, tsval + u32::from(port)));
        }
    });
}

#[test]
fn a_syn_flood_recycles_its_own_entries() {
    with_scene_of(one_bucket(), |scene| {
        (1..=WAYS - 1).for_each(|port| establish(scene, port));
        for port in 10_000..11_000 {
            assert_eq!(syn(scene, port), "");
            assert_eq!(ways(scene), usize::from(WAYS) - usize::from(port == 10_000));
            assert_eq!(syn_ack(scene, port), "");
            if port % 100 == 0 {
                let measured = port % (WAYS - 1) + 1;
                assert_measures(scene, measured, u32::from(port));
            }
        }
        assert_eq!(ways(scene), usize::from(WAYS));
    });
}

#[test]
fn the_longest_half_open_flow_makes_room() {
    with_scene_of(one_bucket(), |scene| {
        for port in 1..=WAYS {
            assert_eq!(syn_ack(scene, port), "");
            scene.advance(Duration::from_secs(1));
        }
        // The ninth flow takes the way of the first: so the first is new again, and the second is not.
        let entered = |port| {
            let packet = segment(false, port, 100, 1).payload(10).build();
            scene.classify(&packet, scene.to_internet()).counters.of("rtt_flow_new")
        };
        assert_eq!(entered(99), 1);
        assert_eq!([entered(2), entered(8), entered(99)], [0, 0, 0]);
        assert_eq!(entered(1), 1);
    });
}

/// Connections that have ended, by FINs or by an RST, give their places up at once; an echo of their last data still
/// counts.
#[test]
fn ended_flows_make_room() {
    with_scene_of(one_bucket(), |scene| {
        (1..=WAYS).for_each(|port| establish(scene, port));
        assert_eq!(up(scene, 99, 100, 1), "rtt_flow_full");
        assert_eq!(end(scene, 1, false, FIN | ACK), "");
        assert_eq!(up(scene, 99, 100, 1), "rtt_flow_full", "half closed");
        assert_eq!(up(scene, 1, 301, 1), "", "data after a FIN was sent before it");
        assert_eq!(end(scene, 1, true, FIN | ACK), "");
        assert_eq!(up(scene, 99, 100, 1), "rtt_flow_full", "the data took the first FIN back");
        assert_eq!(end(scene, 1, false, FIN | ACK), "");
        scene.advance(RTT);
        assert_eq!(down(scene, 1, 301, 301), ("rtt_internet".into(), 1), "the last echo");
        assert_eq!(up(scene, 99, 100, 1), "", "closed");
        assert_eq!(end(scene, 2, true, RST), "");
        assert_eq!(up(scene, 98, 100, 1), "", "reset");
        assert_eq!(up(scene, 97, 100, 1), "", "half open: makes room as before");
    });
}

/// A subscriber who holds the whole bucket gives half of it up to another, and no more.
#[test]
fn nobody_keeps_more_than_a_fair_share() {
    with_scene_of(one_bucket(), |scene| {
        let bob = |port: u16, tsval| {
            let tcp = Tcp::new(port, 443).timestamps(tsval, 1);
            let packet = Packet::new(BOB, SERVER).tcp(tcp).payload(10);
            let outcome = scene.classify(&packet.build(), scene.to_internet());
            let reply = packet.reply().build();
            scene.classify(&reply, scene.to_subscriber());
            outcome.counters.notes()
        };
        (1..=WAYS).for_each(|port| establish(scene, port));
        for port in 1..=WAYS / 2 {
            assert_eq!(bob(port, 100), "", "port {port}");
        }
        assert_eq!(bob(99, 100), "rtt_flow_full", "both have half");
        assert_eq!(up(scene, 99, 100, 1), "rtt_flow_full", "both have half");
        assert_eq!(bob(1, 101), "", "nobody has taken it");
    });
}

#[test]
fn one_directional_flows_make_room_and_their_tsvals_are_counted() {
    with_scene_of(one_bucket(), |scene| {
        for port in 1..=WAYS {
            up(scene, port, 100, 1);
            assert_eq!(up(scene, port, 101, 1), "");
            assert_eq!(up(scene, port, 102, 1), "");
        }
        assert_eq!(up(scene, 99, 100, 1), "rtt_evicted×2");
    });
}

#[test]
fn idle_flows_make_room_once_nothing_of_theirs_can_be_matched() {
    with_scene_of(one_bucket(), |scene| {
        (1..=WAYS).for_each(|port| establish(scene, port));
        scene.advance(Duration::from_secs(1));
        assert_eq!(up(scene, 1, 101, 1), "");
        scene.advance(Duration::from_millis(9_000));
        assert_eq!(
            up(scene, 99, 100, 1),
            "rtt_flow_full",
            "9 s: the TSval of port 1 is waited for"
        );
        assert_eq!(down(scene, 1, 201, 101), ("rtt_internet".into(), 1));
        scene.advance(Duration::from_secs(17));
        assert_eq!(up(scene, 99, 100, 1), "", "17 s: all are idle");
        assert_eq!(ways(scene), usize::from(WAYS));
    });
}

#[test]
fn who_takes_a_way_over_inherits_nothing() {
    with_scene_of(one_bucket(), |scene| {
        for port in 1..=WAYS {
            establish(scene, port);
            assert_eq!(up(scene, port, 101, 1), "");
        }
        scene.advance(Duration::from_secs(17));
        assert_eq!(up(scene, 99, 50, 1), "rtt_evicted");
        assert_eq!(down(scene, 99, 60, 101), (String::new(), 0), "the other flow's TSval");
        assert_measures(scene, 99, 51);
    });
}

/// With 1500 flows in a small table every sample is of its own flow.
#[test]
fn collisions_give_no_wrong_sample() {
    with_scene_of(LoadOptions { flow_buckets: 64, ..LoadOptions::default() }, |scene| {
        const FLOWS: u16 = 1500;
        let before = scene.counters();
        for round in 0..3u32 {
            for port in 0..FLOWS {
                up(scene, 1000 + port, 100 + round, 1);
                down(scene, 1000 + port, 200, 1); // established: the table is full of flows that stay
            }
            scene.advance(RTT);
            for port in 0..FLOWS {
                let packet = segment(false, 1000 + port, 200 + round, 100 + round).reply().build();
                let samples = scene.classify(&packet, scene.to_subscriber()).samples;
                assert!(
                    samples.iter().all(|s| s.rtt == RTT && s.side == SampleSide::Internet),
                    "{samples:?}"
                );
            }
        }
        let counts = scene.counters().since(&before);
        assert!(counts.of("rtt_flow_full") > 0, "{counts:?}");
        assert_eq!(counts.of("rtt_evicted"), 0, "{counts:?}");
        // Two of the three rounds have edges, and each of the 512 flows in the table gives both of its samples.
        assert_eq!(counts.of("rtt_flow_new"), 512, "{counts:?}");
        assert_eq!(counts.of("rtt_internet"), 2 * 512, "{counts:?}");
    });
}

/// A CPU may read the clock just before another CPU uses a later time.
#[test]
fn a_clock_that_is_a_little_behind_ends_nothing() {
    with_scene_of(one_bucket(), |scene| {
        let (ms, tick) = (Duration::from_millis(1), Duration::from_secs(1));
        (1..=WAYS).for_each(|port| establish(scene, port));
        assert_eq!(up(scene, 1, 101, 1), "");
        scene.rewind(tick);
        assert_eq!(up(scene, 99, 100, 1), "rtt_flow_full", "no flow is idle");
        assert_eq!(down(scene, 1, 200, 1).0, "", "no slot is dead");
        scene.advance(tick + ms);
        assert_eq!(down(scene, 1, 201, 101), ("rtt_internet".into(), 1));
        // A slot with a time in the future has not timed out.
        scene.advance(tick);
        assert_eq!(up(scene, 1, 102, 1), "");
        scene.rewind(ms);
        assert_eq!(up(scene, 1, 103, 1), "");
        scene.advance(2 * ms);
        assert_eq!(down(scene, 1, 202, 102), ("rtt_internet".into(), 1));
        assert_eq!(down(scene, 1, 203, 103), ("rtt_internet".into(), 1));
        // An echo that seems to come before its packet is no sample.
        assert_eq!(up(scene, 1, 104, 1), "");
        scene.rewind(ms);
        assert_eq!(down(scene, 1, 204, 104), ("rtt_clock_back".into(), 0));
    });
}

/// Addresses and ports make a flow: both directions of one flow match, those of different flows do not.
#[test]
fn what_makes_a_flow() {
    with_scene_of(LoadOptions::default(), |scene| {
        let (a, b) = (1000, 2000);
        let packet = |source, destination, sport, dport, tsval, tsecr| {
            Packet::new(source, destination)
                .tcp(Tcp::new(sport, dport).timestamps(tsval, tsecr))
                .payload(10)
                .build()
        };
        scene.classify(&packet(ALICE, SERVER, a, b, 1, 1), scene.to_internet());
        scene.classify(&packet(ALICE, SERVER, a, b, 2, 1), scene.to_internet());
        for (description, source, destination, sport, dport, samples) in [
            ("ports exchanged", SERVER, ALICE, a, b, 0),
            ("another source port", SERVER, ALICE, b + 1, a, 0),
            ("another destination port", SERVER, ALICE, b, a + 1, 0),
            ("another server", MALLORY, ALICE, b, a, 0),
            ("another subscriber", SERVER, BOB, b, a, 0),
            ("the reply", SERVER, ALICE, b, a, 1),
        ] {
            let echo = packet(source, destination, sport, dport, 9, 2);
            let outcome = scene.classify(&echo, scene.to_subscriber());
            assert_eq!(outcome.samples.len(), samples, "{description}");
        }
    });
}

/// Most RSTs carry no timestamps (RFC 7323, 3.2 leaves them out on purpose): they end a connection as well.
#[test]
fn an_rst_without_timestamps_makes_room() {
    with_scene_of(one_bucket(), |scene| {
        (1..=WAYS).for_each(|port| establish(scene, port));
        assert_eq!(up(scene, 99, 100, 1), "rtt_flow_full");
        let rst = Packet::new(ALICE, SERVER).tcp(Tcp::new(1, 443).flags(RST)).build();
        let notes = scene.classify(&rst, scene.to_internet()).counters.notes();
        assert_eq!(notes, "rtt_no_timestamps");
        assert_eq!(up(scene, 99, 100, 1), "", "reset");
    });
}
