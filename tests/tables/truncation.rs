// SPDX-License-Identifier: GPL-2.0-only

//! Every fixture cut at every byte: never a drop, never another subscriber's class.
//!
//! A test run takes 14 bytes or more; shorter frames do not reach either hook.

use crate::common::scene::{with_scene, Scene, ALICE_CLASS, UNTOUCHED};
use crate::common::test_run::{refused, TC_ACT_OK, XDP_PASS, XDP_REDIRECT};
use crate::fixtures;
use lab::packet::Packet;

/// The fates of a frame of this length, in both hooks.
struct ExpectedFates {
    fate: [&'static str; 2],
    /// The counters that may rise in TC beside the fate.
    notes: &'static [&'static str],
}

fn expected(frame: &[u8], packet: &Packet, length: usize) -> ExpectedFates {
    let layout = packet.layout();
    // The programs need the fixed header and IPv4's options to know whose packet it is.
    let known = match frame[layout.network] >> 4 {
        4 => layout.network + usize::from(frame[layout.network] & 15) * 4,
        _ => layout.network + 40,
    };
    if length < known {
        return ExpectedFates { fate: ["xdp_truncated", "tc_truncated"], notes: &[""] };
    }
    let notes: &[&str] = if length < frame.len() {
        &["", "rtt_tcp_truncated", "rtt_no_ports"]
    } else {
        &["", "rtt_no_ports", "rtt_no_timestamps"]
    };
    ExpectedFates { fate: ["xdp_redirected", "tc_classified"], notes }
}

fn check(scene: &Scene, name: &str, packet: &Packet, up: bool) {
    let frame = packet.build();
    let (from, skb) =
        if up { (scene.lan, scene.to_internet()) } else { (scene.wan, scene.to_subscriber()) };
    for length in 14..=frame.len() {
        let place = format!("{name}, {length} of {} bytes, up {up}", frame.len());
        let expected = expected(&frame, packet, length);
        let xdp = scene.steer(&frame[..length], from);
        assert_eq!(xdp.counters.fate(), expected.fate[0], "{place}");
        let redirected = xdp.counters.fate() == "xdp_redirected";
        assert_eq!(xdp.verdict, if redirected { XDP_REDIRECT } else { XDP_PASS }, "{place}");
        let handle = xdp.metadata.map(|metadata| metadata.tc_handle);
        assert_eq!(handle, redirected.then_some(ALICE_CLASS), "{place}");

        if refused(&frame[..length]) {
            continue;
        }
        let tc = scene.classify(&frame[..length], skb);
        assert_eq!(tc.counters.fate(), expected.fate[1], "{place}");
        assert_eq!(tc.verdict, TC_ACT_OK, "{place}");
        let class = if tc.counters.fate() == "tc_classified" { ALICE_CLASS } else { UNTOUCHED };
        assert_eq!(tc.priority, class, "{place}");
        let notes = tc.counters.notes();
        assert!(expected.notes.contains(&notes.as_str()), "{place}: {notes}");
        assert_eq!(tc.samples, [], "{place}");
        scene.advance(std::time::Duration::from_millis(1));
    }
}

#[test]
fn every_fixture_at_every_byte() {
    with_scene(|scene| {
        for (name, packet) in fixtures::all() {
            check(scene, name, &packet, true);
            check(scene, name, &packet.reply(), false);
        }
    });
}

/// Truncated TCP is always counted, wherever it is cut.
#[test]
fn cut_tcp_is_counted() {
    with_scene(|scene| {
        for (ipv6, name) in [(false, "IPv4"), (true, "IPv6")] {
            let packet = fixtures::segment(ipv6, 1000, 20, 10).payload(30);
            let (frame, layout) = (packet.build(), packet.layout());
            for length in layout.transport..frame.len() {
                let tc = scene.classify(&frame[..length], scene.to_internet());
                assert_eq!(tc.counters.notes(), "rtt_tcp_truncated", "{name}, {length} bytes");
            }
        }
    });
}
