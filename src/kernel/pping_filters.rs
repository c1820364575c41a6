// SPDX-License-Identifier: GPL-2.0-only
//! The cls_bpf filters of `pping`, for kernels before 6.6, which have no tcx.
//!
//! The filters stand at priority 1 and in front of the others there, because a classifier such as
//! `tc_classify` accepts every packet: a filter behind it sees none. Each running `pping` has a
//! handle of its own. The kernel does not remove filters when their process dies, so a handle says
//! whose it is: a process holds an abstract socket of the handle's name, which is of this network
//! namespace, as the filter is, and which ends with the process. A filter whose socket is free is
//! left over from a crash; the next start removes it.

use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::kernel::errno::KernelResult;
use crate::kernel::hook::Hook;
use crate::kernel::netlink;
use crate::kernel::tc::{Clsact, FilterPlace};

/// The handles: the lowest byte is the number of the listener.
const HANDLES: u32 = 0x7070_0000;
/// Set in a handle if a `pping` made the clsact qdisc. The last `pping` to end then removes it.
const OWN_QDISC: u32 = 0x100;
/// Largest number of `pping` on one interface.
pub const MAX_LISTENERS: u32 = 16;
/// The priority of the classifier, and one behind all that other tools usually take.
const PRIORITIES: [u32; 2] = [1, 49_152];
const HOOKS: [Hook; 2] = [Hook::Ingress, Hook::Egress];
/// Longest time to wait for another `pping` that attaches or detaches its filters.
const PATIENCE: Duration = Duration::from_secs(5);

/// The filters of this process. Dropping the value removes them. It also removes the clsact qdisc
/// if a `pping` made it and no other filter is on it.
pub struct PpingFilters {
    clsact: Clsact,
    handle: u32,
    /// Hook and priority of each filter.
    attached: Vec<(Hook, u32)>,
    // Held, not read: its name tells others that the handle is in use.
    _alive: UnixDatagram,
}

impl PpingFilters {
    /// Attaches a program to each of the given hooks.
    ///
    /// # Errors
    /// The kernel's errno; `EBUSY` if [`MAX_LISTENERS`] listen already. The interface is then as it
    /// was.
    pub fn attach(ifindex: u32, programs: &[(Hook, BorrowedFd<'_>)]) -> KernelResult<Self> {
        let turn = take_turn(ifindex)?;
        let clsact = Clsact { ifindex };
        let created = clsact.create()?;
        let found = remove_leftovers(clsact)?;
        let own = created || found.iter().any(|handle| handle & OWN_QDISC != 0);
        let free = (0..MAX_LISTENERS)
            .find_map(|number| Some((number, hold(&handle_name(ifindex, number)).ok()?)));
        let Some((number, alive)) = free else { return Err(Errno::EBUSY) };
        let handle = HANDLES | if own { OWN_QDISC } else { 0 } | number;
        let mut filters = Self { clsact, handle, attached: Vec::new(), _alive: alive };
        let attached =
            programs.iter().try_for_each(|(hook, program)| filters.attach_one(*hook, *program));
        // After an error, dropping `filters` takes a turn of its own.
        drop(turn);
        attached.map(|()| filters)
    }

    /// Tells whether a filter had to go behind those of priority 1, because they are of another
    /// kind. It then does not see the packets that they accept.
    pub fn is_behind_others(&self) -> bool {
        self.attached.iter().any(|(_, priority)| *priority != PRIORITIES[0])
    }

    /// Attaches the filters again that have got behind a new one at their priority.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn stay_in_front(&mut self, programs: &[(Hook, BorrowedFd<'_>)]) -> KernelResult<()> {
        for (hook, program) in programs {
            if self.attached.contains(&(*hook, PRIORITIES[0])) && self.is_behind(*hook)? {
                self.remove(*hook);
                self.attach_one(*hook, *program)?;
            }
        }
        Ok(())
    }

    /// Tells whether a filter that is no `pping` stands in front of ours.
    fn is_behind(&self, hook: Hook) -> KernelResult<bool> {
        let filters = netlink::filters(self.clsact.ifindex, hook)?;
        let is_other_pping = |handle| handle != self.handle && is_pping(handle);
        let first =
            filters.iter().find(|filter| filter.handle != 0 && !is_other_pping(filter.handle));
        Ok(first.is_some_and(|filter| filter.handle != self.handle))
    }

    fn attach_one(&mut self, hook: Hook, program: BorrowedFd<'_>) -> KernelResult<()> {
        let mut failed = Errno::EBUSY;
        for priority in PRIORITIES {
            let place = FilterPlace { priority, handle: self.handle };
            match self.clsact.attach(hook, place, program, false) {
                Ok(()) => {
                    self.attached.push((hook, priority));
                    return Ok(());
                }
                Err(err) => failed = err,
            }
        }
        Err(failed)
    }

    /// Removes the filter of one hook.
    fn remove(&mut self, hook: Hook) {
        let (clsact, handle) = (self.clsact, self.handle);
        self.attached.retain(|(at, priority)| {
            if *at == hook {
                clsact.detach(hook, FilterPlace { priority: *priority, handle });
            }
            *at != hook
        });
    }
}

impl Drop for PpingFilters {
    fn drop(&mut self) {
        let turn = take_turn(self.clsact.ifindex);
        HOOKS.into_iter().for_each(|hook| self.remove(hook));
        let unused =
            |hook| netlink::filters(self.clsact.ifindex, hook).is_ok_and(|found| found.is_empty());
        // Without a turn, another `pping` may be about to attach to the qdisc: it stays.
        if turn.is_ok() && self.handle & OWN_QDISC != 0 && HOOKS.into_iter().all(unused) {
            self.clsact.destroy();
        }
    }
}

fn is_pping(handle: u32) -> bool {
    handle & !(OWN_QDISC | 0xff) == HANDLES
}

/// Removes the filters of processes that are gone. Returns the handles of all filters of `pping`
/// that it has found.
fn remove_leftovers(clsact: Clsact) -> KernelResult<Vec<u32>> {
    let mut handles = Vec::new();
    for hook in HOOKS {
        for filter in netlink::filters(clsact.ifindex, hook)? {
            if !is_pping(filter.handle) {
                continue;
            }
            handles.push(filter.handle);
            if hold(&handle_name(clsact.ifindex, filter.handle & 0xff)).is_ok() {
                let (priority, handle) = (filter.priority, filter.handle);
                clsact.detach(hook, FilterPlace { priority, handle });
            }
        }
    }
    Ok(handles)
}

fn handle_name(ifindex: u32, number: u32) -> String {
    format!("cpumap-pping/{ifindex}/{number}")
}

/// Waits until no other `pping` attaches or detaches filters of this interface. Others wait until the
/// result is dropped.
fn take_turn(ifindex: u32) -> KernelResult<UnixDatagram> {
    let start = Instant::now();
    loop {
        match hold(&format!("cpumap-pping/{ifindex}")) {
            Err(Errno::EADDRINUSE) if start.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(10));
            }
            Err(Errno::EADDRINUSE) => return Err(Errno::EBUSY),
            held => return held,
        }
    }
}

/// Takes an abstract name of this network namespace; `EADDRINUSE` if another process has it.
fn hold(name: &str) -> KernelResult<UnixDatagram> {
    let failed = |err: std::io::Error| Errno::from_raw(err.raw_os_error().unwrap_or_default());
    let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
    UnixDatagram::bind_addr(&address).map_err(failed)
}
