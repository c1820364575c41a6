// SPDX-License-Identifier: GPL-2.0-only
//! The doctor: finds the faults of a set-up and says how to mend them. No I/O: it turns facts into
//! findings.
//!
//! A finding is an error if traffic is not steered or not shaped as the mapping says. Everything else
//! that should be changed is a warning.

mod classes;
mod cpus;
mod finding;
mod interfaces;
mod packets;

use classes::Targets;
use finding::Findings;

pub use finding::{Finding, Severity};

use crate::shaper::counters::Counters;
use crate::shaper::inventory::Inventory;
use crate::shaper::queueing::Device;

/// The facts that the doctor judges.
pub struct Facts<'a> {
    /// The set-up.
    pub inventory: &'a Inventory,
    /// The queues and classes of each device, with its ifindex.
    pub devices: Vec<(u32, Device)>,
    /// The counters since the maps were made.
    pub counters: Counters,
    /// Whether the kernel sets the priority of packets that it routes from their type of service.
    pub forward_sets_priority: bool,
    /// Names of the capabilities for loading that this process lacks.
    pub missing_capabilities: Vec<String>,
}

/// Returns every fault, those of the interfaces first.
pub fn diagnose(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    let inventory = facts.inventory;
    for interface in &inventory.interfaces {
        match &interface.name {
            Some(name) => interfaces::check_programs(&mut found, name, interface),
            None => interfaces::check_gone(&mut found, interface),
        }
    }
    interfaces::check_sides(&mut found, inventory);
    let targets = Targets::of(inventory);
    for (name, interface) in inventory.present() {
        let device = facts.devices.iter().find(|(ifindex, _)| *ifindex == interface.ifindex);
        let Some((_, device)) = device else { continue };
        if interface.steering().is_some() {
            interfaces::check_vlan_offload(&mut found, name, device);
        }
        if interface.classifying().is_some() {
            classes::check_queues(&mut found, name, device, &targets);
            classes::check_classes(&mut found, name, device, &targets);
        }
    }
    cpus::check_mappings(&mut found, inventory);
    cpus::check_cpus(&mut found, inventory, facts.all_at_the_root());
    packets::check_handed_on(&mut found, &facts.counters);
    let sets_priority = facts.forward_sets_priority;
    packets::check_priorities(&mut found, inventory, &facts.devices, sets_priority);
    check_rights(&mut found, &facts.missing_capabilities);
    found.into_list()
}

impl Facts<'_> {
    /// Tells whether every shaped device has its shaper as the root qdisc. Packets then find their class
    /// from every queue.
    fn all_at_the_root(&self) -> bool {
        let shaped = |(_, device): &&(u32, Device)| !device.shapers.is_empty();
        let mut devices = self.devices.iter().filter(shaped).peekable();
        devices.peek().is_some() && devices.all(|(_, device)| !device.is_multiqueue())
    }
}

fn check_rights(found: &mut Findings, missing: &[String]) {
    if !missing.is_empty() {
        let what = format!("it lacks {}, which loading and attaching need", missing.join(", "));
        found.warn(
            "this process",
            what,
            "run as root, or grant them with setcap/AmbientCapabilities=",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::maps;
    use crate::domain::prefix::parse_cidr;
    use crate::domain::{Mapping, TcHandle};
    use crate::shaper::inventory::Cpu;
    use crate::shaper::inventory::Fill;
    use std::collections::BTreeMap;

    /// Returns a set-up with five mappings to CPU 0, each with a class of major 2. One is the default
    /// entry.
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
        lines_of(&Facts {
            inventory,
            devices,
            counters: Counters::default(),
            forward_sets_priority: true,
            missing_capabilities: Vec::new(),
        })
    }

    fn lines_of(facts: &Facts<'_>) -> Vec<String> {
        let lines = diagnose(facts).iter().map(ToString::to_string).collect::<Vec<_>>();
        // The first finding of every set-up without interfaces.
        assert!(lines[0].starts_with("WARN  interfaces: no interface has a direction"));
        lines[1..].to_vec()
    }

    #[test]
    fn a_finding_lists_three_examples() {
        let found = lines(&inventory(1), Vec::new());
        assert_eq!(found.len(), 1);
        let what =
            "ERROR CPU 0: 5 mappings have another major than its HTB 1:, so they miss their \
            class: ::/0 → 2:1, 100.64.0.2/32 → 2:2, 100.64.0.3/32 → 2:3, …; ";
        assert!(found[0].starts_with(what), "{}", found[0]);
    }

    #[test]
    fn a_cpu_without_a_queue_is_an_error() {
        let found = lines(&inventory(0), Vec::new());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ERROR CPU 0: 5 mappings name it, but it has no TX queue; "));
    }

    #[test]
    fn majors_do_not_matter_if_the_shaper_is_the_root() {
        let shapers = BTreeMap::from([(2, None)]);
        let device = Device { shapers, root: Some("htb".to_owned()), ..Device::default() };
        assert_eq!(lines(&inventory(1), vec![(7, device)]), [""; 0]);
    }

    /// Returns the findings after packets with these counts, in a set-up that has no other fault.
    fn lines_after(counted: &[(&str, u64)]) -> Vec<String> {
        let shapers = BTreeMap::from([(2, None)]);
        let device = Device { shapers, root: Some("htb".to_owned()), ..Device::default() };
        lines_of(&Facts {
            inventory: &inventory(1),
            devices: vec![(7, device)],
            counters: Counters::from_counts(counted),
            forward_sets_priority: false,
            missing_capabilities: Vec::new(),
        })
    }

    #[test]
    fn packets_that_are_looked_up_again_are_noticed_if_they_are_most() {
        let many = ("tc_classified", 20_000);
        assert_eq!(lines_after(&[many, ("tc_looked_up", 10_000)]), [""; 0]);
        let found = lines_after(&[many, ("tc_looked_up", 15_000)]);
        assert!(
            found[0].starts_with("WARN  packets: 75 % of them reached TC without"),
            "{found:?}"
        );
        let found = lines_after(&[many, ("tc_unmapped", 20_000), ("tc_translated", 30_000)]);
        let what = "WARN  packets: NAT on this host has changed the addresses of 75 % of them";
        assert!(found[0].starts_with(what), "{found:?}");
        assert_eq!(found.len(), 1);
        assert_eq!(lines_after(&[("tc_classified", 900), ("tc_looked_up", 900)]), [""; 0], "few");
    }

    #[test]
    fn minors_that_the_kernel_sets_are_a_warning_where_it_routes() {
        let mut inventory = inventory(1);
        let shapers = BTreeMap::from([(2, None)]);
        let root = Some("htb".to_owned());
        let routing = Device { shapers, root, routes: true, ..Device::default() };
        let bridging = Device { routes: false, ..routing.clone() };
        let found = lines(&inventory, vec![(7, routing.clone())]);
        let what = "WARN  packets: the kernel sets their minor from their type of service";
        assert!(found[0].starts_with(what), "{found:?}");
        assert!(found[0].contains("a mapped class: 2:3, 2:4, 2:5; sysctl"), "{found:?}");
        assert_eq!(found.len(), 1);
        assert_eq!(lines(&inventory, vec![(7, bridging)]), [""; 0]);
        for mapping in &mut inventory.mappings {
            mapping.tc_handle = TcHandle::new(2, mapping.tc_handle.minor() + 9);
        }
        assert_eq!(lines(&inventory, vec![(7, routing)]), [""; 0]);
    }

    #[test]
    fn a_nearly_full_map_is_a_warning() {
        let mut full = inventory(1);
        full.maps.insert(maps::IP_HASH, Fill { used: 5, limit: 5 });
        let found = lines(&full, Vec::new());
        assert!(
            found[0].starts_with("WARN  map_ip_hash: 5 of 5 entries are in use; "),
            "{found:?}"
        );
    }
}
