// SPDX-License-Identifier: GPL-2.0-only
//! The interfaces, CPUs and maps with which a sequence begins.

use std::net::IpAddr;

use crate::classify::{Facing, Model};
use crate::mapping::{address, AddressPrefix};
use crate::rng::Rng;

/// The interfaces of the sequence, which exist, and the CPUs on which packets can run (at least one).
#[derive(Debug, Clone)]
pub struct World {
    pub lan: u32,
    pub wan: u32,
    /// An interface that faces neither side.
    pub elsewhere: u32,
    pub cpus: Vec<u32>,
    /// A CPU that is not available and has no entry in `map_txq_config`.
    pub absent_cpu: u32,
}

/// The content of the maps before the first step.
#[derive(Debug, Clone, Default)]
pub struct InitialMaps {
    pub directions: Vec<(u32, Facing)>,
    /// CPU, TX queue (from 1), HTB major.
    pub txqs: Vec<(u32, u16, u16)>,
    pub cpus: Vec<u32>,
    /// Prefix, CPU, tc handle.
    pub mappings: Vec<(AddressPrefix, u32, u32)>,
}

impl InitialMaps {
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

/// Draws the content of the maps.
pub(super) fn draw_maps(rng: &mut Rng, world: &World) -> InitialMaps {
    let mut setup = InitialMaps {
        directions: vec![(world.lan, Facing::Lan), (world.wan, Facing::Wan)],
        cpus: world.cpus.clone(),
        ..InitialMaps::default()
    };
    for (n, &cpu) in world.cpus.iter().enumerate() {
        let queue = if rng.per_mille(150) { 0 } else { n as u16 + 1 };
        let major = if rng.per_mille(100) { 0 } else { n as u16 + 1 };
        setup.txqs.push((cpu, queue, major));
    }
    for (n, host) in subscribers().into_iter().enumerate() {
        let cpu = match n {
            // What a foreign writer may have left there, too.
            0 => rng.pick(&[world.absent_cpu, 0xffff, 0x1_0000, 0x1_0001, u32::MAX]),
            _ => rng.pick(&world.cpus),
        };
        let handle = if n == 1 { 0 } else { cpu.wrapping_add(1) << 16 | (0x10 + n as u32) };
        setup.mappings.push((AddressPrefix::v6(address(host), 128), cpu, handle));
    }
    // The last subscribers have no mapping of their own. A wider prefix or the default entry may cover
    // them.
    setup.mappings.truncate(6);
    setup.mappings.push((AddressPrefix::v4([100, 64, 1, 0], 24), rng.pick(&world.cpus), 0x1_0050));
    if rng.per_mille(400) {
        setup.mappings.push((AddressPrefix::DEFAULT, rng.pick(&world.cpus), 0x1_0060));
    }
    if rng.per_mille(200) {
        setup.mappings.push((AddressPrefix::v6([0; 16], 0), rng.pick(&world.cpus), 0x1_0070));
    }
    setup
}

/// Returns the addresses of all subscribers.
pub(super) fn subscribers() -> [IpAddr; 9] {
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

/// Returns the IPv6 address of a host that ends in `last`.
pub(super) fn host_v6(last: u8) -> IpAddr {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last].into()
}
