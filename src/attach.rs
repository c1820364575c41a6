//! Attaching: XDP through netlink (so that `ip link set dev X xdp off` detaches it), the classifier
//! as a cls_bpf filter on clsact egress. Other people's programs, filters and qdiscs are left alone.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_sys::{
    bpf_tc_hook, bpf_tc_opts, bpf_xdp_attach_opts, bpf_xdp_query_opts, BPF_TC_EGRESS,
    BPF_TC_F_REPLACE,
};
use nix::errno::Errno;
use serde::Serialize;

use crate::cli::XdpMode;
use crate::error::{Capability, Error, Result};
use crate::pin::PinDir;
use crate::program_pin::{program_info, Hook, ProgramPin};
use crate::values::IfName;

/// include/uapi/linux/if_link.h
mod flag {
    pub const UPDATE_IF_NOEXIST: u32 = 1;
    pub const SKB_MODE: u32 = 1 << 1;
    pub const DRV_MODE: u32 = 1 << 2;
    pub const REPLACE: u32 = 1 << 4;
}

/// Priority and handle of our filter on clsact egress: what the predecessors' callers expect.
const TC_PRIORITY: u32 = 1;
const TC_HANDLE: u32 = 1;

/// Kernel names (15 bytes) of XDP programs of this family, the predecessors' included: a load may
/// replace these, and only these.
const XDP_FAMILY: [&str; 3] = ["xdp_iphash_to_c", "xdp_pass", "xdp_pass_func"];
/// The same for the classifier.
const TC_FAMILY: [&str; 3] = ["tc_classify", "tc_iphash_to_cp", "tc_cls_prog"];

/// The name of a program that the process may not ask for.
const NAMELESS: &str = "?";

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver.
    Native,
    /// On socket buffers, after the driver.
    Generic,
    /// In the hardware; never ours.
    Offloaded,
}

impl Mode {
    fn flag(self) -> u32 {
        match self {
            Self::Generic => flag::SKB_MODE,
            _ => flag::DRV_MODE,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

/// A program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// Kernel's number of the program.
    pub id: u32,
    /// Its name in the kernel, 15 bytes at most.
    pub name: String,
    /// How it is attached; `None` for TC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

impl Attached {
    /// It hands frames to their subscriber's CPU, ours or a predecessor's.
    pub fn steers(&self) -> bool {
        self.name == XDP_FAMILY[0]
    }

    /// It passes everything.
    pub fn passes(&self) -> bool {
        XDP_FAMILY[1..].contains(&self.name.as_str())
    }

    /// It is a classifier, ours or a predecessor's.
    pub fn classifies(&self) -> bool {
        TC_FAMILY.contains(&self.name.as_str())
    }

    /// Its name takes CAP_SYS_ADMIN, which the process does not have.
    pub fn is_nameless(&self) -> bool {
        self.name == NAMELESS
    }
}

/// How an attachment went.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The mode in force.
    pub mode: Mode,
    /// Why native mode was not possible, when [`XdpMode::Auto`] fell back to generic.
    pub fallback: Option<Errno>,
}

/// The name of a loaded program, and a descriptor that keeps it.
fn program(id: u32, pin: &ProgramPin) -> Result<(String, OwnedFd)> {
    let what = || format!("look at BPF program {id}");
    let by_number = || {
        libbpf_rs::Program::fd_from_id(id).map_err(|err| {
            let needed = [Capability::Bpf, Capability::NetAdmin];
            Error::other(what(), err, "").or_missing(&needed).or_missing(&[Capability::SysAdmin])
        })
    };
    let fd = pin.open(id).map_or_else(by_number, Ok)?;
    let info = program_info(&fd).map_err(|err| Error::other(what(), err, ""))?;
    let name = info.name.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect();
    Ok((name, fd))
}

fn pin_of(hook: Hook, ifindex: c_int) -> ProgramPin {
    ProgramPin::of(&PinDir::default(), hook, ifindex as u32)
}

fn check(result: c_int) -> std::result::Result<(), Errno> {
    if result < 0 {
        return Err(Errno::from_raw(-result));
    }
    Ok(())
}

/// The XDP program of an interface, if there is one.
///
/// # Errors
/// [`Error::XdpAttach`]: the interface cannot be asked.
pub fn xdp_on(dev: &IfName) -> Result<Option<Attached>> {
    let ifindex = dev.index()? as c_int;
    let found = xdp_query(ifindex)
        .map_err(|err| Error::xdp_attach(format!("ask for the XDP program of {dev}"), err, ""))?;
    let Some((id, mode)) = found else { return Ok(None) };
    // Of a foreign one, the name needs CAP_SYS_ADMIN; without it the program is still known to be there.
    let name = program(id, &pin_of(Hook::Xdp, ifindex))
        .map_or_else(|_| NAMELESS.to_owned(), |(name, _)| name);
    Ok(Some(Attached { id, name, mode: Some(mode) }))
}

fn xdp_query(ifindex: c_int) -> std::result::Result<Option<(u32, Mode)>, Errno> {
    let mut opts =
        bpf_xdp_query_opts { sz: size_of::<bpf_xdp_query_opts>() as u64, ..Default::default() };
    // SAFETY: opts says its own size.
    check(unsafe { libbpf_sys::bpf_xdp_query(ifindex, 0, &mut opts) })?;
    let modes = [
        (opts.drv_prog_id, Mode::Native),
        (opts.skb_prog_id, Mode::Generic),
        (opts.hw_prog_id, Mode::Offloaded),
    ];
    Ok(modes.into_iter().find(|(id, _)| *id != 0))
}

fn xdp_set(
    ifindex: c_int,
    new: Option<BorrowedFd<'_>>,
    mode: Mode,
    old: Option<&OwnedFd>,
) -> std::result::Result<(), Errno> {
    let mut opts =
        bpf_xdp_attach_opts { sz: size_of::<bpf_xdp_attach_opts>() as u64, ..Default::default() };
    let flags = match old {
        Some(old) => {
            opts.old_prog_fd = old.as_raw_fd();
            mode.flag() | flag::REPLACE
        }
        None => mode.flag() | flag::UPDATE_IF_NOEXIST,
    };
    let fd = new.map_or(-1, |fd| fd.as_raw_fd());
    // SAFETY: opts says its own size; the descriptors are open (-1: none).
    check(unsafe { libbpf_sys::bpf_xdp_attach(ifindex, fd, flags, &opts) })
}

/// What stands in the way or is to be replaced: descriptor and mode.
fn xdp_ours(dev: &IfName, ifindex: c_int, force: bool) -> Result<Option<(OwnedFd, Mode)>> {
    let what = || format!("attach XDP to {dev}");
    let found = xdp_query(ifindex).map_err(|err| Error::xdp_attach(what(), err, ""))?;
    let Some((id, mode)) = found else { return Ok(None) };
    let (name, fd) = program(id, &pin_of(Hook::Xdp, ifindex))?;
    if !force && !XDP_FAMILY.contains(&name.as_str()) {
        let why = format!("the interface has another XDP program, {name} (id {id})");
        let remedy = format!("remove it first: ip link set dev {dev} xdp off");
        return Err(Error::xdp_attach(what(), why, remedy));
    }
    Ok(Some((fd, mode)))
}

/// Attaches an XDP program, atomically in place of one of this family. With [`XdpMode::Auto`]
/// generic mode is the fallback, and the outcome says so.
///
/// # Errors
/// [`Error::XdpAttach`]; the interface then has the program that it had before.
pub fn xdp_attach(dev: &IfName, fd: BorrowedFd<'_>, mode: XdpMode, force: bool) -> Result<Outcome> {
    let ifindex = dev.index()? as c_int;
    let old = xdp_ours(dev, ifindex, force)?;
    let failed = |err: Errno, remedy: &str| {
        Error::xdp_attach(format!("attach XDP to {dev}"), err, remedy)
            .or_missing(&[Capability::NetAdmin])
    };
    let place = |mode| {
        let outcome = xdp_place(ifindex, fd, mode, old.as_ref())?;
        pin_of(Hook::Xdp, ifindex).set(fd);
        Ok(outcome)
    };
    match mode {
        XdpMode::Skb => place(Mode::Generic).map_err(|err| failed(err, "")),
        XdpMode::Native => place(Mode::Native)
            .map_err(|err| failed(err, "the driver has no native XDP for it: try --skb-mode")),
        XdpMode::Auto => match place(Mode::Native) {
            Ok(outcome) => Ok(outcome),
            Err(err @ (Errno::EPERM | Errno::EACCES | Errno::ENODEV)) => Err(failed(err, "")),
            Err(native) => place(Mode::Generic)
                .map(|outcome| Outcome { fallback: Some(native), ..outcome })
                .map_err(|err| failed(err, "neither native nor generic XDP works here")),
        },
    }
}

/// One attempt in one mode. A program of ours in the other mode has to go first (the kernel allows
/// one mode at a time) and comes back if the attempt fails; frames pass meanwhile.
fn xdp_place(
    ifindex: c_int,
    fd: BorrowedFd<'_>,
    mode: Mode,
    old: Option<&(OwnedFd, Mode)>,
) -> std::result::Result<Outcome, Errno> {
    match old {
        Some((old, old_mode)) if *old_mode == mode => xdp_set(ifindex, Some(fd), mode, Some(old))?,
        Some((old, old_mode)) => {
            xdp_set(ifindex, None, *old_mode, Some(old))?;
            if let Err(err) = xdp_set(ifindex, Some(fd), mode, None) {
                // The first error is the one to report.
                let _ = xdp_set(ifindex, Some(old.as_fd()), *old_mode, None);
                return Err(err);
            }
        }
        None => xdp_set(ifindex, Some(fd), mode, None)?,
    }
    Ok(Outcome { mode, fallback: None })
}

/// Detaches an XDP program of this family. False: there was none.
///
/// # Errors
/// [`Error::XdpAttach`]: it is somebody else's (unless `force`), or the kernel refuses.
pub fn xdp_detach(dev: &IfName, force: bool) -> Result<bool> {
    let ifindex = dev.index()? as c_int;
    let Some((old, mode)) = xdp_ours(dev, ifindex, force)? else { return Ok(false) };
    xdp_set(ifindex, None, mode, Some(&old)).map_err(|err| {
        Error::xdp_attach(format!("detach XDP from {dev}"), err, "")
            .or_missing(&[Capability::NetAdmin])
    })?;
    pin_of(Hook::Xdp, ifindex).remove();
    Ok(true)
}

fn egress_hook(ifindex: c_int) -> bpf_tc_hook {
    bpf_tc_hook {
        sz: size_of::<bpf_tc_hook>() as u64,
        ifindex,
        attach_point: BPF_TC_EGRESS,
        ..Default::default()
    }
}

fn our_place() -> bpf_tc_opts {
    bpf_tc_opts {
        sz: size_of::<bpf_tc_opts>() as u64,
        handle: TC_HANDLE,
        priority: TC_PRIORITY,
        ..Default::default()
    }
}

fn tc_query(hook: &bpf_tc_hook) -> std::result::Result<Option<u32>, Errno> {
    let mut opts = our_place();
    // SAFETY: both structs say their own size.
    match check(unsafe { libbpf_sys::bpf_tc_query(hook, &mut opts) }) {
        Ok(()) => Ok(Some(opts.prog_id)),
        // No such filter, or no clsact at all.
        Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
        Err(err) => Err(err),
    }
}

/// The program in our place on an interface's egress, if there is one.
///
/// # Errors
/// [`Error::Other`]: the interface cannot be asked.
pub fn tc_on(dev: &IfName) -> Result<Option<Attached>> {
    let ifindex = dev.index()? as c_int;
    let hook = egress_hook(ifindex);
    let id = tc_query(&hook)
        .map_err(|err| Error::other(format!("ask for the egress filter of {dev}"), err, ""))?;
    Ok(id.map(|id| {
        let found = program(id, &pin_of(Hook::Egress, ifindex));
        let name = found.map_or_else(|_| NAMELESS.to_owned(), |(name, _)| name);
        Attached { id, name, mode: None }
    }))
}

/// The classifier on an interface's egress, if it is ours: its id and the program.
///
/// # Errors
/// [`Error::Other`]: the interface or the program cannot be asked.
pub fn tc_program(dev: &IfName) -> Result<Option<(u32, OwnedFd)>> {
    let ifindex = dev.index()? as c_int;
    let found = tc_query(&egress_hook(ifindex));
    let id = found
        .map_err(|err| Error::other(format!("ask for the egress filter of {dev}"), err, ""))?;
    let Some(id) = id else { return Ok(None) };
    let (name, fd) = program(id, &pin_of(Hook::Egress, ifindex))?;
    Ok(TC_FAMILY.contains(&name.as_str()).then_some((id, fd)))
}

/// Puts the classifier on an interface's egress: clsact if there is none yet, then the filter,
/// atomically in place of one of this family.
///
/// # Errors
/// [`Error::Other`]; a clsact made for it is gone again.
pub fn tc_attach(dev: &IfName, fd: BorrowedFd<'_>) -> Result<()> {
    let failed = |why: crate::error::Cause, remedy: &str| {
        Error::other(format!("attach the classifier to {dev}"), why, remedy)
            .or_missing(&[Capability::NetAdmin])
    };
    let ifindex = dev.index()? as c_int;
    let (mut hook, pin) = (egress_hook(ifindex), pin_of(Hook::Egress, ifindex));
    // SAFETY: the struct says its own size.
    let created = match check(unsafe { libbpf_sys::bpf_tc_hook_create(&mut hook) }) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(err) => return Err(failed(err.into(), "is the kernel's clsact qdisc available?")),
    };
    let old = tc_query(&hook).map_err(|err| failed(err.into(), ""))?;
    if let Some(id) = old {
        let (name, _) = program(id, &pin)?;
        if !TC_FAMILY.contains(&name.as_str()) {
            let why = format!("its place is taken by the filter {name} (id {id})");
            let remedy = format!("remove it: tc filter del dev {dev} egress prio 1 handle 1 bpf");
            return Err(failed(why.into(), &remedy));
        }
    }
    let mut opts = our_place();
    opts.prog_fd = fd.as_raw_fd();
    opts.flags = if old.is_some() { BPF_TC_F_REPLACE } else { 0 };
    // SAFETY: both structs say their own size; the program is open.
    let attached = check(unsafe { libbpf_sys::bpf_tc_attach(&hook, &mut opts) });
    if attached.is_ok() {
        pin.set(fd);
    } else if created {
        // Both hooks stand for the qdisc itself.
        hook.attach_point |= libbpf_sys::BPF_TC_INGRESS;
        // SAFETY: the struct says its own size. The attach error is the one to report.
        let _ = unsafe { libbpf_sys::bpf_tc_hook_destroy(&mut hook) };
    }
    attached.map_err(|err| failed(err.into(), ""))
}
