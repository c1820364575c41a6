// SPDX-License-Identifier: GPL-2.0-only
//! BPF links: tcx from kernel 6.6, XDP from 5.9.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::bpf_link_create_opts;
use nix::errno::Errno;

use crate::kernel::hook::Hook;

/// Attaches a program by a link: it is detached when the descriptor closes, after a crash as well.
///
/// # Errors
/// The kernel's number; `EINVAL` where it has no tcx (before Linux 6.6).
pub fn link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: Hook,
    flags: u32,
) -> std::result::Result<OwnedFd, Errno> {
    let opts = bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as u64,
        flags,
        ..Default::default()
    };
    // SAFETY: an open program; opts says its own size.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            ifindex as c_int,
            hook.attach_type(),
            &opts,
        )
    };
    if fd < 0 {
        return Err(Errno::from_raw(-fd));
    }
    // SAFETY: a descriptor that the kernel has just given us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
