// SPDX-License-Identifier: GPL-2.0-only

//! TC: the rules of docs/ARCHITECTURE.md, "The packet path", in their order.

use crate::common::rig::{LoadOptions, SkbCtx};
use crate::common::scene::{
    with_bare_scene, with_scene, Scene, ALICE_CLASS, BOB_CLASS, DEFAULT_CLASS, UNTOUCHED,
};
use crate::common::test_run::TC_ACT_OK;
use lab::packet::{hosts::*, Packet};
use model::Facing;
use std::net::IpAddr;

fn udp(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    Packet::new(source, destination).udp(1000, 53).payload(20).build()
}

struct Expected<'a> {
    priority: u32,
    fate: &'a str,
    notes: &'a str,
}

fn check(scene: &Scene, description: &str, packet: &[u8], skb: SkbCtx, expected: &Expected<'_>) {
    let outcome = scene.classify(packet, skb);
    assert_eq!(outcome.verdict, TC_ACT_OK, "{description}");
    assert_eq!(outcome.counters.fate(), expected.fate, "{description}");
    assert_eq!(outcome.counters.notes(), expected.notes, "{description}");
    assert_eq!(outcome.priority, expected.priority, "{description}: {:#010x}", outcome.priority);
    assert_eq!(outcome.samples, [], "{description}");
}

#[test]
fn rule_1_a_missing_queue_entry_does_not_drop() {
    with_bare_scene(LoadOptions::default(), |scene| {
        scene.map("100.64.1.1", 0, ALICE_CLASS);
        scene.txq(0, 0, 0);
        let packet = udp(ALICE, SERVER);
        let skb = scene.to_internet();
        let expected =
            Expected { priority: ALICE_CLASS, fate: "tc_classified", notes: "tc_no_queue" };
        check(scene, "forwarded", &packet, skb, &expected);
        let host = SkbCtx { ingress_ifindex: 0, priority: 0, ..skb };
        let expected = Expected { priority: 0, fate: "tc_host", notes: "tc_no_queue" };
        check(scene, "this host's: no major to set", &packet, host, &expected);
        let kept = SkbCtx { priority: 0x0005_0004, ..skb };
        let expected =
            Expected { priority: 0x0005_0004, fate: "tc_priority_kept", notes: "tc_no_queue" };
        check(scene, "kept: no major to set", &packet, kept, &expected);
        // A queue without a major sets the queue only.
        scene.txq(0, 3, 0);
        let expected = Expected { priority: 0, fate: "tc_host", notes: "" };
        check(scene, "a queue without a major", &packet, host, &expected);
    });
}

#[test]
fn rule_2_this_hosts_packets_keep_their_minor() {
    with_scene(|scene| {
        for (description, priority, expected) in [
            ("no priority: minor 3", 0, 0x0001_0003),
            ("a kept minor", 0x0000_0005, 0x0001_0005),
            ("any minor", 0x0000_0042, 0x0001_0042),
            ("another major", 0x0007_0042, 0x0001_0042),
            ("the largest minor", 0x0000_ffff, 0x0001_ffff),
        ] {
            for (ifindex, packet) in [
                (scene.lan, udp(SERVER, ALICE)),
                (scene.wan, udp(ALICE, SERVER)),
                (scene.other, udp(ALICE, SERVER)),
                (scene.wan, Packet::raw(0x9999, &[0; 40]).build()),
            ] {
                let skb = SkbCtx { priority, ..scene.between(0, ifindex) };
                let expected = Expected { priority: expected, fate: "tc_host", notes: "" };
                check(scene, description, &packet, skb, &expected);
            }
        }
        scene.txq(0, 1, 0xabc);
        let skb = SkbCtx { ingress_ifindex: 0, priority: 7, ..scene.to_internet() };
        let expected = Expected { priority: 0x0abc_0007, fate: "tc_host", notes: "" };
        check(scene, "the CPU's major", &udp(ALICE, SERVER), skb, &expected);
    });
}

#[test]
fn rule_3_minors_3_to_9_are_kept() {
    with_scene(|scene| {
        for minor in 0..=12 {
            for major in [0, 1, 9] {
                let skb = SkbCtx { priority: major << 16 | minor, ..scene.to_internet() };
                let expected = if (3..=9).contains(&minor) {
                    Expected { priority: 0x0001_0000 | minor, fate: "tc_priority_kept", notes: "" }
                } else {
                    Expected { priority: ALICE_CLASS, fate: "tc_classified", notes: "" }
                };
                let description = format!("{major:x}:{minor:x}");
                check(scene, &description, &udp(ALICE, SERVER), skb, &expected);
            }
        }
    });
}

#[test]
fn rule_4_the_subscriber_is_the_destination_on_lan_and_the_source_on_wan() {
    with_scene(|scene| {
        for (description, source, destination, lan, wan) in [
            ("upload", ALICE, SERVER, DEFAULT_CLASS, ALICE_CLASS),
            ("download", SERVER, ALICE, ALICE_CLASS, DEFAULT_CLASS),
            ("upload, IPv6", ALICE6, SERVER6, DEFAULT_CLASS, ALICE_CLASS),
            ("download, IPv6", SERVER6, ALICE6, ALICE_CLASS, DEFAULT_CLASS),
            ("hairpin: the receiver's", ALICE, BOB, BOB_CLASS, ALICE_CLASS),
            ("hairpin, IPv6", BOB6, ALICE6, ALICE_CLASS, BOB_CLASS),
            ("nobody's", MALLORY, SERVER, DEFAULT_CLASS, DEFAULT_CLASS),
        ] {
            for (ifindex, priority) in [(scene.lan, lan), (scene.wan, wan)] {
                for ingress_ifindex in [scene.lan, scene.wan, scene.other] {
                    let skb = scene.between(ingress_ifindex, ifindex);
                    let expected = Expected { priority, fate: "tc_classified", notes: "" };
                    check(scene, description, &udp(source, destination), skb, &expected);
                }
            }
        }
    });
}

#[test]
fn rule_4_mappings_that_give_no_class() {
    with_bare_scene(LoadOptions::default(), |scene| {
        let up = scene.to_internet();
        let unmapped = Expected { priority: UNTOUCHED, fate: "tc_unmapped", notes: "" };
        check(scene, "no mapping at all", &udp(ALICE, SERVER), up, &unmapped);
        scene.map("100.64.1.1", 0, 0);
        let no_class = Expected { priority: UNTOUCHED, fate: "tc_no_class", notes: "" };
        check(scene, "handle 0", &udp(ALICE, SERVER), up, &no_class);
        check(scene, "another address", &udp(BOB, SERVER), up, &unmapped);
        let no_direction = Expected { priority: UNTOUCHED, fate: "tc_no_direction", notes: "" };
        let elsewhere = SkbCtx { ifindex: scene.other, ..up };
        check(
            scene,
            "an interface without a direction",
            &udp(ALICE, SERVER),
            elsewhere,
            &no_direction,
        );
        scene.direction(scene.wan, Facing::None);
        check(scene, "a direction taken back", &udp(ALICE, SERVER), up, &no_direction);
    });
}

#[test]
fn rule_4_both_spellings_of_the_default_entry() {
    for default in ["255.255.255.255", "::/0"] {
        with_bare_scene(LoadOptions::default(), |scene| {
            scene.map(default, 0, DEFAULT_CLASS);
            for (source, destination) in [(ALICE, SERVER), (ALICE6, SERVER6)] {
                let expected =
                    Expected { priority: DEFAULT_CLASS, fate: "tc_classified", notes: "" };
                let up = udp(source, destination);
                check(scene, default, &up, scene.to_internet(), &expected);
                let down = udp(destination, source);
                check(scene, default, &down, scene.to_subscriber(), &expected);
            }
        });
    }
}

#[test]
fn rule_4_on_another_cpu_than_mapped() {
    with_scene(|scene| {
        let packet = udp(ALICE, SERVER);
        for (description, cpu, handle, priority, fate, notes) in [
            ("its CPU has a queue", 1, 0x0002_0010, 0x0002_0010, "tc_classified", "tc_wrong_cpu"),
            (
                "its CPU has none",
                2,
                0x0003_0010,
                0x0003_0010,
                "tc_classified",
                "tc_no_queue tc_wrong_cpu",
            ),
            (
                "no such CPU",
                4096,
                0x0003_0010,
                0x0003_0010,
                "tc_classified",
                "tc_no_queue tc_wrong_cpu",
            ),
            (
                "beyond 16 bits, which would be CPU 1",
                0x1_0001,
                0x0003_0010,
                0x0003_0010,
                "tc_classified",
                "tc_no_queue tc_wrong_cpu",
            ),
            (
                "beyond 16 bits, which would be this CPU",
                0x1_0000,
                0x0003_0010,
                0x0003_0010,
                "tc_classified",
                "tc_no_queue tc_wrong_cpu",
            ),
            ("no class", 1, 0, UNTOUCHED, "tc_no_class", "tc_wrong_cpu"),
        ] {
            scene.map("100.64.1.1", cpu, handle);
            let expected = Expected { priority, fate, notes };
            check(scene, description, &packet, scene.to_internet(), &expected);
        }
    });
}

#[test]
fn changes_are_seen_at_once_or_within_a_second() {
    with_scene(|scene| {
        let class = || scene.classify(&udp(ALICE, SERVER), scene.to_internet()).priority;
        assert_eq!(class(), ALICE_CLASS);
        scene.map("100.64.1.1", 0, 0x0001_0099);
        assert_eq!(class(), 0x0001_0099, "our own tools raise the generation");
        scene.map_quietly("100.64.1.1", 0, 0x0001_0077);
        scene.advance(std::time::Duration::from_secs(1));
        assert_eq!(class(), 0x0001_0077, "others do not");
    });
}

#[test]
fn classes_do_without_rtt() {
    let setup = LoadOptions { rtt: false, ..LoadOptions::default() };
    crate::common::scene::with_scene_of(setup, |scene| {
        for (tsval, tsecr) in [(10, 5), (20, 5), (30, 5)] {
            let packet = crate::fixtures::segment(false, 1000, tsval, tsecr).payload(10);
            let outcome = scene.classify(&packet.build(), scene.to_internet());
            assert_eq!(outcome.priority, ALICE_CLASS);
            assert_eq!(outcome.counters.of("rtt_flow_new"), 0);
        }
    });
}
