// SPDX-License-Identifier: GPL-2.0-only

//! Subscribers behind one public address.

use crate::world::{
    steady, Carried, Connection, Rtts, Treatment, World, ALICE, ALICE_RTT, BOB, BOB_RTT, DEFAULT,
    INTERNET, INTERNET_RTT, SUBSCRIBER,
};
use lab::{Server, WAN};
use std::net::{IpAddr, SocketAddr};

/// Each subscriber's RTTs are under the subscriber's own class; the default entry has none.
pub fn both_sides(rtts: &Rtts) -> Result<(), String> {
    rtts.are(&[
        (ALICE, &[(SUBSCRIBER, ALICE_RTT), (INTERNET, INTERNET_RTT)]),
        (BOB, &[(SUBSCRIBER, BOB_RTT), (INTERNET, INTERNET_RTT)]),
    ])
}

/// Two downloads and two uploads of each subscriber at once, all to one server port.
pub fn everybody<'a>(world: &'a World, server: &Server, address: IpAddr) -> Vec<Connection<'a>> {
    let server = SocketAddr::new(address, server.port());
    let of = |host| {
        let client = world.host(host).netns();
        [steady(), steady()].into_iter().flatten().map(move |flow| Connection {
            client,
            server,
            flow,
        })
    };
    of("alice").chain(of("bob")).collect()
}

/// What leaves by LAN has the subscribers' classes. What leaves by WAN has the public address, which is mapped by the
/// default entry alone. Nothing of bob's is on the CPU of its class: downloads come in for the default entry's CPU,
/// uploads leave with the default entry's class.
fn behind_the_default(carried: &Carried) -> Treatment {
    let Carried { alice, bob, internet } = carried;
    Treatment {
        lan: [(ALICE, alice[0]), (BOB, bob[0])].into(),
        wan: [(DEFAULT, internet[0])].into(),
        translated: carried.all(),
        looked_up: 0,
        wrong_cpu: bob[0] + bob[1],
    }
}

/// Makes a world behind NAT in the chain `post`.
fn world_behind(rule: &str) -> World {
    lab::require_root();
    lab::require_tool("nft");
    let world = World::routed();
    world.public_addresses();
    world.nft(&format!(
        "table inet shaper {{
            chain post {{
                type nat hook postrouting priority srcnat
                oifname {WAN} {rule}
            }}
        }}"
    ));
    world
}

#[test]
fn without_nat() {
    lab::require_root();
    let world = World::routed();
    let server = Server::start(world.lab.internet().netns(), 0).unwrap();
    let address = world.lab.internet().v4();
    let own = |carried: &Carried| Treatment {
        lan: [(ALICE, carried.alice[0]), (BOB, carried.bob[0])].into(),
        wan: [(ALICE, carried.alice[1]), (BOB, carried.bob[1])].into(),
        translated: 0,
        looked_up: 0,
        wrong_cpu: 0,
    };
    world.check(|_| everybody(&world, &server, address), own, both_sides);
}

/// Everybody reaches a server at `address` through this NAT.
fn check_behind(rule: &str, address: impl Fn(&World) -> IpAddr) {
    let world = world_behind(rule);
    let server = Server::start(world.lab.internet().netns(), 0).unwrap();
    let address = address(&world);
    world.check(|_| everybody(&world, &server, address), behind_the_default, both_sides);
}

#[test]
fn masquerade() {
    check_behind("meta nfproto ipv4 masquerade", |world| world.lab.internet().v4());
}

#[test]
fn masquerade_of_ipv6() {
    check_behind("meta nfproto ipv6 masquerade", |world| world.lab.internet().v6());
}

/// The range has none of the ports that Linux gives to clients, so that every port is rewritten.
#[test]
fn masquerade_with_other_ports() {
    let rule = "meta nfproto ipv4 meta l4proto tcp masquerade to :10000-10999 random";
    check_behind(rule, |world| world.lab.internet().v4());
}

/// Both subscribers have the same four ports to give to four connections each, so the NAT must rewrite some.
#[test]
fn masquerade_of_equal_ports() {
    let world = world_behind("meta nfproto ipv4 masquerade");
    let server = Server::start(world.lab.internet().netns(), 0).unwrap();
    let address = world.lab.internet().v4();
    let connections = |attempt| {
        let first = 40000 + 4 * attempt;
        for host in ["alice", "bob"] {
            let ports = format!("{first} {}", first + 3);
            world.host(host).netns().sysctl("net.ipv4.ip_local_port_range", &ports).unwrap();
        }
        everybody(&world, &server, address)
    };
    world.check(connections, behind_the_default, both_sides);
}
