// SPDX-License-Identifier: GPL-2.0-only
//! Which program of ours is on which interface: a pin for each attachment, beside the maps.
//!
//! The kernel tells an interface's program by its number, and to open a program by its number takes
//! CAP_SYS_ADMIN; by its pin, CAP_BPF is enough. So a set-up that runs without root can still tell its
//! own program from somebody else's. That is all the pin is for: without it, or when it names another
//! program than the interface has (`ip link set dev X xdp off` leaves it behind), the number is asked.

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::kernel::hook::Hook;
use crate::kernel::pin::{pin, PinDir};
use crate::kernel::program_info::program_info;

/// The pin of one attachment.
#[derive(Clone, Debug)]
pub struct ProgramPin(PathBuf);

impl ProgramPin {
    /// Of a hook of an interface: `cpp_xdp_4`, `cpp_egress_4`.
    pub fn of(dir: &PinDir, hook: Hook, ifindex: u32) -> Self {
        Self(dir.path_of(&format!("cpp_{}_{ifindex}", hook.name())))
    }

    /// The pinned program, if it is the one of that number.
    pub fn open(&self, id: u32) -> Option<OwnedFd> {
        let fd = libbpf_rs::Program::fd_from_pinned_path(&self.0).ok()?;
        let info = program_info(&fd).ok()?;
        (info.id == id).then_some(fd)
    }

    /// Pins what has just been attached, in the place of what was pinned. Without a pin directory, or
    /// without the right to write to it, there is none: only who lacks CAP_SYS_ADMIN misses it.
    pub fn set(&self, program: BorrowedFd<'_>) {
        // bpffs takes no dots in names.
        let mut fresh = self.0.clone().into_os_string();
        fresh.push("_new");
        let _ = fs::remove_file(&fresh);
        if pin(&program, fresh.as_ref()).is_ok() && fs::rename(&fresh, &self.0).is_err() {
            let _ = fs::remove_file(&fresh);
        }
    }

    /// Removes the pin, if there is one, once nothing is attached.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}
