// SPDX-License-Identifier: GPL-2.0-only
//! What is wrong with a set-up, and how to mend it. Pure: facts in, findings out.
//!
//! An error is traffic that is not steered or not shaped as the mapping says; everything else that
//! should not stay as it is is a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::abi::maps;
use crate::domain::{Direction, IfName, Mapping, Prefix, TcHandle};
use crate::kernel::program::AttachedMode;
use crate::shaper::inventory::{Cpu, Interface, Inventory};
use crate::shaper::queueing::Device;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Traffic is mis-shaped.
    Error,
    /// Traffic is shaped as it should be, for now or at a price.
    Warning,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: an interface, a CPU, a map.
    pub subject: String,
    /// What is wrong, and what comes of it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// `ERROR eth0: what; remedy`, on one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARN ",
        };
        write!(f, "{severity} {}: {}; {}", self.subject, self.what, self.remedy)
    }
}

/// All that the judgement rests on.
pub struct Facts<'a> {
    /// The set-up.
    pub inventory: &'a Inventory,
    /// What the devices say, by ifindex.
    pub devices: Vec<(u32, Device)>,
    /// What this process may not do of what loading takes.
    pub missing_capabilities: Vec<String>,
}

/// Every fault, the interfaces' first.
pub fn diagnose(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    let inventory = facts.inventory;
    for interface in &inventory.interfaces {
        match &interface.name {
            Some(name) => check_programs(&mut found, name, interface),
            None => check_gone(&mut found, interface),
        }
    }
    check_sides(&mut found, inventory);
    let targets = Targets::of(inventory);
    for (name, interface) in inventory.present() {
        let device = facts.devices.iter().find(|(ifindex, _)| *ifindex == interface.ifindex);
        let Some((_, device)) = device else { continue };
        if interface.steering().is_some() {
            check_vlan_offload(&mut found, name, device);
        }
        if interface.classifying().is_some() {
            check_queues(&mut found, name, device, &targets);
            check_classes(&mut found, name, device, &targets);
        }
    }
    check_mappings(&mut found, inventory);
    check_cpus(&mut found, inventory, facts.all_at_the_root());
    check_rights(&mut found, &facts.missing_capabilities);
    found.0
}

impl Facts<'_> {
    /// Every device has its shaper as the root qdisc: its classes are found whatever the queue.
    fn all_at_the_root(&self) -> bool {
        let shaped = |(_, device): &&(u32, Device)| !device.shapers.is_empty();
        let mut devices = self.devices.iter().filter(shaped).peekable();
        devices.peek().is_some() && devices.all(|(_, device)| !device.is_multiqueue())
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(
        &mut self,
        subject: impl ToString,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, subject, what, remedy);
    }

    fn warn(&mut self, subject: impl ToString, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, subject, what, remedy);
    }

    fn add(
        &mut self,
        severity: Severity,
        subject: impl ToString,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (subject, what, remedy) = (subject.to_string(), what.into(), remedy.into());
        self.0.push(Finding { severity, subject, what, remedy });
    }
}

/// What the mapping asks of a device: classes, and the rows of the CPUs that have mappings.
struct Targets<'a> {
    handles: BTreeSet<u32>,
    cpus: Vec<&'a Cpu>,
}

impl<'a> Targets<'a> {
    fn of(inventory: &'a Inventory) -> Self {
        let handles = inventory.mappings.iter().map(|mapping| mapping.tc_handle.0);
        let cpus = inventory.cpus.iter().filter(|cpu| cpu.mappings > 0 && cpu.tx_queue > 0);
        Self { handles: handles.filter(|handle| *handle != 0).collect(), cpus: cpus.collect() }
    }
}

/// A direction needs both programs, and they need it; both need the maps that are pinned.
fn check_programs(found: &mut Findings, name: &IfName, interface: &Interface) {
    let side = match interface.direction {
        Some(Direction::Lan) => "--lan",
        Some(Direction::Wan) => "--wan",
        None => "--lan (or --wan)",
    };
    let load = format!("xdp_iphash_to_cpu --dev {name} {side}");
    let classify = format!("tc_classify --dev-egress {name}");
    let (steering, classifying) = (interface.steering(), interface.classifying());
    if interface.direction.is_none() && (steering.is_some() || classifying.is_some()) {
        let what =
            "our programs are attached but it has no direction: they leave its packets alone";
        found.error(name, what, load.clone());
    }
    if interface.direction.is_some() && steering.is_none() {
        let what = "no XDP program of ours: what it receives is not steered";
        found.error(name, what, load.clone());
    }
    if interface.direction.is_some() && classifying.is_none() {
        let what = "no classifier: what it sends has neither queue nor class";
        found.error(name, what, classify.clone());
    }
    if interface.pinned_maps == Some(false) {
        let what =
            "its programs use other maps than the pinned ones: what is set does not reach them";
        found.error(name, what, format!("load again: {load}; {classify}"));
    }
    if steering.is_some_and(|xdp| xdp.mode == Some(AttachedMode::Generic)) {
        let what = "XDP is attached in generic mode, which costs more per packet";
        let remedy = "load without --skb-mode; if that warns, the driver has no native XDP";
        found.warn(name, what, remedy);
    }
}

fn check_gone(found: &mut Findings, interface: &Interface) {
    let Interface { ifindex, direction, .. } = interface;
    let side = direction.map_or("a direction", |direction| direction.name());
    let what = format!("gone, but still {side}: a new interface that gets its index inherits that");
    let [a, b, c, d] = ifindex.to_ne_bytes();
    let remedy = format!(
        "bpftool map update pinned /sys/fs/bpf/tc/globals/{} key {a} {b} {c} {d} value 0 0 0 0",
        maps::IFINDEX_TYPE
    );
    found.warn(format!("interface {ifindex}"), what, remedy);
}

/// Subscribers on one side, the internet on the other.
fn check_sides(found: &mut Findings, inventory: &Inventory) {
    let facing = |side: Direction| -> Vec<String> {
        let facing = inventory.present().filter(|(_, i)| i.direction == Some(side));
        facing.map(|(name, _)| name.to_string()).collect()
    };
    let (lan, wan) = (facing(Direction::Lan), facing(Direction::Wan));
    let (names, only, other) = match (lan.is_empty(), wan.is_empty()) {
        (false, false) => return,
        (false, true) => (lan, "LAN", "WAN"),
        (true, false) => (wan, "WAN", "LAN"),
        (true, true) => {
            let what = "no interface has a direction: nothing is steered or shaped";
            let remedy =
                "xdp_iphash_to_cpu --dev IF --lan (and another --wan), tc_classify --dev-egress IF";
            return found.warn("interfaces", what, remedy);
        }
    };
    let what = match names.len() {
        1 => format!(
            "it is {only}, but no interface is {other}: one way of the traffic is not shaped"
        ),
        _ => format!(
            "all of them are {only}, none is {other}: one way is looked up by the wrong address"
        ),
    };
    let remedy =
        format!("xdp_iphash_to_cpu --dev IF --{} on the {other} side", other.to_lowercase());
    found.error(names.join(", "), what, remedy);
}

fn check_vlan_offload(found: &mut Findings, name: &IfName, device: &Device) {
    if device.rx_vlan_offload == Some(true) {
        let what =
            "receive VLAN offload is on: it hides tags from XDP, and steered frames lose them";
        found.warn(name, what, format!("ethtool -K {name} rxvlan off"));
    }
}

/// Packets must leave by the queue that the classifier sets, and each CPU needs one.
fn check_queues(found: &mut Findings, name: &IfName, device: &Device, targets: &Targets<'_>) {
    if device.xps == Some(true) {
        let what = "XPS is on: it overrides the queue that the classifier sets";
        found.error(name, what, format!("xps_setup.sh -d {name} --default --disable"));
    }
    let queues = device.tx_queues.unwrap_or(usize::MAX);
    let root = device.root.as_deref().unwrap_or("none");
    if queues == 1 {
        let what = "it has one TX queue: mq cannot be used, all CPUs share its qdisc and lock";
        let remedy = format!("ethtool -L {name} combined N, or an interface with more queues");
        found.warn(name, what, remedy);
    } else if !device.is_multiqueue() {
        let what = format!("its root qdisc is {root}, not mq: all CPUs share it and its lock");
        let remedy =
            format!("tc qdisc replace dev {name} root handle 7FFF: mq, and an HTB per queue");
        found.warn(name, what, remedy);
    }
    // A shaper at the root is reached by every queue.
    if device.shapers.values().any(Option::is_none) {
        return;
    }
    let beyond = |cpu: &&&Cpu| usize::from(cpu.tx_queue) > queues;
    let beyond: Vec<_> = targets.cpus.iter().filter(beyond).collect();
    if !beyond.is_empty() {
        let list = beyond.iter().map(|cpu| format!("CPU {} → queue {}", cpu.cpu, cpu.tx_queue));
        let what = format!(
            "it has {queues} TX queues, fewer than the CPUs with mappings use: {}",
            Few(list.collect())
        );
        let remedy = format!("ethtool -L {name} combined N, or map them to other CPUs");
        found.error(name, what, remedy);
    }
    check_shapers(found, name, device, targets);
}

/// The queue table and the qdiscs must agree on which major stands at which queue.
fn check_shapers(found: &mut Findings, name: &IfName, device: &Device, targets: &Targets<'_>) {
    for cpu in &targets.cpus {
        match device.shapers.get(&cpu.htb_major) {
            Some(&Some(queue)) if queue != cpu.tx_queue => {
                let Cpu { cpu, tx_queue, htb_major, .. } = cpu;
                let what = format!(
                    "CPU {cpu} sends to queue {tx_queue}, but its HTB {htb_major:x}: is at queue {queue}"
                );
                let remedy = format!(
                    "tc_classify --cpu {cpu} --queue-mapping {queue} --htb-major-hex {htb_major:x}"
                );
                found.error(name, what, remedy);
            }
            _ => {}
        }
    }
}

/// Every class of the mapping must be there: what names another falls into the default class.
fn check_classes(found: &mut Findings, name: &IfName, device: &Device, targets: &Targets<'_>) {
    if device.shapers.is_empty() {
        let remedy =
            format!("tc_mq_htb_setup_example.sh {name} shows one; or run the shaper's own");
        return match targets.handles.len() {
            0 => found.warn(name, "it has no HTB: nothing is shaped", remedy),
            n => found.error(name, format!("it has no HTB for the {n} classes mapped"), remedy),
        };
    }
    let missing: Vec<u32> = targets.handles.difference(&device.leaves).copied().collect();
    let Some(&first) = missing.first() else { return };
    let (first, count, all) = (TcHandle(first), missing.len(), targets.handles.len());
    let names = missing.iter().map(|handle| TcHandle(*handle).to_string()).collect();
    let what = format!(
        "{count} of the {all} classes mapped are no leaf class of its HTB, so the default class gets them: {}",
        Few(names)
    );
    let remedy = format!(
        "tc class add dev {name} parent {:x}:1 classid {first} htb rate …, or correct the mapping",
        first.major()
    );
    found.error(name, what, remedy);
}

fn check_mappings(found: &mut Findings, inventory: &Inventory) {
    let is_default = |mapping: &Mapping| {
        Prefix::new([0xff; 16], mapping.prefix.prefixlen()) == Some(mapping.prefix)
    };
    if !inventory.mappings.iter().any(is_default) {
        let what =
            "no default entry: traffic of unknown addresses is neither steered nor classified";
        let remedy =
            "xdp_iphash_to_cpu_cmdline --add --ip 255.255.255.255 --cpu CPU --classid MAJ:MIN";
        found.warn(maps::IP_HASH, what, remedy);
    }
    let Some(fill) = inventory.maps.get(maps::IP_HASH) else { return };
    if fill.used * 10 >= fill.limit * 9 {
        let what = format!("{} of {} entries are in use", fill.used, fill.limit);
        let remedy = "remove the pins and load again: a predecessor's map keeps its smaller size";
        found.warn(maps::IP_HASH, what, remedy);
    }
}

/// What the mapping says of a CPU against what the tables say of it.
fn check_cpus(found: &mut Findings, inventory: &Inventory, all_at_the_root: bool) {
    let mut by_cpu: BTreeMap<u32, Vec<&Mapping>> = BTreeMap::new();
    for mapping in &inventory.mappings {
        by_cpu.entry(mapping.cpu).or_default().push(mapping);
    }
    for cpu in inventory.cpus.iter().filter(|cpu| cpu.mappings > 0) {
        let mappings = by_cpu.get(&cpu.cpu).map_or(&[][..], |mappings| mappings);
        check_frames(found, cpu);
        if !all_at_the_root {
            check_major(found, cpu, mappings);
        }
    }
}

fn check_frames(found: &mut Findings, cpu: &Cpu) {
    let subject = format!("CPU {}", cpu.cpu);
    let why = match cpu {
        Cpu { queue_size: None, .. } => "has no entry in cpu_map",
        Cpu { available: false, .. } => "is not among cpus_available",
        _ => return,
    };
    let what = format!("{} mappings name it, but it {why}: they are not steered", cpu.mappings);
    let remedy = "xdp_iphash_to_cpu --dev IF --lan (--wan) --all-cpus, or map them to another CPU";
    found.error(subject, what, remedy);
}

fn check_major(found: &mut Findings, cpu: &Cpu, mappings: &[&Mapping]) {
    let Cpu { cpu, tx_queue, htb_major, .. } = cpu;
    let subject = format!("CPU {cpu}");
    let classed = mappings.iter().filter(|mapping| mapping.tc_handle != TcHandle::NONE);
    let set = format!("tc_classify --cpu {cpu} --queue-mapping QUEUE --htb-major-hex MAJOR");
    if *tx_queue == 0 && classed.clone().next().is_some() {
        let what = format!("{} mappings name it, but it has no TX queue", mappings.len());
        return found.error(subject, what, format!("{set}, or --base-setup for all"));
    }
    let other = classed.filter(|mapping| mapping.tc_handle.major() != *htb_major);
    let other: Vec<_> = other.map(|m| format!("{} → {}", m.prefix, m.tc_handle)).collect();
    if !other.is_empty() {
        let what = format!(
            "{} mappings have another major than its HTB {htb_major:x}:, so they miss their class: {}",
            other.len(),
            Few(other)
        );
        found.error(subject, what, format!("map them to the CPU of that major, or {set}"));
    }
}

fn check_rights(found: &mut Findings, missing: &[String]) {
    if !missing.is_empty() {
        let what = format!("it lacks {}, which loading and attaching take", missing.join(", "));
        found.warn(
            "this process",
            what,
            "run as root, or grant them with setcap/AmbientCapabilities=",
        );
    }
}

/// The first few of a list, and that there are more.
struct Few(Vec<String>);

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        f.write_str(&self.0[..self.0.len().min(SHOWN)].join(", "))?;
        if self.0.len() > SHOWN {
            f.write_str(", …")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prefix::parse_cidr;
    use crate::shaper::inventory::Fill;

    /// Five mappings to CPU 0, each with a class of major 2; a default entry among them.
    fn inventory(tx_queue: u16) -> Inventory {
        let to = |(minor, cidr): (u16, &str)| Mapping {
            prefix: parse_cidr(cidr).unwrap(),
            cpu: 0,
            tc_handle: TcHandle::new(2, minor + 1),
        };
        let cidrs = ["::/0", "100.64.0.2", "100.64.0.3", "100.64.0.4", "100.64.0.5"];
        let (available, queue_size) = (true, Some(2048));
        let cpu = Cpu { cpu: 0, available, queue_size, tx_queue, htb_major: 1, mappings: 5 };
        Inventory {
            interfaces: Vec::new(),
            cpus: vec![cpu],
            maps: BTreeMap::from([(maps::IP_HASH, Fill { used: 5, limit: 50 })]),
            mappings: (0..).zip(cidrs).map(to).collect(),
        }
    }

    fn lines(inventory: &Inventory, devices: Vec<(u32, Device)>) -> Vec<String> {
        let facts = Facts { inventory, devices, missing_capabilities: Vec::new() };
        let lines = diagnose(&facts).iter().map(ToString::to_string).collect::<Vec<_>>();
        // Without an interface that is always the first.
        assert!(lines[0].starts_with("WARN  interfaces: no interface has a direction"));
        lines[1..].to_vec()
    }

    #[test]
    fn long_lists_are_cut() {
        let found = lines(&inventory(1), Vec::new());
        assert_eq!(found.len(), 1);
        let what =
            "ERROR CPU 0: 5 mappings have another major than its HTB 1:, so they miss their \
            class: ::/0 → 2:1, 100.64.0.2/32 → 2:2, 100.64.0.3/32 → 2:3, …; ";
        assert!(found[0].starts_with(what), "{}", found[0]);
    }

    #[test]
    fn a_cpu_without_a_queue() {
        let found = lines(&inventory(0), Vec::new());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ERROR CPU 0: 5 mappings name it, but it has no TX queue; "));
    }

    #[test]
    fn majors_do_not_matter_where_one_shaper_is_the_root() {
        let shapers = BTreeMap::from([(2, None)]);
        let device = Device { shapers, root: Some("htb".to_owned()), ..Device::default() };
        assert_eq!(lines(&inventory(1), vec![(7, device)]), [""; 0]);
    }

    #[test]
    fn a_full_map_is_foreseen() {
        let mut full = inventory(1);
        full.maps.insert(maps::IP_HASH, Fill { used: 5, limit: 5 });
        let found = lines(&full, Vec::new());
        assert!(
            found[0].starts_with("WARN  map_ip_hash: 5 of 5 entries are in use; "),
            "{found:?}"
        );
    }
}
