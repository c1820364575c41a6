// SPDX-License-Identifier: GPL-2.0-only

//! Servers of subscribers that are reached from outside, and public addresses of one subscriber each.

use crate::masquerade::{both_sides, everybody};
use crate::world::{
    steady, Carried, Connection, Treatment, World, ALICE, ALICES_PUBLIC, BOB, BOBS_PUBLIC, DEFAULT,
    PUBLIC,
};
use lab::{Server, WAN};
use std::net::{IpAddr, SocketAddr};

/// A download and an upload from outside to each target at once.
fn from_outside<'a>(world: &'a World, targets: &[SocketAddr]) -> Vec<Connection<'a>> {
    let client = world.lab.internet().netns();
    let to = |&server: &SocketAddr| steady().map(|flow| Connection { client, server, flow });
    targets.iter().flat_map(to).collect()
}

/// Two ports of the shaper lead to other ports of two subscribers.
#[test]
fn port_forward() {
    lab::require_root();
    lab::require_tool("nft");
    let world = World::routed();
    world.public_addresses();
    let _servers = world.forward_ports(&format!("iifname {WAN}"), "");
    let targets = [80, 81].map(|port| SocketAddr::new(PUBLIC, port));
    let expected = |carried: &Carried| Treatment {
        lan: [(ALICE, carried.alice[0]), (BOB, carried.bob[0])].into(),
        wan: [(DEFAULT, carried.internet[0])].into(),
        translated: carried.all(),
        looked_up: 0,
        wrong_cpu: carried.bob[0] + carried.bob[1],
    };
    world.check(|_| from_outside(&world, &targets), expected, both_sides);
}

/// Each subscriber has a public address (1:1 NAT), and opens connections and is reached through it. The public addresses
/// have mappings of their own.
#[test]
fn one_to_one() {
    lab::require_root();
    lab::require_tool("nft");
    let world = World::routed();
    let [alices, bobs] = [2, 3].map(|number| IpAddr::from([198, 51, 100, number]));
    world.map(&alices.to_string(), ALICES_PUBLIC);
    world.map(&bobs.to_string(), BOBS_PUBLIC);
    let [alice, bob] = ["alice", "bob"].map(|host| world.host(host).v4());
    world.nft(&format!(
        "table ip shaper {{
            chain pre {{
                type nat hook prerouting priority dstnat
                iifname {WAN} dnat to ip daddr map {{ {alices} : {alice}, {bobs} : {bob} }}
            }}
            chain post {{
                type nat hook postrouting priority srcnat
                oifname {WAN} snat to ip saddr map {{ {alice} : {alices}, {bob} : {bobs} }}
            }}
        }}"
    ));
    let [internet, at_alice, at_bob] =
        [world.lab.internet(), world.host("alice"), world.host("bob")]
            .map(|host| Server::start(host.netns(), 0).unwrap());
    let targets = [(alices, &at_alice), (bobs, &at_bob)]
        .map(|(address, server)| SocketAddr::new(address, server.port()));
    let connections = |_| {
        let mut all = everybody(&world, &internet, world.lab.internet().v4());
        all.extend(from_outside(&world, &targets));
        all
    };
    // Both of a subscriber's addresses have the same CPU.
    let expected = |carried: &Carried| Treatment {
        lan: [(ALICE, carried.alice[0]), (BOB, carried.bob[0])].into(),
        wan: [(ALICES_PUBLIC, carried.alice[1]), (BOBS_PUBLIC, carried.bob[1])].into(),
        translated: carried.all(),
        looked_up: 0,
        wrong_cpu: 0,
    };
    world.check(connections, expected, both_sides);
}
