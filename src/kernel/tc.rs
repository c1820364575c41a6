// SPDX-License-Identifier: GPL-2.0-only
//! cls_bpf filters on the clsact qdisc. Foreign filters and qdiscs stay as they are.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use caps::Capability;
use libbpf_sys::{bpf_tc_hook, bpf_tc_opts, BPF_TC_EGRESS, BPF_TC_F_REPLACE, BPF_TC_INGRESS};
use nix::errno::Errno;

use crate::abi::programs::TC_FAMILY;
use crate::domain::error::{Cause, Error, Result};
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::errno::{check, KernelResult};
use crate::kernel::hook::Hook;
use crate::kernel::pin::PinDir;
use crate::kernel::program::{self, Attached};
use crate::kernel::program_info::program_info;
use crate::kernel::program_pin::ProgramPin;

/// Priority and handle of a filter, which identify it on a hook.
#[derive(Clone, Copy)]
pub(super) struct FilterPlace {
    pub(super) priority: u32,
    pub(super) handle: u32,
}

/// The classifier's place, which the callers of the predecessors expect.
const CLASSIFIER: FilterPlace = FilterPlace { priority: 1, handle: 1 };

impl FilterPlace {
    fn opts(self) -> bpf_tc_opts {
        bpf_tc_opts {
            sz: size_of::<bpf_tc_opts>() as u64,
            handle: self.handle,
            priority: self.priority,
            ..Default::default()
        }
    }
}

/// The clsact qdisc of an interface.
#[derive(Clone, Copy)]
pub(super) struct Clsact {
    pub(super) ifindex: u32,
}

impl Clsact {
    fn hook(self, attach_point: u32) -> bpf_tc_hook {
        bpf_tc_hook {
            sz: size_of::<bpf_tc_hook>() as u64,
            ifindex: self.ifindex as c_int,
            attach_point,
            ..Default::default()
        }
    }

    /// Makes the qdisc. Returns false if the interface has it already.
    pub(super) fn create(self) -> KernelResult<bool> {
        let mut hook = self.hook(BPF_TC_INGRESS | BPF_TC_EGRESS);
        // SAFETY: the struct states its own size.
        match check(unsafe { libbpf_sys::bpf_tc_hook_create(&mut hook) }) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Removes the qdisc with its filters.
    pub(super) fn destroy(self) {
        let mut hook = self.hook(BPF_TC_INGRESS | BPF_TC_EGRESS);
        // SAFETY: the struct states its own size. A failure leaves an empty qdisc, which is harmless.
        let _ = unsafe { libbpf_sys::bpf_tc_hook_destroy(&mut hook) };
    }

    /// Returns the id of the program in a place; `None` if the place is free.
    fn query(self, hook: Hook, place: FilterPlace) -> KernelResult<Option<u32>> {
        let mut opts = place.opts();
        let hook = self.hook(hook.attach_point());
        // SAFETY: both structs state their own size.
        match check(unsafe { libbpf_sys::bpf_tc_query(&hook, &mut opts) }) {
            Ok(()) => Ok(Some(opts.prog_id)),
            // There is no such filter (ENOENT), or no clsact (EINVAL).
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Attaches a program. If the place is taken, replaces the filter there, or fails with `EEXIST` unless
    /// `replace`.
    pub(super) fn attach(
        self,
        hook: Hook,
        place: FilterPlace,
        program: BorrowedFd<'_>,
        replace: bool,
    ) -> KernelResult<()> {
        let mut opts = place.opts();
        opts.prog_fd = program.as_raw_fd();
        opts.flags = if replace { BPF_TC_F_REPLACE } else { 0 };
        let hook = self.hook(hook.attach_point());
        // SAFETY: both structs state their own size; the program is open.
        check(unsafe { libbpf_sys::bpf_tc_attach(&hook, &mut opts) })
    }

    /// Removes the filter in a place. Ignores errors: no caller could do more.
    pub(super) fn detach(self, hook: Hook, place: FilterPlace) {
        let (hook, opts) = (self.hook(hook.attach_point()), place.opts());
        // SAFETY: both structs state their own size.
        let _ = unsafe { libbpf_sys::bpf_tc_detach(&hook, &opts) };
    }
}

/// Returns the id of the program in the classifier's place; `None` if the place is free.
fn classifier_id(dev: &IfName, ifindex: u32) -> Result<Option<u32>> {
    let id = Clsact { ifindex }.query(Hook::Egress, CLASSIFIER);
    id.map_err(|err| Error::other(format!("query the egress filter of {dev}"), err, ""))
}

/// Returns the program in the classifier's place on an interface's egress; `None` if the place is free.
///
/// # Errors
/// [`Error::Usage`]: there is no such interface. [`Error::Other`]: the query fails.
pub fn tc_on(dir: &PinDir, dev: &IfName) -> Result<Option<Attached>> {
    let ifindex = device::ifindex(dev)?;
    let pin = ProgramPin::of(dir, Hook::Egress, ifindex);
    Ok(classifier_id(dev, ifindex)?.map(|id| Attached::new(id, None, &pin)))
}

/// Opens the classifier on an interface's egress: returns its id and the program. Returns `None` if
/// there is no classifier, ours or a predecessor's.
///
/// # Errors
/// [`Error::Usage`]: there is no such interface. [`Error::Other`] or [`Error::Capabilities`]: the query
/// fails, or the program cannot be opened.
pub fn tc_program(dir: &PinDir, dev: &IfName) -> Result<Option<(u32, OwnedFd)>> {
    let ifindex = device::ifindex(dev)?;
    let Some(id) = classifier_id(dev, ifindex)? else { return Ok(None) };
    let (name, fd) = program::open(id, &ProgramPin::of(dir, Hook::Egress, ifindex))?;
    Ok(TC_FAMILY.contains(&name.as_str()).then_some((id, fd)))
}

/// Attaches the classifier to an interface's egress. Makes the clsact qdisc if there is none, and
/// replaces a filter of this family in one step.
///
/// # Errors
/// [`Error::Other`]: another filter is in the classifier's place, or the kernel refuses;
/// [`Error::Capabilities`]. The interface is then as it was.
pub fn tc_attach(dir: &PinDir, dev: &IfName, fd: BorrowedFd<'_>) -> Result<()> {
    let failed = |why: Cause, remedy: &str| {
        Error::other(format!("attach the classifier to {dev}"), why, remedy)
            .or_missing(&[Capability::CAP_NET_ADMIN])
    };
    let ifindex = device::ifindex(dev)?;
    let (clsact, pin) = (Clsact { ifindex }, ProgramPin::of(dir, Hook::Egress, ifindex));
    let created = clsact
        .create()
        .map_err(|err| failed(err.into(), "check that the kernel has the clsact qdisc"))?;
    let attach = || {
        let old = clsact.query(Hook::Egress, CLASSIFIER).map_err(|err| failed(err.into(), ""))?;
        if let Some(id) = old {
            let (name, _) = program::open(id, &pin)?;
            if !TC_FAMILY.contains(&name.as_str()) {
                let why = format!("its place is taken by the filter {name} (id {id})");
                let remedy =
                    format!("remove it: tc filter del dev {dev} egress prio 1 handle 1 bpf");
                return Err(failed(why.into(), &remedy));
            }
        }
        let attached = clsact.attach(Hook::Egress, CLASSIFIER, fd, old.is_some());
        attached.map_err(|err| failed(err.into(), ""))
    };
    let attached = attach();
    if attached.is_ok() {
        pin.set(fd);
    } else if created {
        clsact.destroy();
    }
    attached
}

/// Replaces the classifier `old` by `new`, in one step.
///
/// # Errors
/// [`Error::Other`]: the place has another program than `old`, or the kernel refuses;
/// [`Error::Capabilities`]. The interface is then as it was.
pub fn tc_exchange(
    dev: &IfName,
    ifindex: u32,
    old: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
) -> Result<()> {
    let clsact = Clsact { ifindex };
    let exchange = || {
        let expected = program_info(&old)?.id;
        match clsact.query(Hook::Egress, CLASSIFIER)? {
            Some(id) if id == expected => clsact.attach(Hook::Egress, CLASSIFIER, new, true),
            _ => Err(Errno::EEXIST),
        }
    };
    exchange().map_err(|err| {
        Error::other(format!("replace the classifier of {dev}"), err, "")
            .or_missing(&[Capability::CAP_NET_ADMIN])
    })
}
