//! Which program of ours is on which interface: a pin for each attachment, beside the maps.
//!
//! The kernel tells an interface's program by its number, and to open a program by its number takes
//! CAP_SYS_ADMIN; by its pin, CAP_BPF is enough. So a set-up that runs without root can still tell its
//! own program from somebody else's. That is all the pin is for: without it, or when it names another
//! program than the interface has (`ip link set dev X xdp off` leaves it behind), the number is asked.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use libbpf_sys::bpf_prog_info;
use nix::errno::Errno;

use crate::pin::{pin, PinDir};

/// Where a program can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, ingress.
    Xdp,
    /// The classifier's place on clsact egress.
    Egress,
}

/// The pin of one attachment.
#[derive(Clone, Debug)]
pub struct ProgramPin(PathBuf);

impl ProgramPin {
    /// Of a hook of an interface: `cpp_xdp_4`, `cpp_egress_4`.
    pub fn of(dir: &PinDir, hook: Hook, ifindex: u32) -> Self {
        let hook = match hook {
            Hook::Xdp => "xdp",
            Hook::Egress => "egress",
        };
        Self(dir.path_of(&format!("cpp_{hook}_{ifindex}")))
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

/// What the kernel knows of a loaded program.
///
/// # Errors
/// The kernel's number.
pub fn program_info(program: &OwnedFd) -> Result<bpf_prog_info, Errno> {
    let mut info = bpf_prog_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: an open program; info is a zeroed struct of `len` bytes.
    match unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut len) } {
        0 => Ok(info),
        err => Err(Errno::from_raw(-err)),
    }
}

/// The ids of the maps that a loaded program uses.
///
/// # Errors
/// The kernel's number.
pub fn program_maps(program: &OwnedFd) -> Result<Vec<u32>, Errno> {
    let count = program_info(program)?.nr_map_ids;
    let mut ids = vec![0u32; count as usize];
    let mut info = bpf_prog_info {
        nr_map_ids: count,
        map_ids: ids.as_mut_ptr() as u64,
        ..bpf_prog_info::default()
    };
    let mut len = size_of_val(&info) as u32;
    // SAFETY: an open program; info is of `len` bytes and points to room for `count` ids.
    match unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut len) } {
        0 => Ok(ids),
        err => Err(Errno::from_raw(-err)),
    }
}
