// SPDX-License-Identifier: GPL-2.0-only
//! Reads the set-up: interfaces with their programs, CPUs, and maps with their fill. It does not judge
//! them; [`crate::shaper::doctor`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{MapCore, MapHandle};

use crate::abi::{self, maps, RttHandle, FLOW_WAYS};
use crate::domain::error::Result;
use crate::domain::{Direction, IfName, Mapping};
use crate::kernel::device;
use crate::kernel::hook::Hook;
use crate::kernel::map::Map;
use crate::kernel::map_set::require_version;
use crate::kernel::memory::MappedArray;
use crate::kernel::netlink::{self, NetlinkInterface};
use crate::kernel::pin::PinDir;
use crate::kernel::program::Attached;
use crate::kernel::program_pin::ProgramPin;
use crate::kernel::tc::tc_on;
use crate::shaper::mapping::Mappings;
use crate::shaper::queues::QueueTable;

/// An interface that has a direction or a program of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name; `None` if the interface no longer exists, or is in another network namespace.
    pub name: Option<IfName>,
    /// Index.
    pub ifindex: u32,
    /// Direction in `map_ifindex_type`.
    pub direction: Option<Direction>,
    /// XDP program, ours or foreign.
    pub xdp: Option<Attached>,
    /// Filter in the classifier's place on egress, ours or foreign.
    pub classifier: Option<Attached>,
    /// Whether the programs of ours use the pinned maps. `None` if that is unknown, or if there is no
    /// program of ours.
    pub pinned_maps: Option<bool>,
}

impl Interface {
    /// Returns the steering program. A nameless program counts as one.
    pub fn steering(&self) -> Option<&Attached> {
        self.xdp.as_ref().filter(|xdp| xdp.steers() || xdp.is_nameless())
    }

    /// Returns the classifier. A nameless program counts as one.
    pub fn classifying(&self) -> Option<&Attached> {
        self.classifier.as_ref().filter(|tc| tc.classifies() || tc.is_nameless())
    }

    /// Tells whether the interface has a direction or a program of ours.
    fn concerns_us(&self) -> bool {
        let ours = |xdp: &Attached| xdp.steers() || xdp.passes();
        self.direction.is_some()
            || self.xdp.as_ref().is_some_and(ours)
            || self.classifier.as_ref().is_some_and(Attached::classifies)
    }
}

/// The entries of one CPU in all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Number, from 0.
    pub cpu: u32,
    /// Whether frames may be redirected to it (`cpus_available`).
    pub available: bool,
    /// Length of its queue in `cpu_map`, in frames; `None` without an entry.
    pub queue_size: Option<u32>,
    /// Number of its TX queue, from 1; 0 if none is configured.
    pub tx_queue: u16,
    /// Major number of that queue's HTB.
    pub htb_major: u16,
    /// Number of mappings that name it.
    pub mappings: usize,
}

/// The fill of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Number of entries in use.
    pub used: usize,
    /// Largest number of entries.
    pub limit: usize,
}

/// The whole set-up.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Interfaces, in the order of their indexes.
    pub interfaces: Vec<Interface>,
    /// CPUs with an entry in any table, in the order of their numbers.
    pub cpus: Vec<Cpu>,
    /// Fill of each pinned map, by name.
    pub maps: BTreeMap<&'static str, Fill>,
    /// The mapping.
    pub mappings: Vec<Mapping>,
}

impl Inventory {
    /// Reads the whole set-up.
    ///
    /// # Errors
    /// [`Error::MapFile`](crate::domain::error::Error::MapFile): nothing is loaded. Other errors: a map,
    /// an interface or a program cannot be read.
    pub fn read(dir: &PinDir) -> Result<Self> {
        let source = Mappings::open(dir)?;
        require_version(dir)?;
        let mappings = source.list()?;
        let directions = directions(dir)?;
        let all_cpus = cpus(dir, &mappings)?;
        let mut maps = state_fills(dir)?;
        let fill = Fill { used: mappings.len(), limit: source.max_entries() as usize };
        maps.insert(maps::IP_HASH, fill);
        let count = |is_set: fn(&Cpu) -> bool| all_cpus.iter().filter(|cpu| is_set(cpu)).count();
        let tables = [
            (maps::IFINDEX_TYPE, directions.len()),
            (maps::TXQ_CONFIG, count(|cpu| cpu.tx_queue != 0)),
            (maps::CPU_MAP, count(|cpu| cpu.queue_size.is_some())),
            (maps::CPUS_AVAILABLE, count(|cpu| cpu.available)),
        ];
        for (name, used) in tables {
            let Some(handle) = dir.try_open(name)? else { continue };
            maps.insert(name, Fill { used, limit: handle.max_entries() as usize });
        }
        let is_empty = |cpu: &Cpu| *cpu == Cpu { cpu: cpu.cpu, ..Cpu::default() };
        let cpus = all_cpus.into_iter().filter(|cpu| !is_empty(cpu)).collect();
        Ok(Self { interfaces: interfaces(dir, &directions)?, cpus, maps, mappings })
    }

    /// Returns the interfaces that exist, with their names.
    pub fn present(&self) -> impl Iterator<Item = (&IfName, &Interface)> {
        self.interfaces.iter().filter_map(|interface| Some((interface.name.as_ref()?, interface)))
    }
}

/// Returns the fill of the maps in which the packet path keeps its own state.
fn state_fills(dir: &PinDir) -> Result<BTreeMap<&'static str, Fill>> {
    /// Number of 64-bit words in an entry of `cpp_addr_cache`.
    const CACHE_WORDS: usize = size_of::<abi::AddrCache>() / 8;
    /// Index of the word with the answer, which is 0 in an unused entry.
    const CACHE_ANSWER_WORD: usize = std::mem::offset_of!(abi::AddrCache, answer) / 8;
    /// Number of 64-bit words in a flow. The first is the tag, which is 0 in an unused flow.
    const FLOW_WORDS: usize = size_of::<abi::FlowBucket>() / 8 / FLOW_WAYS as usize;

    let mut fills = BTreeMap::new();
    if let Some(handle) = dir.try_open(maps::ADDR_CACHE)? {
        let used = words_set(&handle, CACHE_WORDS, CACHE_ANSWER_WORD)?;
        fills.insert(maps::ADDR_CACHE, Fill { used, limit: handle.max_entries() as usize });
    }
    if let Some(handle) = dir.try_open(maps::FLOW)? {
        let limit = handle.max_entries() as usize * FLOW_WAYS as usize;
        fills.insert(maps::FLOW, Fill { used: words_set(&handle, FLOW_WORDS, 0)?, limit });
    }
    if dir.try_open(maps::RTT)?.is_some() {
        let records: Map<u32, RttHandle> = dir.open(maps::RTT)?;
        let mut used = 0;
        records.walk(|_, _| used += 1)?;
        fills.insert(maps::RTT, Fill { used, limit: records.max_entries() as usize });
    }
    Ok(fills)
}

/// Counts the entries whose word with index `offset` is not 0. An entry has `stride` words.
fn words_set(handle: &MapHandle, stride: usize, offset: usize) -> Result<usize> {
    let memory = MappedArray::open(handle)?;
    let words = (offset..).step_by(stride).map_while(|index| memory.load(index));
    Ok(words.filter(|word| *word != 0).count())
}

/// Reads `map_ifindex_type`, without the entries of 0.
fn directions(dir: &PinDir) -> Result<BTreeMap<u32, Direction>> {
    let mut found = BTreeMap::new();
    if dir.try_open(maps::IFINDEX_TYPE)?.is_some() {
        let map: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
        map.walk(|ifindex, value| {
            found.extend(Direction::from_abi(*value).map(|value| (*ifindex, value)));
        })?;
    }
    Ok(found)
}

/// Returns every CPU that a table has room for.
fn cpus(dir: &PinDir, mappings: &[Mapping]) -> Result<Vec<Cpu>> {
    let mut cpus: BTreeMap<u32, Cpu> = BTreeMap::new();
    for mapping in mappings {
        cpus.entry(mapping.cpu).or_default().mappings += 1;
    }
    if dir.try_open(maps::TXQ_CONFIG)?.is_some() {
        for row in QueueTable::open(dir)?.rows()? {
            let cpu = cpus.entry(row.cpu).or_default();
            (cpu.tx_queue, cpu.htb_major) = (row.queue_mapping, row.htb_major);
        }
    }
    for_each_value(dir, maps::CPU_MAP, |cpu, size| {
        cpus.entry(cpu).or_default().queue_size = Some(size).filter(|size| *size != 0);
    })?;
    for_each_value(dir, maps::CPUS_AVAILABLE, |cpu, value| {
        cpus.entry(cpu).or_default().available = value != 0;
    })?;
    Ok(cpus.into_iter().map(|(number, cpu)| Cpu { cpu: number, ..cpu }).collect())
}

/// Visits the values of an array or a cpumap, one system call each: a cpumap has no batch calls, and
/// these maps have one entry per CPU, so the calls are few. Does nothing if the map is not pinned.
fn for_each_value(dir: &PinDir, name: &'static str, mut visit: impl FnMut(u32, u32)) -> Result<()> {
    if dir.try_open(name)?.is_none() {
        return Ok(());
    }
    let map: Map<u32, u32> = dir.open(name)?;
    for index in 0..map.max_entries() {
        if let Some(value) = map.get(&index)? {
            visit(index, value);
        }
    }
    Ok(())
}

/// Returns the interfaces with a direction or a program of ours, in the order of their indexes.
fn interfaces(dir: &PinDir, directions: &BTreeMap<u32, Direction>) -> Result<Vec<Interface>> {
    let mut found: BTreeMap<u32, Interface> = BTreeMap::new();
    for (&ifindex, &direction) in directions {
        let gone = Interface {
            name: None,
            ifindex,
            direction: Some(direction),
            xdp: None,
            classifier: None,
            pinned_maps: None,
        };
        found.insert(ifindex, gone);
    }
    let pinned =
        dir.try_open(maps::IP_HASH)?.and_then(|map| map.info().ok()).map(|map| map.info.id);
    let used = maps_of_programs();
    for mut interface in programs_on_interfaces(dir)? {
        interface.direction = directions.get(&interface.ifindex).copied();
        if interface.concerns_us() {
            interface.pinned_maps = pinned.and_then(|id| uses(&interface, id, &used));
            found.insert(interface.ifindex, interface);
        }
    }
    Ok(found.into_values().collect())
}

/// Returns the names of the interfaces with a program of ours, even if nothing is pinned.
///
/// # Errors
/// [`Error::Other`](crate::domain::error::Error::Other): the interfaces cannot be listed.
pub fn attached(dir: &PinDir) -> Result<Vec<IfName>> {
    let found = programs_on_interfaces(dir)?;
    Ok(found.into_iter().filter(Interface::concerns_us).filter_map(|i| i.name).collect())
}

/// Reads the programs of every interface of this network namespace, with one dump of the interfaces and
/// one of the qdiscs. Leaves the directions empty.
fn programs_on_interfaces(dir: &PinDir) -> Result<Vec<Interface>> {
    let qdiscs = netlink::qdiscs()?;
    let with_clsact: BTreeSet<u32> =
        qdiscs.iter().filter(|qdisc| qdisc.kind == "clsact").map(|qdisc| qdisc.ifindex).collect();
    let mut found = Vec::new();
    for link in netlink::links()? {
        let Ok(name) = IfName::parse("interface", &link.name) else { continue };
        match programs_on(dir, &name, &link, with_clsact.contains(&link.ifindex)) {
            // The interface has disappeared since it was listed.
            Err(_) if device::ifindex(&name).is_err() => {}
            result => found.push(result?),
        }
    }
    Ok(found)
}

/// Reads the programs of one interface. `clsact` tells whether it has that qdisc: without it, there is no
/// classifier to ask for.
fn programs_on(
    dir: &PinDir,
    name: &IfName,
    link: &NetlinkInterface,
    clsact: bool,
) -> Result<Interface> {
    let ifindex = link.ifindex;
    let pin = ProgramPin::of(dir, Hook::Xdp, ifindex);
    Ok(Interface {
        name: Some(name.clone()),
        ifindex,
        direction: None,
        xdp: link.xdp.map(|(id, mode)| Attached::new(id, Some(mode), &pin)),
        classifier: if clsact { tc_on(dir, name)? } else { None },
        pinned_maps: None,
    })
}

/// Returns the ids of the maps of each loaded program, by the program's id. Returns nothing without
/// CAP_SYS_ADMIN.
fn maps_of_programs() -> HashMap<u32, Vec<u32>> {
    let options = ProgInfoQueryOptions::default().include_map_ids(true);
    ProgInfoIter::with_query_opts(options).map(|program| (program.id, program.map_ids)).collect()
}

/// Tells whether all programs of ours on `interface` use the map with this id; `None` if that is unknown.
fn uses(interface: &Interface, id: u32, used: &HashMap<u32, Vec<u32>>) -> Option<bool> {
    let programs = [interface.steering(), interface.classifying()].into_iter().flatten();
    let maps: Vec<_> = programs.filter_map(|program| used.get(&program.id)).collect();
    (!maps.is_empty()).then(|| maps.iter().all(|maps| maps.contains(&id)))
}
