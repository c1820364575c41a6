//! What there is: interfaces with their programs, CPUs, maps and how full they are, counters, and
//! what each device says of its queues. Reads, and judges nothing: that is [`crate::doctor`]'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{MapCore, MapHandle};
use nix::net::if_::if_nameindex;
use serde::Serialize;

use crate::abi::{self, direction, RttHandle, FLOW_WAYS};
use crate::attach::{tc_on, xdp_on, Attached};
use crate::device;
use crate::error::{Error, Result};
use crate::loader::maps;
use crate::map::{Map, MappedArray};
use crate::mapping::Mappings;
use crate::netlink::{self, TcObject};
use crate::pin::PinDir;
use crate::queues::QueueTable;
use crate::values::{IfName, Mapping};

/// Which way an interface faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The internet.
    Wan,
    /// The subscribers.
    Lan,
}

impl Direction {
    /// As operators write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wan => "WAN",
            Self::Lan => "LAN",
        }
    }

    fn of(value: u32) -> Option<Self> {
        match value {
            direction::WAN => Some(Self::Wan),
            direction::LAN => Some(Self::Lan),
            _ => None,
        }
    }
}

/// An interface that has a direction or a program of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `None`: gone, or in another network namespace.
    pub name: Option<IfName>,
    /// Its index.
    pub ifindex: u32,
    /// Its entry in `map_ifindex_type`.
    pub direction: Option<Direction>,
    /// Its XDP program, whoever's.
    pub xdp: Option<Attached>,
    /// The filter in the classifier's place on its egress.
    pub classifier: Option<Attached>,
    /// Its programs of ours use the maps that are pinned. `None`: unknown, or no such program.
    pub pinned_maps: Option<bool>,
}

impl Interface {
    /// The steering program. One whose name the process may not read counts.
    pub fn steering(&self) -> Option<&Attached> {
        self.xdp.as_ref().filter(|xdp| xdp.steers() || xdp.is_nameless())
    }

    /// The classifier. One whose name the process may not read counts.
    pub fn classifying(&self) -> Option<&Attached> {
        self.classifier.as_ref().filter(|tc| tc.classifies() || tc.is_nameless())
    }

    fn concerns_us(&self) -> bool {
        let ours = |xdp: &Attached| xdp.steers() || xdp.passes();
        self.direction.is_some()
            || self.xdp.as_ref().is_some_and(ours)
            || self.classifier.as_ref().is_some_and(Attached::classifies)
    }
}

/// One CPU's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// Its entry in `cpus_available`.
    pub available: bool,
    /// Its entry in `cpu_map`.
    pub queue_size: Option<u32>,
    /// Its TX queue, from 1; 0: none configured.
    pub tx_queue: u16,
    /// The major of that queue's HTB.
    pub htb_major: u16,
    /// Mappings that name it.
    pub mappings: usize,
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fill {
    /// Entries in use.
    pub used: usize,
    /// Entries there can be.
    pub limit: usize,
}

/// The whole set-up.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// By index.
    pub interfaces: Vec<Interface>,
    /// Those that have an entry in any table, by number.
    pub cpus: Vec<Cpu>,
    /// The maps that fill, by name; those that are not pinned are left out.
    pub maps: BTreeMap<&'static str, Fill>,
    /// The mapping.
    pub mappings: Vec<Mapping>,
}

impl Inventory {
    /// Reads everything.
    ///
    /// # Errors
    /// [`Error::MapFile`]: nothing is loaded. Else what could not be read, and why.
    pub fn read(dir: &PinDir) -> Result<Self> {
        let source = Mappings::open(dir)?;
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

    /// The interfaces that are there, with their names.
    pub fn present(&self) -> impl Iterator<Item = (&IfName, &Interface)> {
        self.interfaces.iter().filter_map(|interface| Some((interface.name.as_ref()?, interface)))
    }
}

/// The fill of the maps in which the packet path keeps its own state.
fn state_fills(dir: &PinDir) -> Result<BTreeMap<&'static str, Fill>> {
    /// 64-bit words of an entry of `cpp_addr_cache`; the one that holds the state.
    const CACHE_WORDS: usize = size_of::<abi::AddrCache>() / 8;
    const CACHE_STATE_WORD: usize = std::mem::offset_of!(abi::AddrCache, state) / 8;
    /// The same of a flow; its tag is the first.
    const FLOW_WORDS: usize = size_of::<abi::FlowBucket>() / 8 / FLOW_WAYS as usize;

    let mut fills = BTreeMap::new();
    if let Some(handle) = dir.try_open(maps::ADDR_CACHE)? {
        let used = words_set(&handle, CACHE_WORDS, CACHE_STATE_WORD)?;
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

/// Entries of `stride` words each whose word number `offset` is not 0.
fn words_set(handle: &MapHandle, stride: usize, offset: usize) -> Result<usize> {
    use std::sync::atomic::Ordering::Relaxed;
    let memory = MappedArray::new(handle, false)?;
    let words = (offset..).step_by(stride).map_while(|index| memory.word(index));
    Ok(words.filter(|word| word.load(Relaxed) != 0).count())
}

/// `map_ifindex_type` without its zeroes.
fn directions(dir: &PinDir) -> Result<BTreeMap<u32, Direction>> {
    let mut found = BTreeMap::new();
    if dir.try_open(maps::IFINDEX_TYPE)?.is_some() {
        let map: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
        map.walk(|ifindex, value| {
            found.extend(Direction::of(*value).map(|value| (*ifindex, value)));
        })?;
    }
    Ok(found)
}

/// Every CPU that a table could have.
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
    // One by one: a cpumap has no batches.
    for_each_value(dir, maps::CPU_MAP, |cpu, size| {
        cpus.entry(cpu).or_default().queue_size = Some(size).filter(|size| *size != 0);
    })?;
    for_each_value(dir, maps::CPUS_AVAILABLE, |cpu, value| {
        cpus.entry(cpu).or_default().available = value != 0;
    })?;
    Ok(cpus.into_iter().map(|(number, cpu)| Cpu { cpu: number, ..cpu }).collect())
}

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

/// The interfaces that concern us, by index.
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
    for mut interface in programs_on_interfaces()? {
        interface.direction = directions.get(&interface.ifindex).copied();
        if interface.concerns_us() {
            interface.pinned_maps = pinned.and_then(|id| uses(&interface, id, &used));
            found.insert(interface.ifindex, interface);
        }
    }
    Ok(found.into_values().collect())
}

/// Names of the interfaces that have a program of ours, whatever is pinned.
///
/// # Errors
/// [`Error::Other`]: the interfaces cannot be listed.
pub fn attached() -> Result<Vec<IfName>> {
    let found = programs_on_interfaces()?;
    Ok(found.into_iter().filter(Interface::concerns_us).filter_map(|i| i.name).collect())
}

/// Every interface of this network namespace; nothing is known of directions here.
fn programs_on_interfaces() -> Result<Vec<Interface>> {
    let qdiscs = netlink::qdiscs()?;
    let with_clsact: BTreeSet<u32> =
        qdiscs.iter().filter(|qdisc| qdisc.kind == "clsact").map(|qdisc| qdisc.ifindex).collect();
    let listed =
        if_nameindex().map_err(|err| Error::other("list the network interfaces", err, ""))?;
    let mut found = Vec::new();
    for entry in &listed {
        let Ok(name) = IfName::parse("interface", &entry.name().to_string_lossy()) else {
            continue;
        };
        match programs_on(&name, entry.index(), with_clsact.contains(&entry.index())) {
            // Gone since it was listed.
            Err(_) if name.index().is_err() => {}
            result => found.push(result?),
        }
    }
    Ok(found)
}

fn programs_on(name: &IfName, ifindex: u32, clsact: bool) -> Result<Interface> {
    Ok(Interface {
        name: Some(name.clone()),
        ifindex,
        direction: None,
        xdp: xdp_on(name)?,
        classifier: if clsact { tc_on(name)? } else { None },
        pinned_maps: None,
    })
}

/// Program → maps, by their numbers. Empty without CAP_SYS_ADMIN.
fn maps_of_programs() -> HashMap<u32, Vec<u32>> {
    let options = ProgInfoQueryOptions::default().include_map_ids(true);
    ProgInfoIter::with_query_opts(options).map(|program| (program.id, program.map_ids)).collect()
}

/// Whether all programs of ours on `interface` use the map number `id`.
fn uses(interface: &Interface, id: u32, used: &HashMap<u32, Vec<u32>>) -> Option<bool> {
    let programs = [interface.steering(), interface.classifying()].into_iter().flatten();
    let maps: Vec<_> = programs.filter_map(|program| used.get(&program.id)).collect();
    (!maps.is_empty()).then(|| maps.iter().all(|maps| maps.contains(&id)))
}

/// One reading of the counters, a row for each CPU in the order of [`abi::COUNTERS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(Vec<Vec<u64>>);

impl Counters {
    /// Reads them all; empty where no map of ours is pinned.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn read(dir: &PinDir) -> Result<Self> {
        use std::sync::atomic::Ordering::Relaxed;
        let Some(handle) = dir.try_open(maps::STATS)? else { return Ok(Self::default()) };
        let memory = MappedArray::new(&handle, false)?;
        let row = |cpu: usize| {
            let first = cpu * abi::STATS_SIZE / 8;
            let words = (first..first + abi::COUNTERS.len()).map_while(|index| memory.word(index));
            words.map(|word| word.load(Relaxed)).collect()
        };
        Ok(Self((0..handle.max_entries() as usize).map(row).collect()))
    }

    /// One counter over all CPUs.
    pub fn total(&self, counter: usize) -> u64 {
        self.0.iter().filter_map(|row| row.get(counter)).sum()
    }
}

/// What a device with the classifier says of its queues and classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Number of TX queues.
    pub tx_queues: Option<usize>,
    /// Some TX queue has an XPS mask.
    pub xps: Option<bool>,
    /// The NIC takes VLAN tags off.
    pub rx_vlan_offload: Option<bool>,
    /// Kind of the root qdisc.
    pub root: Option<String>,
    /// The shapers: major → the queue they hang from, from 1; `None` for one that is the root or
    /// deeper than that.
    pub shapers: BTreeMap<u16, Option<u16>>,
    /// The shapers' leaf classes.
    pub leaves: BTreeSet<u32>,
}

/// Qdiscs whose classes a packet's priority selects.
const SHAPERS: [&str; 2] = ["htb", "hfsc"];

impl Device {
    /// Asks a device. `qdiscs` are those of all devices.
    ///
    /// # Errors
    /// [`Error::Other`]: its classes cannot be listed.
    pub fn read(name: &IfName, ifindex: u32, qdiscs: &[TcObject]) -> Result<Self> {
        let mut own = Self::of_qdiscs(qdiscs.iter().filter(|qdisc| qdisc.ifindex == ifindex));
        own.tx_queues = device::tx_queues(name);
        own.xps = device::xps_is_on(name);
        own.rx_vlan_offload = device::rx_vlan_offload(name);
        if !own.shapers.is_empty() {
            own.leaves = leaves(&netlink::classes(ifindex)?);
        }
        Ok(own)
    }

    fn of_qdiscs<'a>(qdiscs: impl Iterator<Item = &'a TcObject> + Clone) -> Self {
        let root = qdiscs.clone().find(|qdisc| qdisc.parent == netlink::ROOT);
        let queue_of = |qdisc: &TcObject| {
            let of_root = |root: &&TcObject| root.handle >> 16 == qdisc.parent >> 16;
            root.filter(of_root).map(|_| (qdisc.parent & 0xffff) as u16)
        };
        let shapers = qdiscs.filter(|qdisc| SHAPERS.contains(&qdisc.kind.as_str()));
        Self {
            shapers: shapers.map(|qdisc| ((qdisc.handle >> 16) as u16, queue_of(qdisc))).collect(),
            root: root.map(|root| root.kind.clone()),
            ..Self::default()
        }
    }

    /// The root qdisc has a child for each TX queue.
    pub fn is_multiqueue(&self) -> bool {
        matches!(self.root.as_deref(), Some("mq" | "mqprio"))
    }
}

/// The classes of a shaper that no other class hangs from.
fn leaves(classes: &[TcObject]) -> BTreeSet<u32> {
    let of_shapers = classes.iter().filter(|class| SHAPERS.contains(&class.kind.as_str()));
    let inner: BTreeSet<u32> = of_shapers.clone().map(|class| class.parent).collect();
    of_shapers.map(|class| class.handle).filter(|handle| !inner.contains(handle)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(handle: u32, parent: u32, kind: &str) -> TcObject {
        TcObject { ifindex: 7, handle, parent, kind: kind.to_owned() }
    }

    #[test]
    fn shapers_under_mq_are_known_by_their_queue() {
        let qdiscs = [
            object(0x7fff_0000, netlink::ROOT, "mq"),
            object(0x1_0000, 0x7fff_0001, "htb"),
            object(0x2_0000, 0x7fff_000a, "htb"),
            object(0x8001_0000, 0x1_0005, "fq_codel"),
            object(0xffff_0000, 0xffff_fff1, "clsact"),
        ];
        let device = Device::of_qdiscs(qdiscs.iter());
        assert!(device.is_multiqueue());
        assert_eq!(device.shapers, BTreeMap::from([(1, Some(1)), (2, Some(10))]));
    }

    #[test]
    fn a_shaper_at_the_root_has_no_queue() {
        let qdiscs = [object(0x1_0000, netlink::ROOT, "htb")];
        let device = Device::of_qdiscs(qdiscs.iter());
        assert!(!device.is_multiqueue());
        assert_eq!(device.shapers, BTreeMap::from([(1, None)]));
        assert_eq!(Device::of_qdiscs([].iter()), Device::default());
    }

    #[test]
    fn only_leaves_take_packets() {
        let classes = [
            object(0x7fff_0001, 0x7fff_0000, "mq"),
            object(0x1_0001, netlink::ROOT, "htb"),
            object(0x1_0002, 0x1_0001, "htb"),
            object(0x1_0005, 0x1_0001, "htb"),
            object(0x8001_0001, 0x8001_0000, "fq_codel"),
        ];
        assert_eq!(leaves(&classes), BTreeSet::from([0x1_0002, 0x1_0005]));
    }
}
