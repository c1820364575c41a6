// SPDX-License-Identifier: GPL-2.0-only
//! Our programs, loaded as the commands load them.

use std::os::fd::AsFd;

use cpumap_pping::abi::maps;
use cpumap_pping::abi::skel::cpumap_pping::CpumapPpingSkelBuilder;
use cpumap_pping::abi::Config;
use cpumap_pping::domain::error::Error;
use cpumap_pping::domain::Direction;
use cpumap_pping::domain::{IfName, Mapping, Prefix, TcHandle};
use cpumap_pping::kernel::device::ifindex;
use cpumap_pping::kernel::load::RttOptions;
use cpumap_pping::kernel::load::{self, ShaperProgram};
use cpumap_pping::kernel::machine::possible_cpus;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::shaper::changes::Changes;
use cpumap_pping::shaper::mapping::Mappings;
use cpumap_pping::shaper::queues::QueueTable;
use lab::{LAN, WAN};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle, ObjectBuilder};

use crate::cost::names;
use crate::cost::program_stats::rodata;
use crate::cost::systems::system::{
    with_own_pins, AttachPoint, Placed, SampleCount, System, QUEUE,
};
use crate::cost::testbed::Testbed;
use crate::cost::workload::{tc_handle, Load};
use crate::error::Result;

/// How to load our programs.
pub struct Ours<'a> {
    /// The system's name in the report.
    pub name: &'a str,
    /// The load; each of its subscribers gets a mapping.
    pub load: &'a Load,
    /// Number of mappings, if more than the load's subscribers.
    pub mappings: u32,
    /// Options of the RTT measurement.
    pub rtt: RttOptions,
}

impl<'a> Ours<'a> {
    /// Makes the default: everything on.
    pub fn new(load: &'a Load) -> Self {
        Self { name: names::OURS, load, mappings: 0, rtt: RttOptions::default() }
    }
}

/// Loads our programs, with maps of their own: one XDP and one TC program for each interface.
pub fn ours(testbed: &Testbed, wanted: &Ours<'_>) -> Result<System> {
    with_own_pins(&testbed.shaper, || {
        let dir = PinDir::default();
        let mut programs = Vec::new();
        for device in [LAN, WAN] {
            let dev = IfName::parse("interface", device)?;
            for (hook, program) in [
                (AttachPoint::Xdp, ShaperProgram::Steer),
                (AttachPoint::Tc, ShaperProgram::Classify),
            ] {
                let loaded = load::load(&dir, program, &dev, &wanted.rtt, |fd| {
                    fd.try_clone_to_owned().map_err(|err| Error::other("keep a program", err, ""))
                })?;
                programs.push(Placed { hook, device, program: loaded.attached });
            }
        }
        configure(&dir, wanted)?;
        let mut pinned = Vec::new();
        for name in maps::ALL {
            if let Some(map) = dir.try_open(name)? {
                pinned.push((name.to_owned(), map));
            }
        }
        let samples = match wanted.rtt.enabled {
            true => our_samples(&pinned)?,
            false => SampleCount::None,
        };
        Ok(System { name: wanted.name.to_owned(), load: 0, programs, maps: pinned, samples })
    })
}

fn our_samples(own: &[(String, MapHandle)]) -> Result<SampleCount> {
    let stats = own.iter().find(|(name, _)| name == maps::STATS);
    Ok(SampleCount::Counters(MapHandle::try_from(&stats.ok_or("no cpp_stats")?.1)?))
}

fn configure(dir: &PinDir, wanted: &Ours<'_>) -> Result<()> {
    let cpus = possible_cpus()?;
    let cpu_map: Map<u32, u32> = dir.open(maps::CPU_MAP)?;
    let available: Map<u32, u32> = dir.open(maps::CPUS_AVAILABLE)?;
    for cpu in 0..cpus {
        cpu_map.set(&cpu, &QUEUE)?;
        available.set(&cpu, &1)?;
    }
    let directions: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
    directions.set(&ifindex(&IfName::parse("", LAN)?)?, &Direction::Lan.to_abi())?;
    directions.set(&ifindex(&IfName::parse("", WAN)?)?, &Direction::Wan.to_abi())?;
    QueueTable::open(dir)?.base_setup()?;
    let count = wanted.mappings.max(wanted.load.subscribers);
    let length = if wanted.load.shape.ipv6 { 64 } else { 128 };
    let mapping = |index| {
        let prefix = Prefix::new(wanted.load.address(index), length)?;
        let tc_handle = TcHandle(tc_handle(index, cpus));
        Some(Mapping { prefix, cpu: index % cpus, tc_handle })
    };
    let added: Option<Vec<_>> = (0..count).map(mapping).collect();
    let changes = Changes { added: added.ok_or("a prefix length over 128")?, ..Changes::default() };
    Ok(Mappings::open(dir)?.apply(&changes, false, |_| {})?)
}

/// Loads our programs with another configuration over the same maps, to measure what a piece costs.
pub fn ours_with(base: &System, name: &str, change: impl Fn(&mut Config)) -> Result<System> {
    let mut programs = Vec::new();
    for placed in &base.programs {
        let rodata = rodata(&placed.program)?;
        let mut storage = std::mem::MaybeUninit::uninit();
        let mut open = CpumapPpingSkelBuilder::default().open(&mut storage)?;
        open.progs.xdp_iphash_to_cpu.set_autoload(placed.hook == AttachPoint::Xdp);
        open.progs.tc_classify.set_autoload(placed.hook == AttachPoint::Tc);
        open.maps.rodata.set_initial_value(&rodata)?;
        change(&mut open.maps.rodata_data.as_deref_mut().ok_or("no .rodata")?.config);
        for mut map in open.open_object_mut().maps_mut() {
            if let Some(pinned) = base.map(&map.name().to_string_lossy()) {
                map.reuse_fd(pinned.as_fd())?;
            }
        }
        let skel = open.load()?;
        let program = match placed.hook {
            AttachPoint::Xdp => skel.progs.xdp_iphash_to_cpu.as_fd().try_clone_to_owned()?,
            AttachPoint::Tc => skel.progs.tc_classify.as_fd().try_clone_to_owned()?,
        };
        programs.push(Placed { program, ..*placed });
    }
    let mut shared = Vec::new();
    for (name, map) in &base.maps {
        shared.push((name.clone(), MapHandle::try_from(map)?));
    }
    let samples = our_samples(&shared)?;
    Ok(System { name: name.to_owned(), load: base.load, programs, maps: shared, samples })
}

/// Loads another build of our object (`cpumap_pping.bpf.o`) with the configuration of `base`, to compare
/// two states of the source in one run. It shares those maps that have the same shape and makes the others
/// anew.
pub fn ours_from(base: &System, name: &str, object: &[u8]) -> Result<System> {
    let mut own: Vec<(String, MapHandle)> = Vec::new();
    let mut programs = Vec::new();
    for placed in &base.programs {
        let rodata = rodata(&placed.program)?;
        let wanted =
            if placed.hook == AttachPoint::Xdp { "xdp_iphash_to_cpu" } else { "tc_classify" };
        let mut open = ObjectBuilder::default().open_memory(object)?;
        for mut program in open.progs_mut() {
            let autoload = program.name() == wanted;
            program.set_autoload(autoload);
        }
        for mut map in open.maps_mut() {
            let map_name = map.name().to_string_lossy().into_owned();
            if map_name.ends_with(".rodata") {
                map.set_initial_value(&rodata)?;
            } else if let Some((_, made)) = own.iter().find(|(known, _)| *known == map_name) {
                map.reuse_fd(made.as_fd())?;
            } else if let Some(shared) = base.map(&map_name) {
                let same = (map.key_size(), map.value_size(), map.map_type())
                    == (shared.key_size(), shared.value_size(), shared.map_type());
                match same {
                    true => map.reuse_fd(shared.as_fd())?,
                    false => map.set_max_entries(map.max_entries().max(shared.max_entries()))?,
                }
            }
        }
        let object = open.load()?;
        for map in object.maps() {
            let map_name = map.name().to_string_lossy().into_owned();
            if own.iter().all(|(known, _)| *known != map_name) && !map_name.ends_with(".rodata") {
                own.push((map_name, MapHandle::try_from(&map)?));
            }
        }
        let program = object.progs().find(|program| program.name() == wanted);
        let program = program.ok_or("an object without our programs")?;
        programs.push(Placed { program: program.as_fd().try_clone_to_owned()?, ..*placed });
    }
    let samples = our_samples(&own)?;
    Ok(System { name: name.to_owned(), load: base.load, programs, maps: own, samples })
}
