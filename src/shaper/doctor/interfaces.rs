// SPDX-License-Identifier: GPL-2.0-only
//! Checks each interface: its programs and its direction.

use crate::abi::maps;
use crate::domain::{Direction, IfName};
use crate::kernel::program::AttachedMode;
use crate::shaper::doctor::finding::Findings;
use crate::shaper::inventory::{Interface, Inventory};
use crate::shaper::queueing::Device;

/// Checks that an interface with a direction has both programs, that one with a program has a direction,
/// and that the programs use the pinned maps.
pub(super) fn check_programs(found: &mut Findings, name: &IfName, interface: &Interface) {
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
            "our programs are attached but it has no direction: they pass its packets on unchanged";
        found.error(name, what, load.clone());
    }
    if interface.direction.is_some() && steering.is_none() {
        let what = "no XDP program of ours: frames that it receives are not steered";
        found.error(name, what, load.clone());
    }
    if interface.direction.is_some() && classifying.is_none() {
        let what = "no classifier: packets that it sends get neither queue nor class";
        found.error(name, what, classify.clone());
    }
    if interface.pinned_maps == Some(false) {
        let what =
            "its programs use other maps than the pinned ones: changes of the mapping do not reach them";
        found.error(name, what, format!("load again: {load}; {classify}"));
    }
    if steering.is_some_and(|xdp| xdp.mode == Some(AttachedMode::Generic)) {
        let what = "XDP is attached in generic mode, which costs more per packet";
        let remedy = "load without --skb-mode; if that warns, the driver has no native XDP";
        found.warn(name, what, remedy);
    }
}

/// Reports an interface that no longer exists, but has a direction.
pub(super) fn check_gone(found: &mut Findings, interface: &Interface) {
    let Interface { ifindex, direction, .. } = interface;
    let side = direction.map_or("configured", Direction::name);
    let what = format!("gone, but still {side}: a new interface with its index inherits that");
    let [a, b, c, d] = ifindex.to_ne_bytes();
    let remedy = format!(
        "bpftool map update pinned /sys/fs/bpf/tc/globals/{} key {a} {b} {c} {d} value 0 0 0 0",
        maps::IFINDEX_TYPE
    );
    found.warn(format!("interface {ifindex}"), what, remedy);
}

/// Checks that some interface faces the subscribers, and some interface the internet.
pub(super) fn check_sides(found: &mut Findings, inventory: &Inventory) {
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
            "it is {only}, but no interface is {other}: one direction of the traffic is not shaped"
        ),
        _ => format!(
            "all of them are {only}, none is {other}: one direction of the traffic is looked up by \
             the wrong address"
        ),
    };
    let remedy =
        format!("xdp_iphash_to_cpu --dev IF --{} on the {other} side", other.to_lowercase());
    found.error(names.join(", "), what, remedy);
}

/// Checks that VLAN tags reach XDP.
pub(super) fn check_vlan_offload(found: &mut Findings, name: &IfName, device: &Device) {
    if device.rx_vlan_offload == Some(true) {
        let what =
            "receive VLAN offload is on: it hides tags from XDP, and steered frames lose them";
        found.warn(name, what, format!("ethtool -K {name} rxvlan off"));
    }
}
