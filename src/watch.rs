// SPDX-License-Identifier: GPL-2.0-only
//! Standing on one interface: both directions, and gone without a trace.
//!
//! Links (tcx from kernel 6.6, XDP from 5.9) end with their descriptor, so nothing stays after a crash.
//! Older kernels get cls_bpf filters on clsact, at a place of our own; after a crash they stay until
//! the next start replaces them, and its end removes them.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::{
    bpf_link_create_opts, bpf_tc_hook, bpf_tc_opts, BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_TC_EGRESS,
    BPF_TC_F_REPLACE, BPF_TC_INGRESS, BPF_XDP,
};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

use crate::cli::pping::IngressHook;
use crate::cli::XdpMode;
use crate::error::{Capability, Error, Result};
use crate::netlink;
use crate::stream::kernel::{Kernel, Program};
use crate::stream::live::Attachment;
use crate::values::IfName;

/// Our place among an interface's filters: late, so that classifiers of others come first.
const PRIORITY: u32 = 49_152;
const HANDLE: u32 = 0x7070;
/// include/uapi/linux/if_link.h
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The programs on an interface.
pub struct Watching {
    dev: IfName,
    ifindex: u32,
    // Only held: closing a link detaches.
    _links: Vec<OwnedFd>,
    _filters: Option<Filters>,
}

impl Watching {
    /// Attaches to both directions of `dev`.
    ///
    /// # Errors
    /// [`Error::XdpAttach`], [`Error::Other`]; the interface is then as it was.
    pub fn begin(dev: &IfName, kernel: &Kernel, hook: IngressHook, mode: XdpMode) -> Result<Self> {
        let ifindex = dev.index()?;
        let mut links = Vec::new();
        if hook == IngressHook::Xdp {
            links.push(xdp_link(dev, ifindex, program(kernel, Program::Xdp)?, mode)?);
        }
        let mut directions = vec![(Direction::Egress, program(kernel, Program::Egress)?)];
        if hook == IngressHook::Tc {
            directions.push((Direction::Ingress, program(kernel, Program::Ingress)?));
        }
        let tcx: std::result::Result<Vec<_>, Errno> = directions
            .iter()
            .map(|(direction, program)| link(*program, ifindex, direction.tcx(), 0))
            .collect();
        let filters = match tcx {
            Ok(tcx) => {
                links.extend(tcx);
                None
            }
            // No tcx in this kernel.
            Err(Errno::EINVAL) => Some(Filters::attach(dev, ifindex, &directions)?),
            Err(err) => return Err(failed(dev, err)),
        };
        Ok(Self { dev: dev.clone(), ifindex, _links: links, _filters: filters })
    }
}

impl Attachment for Watching {
    fn check(&mut self, _: &Kernel) -> Result<()> {
        // nix takes the null of libc for an empty name.
        match if_indextoname(self.ifindex) {
            Ok(name) if !name.is_empty() => Ok(()),
            _ => Err(Error::other(format!("listen on {}", self.dev), "it is gone", "")),
        }
    }
}

fn program(kernel: &Kernel, wanted: Program) -> Result<BorrowedFd<'_>> {
    let found = kernel.program(wanted);
    found.ok_or_else(|| Error::other("attach", format!("{wanted:?} was not loaded"), ""))
}

fn failed(dev: &IfName, err: Errno) -> Error {
    Error::other(format!("attach to {dev}"), err, "").or_missing(&[Capability::NetAdmin])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn tcx(self) -> u32 {
        match self {
            Self::Ingress => BPF_TCX_INGRESS,
            Self::Egress => BPF_TCX_EGRESS,
        }
    }

    fn tc(self) -> u32 {
        match self {
            Self::Ingress => BPF_TC_INGRESS,
            Self::Egress => BPF_TC_EGRESS,
        }
    }
}

/// A link: attached until its descriptor closes.
fn link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> std::result::Result<OwnedFd, Errno> {
    let opts = bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as u64,
        flags,
        ..Default::default()
    };
    // SAFETY: an open program; opts says its own size.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), ifindex as c_int, attach_type, &opts)
    };
    if fd < 0 {
        return Err(Errno::from_raw(-fd));
    }
    // SAFETY: a descriptor that the kernel has just given us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn xdp_link(dev: &IfName, ifindex: u32, program: BorrowedFd<'_>, mode: XdpMode) -> Result<OwnedFd> {
    let attempt = |flags| link(program, ifindex, BPF_XDP, flags);
    let result = match mode {
        XdpMode::Native => attempt(XDP_FLAGS_DRV_MODE),
        XdpMode::Skb => attempt(XDP_FLAGS_SKB_MODE),
        XdpMode::Auto => match attempt(XDP_FLAGS_DRV_MODE) {
            Err(Errno::EOPNOTSUPP | Errno::EINVAL) => attempt(XDP_FLAGS_SKB_MODE),
            other => other,
        },
    };
    result.map_err(|err| {
        let remedy = match err {
            Errno::EBUSY | Errno::EEXIST => {
                "the interface has an XDP program: leave --ingress-hook at tc"
            }
            _ if mode == XdpMode::Native => "the driver has no native XDP: try --xdp-mode generic",
            _ => "",
        };
        Error::xdp_attach(format!("attach XDP to {dev}"), err, remedy)
            .or_missing(&[Capability::NetAdmin])
    })
}

/// cls_bpf filters, for kernels without tcx. Dropping them removes what we made, and the clsact
/// qdisc if it was ours and nobody else uses it.
struct Filters {
    ifindex: u32,
    attached: Vec<Direction>,
    /// We made the qdisc, or a crashed start of ours did.
    own_qdisc: bool,
}

impl Filters {
    fn attach(
        dev: &IfName,
        ifindex: u32,
        directions: &[(Direction, BorrowedFd<'_>)],
    ) -> Result<Self> {
        let mut filters = Self { ifindex, attached: Vec::new(), own_qdisc: false };
        let mut hook = filters.hook(BPF_TC_INGRESS | BPF_TC_EGRESS);
        // SAFETY: the struct says its own size.
        match unsafe { libbpf_sys::bpf_tc_hook_create(&mut hook) } {
            0 => filters.own_qdisc = true,
            err if -err == Errno::EEXIST as c_int => {}
            err => return Err(failed(dev, Errno::from_raw(-err))),
        }
        for (direction, program) in directions {
            filters.own_qdisc |= filters.is_left_behind(*direction);
            let hook = filters.hook(direction.tc());
            let mut opts = place();
            opts.prog_fd = program.as_raw_fd();
            opts.flags = BPF_TC_F_REPLACE;
            // SAFETY: both structs say their own size; the program is open.
            match unsafe { libbpf_sys::bpf_tc_attach(&hook, &mut opts) } {
                0 => filters.attached.push(*direction),
                // Dropping takes back what was attached.
                err => return Err(failed(dev, Errno::from_raw(-err))),
            }
        }
        Ok(filters)
    }

    fn hook(&self, attach_point: u32) -> bpf_tc_hook {
        bpf_tc_hook {
            sz: size_of::<bpf_tc_hook>() as u64,
            ifindex: self.ifindex as c_int,
            attach_point,
            ..Default::default()
        }
    }

    /// A start that crashed has left its filter in our place.
    fn is_left_behind(&self, direction: Direction) -> bool {
        let mut opts = place();
        // SAFETY: both structs say their own size.
        unsafe { libbpf_sys::bpf_tc_query(&self.hook(direction.tc()), &mut opts) == 0 }
    }
}

fn place() -> bpf_tc_opts {
    bpf_tc_opts {
        sz: size_of::<bpf_tc_opts>() as u64,
        handle: HANDLE,
        priority: PRIORITY,
        ..Default::default()
    }
}

impl Drop for Filters {
    fn drop(&mut self) {
        for direction in &self.attached {
            let opts = place();
            // SAFETY: both structs say their own size. There is nobody left to tell of a failure.
            let _ = unsafe { libbpf_sys::bpf_tc_detach(&self.hook(direction.tc()), &opts) };
        }
        let unused = || netlink::filters(self.ifindex).is_ok_and(|filters| filters.is_empty());
        if self.own_qdisc && unused() {
            let mut hook = self.hook(BPF_TC_INGRESS | BPF_TC_EGRESS);
            // SAFETY: the struct says its own size.
            let _ = unsafe { libbpf_sys::bpf_tc_hook_destroy(&mut hook) };
        }
    }
}
