// SPDX-License-Identifier: GPL-2.0-only

//! Rules 1, 3 and 4: the packets that open a sample.

use super::script::{check_all, down, joined, up};
use crate::common::rig::LoadOptions;
use crate::common::scene::{with_scene, with_scene_of};
use lab::packet::{ACK, FIN, PSH, SYN};

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
                        down(0.0, 0xffff_fff0, 1),
                        up(0.0, 10, 1),
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
                        down(0.0, 0x7fff_fff0, 1),
                        up(0.0, 10, 1),
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
    with_scene_of(LoadOptions { handshake: true, ..LoadOptions::default() }, |scene| {
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
fn rule_3_a_direction_behind_its_last_tsval() {
    with_scene(|scene| {
        check_all(
            scene,
            vec![
                (
                    "one stray TSval far ahead: after a second behind it, the next TSval is an edge",
                    "rtt_evicted rtt_resynced",
                    joined(&[
                        down(1.0, 0x4000_0000, 10),
                        down(100.0, 20, 10),
                        down(700.0, 21, 10),
                        down(1300.0, 22, 10),
                        down(1900.0, 23, 10),
                        up(1901.0, 30, 23).pure(),
                        down(2000.0, 24, 10),
                        up(2020.0, 31, 24).pure().gives(20.0),
                    ]),
                ),
                (
                    "keepalives of a middlebox with an old TSval, and then a new one",
                    "rtt_resynced",
                    joined(&[
                        down(1.0, 20, 10),
                        up(21.0, 30, 20).pure().gives(20.0),
                        down(1000.0, 19, 30).pure(),
                        up(1010.0, 1020, 20).pure(),
                        down(2000.0, 19, 30).pure(),
                        up(2010.0, 2020, 20).pure(),
                        down(3000.0, 19, 30).pure(),
                        down(4000.0, 19, 30).pure(),
                        up(4010.0, 4020, 20).pure(),
                        down(5000.0, 5020, 30),
                        up(5001.0, 5001, 20),
                        up(5020.0, 5030, 5020).pure().gives(20.0),
                    ]),
                ),
                (
                    "a second of retransmissions with old TSvals, broken by a current one",
                    "",
                    joined(&[
                        down(1.0, 2000, 10),
                        up(21.0, 30, 2000).pure().gives(20.0),
                        down(400.0, 1001, 10),
                        down(800.0, 1002, 10),
                        down(1000.0, 2000, 10),
                        down(1200.0, 1003, 10),
                        down(1600.0, 1004, 10),
                        down(1601.0, 2000, 10),
                        up(1602.0, 1700, 2000).pure(),
                    ]),
                ),
            ],
        );
    });
}
