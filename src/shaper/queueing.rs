// SPDX-License-Identifier: GPL-2.0-only
//! Reads the TX queues, qdiscs and leaf classes of one device.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::error::Result;
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::netlink::{self, TcObject};

/// The queues and classes of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Number of TX queues; `None` if it is unknown.
    pub tx_queues: Option<usize>,
    /// Whether any TX queue has an XPS mask; `None` if that is unknown.
    pub xps: Option<bool>,
    /// Whether the NIC removes VLAN tags from received frames; `None` if that is unknown.
    pub rx_vlan_offload: Option<bool>,
    /// Whether the kernel routes IPv4 packets that come in by it.
    pub routes: bool,
    /// Kind of the root qdisc; `None` if there is none.
    pub root: Option<String>,
    /// The shapers: the major number of each, and the queue of the root qdisc below which it is, from 1.
    /// `None` for a shaper that is the root itself, or deeper in the tree.
    pub shapers: BTreeMap<u16, Option<u16>>,
    /// Handles of the shapers' leaf classes.
    pub leaves: BTreeSet<u32>,
}

/// Kinds of qdiscs that take a packet's class from its priority.
const SHAPERS: [&str; 2] = ["htb", "hfsc"];

impl Device {
    /// Reads the queues and classes of a device. `qdiscs` are those of all devices.
    ///
    /// # Errors
    /// [`Error::Other`](crate::domain::error::Error::Other): the classes cannot be listed.
    pub fn read(name: &IfName, ifindex: u32, qdiscs: &[TcObject]) -> Result<Self> {
        let mut own = Self::of_qdiscs(qdiscs.iter().filter(|qdisc| qdisc.ifindex == ifindex));
        own.tx_queues = device::tx_queues(name);
        own.xps = device::xps_is_on(name);
        own.rx_vlan_offload = device::rx_vlan_offload(name);
        own.routes = device::routes(name);
        if !own.shapers.is_empty() {
            own.leaves = leaves(&netlink::classes(ifindex)?);
        }
        Ok(own)
    }

    /// Returns the root and the shapers among the qdiscs of one device.
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

    /// Tells whether the root qdisc has a child for each TX queue.
    pub fn is_multiqueue(&self) -> bool {
        matches!(self.root.as_deref(), Some("mq" | "mqprio"))
    }
}

/// Returns the handles of the shapers' classes without child classes. Only they take packets.
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
    fn shapers_below_mq_have_a_queue() {
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
    fn inner_classes_are_no_leaves() {
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
