// SPDX-License-Identifier: GPL-2.0-only

//! XDP: the subscriber of a frame, and the CPU that takes it.

use crate::common::rig::{cpus, LoadOptions};
use crate::common::scene::{
    with_bare_scene, with_scene, with_scene_of, Scene, ALICE_CLASS, BOB_CLASS, DEFAULT_CLASS,
};
use crate::common::test_run::{Metadata, XDP_PASS, XDP_REDIRECT};
use lab::packet::{hosts::*, Packet};
use model::Facing;
use std::net::IpAddr;
use std::time::Duration;

fn udp(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    Packet::new(source, destination).udp(1000, 53).payload(20).build()
}

/// `MAPPING_AVAILABLE` of `enum mapping_state`.
const AVAILABLE: u8 = 3;

/// Asserts that XDP redirects the frame and hands this class on.
fn assert_steered(scene: &Scene, description: &str, frame: &[u8], from: u32, tc_handle: u32) {
    let outcome = scene.steer(frame, from);
    assert_eq!(outcome.counters.fate(), "xdp_redirected", "{description}");
    assert_eq!(outcome.verdict, XDP_REDIRECT, "{description}");
    let direction = if from == scene.lan { Facing::Lan } else { Facing::Wan };
    let expected =
        Metadata { tc_handle, cpu: 0, direction: direction as u8, state: AVAILABLE, port: 0 };
    assert_eq!(outcome.metadata, Some(expected), "{description}");
}

fn assert_passed(scene: &Scene, description: &str, frame: &[u8], from: u32, fate: &str) {
    let outcome = scene.steer(frame, from);
    assert_eq!(outcome.counters.fate(), fate, "{description}");
    assert_eq!(outcome.verdict, XDP_PASS, "{description}");
}

#[test]
fn the_subscriber_is_the_source_on_lan_and_the_destination_on_wan() {
    with_scene(|scene| {
        for (description, source, destination, lan, wan) in [
            ("upload", ALICE, SERVER, ALICE_CLASS, DEFAULT_CLASS),
            ("download", SERVER, ALICE, DEFAULT_CLASS, ALICE_CLASS),
            ("upload, IPv6", ALICE6, SERVER6, ALICE_CLASS, DEFAULT_CLASS),
            ("download, IPv6", SERVER6, ALICE6, DEFAULT_CLASS, ALICE_CLASS),
            ("subscriber to subscriber", ALICE, BOB, ALICE_CLASS, BOB_CLASS),
            ("subscriber to subscriber, IPv6", BOB6, ALICE6, BOB_CLASS, ALICE_CLASS),
            ("nobody's", MALLORY, SERVER, DEFAULT_CLASS, DEFAULT_CLASS),
        ] {
            assert_steered(scene, description, &udp(source, destination), scene.lan, lan);
            assert_steered(scene, description, &udp(source, destination), scene.wan, wan);
        }
    });
}

#[test]
fn interfaces_without_a_direction_pass() {
    with_scene(|scene| {
        let frame = udp(ALICE, SERVER);
        assert_passed(scene, "never set", &frame, scene.other, "xdp_no_direction");
        scene.direction(scene.lan, Facing::None);
        assert_passed(scene, "taken back", &frame, scene.lan, "xdp_no_direction");
        scene.direction(scene.lan, Facing::Lan);
        assert_steered(scene, "set again", &frame, scene.lan, ALICE_CLASS);
    });
}

#[test]
fn without_a_mapping_and_a_default_entry_frames_pass() {
    with_bare_scene(LoadOptions::default(), |scene| {
        assert_passed(scene, "no mapping at all", &udp(ALICE, SERVER), scene.lan, "xdp_unmapped");
        scene.map("100.64.1.1", 0, ALICE_CLASS);
        assert_steered(scene, "mapped", &udp(ALICE, SERVER), scene.lan, ALICE_CLASS);
        assert_passed(scene, "another", &udp(BOB, SERVER), scene.lan, "xdp_unmapped");
        assert_passed(scene, "IPv6", &udp(ALICE6, SERVER6), scene.lan, "xdp_unmapped");
    });
}

#[test]
fn every_spelling_of_the_default_entry() {
    for default in ["255.255.255.255", "::/0", "0.0.0.0/0"] {
        with_bare_scene(LoadOptions::default(), |scene| {
            scene.map("100.64.1.1", 0, ALICE_CLASS);
            scene.map(default, 0, DEFAULT_CLASS);
            let place = |what| format!("{default}: {what}");
            assert_steered(scene, &place("mapped"), &udp(ALICE, SERVER), scene.lan, ALICE_CLASS);
            assert_steered(scene, &place("IPv4"), &udp(BOB, SERVER), scene.lan, DEFAULT_CLASS);
            assert_steered(scene, &place("IPv4 down"), &udp(SERVER, BOB), scene.wan, DEFAULT_CLASS);
            let ipv6 = udp(ALICE6, SERVER6); // the default entry stands in 0.0.0.0/0 too
            assert_steered(scene, &place("IPv6"), &ipv6, scene.lan, DEFAULT_CLASS);
        });
    }
}

#[test]
fn cpus_that_take_no_frames() {
    with_scene(|scene| {
        let frame = udp(ALICE, SERVER);
        for (description, mapped_to) in [
            ("no cpu_map entry, not available", 1),
            ("beyond the CPUs that exist", cpus() - 1),
            ("beyond every map", cpus()),
            ("far beyond", 65_536),
            ("as far as it goes", u32::MAX),
        ] {
            scene.map("100.64.1.1", mapped_to, ALICE_CLASS);
            assert_passed(scene, description, &frame, scene.lan, "xdp_no_cpu");
        }
        scene.map("100.64.1.1", 0, ALICE_CLASS);
        assert_steered(scene, "available", &frame, scene.lan, ALICE_CLASS);
        scene.available(0, false);
        scene.bump_generation();
        assert_passed(scene, "made unavailable", &frame, scene.lan, "xdp_no_cpu");
        scene.available(0, true);
        scene.bump_generation();
        scene.cpu_map_delete(0);
        assert_passed(
            scene,
            "available without an entry in cpu_map",
            &frame,
            scene.lan,
            "xdp_no_cpu",
        );
    });
}

#[test]
fn what_a_foreign_writer_changes_is_seen_within_a_second() {
    with_scene(|scene| {
        let frame = udp(ALICE, SERVER);
        let second = Duration::from_secs(1);
        assert_steered(scene, "cached", &frame, scene.lan, ALICE_CLASS);
        scene.map_quietly("100.64.1.1", 0, 0x0001_0099);
        scene.advance(second / 2);
        assert_steered(scene, "half a second later", &frame, scene.lan, ALICE_CLASS);
        scene.advance(second / 2);
        assert_steered(scene, "one second after the write", &frame, scene.lan, 0x0001_0099);
        scene.available(0, false);
        scene.advance(second);
        assert_passed(scene, "the CPU was taken away", &frame, scene.lan, "xdp_no_cpu");
        scene.available(0, true);
        scene.advance(second);
        assert_steered(scene, "and given back", &frame, scene.lan, 0x0001_0099);
        assert_steered(scene, "nobody's, cached", &udp(MALLORY, SERVER), scene.lan, DEFAULT_CLASS);
        scene.map_quietly("100.64.66.6", 0, 0x0001_0066);
        scene.advance(second);
        assert_steered(scene, "not nobody's", &udp(MALLORY, SERVER), scene.lan, 0x0001_0066);
    });
}

#[test]
fn a_busy_address_does_not_keep_its_cache_entry_alive() {
    with_scene(|scene| {
        let frame = udp(ALICE, SERVER);
        scene.steer(&frame, scene.lan);
        scene.map_quietly("100.64.1.1", 0, 0x0001_0099);
        for _ in 0..10 {
            scene.advance(Duration::from_millis(100));
            scene.steer(&frame, scene.lan);
        }
        assert_steered(scene, "after a busy second", &frame, scene.lan, 0x0001_0099);
    });
}

#[test]
fn what_our_tools_change_is_seen_by_the_next_packet() {
    with_scene(|scene| {
        let frame = udp(ALICE, SERVER);
        assert_steered(scene, "cached", &frame, scene.lan, ALICE_CLASS);
        scene.map("100.64.1.1", 0, 0x0001_0099);
        assert_steered(scene, "replaced", &frame, scene.lan, 0x0001_0099);
        scene.unmap("100.64.1.1");
        assert_steered(scene, "deleted", &frame, scene.lan, DEFAULT_CLASS);
        scene.unmap("255.255.255.255");
        assert_passed(scene, "the default too", &frame, scene.lan, "xdp_unmapped");
    });
}

#[test]
fn the_cache_answers_for_the_address_and_no_other() {
    // The cache has one entry: every address replaces the one before.
    with_scene_of(LoadOptions { cache_entries: 1, ..LoadOptions::default() }, |scene| {
        for _ in 0..3 {
            assert_steered(scene, "Alice", &udp(ALICE, SERVER), scene.lan, ALICE_CLASS);
            assert_steered(scene, "Bob", &udp(BOB, SERVER), scene.lan, BOB_CLASS);
            assert_steered(scene, "Alice, IPv6", &udp(ALICE6, SERVER6), scene.lan, ALICE_CLASS);
            assert_steered(scene, "nobody", &udp(MALLORY6, SERVER6), scene.lan, DEFAULT_CLASS);
        }
        let misses = |frame: &[u8]| scene.steer(frame, scene.lan).counters.of("cache_miss");
        assert_eq!([misses(&udp(BOB, SERVER)), misses(&udp(BOB, SERVER))], [1, 0]);
    });
}

/// Returns how many bytes of metadata the kernel allows for a frame: before Linux 6.4 it has a fixed number.
fn largest_metadata() -> usize {
    let kernel = nix::sys::utsname::uname().expect("uname");
    let release = kernel.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0u32));
    let version = (numbers.next(), numbers.next());
    if version >= (Some(6), Some(4)) {
        252
    } else {
        32
    }
}

#[test]
fn metadata_goes_where_there_is_room() {
    with_scene(|scene| {
        let frame = udp(ALICE, SERVER);
        // A headroom of 256 bytes holds struct xdp_frame (40 bytes), and metadata in the rest. Before Linux 6.4, all
        // metadata of a frame together has at most 32 bytes.
        let large = largest_metadata() > 32;
        for (foreign, room) in [
            (4, true),
            (12, true),
            (16, large),
            (32, large),
            (196, large),
            (200, false),
            (204, false),
        ] {
            if foreign > largest_metadata() {
                continue; // Nobody could have put it there.
            }
            let outcome = scene.steer_behind(&vec![0xee; foreign], &frame, scene.lan);
            assert_eq!(outcome.verdict, XDP_REDIRECT, "{foreign} bytes before ours");
            assert_eq!(outcome.metadata.is_some(), room, "{foreign} bytes before ours");
            let notes = if room { "" } else { "xdp_no_metadata" };
            assert_eq!(outcome.counters.notes(), notes, "{foreign} bytes before ours");
        }
    });
    with_scene_of(LoadOptions { metadata: false, ..LoadOptions::default() }, |scene| {
        let outcome = scene.steer(&udp(ALICE, SERVER), scene.lan);
        assert_eq!((outcome.verdict, outcome.metadata), (XDP_REDIRECT, None));
        assert_eq!(outcome.counters.notes(), "");
    });
}
