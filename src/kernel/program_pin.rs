// SPDX-License-Identifier: GPL-2.0-only
//! A pin for each attached program, beside the maps.
//!
//! The kernel reports an interface's program by its id. Opening a program by its id needs CAP_SYS_ADMIN;
//! opening its pin needs only CAP_BPF. So a set-up without root can still tell its own program from a
//! foreign one. The pin has no other purpose. If there is none, or if it holds another program than the
//! interface has (`ip link set dev X xdp off` leaves the pin behind), the program is opened by its id.

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::kernel::hook::Hook;
use crate::kernel::pin::{pin, take_rights, PinDir};
use crate::kernel::program_info::program_info;

/// The pin of one attachment.
#[derive(Clone, Debug)]
pub struct ProgramPin(PathBuf);

impl ProgramPin {
    /// Returns the pin of one hook of an interface: `cpp_xdp_4`, `cpp_egress_4`.
    pub fn of(dir: &PinDir, hook: Hook, ifindex: u32) -> Self {
        Self(dir.path_of(&format!("cpp_{}_{ifindex}", hook.name())))
    }

    /// Opens the pinned program, if it has this id.
    pub fn open(&self, id: u32) -> Option<OwnedFd> {
        let fd = libbpf_rs::Program::fd_from_pinned_path(&self.0).ok()?;
        let info = program_info(&fd).ok()?;
        (info.id == id).then_some(fd)
    }

    /// Pins a program that has just been attached, and replaces the old pin, whose owner and rights the
    /// new one gets. Ignores errors, such as a missing or read-only pin directory: only processes without
    /// CAP_SYS_ADMIN need the pin.
    pub fn set(&self, program: BorrowedFd<'_>) {
        // bpffs refuses names with dots.
        let mut fresh = self.0.clone().into_os_string();
        fresh.push("_new");
        let _ = fs::remove_file(&fresh);
        if pin(&program, fresh.as_ref()).is_err() {
            return;
        }
        if let Ok(old) = fs::symlink_metadata(&self.0) {
            let _ = take_rights(fresh.as_ref(), &old);
        }
        if fs::rename(&fresh, &self.0).is_err() {
            let _ = fs::remove_file(&fresh);
        }
    }

    /// Removes the pin, if there is one, after its program was detached.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}
