//! RTT rules 1 to 10 of DESIGN.md: packet sequences, and the samples they must and must not produce.
//!
//! Each script plays four times: IPv4 and IPv6, and with the two ends exchanged.

use crate::common::names::Counts;
use crate::common::run::{Sample, Setup, Side};
use crate::common::scene::{with_scene, with_scene_of, Scene, ALICE_CLASS};
use lab::packet::{hosts::*, Packet, Tcp, ACK, FIN, PSH, RST, SYN};
use std::time::Duration;

/// One packet of a script.
#[derive(Clone, Debug)]
pub struct Step {
    at: Duration,
    down: bool,
    tsval: u32,
    tsecr: u32,
    flags: u8,
    payload: usize,
    gives: Option<Duration>,
}

/// At this time (ms), towards the subscriber: 1000 bytes of data with ACK.
pub fn down(ms: f64, tsval: u32, tsecr: u32) -> Step {
    let at = Duration::from_secs_f64(ms / 1000.0);
    Step { at, down: true, tsval, tsecr, flags: ACK, payload: 1000, gives: None }
}

/// At this time (ms), towards the internet: 1000 bytes of data with ACK.
pub fn up(ms: f64, tsval: u32, tsecr: u32) -> Step {
    Step { down: false, ..down(ms, tsval, tsecr) }
}

impl Step {
    /// Without payload.
    pub fn pure(self) -> Self {
        self.payload(0)
    }

    pub fn payload(self, payload: usize) -> Self {
        Self { payload, ..self }
    }

    pub fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// Ends a sample of this many ms.
    pub fn gives(self, ms: f64) -> Self {
        Self { gives: Some(Duration::from_secs_f64(ms / 1000.0)), ..self }
    }
}

/// How a script is played.
#[derive(Clone, Copy, Debug)]
struct Cast {
    ipv6: bool,
    exchanged: bool,
    port: u16,
}

impl Cast {
    fn packet(self, step: &Step) -> Vec<u8> {
        let (subscriber, server) = if self.ipv6 { (ALICE6, SERVER6) } else { (ALICE, SERVER) };
        let tcp = Tcp::new(self.port, 443).flags(step.flags).timestamps(step.tsval, step.tsecr);
        let packet = Packet::new(subscriber, server).tcp(tcp).payload(step.payload);
        if self.is_down(step) { packet.reply() } else { packet }.build()
    }

    fn is_down(self, step: &Step) -> bool {
        step.down != self.exchanged
    }

    fn expected(self, step: &Step) -> Vec<Sample> {
        let side = if self.is_down(step) { Side::Internet } else { Side::Subscriber };
        step.gives.map(|rtt| Sample { handle: ALICE_CLASS, side, rtt }).into_iter().collect()
    }
}

/// Sends each packet at its time, checks its samples, and returns what was counted on the way.
fn play(scene: &Scene, description: &str, cast: Cast, steps: &[Step]) -> Counts {
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
fn check(scene: &Scene, port: u16, description: &str, counted: &str, steps: &[Step]) {
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

/// Description, what is counted beside the samples, script.
type Row = (&'static str, &'static str, Vec<Step>);

/// Both directions have been seen: the next greater TSval is an edge.
fn joined(rest: &[Step]) -> Vec<Step> {
    let mut steps = vec![down(0.0, 10, 0).pure(), up(0.0, 10, 0).pure()];
    steps.extend_from_slice(rest);
    steps
}

fn check_all(scene: &Scene, rows: Vec<Row>) {
    for (row, (description, counted, steps)) in (1000..).zip(rows) {
        check(scene, row, description, counted, &steps);
    }
}

#[test]
fn rule_1_only_payload_opens() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "data and its ACK",
                    "",
                    joined(&[down(1.0, 20, 10), up(21.0, 30, 20).pure().gives(20.0)]),
                ),
                (
                    "a pure ACK opens nothing",
                    "",
                    joined(&[down(1.0, 20, 10).pure(), up(301.0, 30, 20)]),
                ),
                (
                    "a FIN without payload opens nothing",
                    "",
                    joined(&[down(1.0, 20, 10).pure().flags(FIN | ACK), up(21.0, 30, 20).pure()]),
                ),
                (
                    "one byte opens",
                    "",
                    joined(&[
                        down(1.0, 20, 10).payload(1).flags(PSH | ACK),
                        up(21.0, 30, 20).pure().gives(20.0),
                    ]),
                ),
                (
                    "a pure ACK advances the last TSval: data of the same tick is no edge",
                    "",
                    joined(&[down(1.0, 20, 10).pure(), down(1.5, 20, 10), up(21.0, 30, 20).pure()]),
                ),
                (
                    "request and response with 300 ms of thinking between",
                    "",
                    joined(&[
                        up(100.0, 110, 10),
                        down(120.0, 120, 110).gives(20.0),
                        up(125.0, 135, 120).pure().gives(5.0),
                        up(425.0, 435, 120),
                        down(445.0, 445, 435).gives(20.0),
                        up(450.0, 460, 445).pure().gives(5.0),
                    ]),
                ),
                (
                    "the server thinks, having acknowledged at once",
                    "",
                    joined(&[
                        up(100.0, 110, 10),
                        down(120.0, 120, 110).pure().gives(20.0),
                        down(420.0, 420, 110),
                        up(425.0, 435, 420).pure().gives(5.0),
                    ]),
                ),
                (
                    "both sides at once",
                    "rtt_unmatched",
                    joined(&[
                        down(0.0, 20, 10),
                        up(2.0, 30, 10),
                        down(42.0, 62, 30).gives(40.0),
                        up(47.0, 77, 62).gives(5.0),
                        up(49.0, 79, 62).pure(),
                        down(87.0, 107, 77).pure().gives(40.0),
                    ]),
                ),
            ],
        );
    });
}

#[test]
fn rule_2_tsecr_counts_only_with_ack_and_not_when_0() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "no ACK flag",
                    "",
                    joined(&[
                        down(1.0, 20, 10),
                        up(11.0, 30, 20).pure().flags(RST),
                        up(21.0, 30, 20).pure().gives(20.0),
                    ]),
                ),
                (
                    "TSecr 0",
                    "",
                    vec![
                        down(0.0, 0xffff_fff0, 7).pure(),
                        up(0.0, 10, 0).pure(),
                        down(1.0, 0, 10),
                        up(21.0, 30, 0).pure(),
                    ],
                ),
            ],
        );
    });
}

#[test]
fn rule_3_only_the_first_packet_of_a_greater_tsval() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "segments of one tick: from the first",
                    "",
                    joined(&[
                        down(1.0, 20, 10),
                        down(1.3, 20, 10),
                        down(1.6, 20, 10),
                        up(21.0, 30, 20).pure().gives(20.0),
                        up(21.3, 30, 20).pure(),
                    ]),
                ),
                (
                    "reordered: the older TSval does not open",
                    "",
                    joined(&[
                        down(1.0, 22, 10),
                        down(2.0, 20, 10),
                        up(21.0, 30, 20).pure(),
                        up(22.0, 31, 22).pure().gives(21.0),
                    ]),
                ),
                (
                    "after reordering the same TSval does not open again",
                    "",
                    joined(&[
                        down(1.0, 22, 10),
                        up(21.0, 30, 22).pure().gives(20.0),
                        down(22.0, 20, 10),
                        down(23.0, 22, 10),
                        up(43.0, 50, 22).pure(),
                    ]),
                ),
                (
                    "retransmitted in the same tick: from the first",
                    "",
                    joined(&[
                        down(1.0, 20, 10),
                        down(1.9, 20, 10),
                        up(21.0, 30, 20).pure().gives(20.0),
                    ]),
                ),
                (
                    "retransmitted later: the echo says which one arrived",
                    "rtt_unmatched",
                    joined(&[
                        down(1.0, 20, 10),
                        down(201.0, 220, 10),
                        up(221.0, 230, 220).pure().gives(20.0),
                    ]),
                ),
                (
                    "retransmitted later, and the first arrived after all",
                    "",
                    joined(&[
                        down(1.0, 20, 10),
                        down(201.0, 220, 10),
                        up(301.0, 310, 20).pure().gives(300.0),
                        up(302.0, 311, 220).pure().gives(101.0),
                    ]),
                ),
                (
                    "across 2^32",
                    "",
                    vec![
                        down(0.0, 0xffff_fff0, 1).pure(),
                        up(0.0, 10, 1).pure(),
                        down(1.0, 0xffff_fffe, 10),
                        down(3.0, 5, 10),
                        up(21.0, 30, 0xffff_fffe).pure().gives(20.0),
                        down(22.0, 0xffff_ffff, 10),
                        up(23.0, 30, 5).pure().gives(20.0),
                    ],
                ),
                (
                    "across 2^31",
                    "",
                    vec![
                        down(0.0, 0x7fff_fff0, 1).pure(),
                        up(0.0, 10, 1).pure(),
                        down(1.0, 0x7fff_ffff, 10),
                        down(3.0, 0x8000_0001, 10),
                        up(21.0, 30, 0x7fff_ffff).pure().gives(20.0),
                        up(23.0, 30, 0x8000_0001).pure().gives(20.0),
                    ],
                ),
                (
                    "half the ring ahead is not greater",
                    "",
                    joined(&[
                        down(1.0, 10u32.wrapping_add(0x8000_0000), 10),
                        up(21.0, 30, 10u32.wrapping_add(0x8000_0000)).pure(),
                    ]),
                ),
            ],
        );
    });
}

#[test]
fn rule_4_joining_midway_waits_for_an_edge() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "the first TSval seen",
                    "",
                    vec![
                        down(0.0, 20, 1),
                        up(20.0, 30, 20).pure(),
                        down(21.0, 21, 30),
                        up(41.0, 51, 21).pure().gives(20.0),
                    ],
                ),
                (
                    "TSval 0 is a TSval",
                    "",
                    vec![
                        down(0.0, 0, 1),
                        up(20.0, 30, 0).pure(),
                        down(21.0, 21, 30),
                        up(41.0, 51, 21).pure().gives(20.0),
                    ],
                ),
                (
                    "the SYN was seen: the first greater TSval is an edge",
                    "",
                    vec![
                        up(0.0, 1, 0).pure().flags(SYN),
                        down(20.0, 500, 1).pure().flags(SYN | ACK),
                        up(21.0, 22, 500).pure(),
                        up(22.0, 23, 500),
                        down(42.0, 522, 23).gives(20.0),
                        up(43.0, 44, 522).pure().gives(1.0),
                    ],
                ),
                (
                    "data in the SYN-ACK's tick is no edge",
                    "",
                    vec![
                        up(0.0, 1, 0).pure().flags(SYN),
                        down(20.0, 500, 1).pure().flags(SYN | ACK),
                        up(20.1, 1, 500),
                        down(40.0, 520, 1).pure(),
                    ],
                ),
            ],
        );
    });
}

#[test]
fn handshakes_are_samples_when_asked_for() {
    with_scene_of(Setup { handshake: true, ..Setup::default() }, |scene| {
        check_all(
            scene,
            vec![
                (
                    "three-way handshake",
                    "",
                    vec![
                        up(0.0, 1, 0).pure().flags(SYN),
                        down(20.0, 500, 1).pure().flags(SYN | ACK).gives(20.0),
                        up(25.0, 26, 500).pure().gives(5.0),
                        up(26.0, 27, 500),
                        down(46.0, 526, 27).pure().gives(20.0),
                    ],
                ),
                (
                    "a SYN sent again: the echo says which one arrived",
                    "rtt_unmatched",
                    vec![
                        up(0.0, 1, 0).pure().flags(SYN),
                        up(1000.0, 1001, 0).pure().flags(SYN),
                        down(1020.0, 500, 1001).pure().flags(SYN | ACK).gives(20.0),
                    ],
                ),
            ],
        );
    });
}

#[test]
fn rule_5_two_slots_and_ten_seconds() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "delayed ACK: the echo of the first of two",
                    "rtt_unmatched",
                    joined(&[
                        down(1.0, 20, 10),
                        down(3.0, 22, 10),
                        up(43.0, 60, 20).pure().gives(42.0),
                        down(44.0, 63, 60),
                        up(64.0, 80, 63).pure().gives(20.0),
                    ]),
                ),
                (
                    "no slot: the third is not remembered, the first is not forgotten",
                    "rtt_no_slot rtt_unmatched",
                    joined(&[
                        down(1.0, 20, 10),
                        down(2.0, 21, 10),
                        down(3.0, 22, 10),
                        up(21.0, 30, 20).pure().gives(20.0),
                        up(23.0, 32, 22).pure(),
                    ]),
                ),
                (
                    "9.9 s is an RTT",
                    "",
                    joined(&[down(1.0, 20, 10), up(9901.0, 9900, 20).pure().gives(9900.0)]),
                ),
                (
                    "10 s is an RTT",
                    "",
                    joined(&[down(1.0, 20, 10), up(10001.0, 9900, 20).pure().gives(10000.0)]),
                ),
                (
                    "10.1 s is none",
                    "rtt_timed_out",
                    joined(&[down(1.0, 20, 10), up(10101.0, 9900, 20).pure()]),
                ),
                (
                    "a nanosecond unit over 10 s is none",
                    "rtt_timed_out",
                    joined(&[down(1.0, 20, 10), up(10_001.000_008, 9900, 20).pure()]),
                ),
                (
                    "bufferbloat: 50 ms, then 4 s",
                    "",
                    joined(&[
                        down(1.0, 20, 10),
                        up(51.0, 60, 20).pure().gives(50.0),
                        down(52.0, 71, 60),
                        up(4052.0, 4061, 71).pure().gives(4000.0),
                    ]),
                ),
                (
                    "a timed-out slot is taken again",
                    "rtt_timed_out×2",
                    joined(&[
                        down(1.0, 20, 10),
                        down(2.0, 21, 10),
                        down(10_500.0, 10_500, 10),
                        up(10_520.0, 30, 10_500).pure().gives(20.0),
                    ]),
                ),
                (
                    "one-directional",
                    "rtt_no_slot×2 rtt_timed_out×2",
                    vec![
                        down(0.0, 20, 0),
                        down(10.0, 30, 0),
                        down(20.0, 40, 0),
                        down(30.0, 50, 0),
                        down(40.0, 60, 0),
                        down(11_000.0, 11_000, 0),
                        down(11_001.0, 11_001, 0),
                    ],
                ),
            ],
        );
    });
}

#[test]
fn rule_7_an_echo_beyond_retires() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "the later of two",
                    "rtt_unmatched",
                    joined(&[
                        down(1.0, 20, 10),
                        down(2.0, 21, 10),
                        up(22.0, 30, 21).pure().gives(20.0),
                        up(23.0, 31, 20).pure(),
                    ]),
                ),
                (
                    "beyond both",
                    "rtt_unmatched×2",
                    joined(&[
                        down(1.0, 20, 10),
                        down(2.0, 21, 10),
                        down(3.0, 25, 10).pure(),
                        up(23.0, 30, 25).pure(),
                        up(24.0, 31, 20).pure(),
                        up(25.0, 32, 21).pure(),
                    ]),
                ),
                (
                    "before both: they wait",
                    "",
                    joined(&[
                        down(1.0, 20, 10),
                        up(5.0, 14, 10).pure(),
                        up(21.0, 30, 20).pure().gives(20.0),
                    ]),
                ),
            ],
        );
    });
}

#[test]
fn rules_8_and_9_super_packets_and_any_tick() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "as large as a test run takes",
                    "",
                    joined(&[down(1.0, 20, 10).payload(3000), up(21.0, 30, 20).pure().gives(20.0)]),
                ),
                (
                    "ticks of 10 ms",
                    "",
                    joined(&[
                        down(1.0, 11, 10),
                        down(9.0, 11, 10),
                        up(21.0, 12, 11).pure().gives(20.0),
                        down(22.0, 13, 12),
                        up(42.0, 14, 13).pure().gives(20.0),
                    ]),
                ),
                (
                    "ticks of 1 us",
                    "",
                    joined(&[
                        down(1.0, 1_000_010, 10),
                        up(21.0, 1_020_010, 1_000_010).pure().gives(20.0),
                        down(21.5, 1_021_010, 1_020_010),
                        up(21.75, 1_040_010, 1_021_010).pure().gives(0.25),
                    ]),
                ),
                (
                    "within one unit of the slot's clock",
                    "",
                    joined(&[down(1.0, 20, 10), up(1.0, 30, 20).pure().gives(0.000_008)]),
                ),
            ],
        );
    });
}

#[test]
fn connections_that_reuse_the_ports() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "a SYN starts anew, with lower TSvals",
                    "rtt_evicted×2",
                    joined(&[
                        down(1.0, 5000, 10),
                        up(2.0, 7000, 10),
                        up(100.0, 3, 0).pure().flags(SYN),
                        down(120.0, 4, 3).pure().flags(SYN | ACK),
                        up(121.0, 5000, 4).pure(),
                        up(122.0, 6000, 4),
                        down(142.0, 30, 6000).gives(20.0),
                        up(147.0, 6030, 30).pure().gives(5.0),
                    ]),
                ),
                (
                    "a SYN sent again goes on in the same handshake",
                    "",
                    vec![
                        up(0.0, 1, 0).pure().flags(SYN),
                        up(1000.0, 1001, 0).pure().flags(SYN),
                        down(1020.0, 500, 1001).pure().flags(SYN | ACK),
                        up(1021.0, 1022, 500),
                        down(1041.0, 521, 1022).pure().gives(20.0),
                    ],
                ),
            ],
        );
    });
}

#[test]
fn slot_times_wrap_at_34_s_without_a_false_sample() {
    let wrap = 34_359.738_368;
    with_scene(|scene| {
        let mut rows: Vec<Row> = Vec::new();
        for idle in [
            16_000.0,
            17_000.0,
            26_000.0,
            34_000.0,
            wrap,
            wrap + 20.0,
            40_000.0,
            2.0 * wrap + 20.0,
            80_000.0,
        ] {
            rows.push((
                "idle, then the echo",
                "rtt_timed_out",
                joined(&[
                    down(1.0, 20, 10),
                    up(1.0 + idle, 30, 20).pure(),
                    down(2.0 + idle, 90_000, 30),
                    up(22.0 + idle, 50, 90_000).pure().gives(20.0),
                ]),
            ));
            rows.push((
                "idle, then data, then the echo of both",
                "rtt_timed_out",
                joined(&[
                    down(1.0, 20, 10),
                    down(1.0 + idle, 90_000, 10),
                    up(21.0 + idle, 30, 20).pure(),
                    up(22.0 + idle, 50, 90_000).pure().gives(21.0),
                ]),
            ));
        }
        for period in [500.0, 3_900.0, 9_000.0, 15_000.0] {
            let mut steps = joined(&[down(1.0, 20, 10)]);
            for n in 1..=(wrap / period) as u32 {
                steps.push(up(f64::from(n) * period, 10 + n, 10).pure());
            }
            steps.push(up(wrap + 21.0, 5000, 20).pure());
            rows.push(("kept alive by the other direction", "rtt_timed_out", steps));
        }
        check_all(scene, rows);
    });
}

/// Until 80 s after boot the untouched epochs of a new record are in the window: they have no sample.
#[test]
fn untouched_epochs_have_no_sample() {
    let start = Duration::from_secs(1);
    with_scene_of(Setup { start, ..Setup::default() }, |scene| {
        let steps = joined(&[down(1.0, 11, 0), up(43.0, 11, 11).pure().gives(42.0)]);
        check(scene, 1000, "1 s after boot", "", &steps);
        for epochs in &scene.records()[&ALICE_CLASS].epoch {
            assert_eq!(u64::from(epochs[0].min) * 8, 42_000_000);
            for later in &epochs[1..] {
                assert!(later.min > later.max, "no sample yet");
            }
        }
    });
}
