// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's record of a loaded program.

use std::os::fd::{AsFd, AsRawFd};

use crate::kernel::errno::{check, KernelResult};
use libbpf_sys::bpf_prog_info;

/// Returns the kernel's record of a loaded program.
///
/// # Errors
/// The kernel's errno.
pub fn program_info(program: &impl AsFd) -> KernelResult<bpf_prog_info> {
    let mut info = bpf_prog_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the program is open; info is a zeroed struct of `len` bytes, so it holds no pointers.
    check(unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), &mut info, &mut len)
    })?;
    Ok(info)
}

/// Returns the ids of the maps that a loaded program uses.
///
/// # Errors
/// The kernel's errno.
pub fn program_maps(program: &impl AsFd) -> KernelResult<Vec<u32>> {
    let count = program_info(program)?.nr_map_ids;
    let mut ids = vec![0u32; count as usize];
    let mut info = bpf_prog_info {
        nr_map_ids: count,
        map_ids: ids.as_mut_ptr() as u64,
        ..bpf_prog_info::default()
    };
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the program is open; info is of `len` bytes and points to room for `count` ids.
    check(unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), &mut info, &mut len)
    })?;
    Ok(ids)
}
