//! What is compared: a pair of programs an interface, loaded once and attached in turn.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cpumap_pping::abi::{direction, Config, RttHandle, COUNTERS};
use cpumap_pping::attach::{tc_attach, xdp_attach};
use cpumap_pping::cli::{RttOptions, XdpMode};
use cpumap_pping::error::Error;
use cpumap_pping::loader::{self, maps, Program};
use cpumap_pping::machine::possible_cpus;
use cpumap_pping::map::{Map, MappedArray};
use cpumap_pping::mapping::Mappings;
use cpumap_pping::pin::PinDir;
use cpumap_pping::queues::QueueTable;
use cpumap_pping::skel::cpumap_pping::CpumapPpingSkelBuilder;
use cpumap_pping::values::{parse_cidr, IfName, Mapping, TcHandle};
use lab::{Sandbox, LAN, WAN};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapInfo, ObjectBuilder};

use crate::workload::{subscriber_v4, subscriber_v6, tc_handle, Load};
use crate::Result;

/// Frames a cpumap queue holds: the tools' default.
const QUEUE: u32 = 2048;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Xdp,
    Tc,
}

pub struct Placed {
    pub hook: Hook,
    pub device: &'static str,
    pub program: OwnedFd,
}

/// Where a system keeps its count of RTT samples.
enum Samples {
    None,
    /// Our counters.
    Counters(MapHandle),
    /// `samples` of each handle's ring.
    Rings(MapHandle),
}

pub struct System {
    pub name: &'static str,
    pub programs: Vec<Placed>,
    /// Where XDP redirects to.
    cpu_map: Option<MapHandle>,
    samples: Samples,
}

impl System {
    /// Puts the programs in the place of whatever was attached. Call it in the sandbox.
    pub fn attach(&self) -> Result<()> {
        for placed in &self.programs {
            let device = IfName::parse("", placed.device)?;
            match placed.hook {
                Hook::Xdp => {
                    xdp_attach(&device, placed.program.as_fd(), XdpMode::Native, true)?;
                }
                Hook::Tc => tc_attach(&device, placed.program.as_fd())?,
            }
        }
        Ok(())
    }

    /// Lets the threads of its cpumap run ahead of ordinary ones, as they do on a shaper that does
    /// nothing else: on a busy machine their queues would overflow.
    pub fn prefer_cpumap_threads(&self) -> Result<()> {
        let Some(map) = &self.cpu_map else { return Ok(()) };
        let suffix = format!("/map:{}", MapInfo::new(map.as_fd())?.info.id);
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if comm.starts_with("cpumap/") && comm.trim_end().ends_with(&suffix) {
                crate::generator::run_first(pid, 2)?;
            }
        }
        Ok(())
    }

    /// RTT samples so far, where the system takes any.
    pub fn samples(&self) -> Result<Option<u64>> {
        match &self.samples {
            Samples::None => Ok(None),
            Samples::Counters(map) => {
                Ok(Some(counter(map, "rtt_subscriber")? + counter(map, "rtt_internet")?))
            }
            Samples::Rings(map) => {
                let values = map.keys().map(|key| map.lookup(&key, MapFlags::ANY));
                let mut total = 0;
                for value in values {
                    let first = value?.and_then(|bytes| bytes.first_chunk::<4>().copied());
                    total += u64::from(u32::from_ne_bytes(first.unwrap_or_default()));
                }
                Ok(Some(total))
            }
        }
    }
}

/// RTT totals of the subscriber side by tc handle: samples and the sum of their times. Ours only.
pub fn rtt_totals() -> Result<BTreeMap<u32, [u64; 2]>> {
    let mut totals = BTreeMap::new();
    let records = PinDir::default().open::<u32, RttHandle>(maps::RTT)?;
    records.walk(|handle, record| {
        let total = &record.total[0];
        totals.insert(*handle, [total.count, total.sum_ns]);
    })?;
    Ok(totals)
}

/// A counter of ours, over all CPUs.
pub fn counter(stats: &MapHandle, name: &str) -> Result<u64> {
    let index = COUNTERS.iter().position(|(known, _)| *known == name).ok_or("no such counter")?;
    let memory = MappedArray::new(stats, false)?;
    let words = stats.value_size() as usize / 8;
    let cpus = 0..stats.max_entries() as usize;
    let values = cpus.filter_map(|cpu| memory.word(cpu * words + index));
    Ok(values.map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).sum())
}

/// Ours, loaded as the commands load it: one XDP and one TC program an interface.
pub fn ours(load: &Load, rtt: &RttOptions, name: &'static str) -> Result<System> {
    let dir = PinDir::default();
    let mut programs = Vec::new();
    for device in [LAN, WAN] {
        for (hook, program) in [(Hook::Xdp, Program::Steer), (Hook::Tc, Program::Classify)] {
            let fd = loader::load(&dir, program, rtt, |fd| {
                fd.try_clone_to_owned().map_err(|err| Error::other("keep a program", err, ""))
            })?;
            programs.push(Placed { hook, device, program: fd });
        }
    }
    configure_ours(&dir, load)?;
    Ok(System {
        name,
        programs,
        cpu_map: dir.try_open(maps::CPU_MAP)?,
        samples: our_samples(&dir)?,
    })
}

fn our_samples(dir: &PinDir) -> Result<Samples> {
    Ok(Samples::Counters(dir.try_open(maps::STATS)?.ok_or("no cpp_stats")?))
}

fn configure_ours(dir: &PinDir, load: &Load) -> Result<()> {
    let cpus = possible_cpus()?;
    let cpu_map: Map<u32, u32> = dir.open(maps::CPU_MAP)?;
    let available: Map<u32, u32> = dir.open(maps::CPUS_AVAILABLE)?;
    for cpu in 0..cpus {
        if cpu_map.get(&cpu)? != Some(QUEUE) {
            cpu_map.set(&cpu, &QUEUE)?;
        }
        available.set(&cpu, &1)?;
    }
    let directions: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
    directions.set(&IfName::parse("", LAN)?.index()?, &direction::LAN)?;
    directions.set(&IfName::parse("", WAN)?.index()?, &direction::WAN)?;
    QueueTable::open(dir)?.base_setup()?;
    let mappings = Mappings::open(dir)?;
    for index in 0..load.subscribers {
        let prefix = match load.shape.ipv6 {
            false => format!("{}/32", subscriber_v4(index)),
            true => format!("{}/64", subscriber_v6(index)),
        };
        let handle = TcHandle(tc_handle(index, cpus));
        let prefix = parse_cidr(&prefix)?;
        mappings.set(&Mapping { prefix, cpu: index % cpus, tc_handle: handle })?;
    }
    Ok(())
}

/// Ours with another configuration, over the same maps: to see what a piece costs.
pub fn ours_with(
    base: &System,
    name: &'static str,
    change: impl Fn(&mut Config),
) -> Result<System> {
    let dir = PinDir::default();
    let mut programs = Vec::new();
    for placed in &base.programs {
        let rodata = crate::stats::rodata(&placed.program)?;
        let mut storage = std::mem::MaybeUninit::uninit();
        let mut open = CpumapPpingSkelBuilder::default().open(&mut storage)?;
        open.progs.xdp_iphash_to_cpu.set_autoload(placed.hook == Hook::Xdp);
        open.progs.tc_classify.set_autoload(placed.hook == Hook::Tc);
        open.maps.rodata.set_initial_value(&rodata)?;
        change(&mut open.maps.rodata_data.as_deref_mut().ok_or("no .rodata")?.config);
        for mut map in open.open_object_mut().maps_mut() {
            let known = maps::ALL.iter().find(|known| map.name() == **known);
            if let Some(pinned) = known.map(|name| dir.try_open(name)).transpose()?.flatten() {
                map.reuse_fd(pinned.as_fd())?;
            }
        }
        let skel = open.load()?;
        let program = match placed.hook {
            Hook::Xdp => skel.progs.xdp_iphash_to_cpu.as_fd().try_clone_to_owned()?,
            Hook::Tc => skel.progs.tc_classify.as_fd().try_clone_to_owned()?,
        };
        programs.push(Placed { program, ..*placed });
    }
    Ok(System {
        name,
        programs,
        cpu_map: dir.try_open(maps::CPU_MAP)?,
        samples: our_samples(&dir)?,
    })
}

/// Another build of our object (`cpumap_pping.bpf.o`) with ours' configuration, to compare two states
/// of the source in one run. Pinned maps of the same shape are shared, others are its own.
pub fn ours_from(base: &System, name: &'static str, object: &[u8]) -> Result<System> {
    let dir = PinDir::default();
    let mut own: Vec<(String, MapHandle)> = Vec::new();
    let mut programs = Vec::new();
    for placed in &base.programs {
        let rodata = crate::stats::rodata(&placed.program)?;
        let wanted = if placed.hook == Hook::Xdp { "xdp_iphash_to_cpu" } else { "tc_classify" };
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
                continue;
            }
            if !maps::ALL.contains(&map_name.as_str()) {
                continue;
            }
            if let Some(pinned) = dir.try_open(&map_name)? {
                let same = (map.key_size(), map.value_size(), map.map_type())
                    == (pinned.key_size(), pinned.value_size(), pinned.map_type());
                match same {
                    true => map.reuse_fd(pinned.as_fd())?,
                    false => map.set_max_entries(map.max_entries().max(pinned.max_entries()))?,
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
    let stats = own.into_iter().find(|(name, _)| name == maps::STATS);
    let samples = stats.map_or(Samples::None, |(_, map)| Samples::Counters(map));
    Ok(System { name, programs, cpu_map: None, samples })
}

/// The reference pairs of `bench/bpf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    Empty,
    Textbook,
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

    fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Textbook => "textbook",
            Self::Predecessor => "predecessor-shaped",
        }
    }
}

/// Loads a reference pair for both interfaces; the second shares the first's maps.
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
            let hook = if program.name() == "bench_xdp" { Hook::Xdp } else { Hook::Tc };
            programs.push(Placed { hook, device, program: program.as_fd().try_clone_to_owned()? });
        }
    }
    for (name, map) in &shared {
        fill_reference(name, map, load)?;
    }
    let mut take = |wanted| {
        let index = shared.iter().position(|(name, _)| name == wanted)?;
        Some(shared.swap_remove(index).1)
    };
    let samples = take("rings").map_or(Samples::None, Samples::Rings);
    Ok(System { name: which.name(), programs, cpu_map: take("cpu_map"), samples })
}

/// 16 bytes as in the contract's maps.
fn address(load: &Load, index: u32) -> [u8; 16] {
    if load.shape.ipv6 {
        return subscriber_v6(index).octets();
    }
    let mut address = [0xff; 16];
    address[12..].copy_from_slice(&subscriber_v4(index).octets());
    address
}

fn fill_reference(name: &str, map: &MapHandle, load: &Load) -> Result<()> {
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
            .try_for_each(|index| set(&address(load, index), &word(index % cpus)))?,
        "mappings" => (0..load.subscribers).try_for_each(|index| {
            let length = if load.shape.ipv6 { 64 } else { 128 };
            let key = [&word(length)[..], &address(load, index)].concat();
            let value = [word(index % cpus), word(tc_handle(index, cpus))].concat();
            set(&key, &value)
        })?,
        _ => {}
    }
    Ok(())
}

/// Does `work` where the pins and devices are.
pub fn inside<T: Send>(sandbox: &Sandbox, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    sandbox.run(work)?
}

/// The descriptor's number, for the kernel.
pub fn raw(program: &OwnedFd) -> i32 {
    program.as_raw_fd()
}
