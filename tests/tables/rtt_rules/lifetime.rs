// SPDX-License-Identifier: GPL-2.0-only

//! Flows over a long time: ports that are used again, pauses, the first seconds after boot.

use super::script::{check, check_all, down, joined, up, Row};
use crate::common::rig::LoadOptions;
use crate::common::scene::{with_scene, with_scene_of, ALICE_CLASS};
use lab::packet::{ACK, SYN};
use std::time::Duration;

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

/// Until 80 s after boot the window includes the untouched epochs of a new record: they have no sample.
#[test]
fn untouched_epochs_have_no_sample() {
    let start = Duration::from_secs(1);
    with_scene_of(LoadOptions { start, ..LoadOptions::default() }, |scene| {
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
