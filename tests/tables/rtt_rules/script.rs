// SPDX-License-Identifier: GPL-2.0-only

//! Scripts: packets with their times, and the samples that they must give.
//!
//! Each script plays four times: IPv4 and IPv6, and with the two ends exchanged.

use crate::common::names::Counts;
use crate::common::rig::Measured;
use crate::common::scene::{Scene, ALICE_CLASS};
use lab::packet::{hosts::*, Packet, Tcp, ACK};
use model::SampleSide;
use std::time::Duration;

/// One packet of a script.
#[derive(Clone, Debug)]
pub struct Segment {
    at: Duration,
    down: bool,
    tsval: u32,
    tsecr: u32,
    flags: u8,
    payload: usize,
    gives: Option<Duration>,
}

/// A packet towards the subscriber at this time (ms): 1000 bytes of data with ACK.
pub fn down(ms: f64, tsval: u32, tsecr: u32) -> Segment {
    let at = Duration::from_secs_f64(ms / 1000.0);
    Segment { at, down: true, tsval, tsecr, flags: ACK, payload: 1000, gives: None }
}

/// A packet towards the internet at this time (ms): 1000 bytes of data with ACK.
pub fn up(ms: f64, tsval: u32, tsecr: u32) -> Segment {
    Segment { down: false, ..down(ms, tsval, tsecr) }
}

impl Segment {
    /// The packet without payload.
    pub fn pure(self) -> Self {
        self.payload(0)
    }

    pub fn payload(self, payload: usize) -> Self {
        Self { payload, ..self }
    }

    pub fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// The packet ends a sample of this many ms.
    pub fn gives(self, ms: f64) -> Self {
        Self { gives: Some(Duration::from_secs_f64(ms / 1000.0)), ..self }
    }
}

/// The IP version of a play, its direction, and its port.
#[derive(Clone, Copy, Debug)]
struct Cast {
    ipv6: bool,
    exchanged: bool,
    port: u16,
}

impl Cast {
    fn packet(self, step: &Segment) -> Vec<u8> {
        let (subscriber, server) = if self.ipv6 { (ALICE6, SERVER6) } else { (ALICE, SERVER) };
        let tcp = Tcp::new(self.port, 443).flags(step.flags).timestamps(step.tsval, step.tsecr);
        let packet = Packet::new(subscriber, server).tcp(tcp).payload(step.payload);
        if self.is_down(step) { packet.reply() } else { packet }.build()
    }

    fn is_down(self, step: &Segment) -> bool {
        step.down != self.exchanged
    }

    fn expected(self, step: &Segment) -> Vec<Measured> {
        let side = if self.is_down(step) { SampleSide::Internet } else { SampleSide::Subscriber };
        step.gives.map(|rtt| Measured { handle: ALICE_CLASS, side, rtt }).into_iter().collect()
    }
}

/// Sends each packet at its time, checks its samples, and returns the counters' rise.
fn play(scene: &Scene, description: &str, cast: Cast, steps: &[Segment]) -> Counts {
    let (start, before) = (scene.now(), scene.counters());
    for (index, step) in steps.iter().enumerate() {
        scene.advance(start + step.at - scene.now());
        let skb = if cast.is_down(step) { scene.to_subscriber() } else { scene.to_internet() };
        let outcome = scene.classify(&cast.packet(step), skb);
        let place =
            format!("{description}, step {index}: {step:?}, {cast:?}, {:?}", outcome.counters);
        assert_eq!(outcome.priority, ALICE_CLASS, "{place}");
        assert_eq!(outcome.samples, cast.expected(step), "{place}");
    }
    scene.counters().since(&before)
}

/// Plays a script four times, each in a flow of its own. `counted` leaves the samples out.
pub fn check(scene: &Scene, port: u16, description: &str, counted: &str, steps: &[Segment]) {
    for (ipv6, exchanged) in [(false, false), (true, false), (false, true), (true, true)] {
        let cast = Cast { ipv6, exchanged, port: port + 10_000 * u16::from(exchanged) };
        let counts = play(scene, description, cast, steps);
        let is_sample =
            |note: &&str| !note.starts_with("rtt_subscriber") && !note.starts_with("rtt_internet");
        let notes: Vec<String> =
            counts.notes().split(' ').filter(is_sample).map(Into::into).collect();
        assert_eq!(notes.join(" "), counted, "{description}: what was lost, {cast:?}");
    }
}

/// A description, the counters that rise beside the samples, and a script.
pub type Row = (&'static str, &'static str, Vec<Segment>);

/// Puts a packet with data of each direction in front of a script: they enter the flow, and the next greater TSval
/// is an edge.
pub fn joined(rest: &[Segment]) -> Vec<Segment> {
    let mut steps = vec![down(0.0, 10, 0), up(0.0, 10, 0)];
    steps.extend_from_slice(rest);
    steps
}

/// Plays each row, in flows of its own.
pub fn check_all(scene: &Scene, rows: Vec<Row>) {
    for (row, (description, counted, steps)) in (1000..).zip(rows) {
        check(scene, row, description, counted, &steps);
    }
}
