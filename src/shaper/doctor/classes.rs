// SPDX-License-Identifier: GPL-2.0-only
//! Checks the TX queues, qdiscs and classes of each interface against the queue table and the mapping.

use std::collections::BTreeSet;

use crate::domain::{IfName, TcHandle};
use crate::shaper::doctor::finding::{Few, Findings};
use crate::shaper::inventory::{Cpu, Inventory};
use crate::shaper::queueing::Device;

/// The classes that the mapping names, and the CPUs with mappings and a TX queue: every device needs
/// them.
pub(super) struct Targets<'a> {
    handles: BTreeSet<u32>,
    cpus: Vec<&'a Cpu>,
}

impl<'a> Targets<'a> {
    pub(super) fn of(inventory: &'a Inventory) -> Self {
        let handles = inventory.mappings.iter().map(|mapping| mapping.tc_handle.0);
        let cpus = inventory.cpus.iter().filter(|cpu| cpu.mappings > 0 && cpu.tx_queue > 0);
        Self { handles: handles.filter(|handle| *handle != 0).collect(), cpus: cpus.collect() }
    }
}

/// Checks that packets leave by the queue that the classifier sets, and that each CPU has a queue of its
/// own.
pub(super) fn check_queues(
    found: &mut Findings,
    name: &IfName,
    device: &Device,
    targets: &Targets<'_>,
) {
    if device.xps == Some(true) {
        let what = "XPS is on: it overrides the queue that the classifier sets";
        found.error(name, what, format!("xps_setup.sh -d {name} --default --disable"));
    }
    let queues = device.tx_queues.unwrap_or(usize::MAX);
    let root = device.root.as_deref().unwrap_or("none");
    if queues == 1 {
        let what = "it has one TX queue: mq cannot be used, so all CPUs share its qdisc and lock";
        let remedy = format!("ethtool -L {name} combined N, or an interface with more queues");
        found.warn(name, what, remedy);
    } else if !device.is_multiqueue() {
        let what = format!("its root qdisc is {root}, not mq: all CPUs share it and its lock");
        let remedy =
            format!("tc qdisc replace dev {name} root handle 7FFF: mq, then an HTB for each queue");
        found.warn(name, what, remedy);
    }
    // Packets reach a shaper at the root from every queue.
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

/// Checks that the queue table and the qdiscs have each major at the same queue.
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

/// Checks that the device has every class of the mapping. HTB puts packets of unknown classes into its
/// default class.
pub(super) fn check_classes(
    found: &mut Findings,
    name: &IfName,
    device: &Device,
    targets: &Targets<'_>,
) {
    if device.shapers.is_empty() {
        let remedy = format!("run the shaper's own script, or tc_mq_htb_setup_example.sh {name}");
        return match targets.handles.len() {
            0 => found.warn(name, "it has no HTB: nothing is shaped", remedy),
            n => found.error(name, format!("it has no HTB for the {n} mapped classes"), remedy),
        };
    }
    let missing: Vec<u32> = targets.handles.difference(&device.leaves).copied().collect();
    let Some(&first) = missing.first() else { return };
    let (first, count, all) = (TcHandle(first), missing.len(), targets.handles.len());
    let names = missing.iter().map(|handle| TcHandle(*handle).to_string()).collect();
    let what = format!(
        "{count} of the {all} mapped classes are not leaf classes of its HTB, so the default class gets their packets: {}",
        Few(names)
    );
    let remedy = format!(
        "tc class add dev {name} parent {:x}:1 classid {first} htb rate …, or correct the mapping",
        first.major()
    );
    found.error(name, what, remedy);
}
