// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's record of a loaded program.

use std::os::fd::{AsRawFd, OwnedFd};

use libbpf_sys::bpf_prog_info;
use nix::errno::Errno;

/// Returns the kernel's record of a loaded program.
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

/// Returns the ids of the maps that a loaded program uses.
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
