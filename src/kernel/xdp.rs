// SPDX-License-Identifier: GPL-2.0-only
//! Attaches XDP programs through netlink, so that `ip link set dev X xdp off` detaches them. Foreign
//! programs stay in place unless the operator forces their removal.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use caps::Capability;
use libbpf_sys::{bpf_xdp_attach_opts, bpf_xdp_query_opts};
use nix::errno::Errno;

use crate::abi::programs::XDP_FAMILY;
use crate::domain::error::{Error, Result};
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::errno::{check, KernelResult};
use crate::kernel::hook::Hook;
use crate::kernel::link::link;
use crate::kernel::pin::PinDir;
use crate::kernel::program::{self, AttachedMode};
use crate::kernel::program_pin::ProgramPin;

/// The XDP mode that the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native if the driver supports it, else generic.
    #[default]
    Auto,
    /// Generic, on socket buffers: works with every driver, but costs more per packet.
    Skb,
    /// In the driver; attaching fails if the driver does not support it.
    Native,
}

/// `XDP_FLAGS_*` of include/uapi/linux/if_link.h.
mod flag {
    pub(super) const UPDATE_IF_NOEXIST: u32 = 1;
    pub(super) const SKB_MODE: u32 = 1 << 1;
    pub(super) const DRV_MODE: u32 = 1 << 2;
    pub(super) const REPLACE: u32 = 1 << 4;

    /// Returns the flag of a mode.
    pub(super) fn of(mode: super::AttachedMode) -> u32 {
        match mode {
            super::AttachedMode::Generic => SKB_MODE,
            _ => DRV_MODE,
        }
    }
}

/// The result of an attachment.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The mode in which the program runs.
    pub mode: AttachedMode,
    /// Why native mode failed, if [`XdpMode::Auto`] fell back to generic.
    pub fallback: Option<Errno>,
}

/// Returns id and mode of the XDP program. Of several, the first counts: native, generic, offloaded.
fn xdp_query(ifindex: c_int) -> KernelResult<Option<(u32, AttachedMode)>> {
    let mut opts =
        bpf_xdp_query_opts { sz: size_of::<bpf_xdp_query_opts>() as u64, ..Default::default() };
    // SAFETY: opts states its own size.
    check(unsafe { libbpf_sys::bpf_xdp_query(ifindex, 0, &mut opts) })?;
    let modes = [
        (opts.drv_prog_id, AttachedMode::Native),
        (opts.skb_prog_id, AttachedMode::Generic),
        (opts.hw_prog_id, AttachedMode::Offloaded),
    ];
    Ok(modes.into_iter().find(|(id, _)| *id != 0))
}

/// Attaches the program `new` in one mode, or detaches if `new` is `None`. The kernel refuses unless the
/// attached program is `old`, or, if `old` is `None`, unless no program is attached.
fn xdp_set(
    ifindex: c_int,
    new: Option<BorrowedFd<'_>>,
    mode: AttachedMode,
    old: Option<BorrowedFd<'_>>,
) -> KernelResult<()> {
    let mut opts =
        bpf_xdp_attach_opts { sz: size_of::<bpf_xdp_attach_opts>() as u64, ..Default::default() };
    let flags = match old {
        Some(old) => {
            opts.old_prog_fd = old.as_raw_fd();
            flag::of(mode) | flag::REPLACE
        }
        None => flag::of(mode) | flag::UPDATE_IF_NOEXIST,
    };
    let fd = new.map_or(-1, |fd| fd.as_raw_fd());
    // SAFETY: opts states its own size; the descriptors are open (-1 means none).
    check(unsafe { libbpf_sys::bpf_xdp_attach(ifindex, fd, flags, &opts) })
}

/// Replaces the program `old` by `new`, in the mode in which it is attached: no frame meets none.
///
/// # Errors
/// [`Error::XdpAttach`]: the interface has another program than `old`, or the kernel refuses;
/// [`Error::Capabilities`]. The interface is then as it was.
pub fn xdp_exchange(
    dev: &IfName,
    ifindex: u32,
    mode: AttachedMode,
    old: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
) -> Result<()> {
    xdp_set(ifindex as c_int, Some(new), mode, Some(old)).map_err(|err| {
        Error::xdp_attach(format!("replace the XDP program of {dev}"), err, "")
            .or_missing(&[Capability::CAP_NET_ADMIN])
    })
}

/// Opens the XDP program that may be replaced: returns its descriptor and mode, or `None` if the
/// interface has no program.
///
/// # Errors
/// [`Error::XdpAttach`]: the program is foreign (unless `force`), or the query fails.
fn xdp_replaceable(
    dir: &PinDir,
    dev: &IfName,
    ifindex: u32,
    force: bool,
) -> Result<Option<(OwnedFd, AttachedMode)>> {
    let what = || format!("attach XDP to {dev}");
    let found = xdp_query(ifindex as c_int).map_err(|err| Error::xdp_attach(what(), err, ""))?;
    let Some((id, mode)) = found else { return Ok(None) };
    let (name, fd) = program::open(id, &ProgramPin::of(dir, Hook::Xdp, ifindex))?;
    if !force && !XDP_FAMILY.contains(&name.as_str()) {
        let why = format!("the interface has another XDP program, {name} (id {id})");
        let remedy = format!("remove it first: ip link set dev {dev} xdp off");
        return Err(Error::xdp_attach(what(), why, remedy));
    }
    Ok(Some((fd, mode)))
}

/// Attaches an XDP program, and replaces one of this family in one step if the mode stays the same.
/// [`XdpMode::Auto`] falls back to generic mode; the outcome says so. `force` also replaces a foreign
/// program.
///
/// # Errors
/// [`Error::XdpAttach`], [`Error::Capabilities`]; the interface then has the program that it had before.
pub fn xdp_attach(
    dir: &PinDir,
    dev: &IfName,
    fd: BorrowedFd<'_>,
    mode: XdpMode,
    force: bool,
) -> Result<Outcome> {
    let ifindex = device::ifindex(dev)?;
    let old = xdp_replaceable(dir, dev, ifindex, force)?;
    let failed = |err: Errno, remedy: &str| {
        Error::xdp_attach(format!("attach XDP to {dev}"), err, remedy)
            .or_missing(&[Capability::CAP_NET_ADMIN])
    };
    let place = |mode| {
        let outcome = xdp_place(ifindex as c_int, fd, mode, old.as_ref())?;
        ProgramPin::of(dir, Hook::Xdp, ifindex).set(fd);
        Ok(outcome)
    };
    match mode {
        XdpMode::Skb => place(AttachedMode::Generic).map_err(|err| failed(err, "")),
        XdpMode::Native => place(AttachedMode::Native)
            .map_err(|err| failed(err, "the driver cannot run it in native mode: try --skb-mode")),
        XdpMode::Auto => match place(AttachedMode::Native) {
            Ok(outcome) => Ok(outcome),
            Err(err @ (Errno::EPERM | Errno::EACCES | Errno::ENODEV)) => Err(failed(err, "")),
            Err(native) => place(AttachedMode::Generic)
                .map(|outcome| Outcome { fallback: Some(native), ..outcome })
                .map_err(|err| failed(err, "neither native nor generic XDP works here")),
        },
    }
}

/// Tries to attach a program in one mode. The kernel allows one mode at a time, so an old program in
/// another mode is detached first, and attached again if the attempt fails. In between, frames pass
/// without a program.
fn xdp_place(
    ifindex: c_int,
    fd: BorrowedFd<'_>,
    mode: AttachedMode,
    old: Option<&(OwnedFd, AttachedMode)>,
) -> KernelResult<Outcome> {
    match old {
        Some((old, old_mode)) if *old_mode == mode => {
            xdp_set(ifindex, Some(fd), mode, Some(old.as_fd()))?;
        }
        Some((old, old_mode)) => {
            xdp_set(ifindex, None, *old_mode, Some(old.as_fd()))?;
            if let Err(err) = xdp_set(ifindex, Some(fd), mode, None) {
                // If this fails, too, the first error is still the one to report.
                let _ = xdp_set(ifindex, Some(old.as_fd()), *old_mode, None);
                return Err(err);
            }
        }
        None => xdp_set(ifindex, Some(fd), mode, None)?,
    }
    Ok(Outcome { mode, fallback: None })
}

/// Detaches the XDP program of an interface. Returns false if there was none.
///
/// # Errors
/// [`Error::XdpAttach`]: the program is foreign (unless `force`), or the kernel refuses.
pub fn xdp_detach(dir: &PinDir, dev: &IfName, force: bool) -> Result<bool> {
    let ifindex = device::ifindex(dev)?;
    let Some((old, mode)) = xdp_replaceable(dir, dev, ifindex, force)? else { return Ok(false) };
    xdp_set(ifindex as c_int, None, mode, Some(old.as_fd())).map_err(|err| {
        Error::xdp_attach(format!("detach XDP from {dev}"), err, "")
            .or_missing(&[Capability::CAP_NET_ADMIN])
    })?;
    ProgramPin::of(dir, Hook::Xdp, ifindex).remove();
    Ok(true)
}

/// Attaches an XDP program through a link: the kernel detaches it when the returned descriptor is closed.
///
/// # Errors
/// [`Error::XdpAttach`], [`Error::Capabilities`].
pub fn xdp_link(dev: &IfName, program: BorrowedFd<'_>, mode: XdpMode) -> Result<OwnedFd> {
    let ifindex = device::ifindex(dev)?;
    let attempt = |flags| link(program, ifindex, Hook::Xdp, flags);
    let result = match mode {
        XdpMode::Native => attempt(flag::DRV_MODE),
        XdpMode::Skb => attempt(flag::SKB_MODE),
        XdpMode::Auto => match attempt(flag::DRV_MODE) {
            Err(Errno::EOPNOTSUPP | Errno::EINVAL) => attempt(flag::SKB_MODE),
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
            .or_missing(&[Capability::CAP_NET_ADMIN])
    })
}
