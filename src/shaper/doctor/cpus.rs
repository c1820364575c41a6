// SPDX-License-Identifier: GPL-2.0-only
//! Checks the mapping, and the CPUs that it names.

use std::collections::BTreeMap;

use crate::abi::maps;
use crate::domain::{Mapping, Prefix, TcHandle};
use crate::shaper::doctor::finding::{Few, Findings};
use crate::shaper::inventory::{Cpu, Inventory};

/// Checks that the mapping has a default entry and room for more entries.
pub(super) fn check_mappings(found: &mut Findings, inventory: &Inventory) {
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

/// Checks that each CPU in the mapping takes frames, and has the TX queue and the major that its mappings
/// need. `all_at_the_root`: the majors do not matter.
pub(super) fn check_cpus(found: &mut Findings, inventory: &Inventory, all_at_the_root: bool) {
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

/// Checks that frames can be redirected to a CPU.
fn check_frames(found: &mut Findings, cpu: &Cpu) {
    let subject = format!("CPU {}", cpu.cpu);
    let why = match cpu {
        Cpu { queue_size: None, .. } => "has no entry in cpu_map",
        Cpu { available: false, .. } => "is not among cpus_available",
        _ => return,
    };
    let what =
        format!("{} mappings name it, but it {why}: their packets are not steered", cpu.mappings);
    let remedy = "xdp_iphash_to_cpu --dev IF --lan (--wan) --all-cpus, or map them to another CPU";
    found.error(subject, what, remedy);
}

/// Checks that a CPU has a TX queue, and that the classes of its mappings have the major of its HTB.
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
