// SPDX-License-Identifier: GPL-2.0-only
//! Connections, whose segments advance and echo timestamps.

use std::net::IpAddr;

use crate::frame::{timestamps_option, Frame, ACK, FIN, PSH, RST, SYN};
use crate::generate::world::{host_v6, subscribers};
use crate::rng::Rng;

/// TSvals that a connection remembers, to echo them.
const REMEMBERED: usize = 4;

/// A subscriber and a server, or two subscribers, with a clock each.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// Subscriber, the other end.
    hosts: [IpAddr; 2],
    /// Whether the other end is a subscriber, too.
    hairpin: bool,
    ports: [u16; 2],
    /// What NAT on the shaper makes of either end, as the WAN side sees it; between two subscribers, as the other
    /// one sees it.
    public: [Option<(IpAddr, u16)>; 2],
    /// The TSval clocks of way 0 (leaves by LAN) and way 1 (leaves by WAN).
    clocks: [u32; 2],
    /// The last TSvals of each way, the latest first.
    sent: [Vec<u32>; 2],
}

impl Connection {
    /// Draws hosts, ports and clocks.
    pub(super) fn draw(rng: &mut Rng) -> Connection {
        let host = match rng.below(4) {
            0 => rng.pick(&subscribers()),
            _ => rng.pick(&subscribers()[2..6]),
        };
        let hairpin = rng.per_mille(150);
        let other = match hairpin {
            true => subscriber_beside(host, rng),
            false => server(host.is_ipv6(), rng),
        };
        // Some TSvals start near the wrap.
        let mut clock =
            || if rng.per_mille(300) { 0u32.wrapping_sub(rng.u32() >> 24) } else { rng.u32() };
        let clocks = [clock(), clock()];
        let ports = [40_000 + rng.below(4) as u16, rng.pick(&[80, 443])];
        let hosts = [host, other];
        let public = match hairpin {
            true => loopback(ports, host.is_ipv6(), rng),
            false => translation(hosts, ports, rng),
        };
        Connection { hosts, hairpin, ports, public, clocks, sent: [Vec::new(), Vec::new()] }
    }

    /// Returns a segment of a way as it comes in: way 0 by WAN.
    pub(super) fn arriving(&self, segment: Frame, way: usize) -> Frame {
        let [source, destination] = self.seen(way);
        match (self.hairpin, way) {
            (true, _) => with_ends(segment, [None, destination]),
            (false, 0) => with_ends(segment, [source, destination]),
            (false, _) => segment,
        }
    }

    /// Returns a segment of a way as it leaves: way 1 by WAN.
    pub(super) fn leaving(&self, segment: Frame, way: usize) -> Frame {
        let [source, destination] = self.seen(way);
        match (self.hairpin, way) {
            (true, _) => with_ends(segment, [source, None]),
            (false, 0) => segment,
            (false, _) => with_ends(segment, [source, destination]),
        }
    }

    /// Returns source and destination of a way as others see them.
    fn seen(&self, way: usize) -> [Option<(IpAddr, u16)>; 2] {
        let [near, far] = self.public;
        if way == 0 {
            [far, near]
        } else {
            [near, far]
        }
    }

    /// Returns the addresses of both ends.
    pub(super) fn hosts(&self) -> [IpAddr; 2] {
        self.hosts
    }

    /// Whether both ends are subscribers: both ways leave by LAN.
    pub(super) fn is_hairpin(&self) -> bool {
        self.hairpin
    }

    /// Returns the next segment of a way: 0 leaves by LAN, 1 by WAN.
    pub(super) fn segment(&mut self, way: usize, rng: &mut Rng) -> Frame {
        let flags = match rng.below(1000) {
            0..=14 => SYN,
            15..=34 => SYN | ACK,
            35..=49 => FIN | ACK,
            50..=64 => RST | ACK,
            65..=74 => RST,
            75..=89 => 0,
            90..=199 => PSH | ACK,
            _ => ACK,
        };
        if flags & SYN != 0 && rng.per_mille(300) {
            self.clocks[way] = rng.u32();
        }
        let tsval = self.tsval(way, rng);
        let tsecr = self.tsecr(way, rng);
        // Way 0 goes to the subscriber.
        let (source, destination) = if way == 0 { (1, 0) } else { (0, 1) };
        let mut frame = Frame::tcp(self.hosts[source], self.hosts[destination])
            .ports(self.ports[source], self.ports[destination])
            .flags(flags);
        frame.payload = match rng.below(20) {
            0..=8 => 0,
            9..=18 => 1 + rng.below(40) as usize,
            _ => 1448,
        };
        frame.tcp_options = options(rng, tsval, tsecr);
        frame
    }

    fn tsval(&mut self, way: usize, rng: &mut Rng) -> u32 {
        let clock = &mut self.clocks[way];
        let step = match rng.below(200) {
            0..=69 => 0,
            70..=149 => 1,
            150..=179 => rng.below(1000) as u32,
            180..=193 => return clock.wrapping_sub(rng.below(6) as u32), // reordered
            194..=195 => rng.below(1 << 30) as u32,
            196 => return clock.wrapping_add(rng.below(1 << 31) as u32), // a stray segment
            197 => rng.u32(),
            _ => rng.pick(&[0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_ffff]),
        };
        *clock = clock.wrapping_add(step);
        let sent = &mut self.sent[way];
        sent.truncate(REMEMBERED - 1);
        sent.insert(0, *clock);
        *clock
    }

    fn tsecr(&self, way: usize, rng: &mut Rng) -> u32 {
        let sent = &self.sent[1 - way];
        let Some(&latest) = sent.first() else { return 0 };
        match rng.below(100) {
            0..=59 => latest,
            60..=84 => rng.pick(sent),
            85..=89 => 0,
            90..=93 => latest.wrapping_add(1),
            94..=95 => latest.wrapping_sub(1),
            96..=97 => latest ^ 0x8000_0000,
            _ => rng.u32(),
        }
    }
}

/// Draws another subscriber of the same IP version.
fn subscriber_beside(host: IpAddr, rng: &mut Rng) -> IpAddr {
    let all = subscribers();
    let others: Vec<_> =
        all.into_iter().filter(|o| *o != host && o.is_ipv6() == host.is_ipv6()).collect();
    rng.pick(&others)
}

/// Draws a server. Some differ from each other in few bits, which a weak hash would not tell apart.
fn server(is_ipv6: bool, rng: &mut Rng) -> IpAddr {
    let last = rng.below(3) as u8;
    if !is_ipv6 {
        return [192, 0, 2, last].into();
    }
    let IpAddr::V6(base) = host_v6(200) else { return host_v6(200 + last) };
    let flips =
        [0, 1 << 34, 1 << 63 | 1 << 31, 1 << 34 | 1 << 63 | 1 << 31, 1 << 98, 1 << 127 | 1 << 95];
    let bits = u128::from(base) ^ rng.pick(&flips);
    std::net::Ipv6Addr::from(bits + u128::from(last)).into()
}

/// Draws the ends of a connection as the WAN side sees them: many as they are, some behind NAT, DNAT, or
/// with another port only. An address behind NAT may be that of another subscriber.
fn translation(hosts: [IpAddr; 2], ports: [u16; 2], rng: &mut Rng) -> [Option<(IpAddr, u16)>; 2] {
    let public: IpAddr = match (hosts[0].is_ipv6(), rng.below(3)) {
        (false, 0) => [100, 64, 0, 4].into(),
        (false, last) => [198, 51, 100, last as u8].into(),
        (true, 0) => host_v6(4),
        (true, last) => host_v6(100 + last as u8),
    };
    let port = rng.pick(&[ports[0], 50_000, 50_001]);
    match rng.below(10) {
        0..=2 => [Some((public, port)), None],
        3 => [Some((hosts[0], 50_000)), None],
        4 => [None, Some((server(hosts[1].is_ipv6(), rng), rng.pick(&[ports[1], 8080])))],
        _ => [None, None],
    }
}

/// Returns a segment with other ends.
fn with_ends(mut segment: Frame, ends: [Option<(IpAddr, u16)>; 2]) -> Frame {
    let [source, destination] = ends;
    if let Some((address, port)) = source {
        (segment.source, segment.source_port) = (address, port);
    }
    if let Some((address, port)) = destination {
        (segment.destination, segment.destination_port) = (address, port);
    }
    segment
}

/// Draws the ends of a connection between two subscribers as they see each other: many as they are, some at the
/// shaper's address, some only one of them.
fn loopback(ports: [u16; 2], is_ipv6: bool, rng: &mut Rng) -> [Option<(IpAddr, u16)>; 2] {
    let public: IpAddr = if is_ipv6 { host_v6(101) } else { [198, 51, 100, 1].into() };
    let caller = (public, rng.pick(&[ports[0], 50_000]));
    let server = (public, rng.pick(&[ports[1], 8080]));
    match rng.below(10) {
        0..=2 => [Some(caller), Some(server)],
        3 => [None, Some(server)],
        _ => [None, None],
    }
}

/// Draws TCP options: as Linux sends them, in another order, or invalid.
fn options(rng: &mut Rng, tsval: u32, tsecr: u32) -> Vec<u8> {
    let ts = timestamps_option(tsval, tsecr);
    if rng.per_mille(700) {
        return [&[1, 1][..], &ts].concat();
    }
    if rng.per_mille(100) {
        return (0..rng.below(41)).map(|_| rng.pick(&[0, 1, 2, 3, 4, 5, 8, 10, 254])).collect();
    }
    let others: [&[u8]; 10] = [
        &[1],
        &[1, 1],
        &[2, 4, 5, 0xb4],
        &[4, 2],
        &[3, 3, 7],
        &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        &[254, 4, 0xf9, 0x89],
        &[34, 2],
        &[],
        &[],
    ];
    let wrong: [&[u8]; 7] = [&[0], &[8, 9], &[8, 11], &[2, 0], &[3, 1], &[253, 40], &[8]];
    let mut list = vec![rng.pick(&others), rng.pick(&others), rng.pick(&others)];
    if rng.per_mille(850) {
        list.insert(rng.below(4) as usize, &ts);
    }
    if rng.per_mille(150) {
        list.insert(rng.below(4) as usize, rng.pick(&wrong));
    }
    let mut options = list.concat();
    options.truncate(40);
    options
}
