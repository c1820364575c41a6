// SPDX-License-Identifier: GPL-2.0-only

//! The longest prefix wins, in both hooks, with 65 000 of them.

use crate::common::names::ip_mapping;
use crate::common::rig::{prefix_key, LoadOptions, Rig};
use crate::common::scene::{with_bare_scene, Scene};
use crate::common::test_run::as_bytes;
use lab::packet::{hosts::*, Packet};
use libbpf_rs::{MapCore, MapFlags};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the classes of the subscriber at this address: from XDP's metadata and from TC's look-up, up and down.
fn classes(scene: &Scene, subscriber: IpAddr) -> [Option<u32>; 4] {
    let server = if subscriber.is_ipv4() { SERVER } else { SERVER6 };
    let up = Packet::new(subscriber, server).udp(1, 2).payload(20);
    let (up, down) = (up.build(), up.reply().build());
    let xdp = |frame: &[u8], from| {
        let outcome = scene.steer(frame, from);
        let handle = outcome.metadata.map(|metadata| metadata.tc_handle);
        handle.filter(|_| outcome.counters.fate() != "xdp_unmapped")
    };
    let tc = |packet: &[u8], skb| {
        let outcome = scene.classify(packet, skb);
        (outcome.counters.fate() == "tc_classified").then_some(outcome.priority)
    };
    [
        xdp(&up, scene.lan),
        xdp(&down, scene.wan),
        tc(&up, scene.to_internet()),
        tc(&down, scene.to_subscriber()),
    ]
}

fn assert_class(scene: &Scene, subscriber: IpAddr, expected: Option<u32>) {
    assert_eq!(classes(scene, subscriber), [expected; 4], "{subscriber}, {expected:x?}");
}

/// Returns the address with bit `length` (from the left) flipped: it shares exactly `length` bits.
fn turned(addr: IpAddr, length: u32) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) ^ 1 << (31 - length)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) ^ 1 << (127 - length)).into(),
    }
}

/// Writes prefixes of these lengths around one address, in this order, and removes them one by one.
fn check_nested(scene: &Scene, addr: IpAddr, lengths: &[u32]) {
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    let class = |length: u32| 0x0001_0100 + length;
    for length in lengths {
        scene.map(&format!("{addr}/{length}"), 0, class(*length));
    }
    let mut left = lengths.to_vec();
    left.sort_unstable();
    while let Some(longest) = left.last().copied() {
        assert_class(scene, addr, Some(class(longest)));
        for shared in (0..bits).step_by(if bits == 32 { 1 } else { 5 }) {
            let expected = left.iter().rev().find(|length| **length <= shared).copied();
            assert_class(scene, turned(addr, shared), expected.map(class));
        }
        scene.unmap(&format!("{addr}/{longest}"));
        left.pop();
    }
    assert_class(scene, addr, None);
}

#[test]
fn nested_ipv4_prefixes() {
    with_bare_scene(LoadOptions::default(), |scene| {
        check_nested(scene, ALICE, &[8, 16, 24, 32]);
        check_nested(scene, BOB, &[32, 31, 30, 29, 28, 27, 20, 12, 9, 8]);
        check_nested(scene, MALLORY, &[24, 8, 32, 16, 0]);
    });
}

#[test]
fn nested_ipv6_prefixes() {
    with_bare_scene(LoadOptions::default(), |scene| {
        check_nested(scene, ALICE6, &[8, 32, 48, 56, 64, 128]);
        check_nested(scene, BOB6, &[128, 127, 65, 64, 63, 33, 16, 8]);
    });
}

#[test]
fn ipv4_and_ipv6_do_not_meet() {
    with_bare_scene(LoadOptions::default(), |scene| {
        scene.map("2001:db8::/32", 0, 0x0001_0006);
        scene.map("0.0.0.0/0", 0, 0x0001_0004);
        assert_class(scene, ALICE, Some(0x0001_0004));
        assert_class(scene, ALICE6, Some(0x0001_0006));
        scene.unmap("0.0.0.0/0");
        scene.map("::ffff:100.64.1.1", 0, 0x0001_0007); // the standard's mapped form is not the contract's
        assert_class(scene, ALICE, None);
    });
}

/// Returns the n-th of many subscribers: three of four have an IPv4 /32, the others an IPv6 /64.
fn subscriber(n: u32) -> (String, IpAddr) {
    if n % 4 == 3 {
        let addr = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n) << 64 | 1);
        (format!("{addr}/64"), addr.into())
    } else {
        let addr = Ipv4Addr::from(0x6440_0000 | n);
        (format!("{addr}/32"), addr.into())
    }
}

fn map_many(rig: &Rig, count: u32, class: impl Fn(u32) -> u32) {
    for n in 0..count {
        let value = as_bytes(&ip_mapping { cpu: 0, tc_handle: class(n) });
        let key = prefix_key(&subscriber(n).0);
        rig.map_ip_hash.update(&key, &value, MapFlags::NO_EXIST).expect("update");
    }
    rig.bump_generation();
}

#[test]
fn the_65000th_mapping_works_and_so_does_every_other() {
    with_bare_scene(LoadOptions::default(), |scene| {
        const COUNT: u32 = 65_000;
        let class = |n| 0x0001_0000 + 10 + n % 65_000;
        map_many(scene, COUNT, class);
        scene.map("100.64.0.0/10", 0, 0x0001_0002);
        let some = (0..COUNT).step_by(997).chain([1, 2, 3, COUNT - 2, COUNT - 1]);
        for n in some {
            assert_class(scene, subscriber(n).1, Some(class(n)));
        }
        assert_class(scene, subscriber(COUNT).1, Some(0x0001_0002));
        scene.unmap(&subscriber(COUNT - 1).0);
        scene.unmap(&subscriber(7).0);
        assert_class(scene, subscriber(7).1, None);
        assert_class(scene, subscriber(COUNT - 2).1, Some(class(COUNT - 2)));
    });
}

/// Many addresses share the entries of a small cache, and each gets its own class.
#[test]
fn addresses_that_share_cache_entries() {
    with_bare_scene(LoadOptions { cache_entries: 64, ..LoadOptions::default() }, |scene| {
        map_many(scene, 1000, |n| 0x0001_1000 + n);
        for _ in 0..2 {
            for n in (0..1000).step_by(7) {
                assert_class(scene, subscriber(n).1, Some(0x0001_1000 + n));
            }
        }
    });
}
