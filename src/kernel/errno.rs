// SPDX-License-Identifier: GPL-2.0-only
//! The results of libbpf's calls, as errnos.

use std::ffi::c_int;

use nix::errno::Errno;

/// A result with the kernel's errno.
pub type KernelResult<T> = std::result::Result<T, Errno>;

/// Converts the result of a libbpf call, which is negative in case of an error.
///
/// # Errors
/// The errno.
pub fn check(result: c_int) -> KernelResult<()> {
    if result < 0 {
        return Err(Errno::from_raw(-result));
    }
    Ok(())
}
