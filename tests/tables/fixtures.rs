// SPDX-License-Identifier: GPL-2.0-only

//! Packets that several modules use.

use crate::common::scene::Scene;
use lab::packet::{
    hosts::*, Extension, Packet, Tcp, TcpOption, ETH_P_8021AD, ETH_P_8021Q, ETH_P_QINQ1,
};
use std::time::Duration;

/// Returns a segment of Alice's with these timestamps.
pub fn segment(ipv6: bool, port: u16, tsval: u32, tsecr: u32) -> Packet {
    let (alice, server) = if ipv6 { (ALICE6, SERVER6) } else { (ALICE, SERVER) };
    Packet::new(alice, server).tcp(Tcp::new(port, 443).timestamps(tsval, tsecr))
}

/// Returns the link headers that the parser follows: up to four tags, with and without PPPoE.
pub fn links() -> Vec<(String, Vec<u16>, bool)> {
    const KINDS: [u16; 3] = [ETH_P_8021Q, ETH_P_8021AD, ETH_P_QINQ1];
    let mut stacks: Vec<Vec<u16>> = vec![vec![]];
    stacks.extend(KINDS.iter().flat_map(|tpid| (1..=4).map(|depth| vec![*tpid; depth])));
    stacks.push(vec![ETH_P_8021AD, ETH_P_8021Q]);
    stacks.push(vec![ETH_P_QINQ1, ETH_P_8021AD, ETH_P_8021Q, ETH_P_8021Q]);
    let both = |tags: Vec<u16>| {
        [false, true].map(|pppoe| (format!("{tags:04x?} pppoe {pppoe}"), tags.clone(), pppoe))
    };
    stacks.into_iter().flat_map(both).collect()
}

/// Puts a packet behind link headers.
pub fn in_link(mut packet: Packet, tags: &[u16], pppoe: bool) -> Packet {
    for (vid, tpid) in (100..).zip(tags) {
        packet = packet.tag(*tpid, vid);
    }
    if pppoe {
        packet.pppoe(5)
    } else {
        packet
    }
}

/// Returns every kind of packet with its name, all from Alice to the server.
pub fn all() -> Vec<(&'static str, Packet)> {
    use Extension::{Authentication, Destination, Fragment, HopByHop, Routing};
    let v4 = || segment(false, 1000, 20, 10).payload(50);
    let v6 = || segment(true, 1000, 20, 10).payload(50);
    let options = Tcp::new(1000, 443).options([
        TcpOption::Mss(1460),
        TcpOption::SackPermitted,
        TcpOption::Timestamps(20, 10),
        TcpOption::WindowScale(7),
        TcpOption::Sack(1),
    ]);
    vec![
        ("IPv4 TCP", v4()),
        ("IPv6 TCP", v6()),
        (
            "IPv4 in four tags",
            in_link(v4(), &[ETH_P_8021AD, ETH_P_QINQ1, ETH_P_8021Q, ETH_P_8021Q], false),
        ),
        ("IPv6 in a tag and PPPoE", in_link(v6(), &[ETH_P_8021Q], true)),
        ("IPv4 in PPPoE", in_link(v4(), &[], true)),
        ("IPv4 below a label", v4().mpls(&[100])),
        (
            "IPv6 below four labels in two tags",
            in_link(v6(), &[ETH_P_8021AD, ETH_P_8021Q], false).mpls(&[16, 17, 0xf_ffff, 2]),
        ),
        ("IPv4 options", v4().ipv4_options(&[1; 40])),
        ("IPv4 first fragment", v4().fragment(0, true)),
        ("IPv4 later fragment", v4().fragment(1480, false)),
        (
            "IPv6 extension headers",
            v6().extension(HopByHop(8))
                .extension(Routing(24))
                .extension(Destination(16))
                .extension(Authentication(24)),
        ),
        ("IPv6 first fragment", v6().extension(Fragment(0, true))),
        ("IPv6 later fragment", v6().extension(Fragment(1480, false))),
        ("TCP options", Packet::new(ALICE, SERVER).tcp(options.clone()).payload(9)),
        ("TCP options, IPv6", Packet::new(ALICE6, SERVER6).tcp(options).payload(9)),
        ("TCP without options", Packet::new(ALICE, SERVER).tcp(Tcp::new(1, 2)).payload(9)),
        ("IPv4 UDP", Packet::new(ALICE, SERVER).udp(53, 53).payload(20)),
        ("IPv6 UDP", Packet::new(ALICE6, SERVER6).udp(53, 53).payload(20)),
        ("ICMP", Packet::new(ALICE, SERVER).echo(1).payload(20)),
        ("ICMPv6", Packet::new(ALICE6, SERVER6).echo(1).payload(20)),
        ("no transport", Packet::new(ALICE6, SERVER6)),
    ]
}

/// A flow of Alice's that gives a sample on request.
pub struct Meter<'a> {
    scene: &'a Scene,
    port: u16,
    tsval: u32,
}

impl<'a> Meter<'a> {
    pub fn new(scene: &'a Scene, port: u16) -> Self {
        let meter = Self { scene, port, tsval: 100 };
        meter.data();
        meter
    }

    pub fn data(&self) {
        let packet = segment(false, self.port, self.tsval, 7).payload(10).build();
        self.scene.classify_quickly(&packet, self.scene.to_internet(), 1);
    }

    /// Makes one sample of the internet side.
    pub fn sample(&mut self, rtt: Duration) {
        self.tsval += 1;
        self.data();
        self.scene.advance(rtt);
        let echo = segment(false, self.port, 9, self.tsval).reply().build();
        self.scene.classify_quickly(&echo, self.scene.to_subscriber(), 1);
    }
}
