// SPDX-License-Identifier: GPL-2.0-only
//! Packet sequences for differential fuzzing, repeatable from a seed.
//!
//! The sequence has a few hosts and connections, which advance and echo timestamps, so that samples
//! happen. Most frames are valid. The others are odd (tags, extension headers, options, fragments,
//! lengths), have flipped bits or are cut. Some connections are between two subscribers, and some differ only in
//! single bits of their addresses. The time between steps is zero, short, or close to the time-out or to the
//! wrap of the clock, and sometimes the clock goes back.
//!
//! Flipped addresses and ports make new flows. Start anew on both sides after some ten thousand steps: the
//! model never evicts a flow, but the table of the BPF programs does.

mod connection;
mod mutate;
mod world;

use crate::classify::Skb;
use crate::frame::Frame;
use crate::generate::connection::Connection;
use crate::generate::mutate::mutate;
use crate::generate::world::draw_maps;
use crate::mapping::{address, AddressPrefix};
use crate::rng::Rng;

pub use mutate::MIN_FRAME;
pub use world::{InitialMaps, World};

const CONNECTIONS: usize = 10;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// One step, which is played to the model and to the BPF programs.
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
    /// A packet that comes in as one frame and leaves as another: NAT may have changed it in between.
    Forward {
        arrived: Vec<u8>,
        frame: Vec<u8>,
        skb: Skb,
    },
    /// Replaces a mapping. The caches of the BPF programs must be invalidated.
    Map {
        prefix: AddressPrefix,
        cpu: u32,
        handle: u32,
    },
}

/// An endless sequence of times and steps.
#[derive(Debug, Clone)]
pub struct Generator {
    rng: Rng,
    world: World,
    setup: InitialMaps,
    connections: Vec<Connection>,
    current: usize,
    /// The CPU of the next packet. It changes rarely, because moving to another CPU takes longer than a
    /// packet.
    cpu: u32,
    /// Whether most waits are short, which gives many samples.
    brisk: bool,
    now_ns: u64,
    /// The latest time so far. The clock never goes back by more than [`MAX_BACK`] from there: the records of
    /// the BPF programs keep four epochs of 20 s.
    latest_ns: u64,
}

/// Farthest that the clock goes back.
const MAX_BACK: u64 = 40 * S;

impl Generator {
    pub fn new(seed: u64, world: World) -> Generator {
        let mut rng = Rng::new(seed);
        let setup = draw_maps(&mut rng, &world);
        let connections = (0..CONNECTIONS).map(|_| Connection::draw(&mut rng)).collect();
        // A quarter of the uptimes is shortly before the 32-bit clock of 8 ns units wraps; some are soon
        // after boot.
        let uptime = 1 + rng.below(1 << 42);
        let now_ns = match rng.below(1000) {
            0..=249 => (uptime | ((1 << 35) - 1)) - S,
            250..=349 => uptime % S,
            _ => uptime,
        };
        let (cpu, brisk) = (rng.pick(&world.cpus), rng.per_mille(500));
        let latest_ns = now_ns;
        Generator { rng, world, setup, connections, current: 0, cpu, brisk, now_ns, latest_ns }
    }

    /// Returns the content of the maps before the first step.
    pub fn setup(&self) -> &InitialMaps {
        &self.setup
    }

    fn wait(&mut self) {
        let rng = &mut self.rng;
        if self.brisk && rng.per_mille(950) {
            self.now_ns += rng.below(20 * MS);
            self.latest_ns = self.latest_ns.max(self.now_ns);
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
            994..=995 => 15 * S + rng.below(2 * S),
            996 => (1 << 35) - MS + rng.below(2 * MS),
            997..=998 => return self.go_back(),
            _ => 80 * S + rng.below(40 * S),
        };
        self.latest_ns = self.latest_ns.max(self.now_ns);
    }

    /// Sets the clock back, as captures and other CPUs do.
    fn go_back(&mut self) {
        let rng = &mut self.rng;
        let back = match rng.below(3) {
            0 => rng.below(1000),
            1 => rng.below(3 * S),
            _ => rng.below(MAX_BACK),
        };
        let least = self.latest_ns.saturating_sub(MAX_BACK).max(1);
        self.now_ns = self.now_ns.saturating_sub(back).max(least);
    }

    fn remap(&mut self) -> Step {
        let (prefix, cpu, handle) = self.mapping_to_change();
        let cpu = if self.rng.per_mille(300) { self.rng.pick(&self.world.cpus) } else { cpu };
        let handle = self.rng.pick(&[handle, handle, handle ^ 0x100, handle ^ 0x1_0000, 0]);
        Step::Map { prefix, cpu, handle }
    }

    /// Draws a mapping: any, or that of a host whose packets are under way.
    fn mapping_to_change(&mut self) -> (AddressPrefix, u32, u32) {
        let host = self.rng.pick(&self.connections[self.current].hosts());
        let own = AddressPrefix::v6(address(host), 128);
        let known = self.setup.mappings.iter().find(|(prefix, ..)| *prefix == own).copied();
        match known {
            Some(known) if self.rng.per_mille(500) => known,
            _ => self.rng.pick(&self.setup.mappings),
        }
    }

    fn packet(&mut self) -> Step {
        if self.rng.per_mille(300) {
            self.current = self.rng.below(CONNECTIONS as u64) as usize;
        }
        let way = self.rng.below(2) as usize;
        let segment = self.connections[self.current].segment(way, &mut self.rng);
        let arrived = self.arrival(segment.clone(), way);
        let frame = self.connections[self.current].leaving(segment, way);
        let frame = mutate(&mut self.rng, frame);

        let (rng, world) = (&mut self.rng, &self.world);
        if rng.per_mille(10) {
            self.cpu = rng.pick(&world.cpus);
        }
        let (from, to) = match (self.connections[self.current].is_hairpin(), way) {
            (true, _) => (world.lan, world.lan),
            (false, 0) => (world.wan, world.lan),
            (false, _) => (world.lan, world.wan),
        };
        let odd = [world.lan, world.wan, world.elsewhere];
        if rng.per_mille(250) {
            let ifindex = if rng.per_mille(50) { rng.pick(&odd) } else { from };
            return Step::Steer { frame: arrived, ifindex };
        }
        let skb = Skb {
            ifindex: if rng.per_mille(30) { rng.pick(&odd) } else { to },
            ingress_ifindex: if rng.per_mille(30) { 0 } else { from },
            priority: if rng.per_mille(60) { priority(rng) } else { 0 },
            cpu: self.cpu,
        };
        if rng.per_mille(600) {
            return Step::Forward { arrived, frame, skb };
        }
        Step::Classify { frame, skb }
    }

    /// Returns the frame as which a segment arrives. Its tags and options may be others than when it leaves.
    fn arrival(&mut self, segment: Frame, way: usize) -> Vec<u8> {
        let arriving = self.connections[self.current].arriving(segment, way);
        if self.rng.per_mille(500) {
            return mutate(&mut self.rng, arriving);
        }
        arriving.build()
    }
}

impl Iterator for Generator {
    type Item = (u64, Step);

    /// Returns the time in ns and the step.
    fn next(&mut self) -> Option<(u64, Step)> {
        self.wait();
        let step = if self.rng.per_mille(8) { self.remap() } else { self.packet() };
        Some((self.now_ns, step))
    }
}

fn priority(rng: &mut Rng) -> u32 {
    let (minor, any) = (rng.below(12) as u32, rng.u32());
    rng.pick(&[minor, minor, 1 << 16 | minor, 5 << 16, 0xffff_fff0 | minor, any])
}

#[cfg(test)]
mod tests;
