// SPDX-License-Identifier: GPL-2.0-only

//! What XDP hands on to TC, and what TC makes of it when NAT has changed the subscriber's address in between.

use crate::common::rig::{LoadOptions, SkbCtx, TcOutcome};
use crate::common::scene::{
    with_bare_scene, with_scene, Scene, ALICE_CLASS, BOB_CLASS, DEFAULT_CLASS, UNTOUCHED,
};
use crate::fixtures::segment;
use lab::packet::{hosts::*, Extension, Packet, Tcp};
use std::net::{IpAddr, Ipv4Addr};

/// The address of the shaper on the internet's side.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

fn tcp(source: IpAddr, destination: IpAddr) -> Packet {
    Packet::new(source, destination).tcp(Tcp::new(1000, 443).timestamps(1, 2)).payload(20)
}

/// Runs XDP on the packet as it comes in, and TC on the packet as it leaves.
fn forward(scene: &Scene, arrived: &Packet, leaves: &Packet, skb: SkbCtx) -> TcOutcome {
    let handed_on = scene.steer(&arrived.build(), skb.ingress_ifindex).handed_on;
    assert!(handed_on.is_some(), "XDP handed nothing on");
    scene.classify(&leaves.build(), SkbCtx { handed_on, ..skb })
}

fn check(outcome: &TcOutcome, description: &str, priority: u32, fate: &str, notes: &str) {
    assert_eq!(outcome.counters.fate(), fate, "{description}");
    assert_eq!(outcome.counters.notes(), notes, "{description}");
    assert_eq!(outcome.priority, priority, "{description}: {:#010x}", outcome.priority);
}

#[test]
fn the_same_address_takes_the_mapping_of_xdp() {
    with_scene(|scene| {
        for (source, destination, class) in [
            (ALICE, SERVER, ALICE_CLASS),
            (ALICE6, SERVER6, ALICE_CLASS),
            (MALLORY, SERVER, DEFAULT_CLASS),
            (MALLORY6, SERVER6, DEFAULT_CLASS),
        ] {
            let up = tcp(source, destination);
            for (packet, skb) in
                [(up.clone(), scene.to_internet()), (up.reply(), scene.to_subscriber())]
            {
                let outcome = forward(scene, &packet, &packet, skb);
                check(&outcome, &format!("{source}"), class, "tc_classified", "");
                assert_eq!(outcome.counters.of("tc_looked_up"), 0, "{source}");
                assert_eq!(outcome.counters.of("cache_miss"), 0, "{source}");
            }
        }
    });
}

/// The class is that of the packet's own address, although XDP saw another one with a mapping, or with the default entry.
#[test]
fn an_address_behind_nat_gets_its_own_class() {
    with_scene(|scene| {
        let (up, down) = (scene.to_internet(), scene.to_subscriber());
        for (description, arrived, leaves, skb, class) in [
            ("masquerade, up", (ALICE, SERVER), (PUBLIC, SERVER), up, DEFAULT_CLASS),
            ("masquerade, down", (SERVER, PUBLIC), (SERVER, ALICE), down, ALICE_CLASS),
            ("masquerade as a subscriber, up", (ALICE, SERVER), (BOB, SERVER), up, BOB_CLASS),
            ("masquerade as a subscriber, down", (SERVER, BOB), (SERVER, ALICE), down, ALICE_CLASS),
            ("DNAT, down", (SERVER, PUBLIC), (SERVER, BOB), down, BOB_CLASS),
            ("a neighbour", (SERVER, BOB), (SERVER, ALICE), down, ALICE_CLASS),
        ] {
            let outcome = forward(scene, &tcp(arrived.0, arrived.1), &tcp(leaves.0, leaves.1), skb);
            check(&outcome, description, class, "tc_classified", "tc_translated");
            assert_eq!(outcome.counters.of("tc_looked_up"), 0, "{description}");
        }
    });
}

#[test]
fn without_a_default_entry_the_address_behind_nat_gets_its_own_class_too() {
    with_bare_scene(LoadOptions::default(), |scene| {
        scene.map("100.64.1.1", 0, ALICE_CLASS);
        let (up, down) = (scene.to_internet(), scene.to_subscriber());
        let outcome = forward(scene, &tcp(SERVER, PUBLIC), &tcp(SERVER, ALICE), down);
        check(&outcome, "down", ALICE_CLASS, "tc_classified", "tc_translated");
        let outcome = forward(scene, &tcp(ALICE, SERVER), &tcp(PUBLIC, SERVER), up);
        check(&outcome, "up", UNTOUCHED, "tc_unmapped", "tc_translated");
        let outcome = forward(scene, &tcp(BOB, SERVER), &tcp(BOB, SERVER), up);
        check(&outcome, "nobody's", UNTOUCHED, "tc_unmapped", "");
        assert_eq!(outcome.counters.of("tc_looked_up"), 0, "XDP has looked already");
    });
}

/// NAT of the other end, or of ports alone, leaves the subscriber's mapping right.
#[test]
fn other_changes_leave_the_mapping() {
    with_scene(|scene| {
        let up = scene.to_internet();
        let ported = Packet::new(ALICE, SERVER).tcp(Tcp::new(50_000, 8080)).payload(20);
        for (description, leaves) in [
            ("another server", tcp(ALICE, MALLORY)),
            ("in a tag", tcp(ALICE, SERVER).tag(0x8100, 7)),
            ("other ports", ported),
        ] {
            let outcome = forward(scene, &tcp(ALICE, SERVER), &leaves, up);
            assert_eq!(outcome.priority, ALICE_CLASS, "{description}");
            assert_eq!(outcome.counters.of("tc_translated"), 0, "{description}");
            assert_eq!(outcome.counters.of("tc_looked_up"), 0, "{description}");
        }
    });
}

/// Between two subscribers, XDP has looked up the sender: TC looks up the receiver, and takes nothing for translated.
#[test]
fn between_two_subscribers_the_class_is_the_receivers() {
    with_scene(|scene| {
        let hairpin = scene.between(scene.lan, scene.lan);
        for (source, destination, class) in
            [(ALICE, BOB, BOB_CLASS), (BOB, ALICE, ALICE_CLASS), (ALICE6, BOB6, BOB_CLASS)]
        {
            let packet = tcp(source, destination);
            let outcome = forward(scene, &packet, &packet, hairpin);
            check(&outcome, &format!("{source}"), class, "tc_classified", "");
            assert_eq!(outcome.counters.of("tc_looked_up"), 1);
        }
    });
}

/// Two subscribers who see each other at the shaper's address: the class is the receiver's, and the change is counted.
#[test]
fn between_two_subscribers_behind_nat_the_class_is_the_receivers() {
    with_scene(|scene| {
        let hairpin = scene.between(scene.lan, scene.lan);
        for (source, destination, class) in [(ALICE, BOB, BOB_CLASS), (BOB, ALICE, ALICE_CLASS)] {
            let (arrived, leaves) = (tcp(source, PUBLIC), tcp(PUBLIC, destination));
            let outcome = forward(scene, &arrived, &leaves, hairpin);
            check(&outcome, &format!("{source}"), class, "tc_classified", "tc_translated");
            assert_eq!(outcome.counters.of("tc_looked_up"), 1);
        }
    });
}

#[test]
fn another_programs_metadata_is_not_ours() {
    with_scene(|scene| {
        let packet = tcp(ALICE, SERVER);
        let up = scene.to_internet();
        let ours = scene.steer(&packet.build(), scene.lan).handed_on.expect("metadata");
        for byte in 0..4 {
            let mut foreign = ours;
            foreign[byte] ^= 0x10;
            foreign[4..8].copy_from_slice(&BOB_CLASS.to_ne_bytes());
            let skb = SkbCtx { handed_on: Some(foreign), ..up };
            let outcome = scene.classify(&packet.build(), skb);
            check(&outcome, "a wrong cookie", ALICE_CLASS, "tc_classified", "");
            assert_eq!(outcome.counters.of("tc_looked_up"), 1);
        }
    });
}

/// A foreign writer's CPU beyond 16 bits is no CPU, also after it was handed on.
#[test]
fn a_cpu_that_does_not_exist_is_handed_on_as_such() {
    with_scene(|scene| {
        for cpu in [0xffff, 0x1_0000, 0x1_0001, u32::MAX] {
            scene.map("100.64.1.1", cpu, ALICE_CLASS);
            let packet = tcp(ALICE, SERVER);
            let outcome = forward(scene, &packet, &packet, scene.to_internet());
            let notes = "tc_no_queue tc_wrong_cpu";
            check(&outcome, &format!("{cpu:#x}"), ALICE_CLASS, "tc_classified", notes);
        }
    });
}

/// The subscriber's TCP port travels along, where XDP can read it at once.
#[test]
fn the_port_is_the_subscribers() {
    with_scene(|scene| {
        let port = |packet: &Packet, from| {
            scene.steer(&packet.build(), from).metadata.expect("metadata").port
        };
        for (description, up, expected) in [
            ("IPv4", tcp(ALICE, SERVER), 1000),
            ("IPv6", tcp(ALICE6, SERVER6), 1000),
            ("IPv4 options", tcp(ALICE, SERVER).ipv4_options(&[1; 40]), 1000),
            ("tags", tcp(ALICE, SERVER).tag(0x88a8, 1).tag(0x8100, 2), 1000),
            ("MPLS", tcp(ALICE, SERVER).mpls(&[16, 17]), 1000),
            ("first fragment", tcp(ALICE, SERVER).fragment(0, true), 1000),
            ("later fragment", tcp(ALICE, SERVER).fragment(1480, false), 0),
            ("extension header", segment(true, 1000, 1, 2).extension(Extension::HopByHop(8)), 0),
            ("UDP", Packet::new(ALICE, SERVER).udp(1000, 53).payload(20), 0),
            ("ICMP", Packet::new(ALICE, SERVER).echo(1), 0),
        ] {
            assert_eq!(port(&up, scene.lan), expected, "{description}, up");
            assert_eq!(port(&up.reply(), scene.wan), expected, "{description}, down");
        }
        let whole = tcp(ALICE, SERVER);
        let transport = whole.layout().transport;
        for (length, expected) in [(0, 0), (3, 0), (4, 1000), (20, 1000)] {
            let frame = &whole.build()[..transport + length];
            let found = scene.steer(frame, scene.lan).metadata.map(|metadata| metadata.port);
            assert_eq!(found, Some(expected), "{length} bytes of TCP");
        }
    });
}
