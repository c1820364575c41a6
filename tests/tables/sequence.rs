// SPDX-License-Identifier: GPL-2.0-only

//! Sequence numbers as marks, for TCP without timestamps: packet sequences and the samples that they give.

use crate::common::names::Counts;
use crate::common::rig::{LoadOptions, Measured};
use crate::common::scene::{with_scene, with_scene_of, Scene, ALICE_CLASS};
use lab::packet::{hosts::*, Packet, Tcp, ACK, FIN, RST, SYN};
use model::SampleSide;
use std::time::Duration;

/// One packet of a row.
#[derive(Clone, Debug)]
struct Segment {
    at: Duration,
    down: bool,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload: usize,
    timestamps: Option<(u32, u32)>,
    gives: Option<Duration>,
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

/// A packet towards the internet at this time (ms), with these numbers: ACK and 1000 bytes, so that its mark is
/// `sequence` + 1000.
fn up(ms: f64, sequence: u32, acknowledged: u32) -> Segment {
    let (at, timestamps, gives) = (milliseconds(ms), None, None);
    Segment {
        at,
        down: false,
        sequence,
        acknowledged,
        flags: ACK,
        payload: 1000,
        timestamps,
        gives,
    }
}

/// The same towards the subscriber.
fn down(ms: f64, sequence: u32, acknowledged: u32) -> Segment {
    Segment { down: true, ..up(ms, sequence, acknowledged) }
}

impl Segment {
    fn pure(self) -> Self {
        Self { payload: 0, ..self }
    }

    fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    fn timestamps(self, value: u32, echo: u32) -> Self {
        Self { timestamps: Some((value, echo)), ..self }
    }

    /// The packet ends a sample of this many ms.
    fn gives(self, ms: f64) -> Self {
        Self { gives: Some(milliseconds(ms)), ..self }
    }

    fn packet(&self, ipv6: bool, port: u16) -> Vec<u8> {
        let (alice, server) = if ipv6 { (ALICE6, SERVER6) } else { (ALICE, SERVER) };
        let mut tcp = Tcp::new(port, 443).flags(self.flags);
        tcp = tcp.numbers(self.sequence, self.acknowledged);
        if let Some((value, echo)) = self.timestamps {
            tcp = tcp.timestamps(value, echo);
        }
        let packet = Packet::new(alice, server).tcp(tcp).payload(self.payload);
        if self.down { packet.reply() } else { packet }.build()
    }
}

/// A description, the counters that rise beside the samples, and the packets.
type Row = (&'static str, &'static str, Vec<Segment>);

/// Sends the packets of a row at their times, checks their samples, and returns the counters' rise.
fn play(scene: &Scene, description: &str, ipv6: bool, port: u16, row: &[Segment]) -> Counts {
    let (start, before) = (scene.now(), scene.counters());
    for (index, segment) in row.iter().enumerate() {
        scene.advance(start + segment.at - scene.now());
        let skb = if segment.down { scene.to_subscriber() } else { scene.to_internet() };
        let outcome = scene.classify(&segment.packet(ipv6, port), skb);
        let side = if segment.down { SampleSide::Internet } else { SampleSide::Subscriber };
        let sample = segment.gives.map(|rtt| Measured { handle: ALICE_CLASS, side, rtt });
        let expected: Vec<_> = sample.into_iter().collect();
        assert_eq!(outcome.samples, expected, "{description}, {ipv6}, {index}: {segment:?}");
    }
    scene.counters().since(&before)
}

/// Plays each row over IPv4 and IPv6, in flows of its own.
fn check(scene: &Scene, rows: &[Row]) {
    for (port, (description, counted, row)) in (1000..).zip(rows) {
        for ipv6 in [false, true] {
            let counts = play(scene, description, ipv6, port, row).notes();
            let is_sample = |note: &&str| {
                !note.starts_with("rtt_subscriber") && !note.starts_with("rtt_internet")
            };
            let notes: Vec<_> = counts.split(' ').filter(is_sample).collect();
            assert_eq!(notes.join(" "), *counted, "{description}, {ipv6}");
        }
    }
}

/// Puts a pure ACK of each direction in front of a row: up from 100, down from 500.
fn joined(rest: impl IntoIterator<Item = Segment>) -> Vec<Segment> {
    [up(0.0, 100, 500).pure(), down(0.0, 500, 100).pure()].into_iter().chain(rest).collect()
}

#[test]
fn an_acknowledgement_echoes_the_number_after_the_payload() {
    with_scene_of(LoadOptions { sequence: true, ..LoadOptions::default() }, |scene| {
        let rows = [
            (
                "both directions",
                "",
                joined([
                    up(10.0, 100, 500),
                    down(30.0, 500, 1100).gives(20.0),
                    up(35.0, 1100, 1500).pure().gives(5.0),
                ]),
            ),
            (
                "one acknowledgement of two segments: the sample of the later",
                "rtt_unmatched",
                joined([
                    up(10.0, 100, 500),
                    up(12.0, 1100, 500),
                    down(30.0, 500, 2100).pure().gives(18.0),
                ]),
            ),
            (
                "an acknowledgement of a part is no echo",
                "",
                joined([
                    up(10.0, 100, 500),
                    down(20.0, 500, 600).pure(),
                    down(30.0, 500, 1100).pure().gives(20.0),
                ]),
            ),
            (
                "numbers go on after 2^32",
                "",
                vec![
                    up(0.0, 0xffff_ff00, 500).pure(),
                    up(10.0, 0xffff_ff00, 500),
                    down(30.0, 500, 744).pure().gives(20.0),
                ],
            ),
            (
                "FIN takes a number",
                "",
                joined([
                    up(10.0, 100, 500).flags(FIN | ACK),
                    down(30.0, 500, 1101).pure().gives(20.0),
                ]),
            ),
            (
                "a retransmission counts from the first transmission",
                "",
                joined([
                    up(10.0, 100, 500),
                    up(1010.0, 100, 500),
                    down(1030.0, 500, 1100).pure().gives(1020.0),
                ]),
            ),
            (
                "the number of a reset is no mark",
                "rtt_no_timestamps",
                joined([
                    down(5.0, 0x7000_0000, 100).pure().flags(RST | ACK),
                    down(10.0, 500, 100),
                    up(15.0, 100, 1500).pure().gives(5.0),
                ]),
            ),
        ];
        check(scene, &rows);
    });
}

#[test]
fn a_connection_has_marks_of_one_kind() {
    let setup = LoadOptions { sequence: true, handshake: true, ..LoadOptions::default() };
    with_scene_of(setup, |scene| {
        let syn = || up(0.0, 99, 0).pure().flags(SYN);
        let syn_ack = || down(20.0, 499, 100).pure().flags(SYN | ACK);
        let rows = [
            (
                "no timestamps are offered",
                "",
                vec![syn(), syn_ack().gives(20.0), up(25.0, 100, 500).pure().gives(5.0)],
            ),
            (
                "timestamps are declined",
                "rtt_no_timestamps",
                vec![
                    syn().timestamps(0xf000_0000, 0),
                    syn_ack(),
                    up(25.0, 100, 500).pure().gives(5.0),
                    up(30.0, 100, 500),
                    down(50.0, 500, 1100).pure().gives(20.0),
                ],
            ),
            (
                "timestamps are accepted",
                "rtt_no_timestamps",
                vec![
                    syn().timestamps(10, 0),
                    syn_ack().timestamps(7, 10),
                    up(25.0, 100, 500).pure().timestamps(35, 7).gives(5.0),
                    up(30.0, 100, 500).timestamps(40, 7),
                    down(50.0, 500, 1100).pure().timestamps(37, 40).gives(20.0),
                ],
            ),
        ];
        check(scene, &rows);
    });
}

#[test]
fn sequence_numbers_are_no_marks_by_default() {
    with_scene(|scene| {
        let row = joined([up(10.0, 100, 500), down(30.0, 500, 1100)]);
        check(scene, &[("four segments", "rtt_no_timestamps×4", row)]);
    });
}
