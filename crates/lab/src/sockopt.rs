// SPDX-License-Identifier: GPL-2.0-only
//! setsockopt and getsockopt for options that neither std nor nix wraps.

use nix::libc::{self, c_int, socklen_t};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option to a plain C value.
pub(crate) fn set<T: Copy>(fd: &impl AsFd, level: c_int, name: c_int, value: T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<T>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads an option into `value`; bytes that the kernel does not write keep their values.
pub(crate) fn get<T: Copy>(
    fd: &impl AsFd,
    level: c_int,
    name: c_int,
    mut value: T,
) -> io::Result<T> {
    let mut length = size_of::<T>() as socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`. Callers read integers only.
    let result = unsafe {
        libc::getsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw mut value).cast(), &mut length)
    };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for socket buffers beyond the sysctl limit; if the kernel refuses, for buffers within it.
pub(crate) fn buffers(fd: &impl AsFd, bytes: c_int) {
    let sol = libc::SOL_SOCKET;
    for (force, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        // A smaller buffer is not an error: the frames lost to it are counted.
        let _ = set(fd, sol, force, bytes).or_else(|_| set(fd, sol, plain, bytes));
    }
}
