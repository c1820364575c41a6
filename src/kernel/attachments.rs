// SPDX-License-Identifier: GPL-2.0-only
//! The programs of the shaper on the interfaces of this network namespace, to replace them in place.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapHandle};

use crate::abi::maps;
use crate::abi::programs::{TC_FAMILY, XDP_FAMILY};
use crate::domain::error::Result;
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::hook::Hook;
use crate::kernel::map_set::MapSet;
use crate::kernel::netlink;
use crate::kernel::pin::PinDir;
use crate::kernel::program::{self, AttachedMode};
use crate::kernel::program_info::program_maps;
use crate::kernel::program_pin::ProgramPin;
use crate::kernel::tc::{tc_exchange, tc_on};
use crate::kernel::xdp::xdp_exchange;

/// A steering program or a classifier on an interface, ours or a predecessor's. The descriptor keeps the
/// program loaded.
pub struct Attachment {
    /// The interface.
    pub dev: IfName,
    /// Its index.
    pub ifindex: u32,
    /// Where the program is attached: [`Hook::Xdp`] or [`Hook::Egress`].
    pub hook: Hook,
    /// The kernel's number of the program.
    pub id: u32,
    /// Ids of the maps that the program uses.
    pub maps: Vec<u32>,
    /// The XDP mode.
    mode: AttachedMode,
    program: OwnedFd,
}

/// Returns the attached programs of this network namespace. Leaves out a program that this process may
/// not open: without CAP_SYS_ADMIN, those that have no pin.
///
/// # Errors
/// [`Error::Other`](crate::domain::error::Error::Other): the interfaces cannot be listed.
pub fn attachments(dir: &PinDir) -> Result<Vec<Attachment>> {
    let qdiscs = netlink::qdiscs()?;
    let with_clsact: BTreeSet<u32> =
        qdiscs.iter().filter(|qdisc| qdisc.kind == "clsact").map(|qdisc| qdisc.ifindex).collect();
    let mut found = Vec::new();
    for link in netlink::links()? {
        let Ok(dev) = IfName::parse("interface", &link.name) else { continue };
        let open = |hook: Hook, id: u32, mode: AttachedMode| {
            let (dev, ifindex) = (dev.clone(), link.ifindex);
            let (name, program) = program::open(id, &ProgramPin::of(dir, hook, ifindex)).ok()?;
            let ours = match hook {
                Hook::Xdp => name == XDP_FAMILY[0] && mode != AttachedMode::Offloaded,
                _ => TC_FAMILY.contains(&name.as_str()),
            };
            let maps = program_maps(&program).ok().filter(|_| ours)?;
            Some(Attachment { dev, ifindex, hook, id, maps, mode, program })
        };
        found.extend(link.xdp.and_then(|(id, mode)| open(Hook::Xdp, id, mode)));
        if with_clsact.contains(&link.ifindex) {
            // An error means that the interface has gone since it was listed.
            let classifier = tc_on(dir, &dev).ok().flatten();
            found.extend(classifier.and_then(|tc| open(Hook::Egress, tc.id, AttachedMode::Native)));
        }
    }
    Ok(found)
}

impl Attachment {
    /// Tells whether the program must be replaced: it steers or classifies by the mapping of `set`, but
    /// uses other maps of ours than those of `set`. A program with another mapping belongs to another
    /// pin directory, and one without maps of ours is a predecessor's.
    pub fn strays_from(&self, set: &MapSet) -> bool {
        if set.id(maps::IP_HASH).is_none_or(|mapping| !self.maps.contains(&mapping)) {
            return false;
        }
        match self.own_maps() {
            Some(own) => own.iter().any(|(name, id)| set.id(name) != Some(*id)),
            // Only a program that one of our loads has pinned gets here, and every program counts.
            None => set.id(maps::STATS).is_none_or(|stats| !self.maps.contains(&stats)),
        }
    }

    /// Returns names and ids of the program's maps of ours that are pinned, or were when it was loaded;
    /// `None` without CAP_SYS_ADMIN.
    fn own_maps(&self) -> Option<Vec<(String, u32)>> {
        let mut own = Vec::new();
        for id in &self.maps {
            let name = MapHandle::from_map_id(*id).ok()?.name().to_string_lossy().into_owned();
            if maps::is_ours(&name) && maps::ALL.contains(&name.as_str()) {
                own.push((name, *id));
            }
        }
        Some(own)
    }

    /// Replaces the program in place, with its pin. Does nothing if the interface is gone.
    ///
    /// # Errors
    /// [`Error::XdpAttach`](crate::domain::error::Error::XdpAttach) or
    /// [`Error::Other`](crate::domain::error::Error::Other): the interface has another program by now,
    /// or the kernel refuses. It then has the program that it had before.
    pub fn exchange(&self, dir: &PinDir, new: BorrowedFd<'_>) -> Result<()> {
        self.swap(dir, self.program.as_fd(), new)
    }

    /// Puts the program back where [`exchange`](Self::exchange) has put `new`. Ignores errors: the one
    /// that is the reason to go back is reported.
    pub fn restore(&self, dir: &PinDir, new: BorrowedFd<'_>) {
        let _ = self.swap(dir, new, self.program.as_fd());
    }

    fn swap(&self, dir: &PinDir, old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> Result<()> {
        let swapped = match self.hook {
            Hook::Xdp => xdp_exchange(&self.dev, self.ifindex, self.mode, old, new),
            _ => tc_exchange(&self.dev, self.ifindex, old, new),
        };
        match swapped {
            Ok(()) => ProgramPin::of(dir, self.hook, self.ifindex).set(new),
            Err(_) if !device::exists(self.ifindex) => {}
            Err(err) => return Err(err),
        }
        Ok(())
    }
}
