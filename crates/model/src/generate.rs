//! Packet sequences for differential fuzzing, repeatable from a seed.
//!
//! A few hosts and connections whose timestamps advance and are echoed, so that samples happen; most
//! frames are right, the rest are odd (tags, extension headers, options, fragments, lengths), flipped or
//! cut. Time stands still, crawls, jumps to the edges of the time-out and beyond the wrap of the clock.
//!
//! Flipped addresses and ports make new flows. Start afresh, both sides, after some ten thousand steps:
//! the model never evicts, the BPF side's table does.

use std::net::IpAddr;

use crate::classify::{Direction, Model, Skb};
use crate::frame::{timestamps_option, Extension, Frame, Length, ACK, FIN, PSH, RST, SYN};
use crate::mapping::{address, Prefix};
use crate::rng::Rng;

/// BPF_PROG_TEST_RUN refuses frames of an Ethernet header or less.
pub const MIN_FRAME: usize = 15;

const CONNECTIONS: usize = 10;
/// TSvals a connection remembers, to echo them.
const REMEMBERED: usize = 4;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Where the sequence is played: interfaces that exist, CPUs that packets can be run on (at least one).
#[derive(Debug, Clone)]
pub struct World {
    pub lan: u32,
    pub wan: u32,
    /// An interface without a direction.
    pub elsewhere: u32,
    pub cpus: Vec<u32>,
    /// A CPU that is not available; has no `map_txq_config` entry.
    pub absent_cpu: u32,
}

/// What the maps hold before the first step.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub directions: Vec<(u32, Direction)>,
    /// CPU, queue (from 1), HTB major.
    pub txqs: Vec<(u32, u16, u16)>,
    pub cpus: Vec<u32>,
    /// Prefix, CPU, tc handle.
    pub mappings: Vec<(Prefix, u32, u32)>,
}

impl Setup {
    /// Fills a model's maps.
    pub fn apply(&self, model: &mut Model) {
        for &(ifindex, direction) in &self.directions {
            model.direction(ifindex, direction);
        }
        for &(cpu, queue, major) in &self.txqs {
            model.txq(cpu, queue, major);
        }
        for &cpu in &self.cpus {
            model.cpu_available(cpu, true);
        }
        for &(prefix, cpu, handle) in &self.mappings {
            model.map(prefix, cpu, handle);
        }
    }
}

/// One thing to do to both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Steer {
        frame: Vec<u8>,
        ifindex: u32,
    },
    Classify {
        frame: Vec<u8>,
        skb: Skb,
    },
    /// Replaces a mapping; the BPF side's caches must be told.
    Map {
        prefix: Prefix,
        cpu: u32,
        handle: u32,
    },
}

/// A subscriber and a server with a clock each.
#[derive(Debug, Clone)]
struct Connection {
    /// Subscriber, server.
    hosts: [IpAddr; 2],
    ports: [u16; 2],
    /// What way 0 (by LAN) and way 1 (by WAN) send as TSval.
    clocks: [u32; 2],
    sent: [Vec<u32>; 2],
}

/// An endless sequence of times and steps.
#[derive(Debug, Clone)]
pub struct Generator {
    rng: Rng,
    world: World,
    setup: Setup,
    connections: Vec<Connection>,
    current: usize,
    /// Changes seldom: to move from CPU to CPU takes longer than the packet.
    cpu: u32,
    /// Short waits, hence many samples.
    brisk: bool,
    now_ns: u64,
}

impl Generator {
    pub fn new(seed: u64, world: World) -> Generator {
        let mut rng = Rng::new(seed);
        let setup = setup(&mut rng, &world);
        let connections = (0..CONNECTIONS).map(|_| connection(&mut rng)).collect();
        // Uptime; a quarter of them shortly before the 32-bit clock of 8 ns units wraps, some soon after boot.
        let uptime = 1 + rng.below(1 << 42);
        let now_ns = match rng.below(1000) {
            0..=249 => (uptime | ((1 << 35) - 1)) - S,
            250..=349 => uptime % S,
            _ => uptime,
        };
        let (cpu, brisk) = (rng.pick(&world.cpus), rng.per_mille(500));
        Generator { rng, world, setup, connections, current: 0, cpu, brisk, now_ns }
    }

    /// What to put into the maps first.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    fn wait(&mut self) {
        let rng = &mut self.rng;
        if self.brisk && rng.per_mille(950) {
            self.now_ns += rng.below(20 * MS);
            return;
        }
        self.now_ns += match rng.below(1000) {
            0..=399 => 0,
            400..=849 => rng.below(50 * MS),
            850..=949 => rng.below(S),
            950..=979 => rng.below(5 * S),
            980..=986 => 10 * S - 16 + 8 * rng.below(5),
            987..=990 => rng.below(40 * S),
            991..=993 => 3 * S + rng.below(2 * S),
            994..=996 => 15 * S + rng.below(2 * S),
            997..=998 => (1 << 35) - MS + rng.below(2 * MS),
            _ => 80 * S + rng.below(40 * S),
        };
    }

    fn remap(&mut self) -> Step {
        let (prefix, cpu, handle) = self.rng.pick(&self.setup.mappings);
        let cpu = if self.rng.per_mille(300) { self.rng.pick(&self.world.cpus) } else { cpu };
        let handle = self.rng.pick(&[handle, handle ^ 0x100, handle ^ 0x1_0000, 0]);
        Step::Map { prefix, cpu, handle }
    }

    fn packet(&mut self) -> Step {
        if self.rng.per_mille(300) {
            self.current = self.rng.below(CONNECTIONS as u64) as usize;
        }
        let way = self.rng.below(2) as usize;
        let frame = self.connections[self.current].segment(way, &mut self.rng);
        let frame = spoil(&mut self.rng, frame);

        let (rng, world) = (&mut self.rng, &self.world);
        if rng.per_mille(10) {
            self.cpu = rng.pick(&world.cpus);
        }
        let (from, to) = if way == 0 { (world.wan, world.lan) } else { (world.lan, world.wan) };
        let odd = [world.lan, world.wan, world.elsewhere];
        if rng.per_mille(250) {
            let ifindex = if rng.per_mille(50) { rng.pick(&odd) } else { from };
            return Step::Steer { frame, ifindex };
        }
        let skb = Skb {
            ifindex: if rng.per_mille(30) { rng.pick(&odd) } else { to },
            ingress_ifindex: if rng.per_mille(30) { 0 } else { from },
            priority: if rng.per_mille(60) { priority(rng) } else { 0 },
            cpu: self.cpu,
        };
        Step::Classify { frame, skb }
    }
}

impl Iterator for Generator {
    type Item = (u64, Step);

    /// The time in ns, never going back, and the step.
    fn next(&mut self) -> Option<(u64, Step)> {
        self.wait();
        let step = if self.rng.per_mille(3) { self.remap() } else { self.packet() };
        Some((self.now_ns, step))
    }
}

fn setup(rng: &mut Rng, world: &World) -> Setup {
    let mut setup = Setup {
        directions: vec![(world.lan, Direction::Lan), (world.wan, Direction::Wan)],
        cpus: world.cpus.clone(),
        ..Setup::default()
    };
    for (n, &cpu) in world.cpus.iter().enumerate() {
        let queue = if rng.per_mille(150) { 0 } else { n as u16 + 1 };
        let major = if rng.per_mille(100) { 0 } else { n as u16 + 1 };
        setup.txqs.push((cpu, queue, major));
    }
    for (n, host) in subscribers().into_iter().enumerate() {
        let cpu = match n {
            0 => world.absent_cpu,
            _ => rng.pick(&world.cpus),
        };
        let handle = if n == 1 { 0 } else { (cpu + 1) << 16 | (0x10 + n as u32) };
        setup.mappings.push((Prefix::v6(address(host), 128), cpu, handle));
    }
    // The last subscribers are reached by a wider prefix or by the default entry, if at all.
    setup.mappings.truncate(6);
    setup.mappings.push((Prefix::v4([100, 64, 1, 0], 24), rng.pick(&world.cpus), 0x1_0050));
    if rng.per_mille(400) {
        setup.mappings.push((Prefix::DEFAULT, rng.pick(&world.cpus), 0x1_0060));
    }
    if rng.per_mille(200) {
        setup.mappings.push((Prefix::v6([0; 16], 0), rng.pick(&world.cpus), 0x1_0070));
    }
    setup
}

fn subscribers() -> [IpAddr; 9] {
    [
        [100, 64, 0, 1].into(),
        [100, 64, 0, 2].into(),
        [100, 64, 0, 3].into(),
        host_v6(3),
        [100, 64, 0, 4].into(),
        host_v6(4),
        [100, 64, 1, 9].into(),
        [10, 9, 9, 9].into(),
        host_v6(9),
    ]
}

fn host_v6(last: u8) -> IpAddr {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last].into()
}

fn connection(rng: &mut Rng) -> Connection {
    let host = match rng.below(4) {
        0 => rng.pick(&subscribers()),
        _ => rng.pick(&subscribers()[2..6]),
    };
    let last = rng.below(3) as u8;
    let server = if host.is_ipv6() { host_v6(200 + last) } else { [192, 0, 2, last].into() };
    // TSvals start near the wrap often enough.
    let mut clock =
        || if rng.per_mille(300) { 0u32.wrapping_sub(rng.u32() >> 24) } else { rng.u32() };
    let clocks = [clock(), clock()];
    let ports = [40_000 + rng.below(4) as u16, rng.pick(&[80, 443])];
    Connection { hosts: [host, server], ports, clocks, sent: [Vec::new(), Vec::new()] }
}

impl Connection {
    fn segment(&mut self, way: usize, rng: &mut Rng) -> Frame {
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
            194..=197 => rng.below(1 << 30) as u32,
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

/// TCP options: as Linux sends them, or in another order, or wrong.
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

fn priority(rng: &mut Rng) -> u32 {
    let (minor, any) = (rng.below(12) as u32, rng.u32());
    rng.pick(&[minor, minor, 1 << 16 | minor, 5 << 16, 0xffff_fff0 | minor, any])
}

/// Whatever may happen to a segment on its way.
fn spoil(rng: &mut Rng, mut frame: Frame) -> Vec<u8> {
    encapsulate(rng, &mut frame);
    internet_header(rng, &mut frame);
    let mut bytes = frame.build();
    if rng.per_mille(60) {
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len().min(120) as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
    }
    if rng.per_mille(40) {
        bytes.truncate(rng.below(bytes.len() as u64) as usize);
    }
    bytes.resize(bytes.len().max(MIN_FRAME), 0);
    bytes
}

fn encapsulate(rng: &mut Rng, frame: &mut Frame) {
    if rng.per_mille(250) {
        let count = rng.pick(&[1, 1, 1, 2, 2, 3, 4, 4, 5, 6]);
        frame.tags = (0..count).map(|_| rng.pick(&[0x8100, 0x88a8, 0x9100])).collect();
    }
    frame.pppoe = rng.per_mille(80);
    if rng.per_mille(10) {
        frame.ethertype = Some(rng.pick(&[0x0806, 0x8863, 0x8864, 0x0800, 0x86dd, 0x0100]));
    }
    if rng.per_mille(100) {
        frame.padding = rng.below(50) as usize;
    }
}

fn internet_header(rng: &mut Rng, frame: &mut Frame) {
    if rng.per_mille(50) {
        frame.ip_option_words = rng.below(11) as u8;
    }
    if rng.per_mille(30) {
        frame.fragment_offset = rng.pick(&[0x2000, 0x4000, 0x8000, 1, 0x2001, 0x1fff, 0x0100]);
    }
    if rng.per_mille(200) {
        let count = rng.pick(&[1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8]);
        frame.extensions = (0..count).map(|_| extension(rng)).collect();
        if rng.per_mille(150) {
            let long = rng.below(count) as usize;
            frame.extensions[long].length = rng.below(130) as u8;
        }
    }
    if rng.per_mille(20) {
        frame.protocol = rng.pick(&[17, 1, 58, 0, 43, 44, 50, 51, 59, 60]);
    }
    frame.length = match rng.below(100) {
        0..=2 => Length::Zero,
        3 => Length::Says(rng.below(150) as u16),
        4 => Length::Says(rng.u32() as u16),
        _ => Length::Right,
    };
}

fn extension(rng: &mut Rng) -> Extension {
    match rng.below(10) {
        0..=2 => Extension::new(0, rng.below(3) as u8),
        3..=4 => Extension::new(43, rng.below(4) as u8),
        5..=6 => Extension::new(60, rng.below(3) as u8),
        7 => Extension::new(51, rng.below(6) as u8),
        8 => Extension::fragment(0),
        _ => Extension::fragment(rng.below(3) as u16),
    }
}

#[cfg(test)]
mod tests;
