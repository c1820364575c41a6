// SPDX-License-Identifier: GPL-2.0-only

//! Two subscribers who talk to each other: their packets come in by LAN and leave by LAN.

use crate::common::shaper::Shaper;
use crate::world::{
    steady, Carried, Connection, Rtts, Treatment, World, ALICE, ALICE_RTT, BOB, BOB_RTT, PUBLIC,
    SUBSCRIBER,
};
use lab::{mac, Server, ETH, LAN};
use std::net::SocketAddr;

/// Each has the RTT of the own link, and no internet side.
fn own_links(rtts: &Rtts) -> Result<(), String> {
    rtts.are(&[(ALICE, &[(SUBSCRIBER, ALICE_RTT)]), (BOB, &[(SUBSCRIBER, BOB_RTT)])])
}

/// Every packet has its receiver's class, comes from the sender's CPU and leaves by LAN.
fn for_the_receiver(carried: &Carried) -> Treatment {
    Treatment {
        lan: [(ALICE, carried.alice[0]), (BOB, carried.bob[0])].into(),
        wan: [].into(),
        translated: 0,
        looked_up: carried.all(),
        wrong_cpu: carried.all(),
    }
}

/// A router tells hosts that share its interface to talk to each other without it. This one does not.
const NO_REDIRECTS: &str = "
    table inet quiet {
        chain output {
            type filter hook output priority filter
            icmp type redirect drop
            icmpv6 type nd-redirect drop
        }
    }";

/// Each opens a download and an upload to the other, over both families, at once.
fn check(world: &World) {
    let [alices, bobs] =
        ["alice", "bob"].map(|host| Server::start(world.host(host).netns(), 0).unwrap());
    let connections = |_| {
        let pairs = [("alice", "bob", &bobs), ("bob", "alice", &alices)];
        let open = |(from, to, server): (&str, &str, &Server)| {
            let (client, port) = (world.host(from).netns(), server.port());
            let targets = [world.host(to).v4(), world.host(to).v6()];
            targets.into_iter().flat_map(move |address| {
                let server = SocketAddr::new(address, port);
                steady().map(|flow| Connection { client, server, flow })
            })
        };
        pairs.into_iter().flat_map(open).collect()
    };
    world.check(connections, for_the_receiver, own_links);
}

#[test]
fn routed() {
    lab::require_root();
    lab::require_tool("nft");
    let world = World::routed();
    world.nft(NO_REDIRECTS);
    check(&world);
}

/// Each reaches the other's server at the shaper's public address, and is seen there at that address.
#[test]
fn at_the_public_address() {
    lab::require_root();
    lab::require_tool("nft");
    let world = World::routed();
    world.public_addresses();
    world.nft(NO_REDIRECTS);
    let masked = format!(
        "chain post {{
            type nat hook postrouting priority srcnat
            oifname {LAN} snat to {PUBLIC}
        }}"
    );
    let _servers = world.forward_ports(&format!("ip daddr {PUBLIC}"), &masked);
    let connections = |_| {
        let open = |(from, port)| {
            let (client, server) = (world.host(from).netns(), SocketAddr::new(PUBLIC, port));
            [steady(), steady()].into_iter().flatten().map(move |flow| Connection {
                client,
                server,
                flow,
            })
        };
        [("alice", 81), ("bob", 80)].into_iter().flat_map(open).collect()
    };
    let expected =
        |carried: &Carried| Treatment { translated: carried.all(), ..for_the_receiver(carried) };
    world.check(connections, expected, own_links);
}

#[test]
fn bridged() {
    lab::require_root();
    let world = World::new(|plan| plan.bridged());
    let shaper = world.lab.shaper();
    shaper.ok(&format!("bridge link set dev {LAN} hairpin on"));
    let [alice, bob] = ["alice", "bob"].map(|host| world.host(host));
    for (host, other) in [(alice, bob), (bob, alice)] {
        shaper.ok(&format!("bridge fdb replace {} dev {LAN} master static", mac::text(host.mac())));
        let at = mac::text(other.mac());
        let lines = [other.v4(), other.v6()].into_iter().flat_map(|address| {
            [
                format!("neigh replace {address} lladdr {at} dev {ETH} nud permanent"),
                format!("route add {address} dev {ETH}"),
            ]
        });
        let lines: Vec<_> = lines.collect();
        lab::tool::batch(host.netns().command("ip"), &lines).unwrap();
    }
    check(&world);
}
