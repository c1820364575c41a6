// SPDX-License-Identifier: GPL-2.0-only
//! The pairs of reference programs in `crates/bench/bpf`.

use std::os::fd::AsFd;

use cpumap_pping::kernel::machine::possible_cpus;
use lab::{LAN, WAN};
use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder};

use crate::cost::systems::system::{AttachPoint, Placed, SampleCount, System, QUEUE};
use crate::cost::workload::{tc_handle, Load};
use crate::error::Result;

/// The reference pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Programs that do nothing: the cost of bpf_stats itself.
    Empty,
    /// One hash look-up in XDP; one LRU look-up and one update in place in TC.
    Textbook,
    /// The map operations of the C predecessor.
    Predecessor,
}

impl Reference {
    fn object(self) -> &'static [u8] {
        match self {
            Self::Empty => include_bytes!(concat!(env!("OUT_DIR"), "/empty.o")),
            Self::Textbook => include_bytes!(concat!(env!("OUT_DIR"), "/textbook.o")),
            Self::Predecessor => include_bytes!(concat!(env!("OUT_DIR"), "/predecessor.o")),
        }
    }

    /// Returns the system's name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Textbook => "textbook",
            Self::Predecessor => "predecessor-shaped",
        }
    }
}

/// Loads a reference pair for both interfaces. Both share their maps.
pub fn reference(which: Reference, load: &Load) -> Result<System> {
    let mut shared: Vec<(String, MapHandle)> = Vec::new();
    let mut programs = Vec::new();
    for (device, wan) in [(LAN, 0u32), (WAN, 1)] {
        let mut open = ObjectBuilder::default().open_memory(which.object())?;
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if name.ends_with(".rodata") {
                map.set_initial_value(&wan.to_ne_bytes())?;
            } else if let Some((_, made)) = shared.iter().find(|(known, _)| *known == name) {
                map.reuse_fd(made.as_fd())?;
            }
        }
        let object = open.load()?;
        for map in object.maps() {
            let name = map.name().to_string_lossy().into_owned();
            if shared.iter().all(|(known, _)| *known != name) && !name.ends_with(".rodata") {
                shared.push((name, MapHandle::try_from(&map)?));
            }
        }
        for program in object.progs() {
            let hook =
                if program.name() == "bench_xdp" { AttachPoint::Xdp } else { AttachPoint::Tc };
            programs.push(Placed { hook, device, program: program.as_fd().try_clone_to_owned()? });
        }
    }
    for (name, map) in &shared {
        fill(name, map, load)?;
    }
    let rings = shared.iter().find(|(name, _)| name == "rings").map(|(_, map)| map);
    let rings = rings.map(MapHandle::try_from).transpose()?;
    let samples = rings.map_or(SampleCount::None, SampleCount::Rings);
    Ok(System { name: which.name().to_owned(), load: 0, programs, maps: shared, samples })
}

fn fill(name: &str, map: &MapHandle, load: &Load) -> Result<()> {
    let cpus = possible_cpus()?;
    let set = |key: &[u8], value: &[u8]| map.update(key, value, MapFlags::ANY);
    let word = u32::to_ne_bytes;
    match name {
        "cpu_map" => {
            (0..cpus).try_for_each(|cpu| set(&word(cpu), &word(QUEUE)))?;
        }
        "available" => (0..cpus).try_for_each(|cpu| set(&word(cpu), &word(1)))?,
        "queues" => (0..cpus).try_for_each(|cpu| set(&word(cpu), &word(0x10001 * (cpu + 1))))?,
        "subscribers" => (0..load.subscribers)
            .try_for_each(|index| set(&load.address(index), &word(index % cpus)))?,
        "mappings" => (0..load.subscribers).try_for_each(|index| {
            let length = if load.shape.ipv6 { 64 } else { 128 };
            let key = [&word(length)[..], &load.address(index)].concat();
            let value = [word(index % cpus), word(tc_handle(index, cpus))].concat();
            set(&key, &value)
        })?,
        _ => {}
    }
    Ok(())
}
