// SPDX-License-Identifier: GPL-2.0-only
//! Listens on one interface, in both directions.
//!
//! The programs are attached by BPF links (tcx from kernel 6.6, XDP from 5.9). The kernel detaches
//! them when the link's descriptor closes, also after a crash. Before 6.6, cls_bpf filters on
//! clsact take the place of tcx (`kernel/pping_filters.rs`).

use std::os::fd::{BorrowedFd, OwnedFd};

use caps::Capability;
use nix::errno::Errno;

use crate::domain::error::{Error, Result};
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::hook::Hook;
use crate::kernel::link::link;
use crate::kernel::pping_filters::PpingFilters;
use crate::kernel::xdp::{xdp_link, XdpMode};
use crate::stream::source::live::Attachment;
use crate::stream::source::stream_programs::{StreamProgram, StreamPrograms};

/// The attachment of the programs to an interface.
pub struct Watching {
    dev: IfName,
    ifindex: u32,
    /// The hooks of the programs at TC.
    on_tc: Vec<(Hook, StreamProgram)>,
    // Held, not read: closing a link detaches its program.
    _links: Vec<OwnedFd>,
    filters: Option<PpingFilters>,
}

impl Watching {
    /// Attaches the programs to both directions of `dev`. Arriving packets are seen at `ingress`,
    /// which is XDP or TC; `mode` is the mode of XDP.
    ///
    /// # Errors
    /// [`Error::XdpAttach`] or [`Error::Other`]. The interface is then as it was.
    pub fn begin(
        dev: &IfName,
        programs: &StreamPrograms,
        ingress: Hook,
        mode: XdpMode,
    ) -> Result<Self> {
        let ifindex = device::ifindex(dev)?;
        let mut links = Vec::new();
        let mut on_tc = vec![(Hook::Egress, StreamProgram::Egress)];
        if ingress == Hook::Xdp {
            links.push(xdp_link(dev, program(programs, StreamProgram::Xdp)?, mode)?);
        } else {
            on_tc.push((Hook::Ingress, StreamProgram::Ingress));
        }
        let at_hooks = at_hooks(programs, &on_tc)?;
        let tcx: std::result::Result<Vec<_>, Errno> =
            at_hooks.iter().map(|(hook, program)| link(*program, ifindex, *hook, 0)).collect();
        let filters = match tcx {
            Ok(tcx) => {
                links.extend(tcx);
                None
            }
            // The kernel is older than 6.6 and has no tcx.
            Err(Errno::EINVAL) => {
                Some(PpingFilters::attach(ifindex, &at_hooks).map_err(|err| failed(dev, err))?)
            }
            Err(err) => return Err(failed(dev, err)),
        };
        Ok(Self { dev: dev.clone(), ifindex, on_tc, _links: links, filters })
    }

    /// Returns why some packets may pass unseen; `None` if none do.
    pub fn blind_spot(&self) -> Option<String> {
        let behind = self.filters.as_ref().is_some_and(PpingFilters::is_behind_others);
        behind.then(|| {
            format!(
                "{}: packets that the filters at priority 1 accept are not seen: on a shaper, use \
                 xdp_pping --follow",
                self.dev
            )
        })
    }
}

impl Attachment for Watching {
    fn check(&mut self, programs: &StreamPrograms) -> Result<()> {
        if !device::exists(self.ifindex) {
            return Err(Error::other(format!("listen on {}", self.dev), "it is gone", ""));
        }
        let Some(filters) = &mut self.filters else { return Ok(()) };
        let at_hooks = at_hooks(programs, &self.on_tc)?;
        filters.stay_in_front(&at_hooks).map_err(|err| failed(&self.dev, err))
    }
}

/// Returns the programs at their hooks.
fn at_hooks<'a>(
    programs: &'a StreamPrograms,
    on_tc: &[(Hook, StreamProgram)],
) -> Result<Vec<(Hook, BorrowedFd<'a>)>> {
    on_tc.iter().map(|(hook, wanted)| Ok((*hook, program(programs, *wanted)?))).collect()
}

/// Returns a loaded program.
fn program(programs: &StreamPrograms, wanted: StreamProgram) -> Result<BorrowedFd<'_>> {
    let found = programs.get(wanted);
    found.ok_or_else(|| Error::other("attach", format!("{wanted:?} was not loaded"), ""))
}

fn failed(dev: &IfName, err: Errno) -> Error {
    let remedy = match err {
        Errno::EBUSY => "end another pping; on a shaper, use xdp_pping --follow",
        _ => "",
    };
    Error::other(format!("attach to {dev}"), err, remedy).or_missing(&[Capability::CAP_NET_ADMIN])
}
