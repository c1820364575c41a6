// SPDX-License-Identifier: GPL-2.0-only

//! Rules 2, 5 and 7 to 9: the packets that end a sample, and the two slots of a direction.

use super::script::{check_all, down, joined, up};
use crate::common::scene::with_scene;
use lab::packet::RST;

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
                        down(0.0, 0xffff_fff0, 7),
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
