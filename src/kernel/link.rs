// SPDX-License-Identifier: GPL-2.0-only
//! BPF links: for tcx from Linux 6.6, for XDP from 5.9.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::bpf_link_create_opts;

use crate::kernel::errno::{check, KernelResult};
use crate::kernel::hook::Hook;

/// Attaches a program through a link. The kernel detaches the program when the returned descriptor is
/// closed, also by a crash. `flags` are `XDP_FLAGS_*`; tcx takes none.
///
/// # Errors
/// The kernel's errno; `EINVAL` for tcx before Linux 6.6.
pub fn link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: Hook,
    flags: u32,
) -> KernelResult<OwnedFd> {
    let opts = bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as u64,
        flags,
        ..Default::default()
    };
    // SAFETY: the program is open; opts holds its own size and outlives the call.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            ifindex as c_int,
            hook.attach_type(),
            &opts,
        )
    };
    check(fd)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
