// SPDX-License-Identifier: GPL-2.0-only
//! cls_bpf filters on clsact. Other people's filters and qdiscs are left alone.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use caps::Capability;
use libbpf_sys::{bpf_tc_hook, bpf_tc_opts, BPF_TC_EGRESS, BPF_TC_F_REPLACE, BPF_TC_INGRESS};
use nix::errno::Errno;

use crate::abi::programs::TC_FAMILY;
use crate::domain::error::{Cause, Error, Result};
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::hook::Hook;
use crate::kernel::netlink;
use crate::kernel::pin::PinDir;
use crate::kernel::program::{self, Attached};
use crate::kernel::program_pin::ProgramPin;

/// The errno of a libbpf call.
type KernelResult<T> = std::result::Result<T, Errno>;

/// A filter's priority and handle.
#[derive(Clone, Copy)]
struct Place {
    priority: u32,
    handle: u32,
}

/// The classifier's place: the predecessors' callers expect it.
const CLASSIFIER: Place = Place { priority: 1, handle: 1 };
/// The place of `pping`: late, so that other people's classifiers come first.
const PPING: Place = Place { priority: 49_152, handle: 0x7070 };

impl Place {
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
struct Clsact {
    ifindex: u32,
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

    /// Makes the qdisc. False: it was there.
    fn create(self) -> KernelResult<bool> {
        let mut hook = self.hook(BPF_TC_INGRESS | BPF_TC_EGRESS);
        // SAFETY: the struct states its own size.
        match check(unsafe { libbpf_sys::bpf_tc_hook_create(&mut hook) }) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Removes the qdisc with everything on it.
    fn destroy(self) {
        let mut hook = self.hook(BPF_TC_INGRESS | BPF_TC_EGRESS);
        // SAFETY: the struct states its own size. A failure leaves an empty qdisc, which is harmless.
        let _ = unsafe { libbpf_sys::bpf_tc_hook_destroy(&mut hook) };
    }

    /// Returns the number of the program in a place, if there is one.
    fn query(self, hook: Hook, place: Place) -> KernelResult<Option<u32>> {
        let mut opts = place.opts();
        let hook = self.hook(hook.attach_point());
        // SAFETY: both structs state their own size.
        match check(unsafe { libbpf_sys::bpf_tc_query(&hook, &mut opts) }) {
            Ok(()) => Ok(Some(opts.prog_id)),
            // No such filter, or no clsact at all.
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn attach(
        self,
        hook: Hook,
        place: Place,
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

    fn detach(self, hook: Hook, place: Place) {
        let (hook, opts) = (self.hook(hook.attach_point()), place.opts());
        // SAFETY: both structs state their own size. Nobody is left to hear of a failure.
        let _ = unsafe { libbpf_sys::bpf_tc_detach(&hook, &opts) };
    }
}

fn check(result: c_int) -> KernelResult<()> {
    if result < 0 {
        return Err(Errno::from_raw(-result));
    }
    Ok(())
}

fn classifier_id(dev: &IfName, ifindex: u32) -> Result<Option<u32>> {
    let id = Clsact { ifindex }.query(Hook::Egress, CLASSIFIER);
    id.map_err(|err| Error::other(format!("ask for the egress filter of {dev}"), err, ""))
}

/// Returns the program in the classifier's place on an interface's egress, if there is one.
///
/// # Errors
/// [`Error::Other`]: the interface cannot be asked.
pub fn tc_on(dir: &PinDir, dev: &IfName) -> Result<Option<Attached>> {
    let ifindex = device::ifindex(dev)?;
    let pin = ProgramPin::of(dir, Hook::Egress, ifindex);
    Ok(classifier_id(dev, ifindex)?.map(|id| Attached::new(id, None, &pin)))
}

/// Returns the classifier on an interface's egress, if it is ours: its number and the program.
///
/// # Errors
/// [`Error::Other`]: the interface or the program cannot be asked.
pub fn tc_program(dir: &PinDir, dev: &IfName) -> Result<Option<(u32, OwnedFd)>> {
    let ifindex = device::ifindex(dev)?;
    let Some(id) = classifier_id(dev, ifindex)? else { return Ok(None) };
    let (name, fd) = program::open(id, &ProgramPin::of(dir, Hook::Egress, ifindex))?;
    Ok(TC_FAMILY.contains(&name.as_str()).then_some((id, fd)))
}

/// Puts the classifier on an interface's egress: makes clsact if there is none, then the filter,
/// atomically in place of one of this family.
///
/// # Errors
/// [`Error::Other`]; a clsact made for it is gone again.
pub fn tc_attach(dir: &PinDir, dev: &IfName, fd: BorrowedFd<'_>) -> Result<()> {
    let failed = |why: Cause, remedy: &str| {
        Error::other(format!("attach the classifier to {dev}"), why, remedy)
            .or_missing(&[Capability::CAP_NET_ADMIN])
    };
    let ifindex = device::ifindex(dev)?;
    let (clsact, pin) = (Clsact { ifindex }, ProgramPin::of(dir, Hook::Egress, ifindex));
    let created = clsact
        .create()
        .map_err(|err| failed(err.into(), "is the kernel's clsact qdisc available?"))?;
    let old = clsact.query(Hook::Egress, CLASSIFIER).map_err(|err| failed(err.into(), ""))?;
    if let Some(id) = old {
        let (name, _) = program::open(id, &pin)?;
        if !TC_FAMILY.contains(&name.as_str()) {
            let why = format!("its place is taken by the filter {name} (id {id})");
            let remedy = format!("remove it: tc filter del dev {dev} egress prio 1 handle 1 bpf");
            return Err(failed(why.into(), &remedy));
        }
    }
    let attached = clsact.attach(Hook::Egress, CLASSIFIER, fd, old.is_some());
    if attached.is_ok() {
        pin.set(fd);
    } else if created {
        clsact.destroy();
    }
    attached.map_err(|err| failed(err.into(), ""))
}

/// The filters of `pping`, for kernels without tcx. Dropping them removes them, and the clsact qdisc
/// if it was made for them and holds no other filter. After a crash they stay until the next start
/// replaces them, whose end removes them.
pub struct PpingFilters {
    clsact: Clsact,
    attached: Vec<Hook>,
    /// This start made the qdisc, or a crashed start before it did.
    own_qdisc: bool,
}

impl PpingFilters {
    /// Attaches a program to each hook.
    ///
    /// # Errors
    /// The kernel's number; the interface is then as it was.
    pub fn attach(ifindex: u32, programs: &[(Hook, BorrowedFd<'_>)]) -> KernelResult<Self> {
        let clsact = Clsact { ifindex };
        let mut filters = Self { clsact, attached: Vec::new(), own_qdisc: clsact.create()? };
        for (hook, program) in programs {
            filters.own_qdisc |= matches!(clsact.query(*hook, PPING), Ok(Some(_)));
            // On failure, the drop of `filters` takes back what was attached.
            clsact.attach(*hook, PPING, *program, true)?;
            filters.attached.push(*hook);
        }
        Ok(filters)
    }
}

impl Drop for PpingFilters {
    fn drop(&mut self) {
        for hook in &self.attached {
            self.clsact.detach(*hook, PPING);
        }
        let unused = || netlink::filters(self.clsact.ifindex).is_ok_and(|found| found.is_empty());
        if self.own_qdisc && unused() {
            self.clsact.destroy();
        }
    }
}
