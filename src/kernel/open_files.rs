// SPDX-License-Identifier: GPL-2.0-only
//! The limit on the open files of this process: maps and programs count.

use std::fs::File;

use nix::errno::Errno;
use nix::sys::resource::{getrlimit, setrlimit, Resource};

/// Raises the soft limit to the hard one.
pub fn raise_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        if soft < hard {
            // A failure leaves the limit as it was.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// Returns the limit if no more files can be opened; `None` as long as some can.
pub fn exhausted_limit() -> Option<u64> {
    let err = File::open("/").err()?;
    (err.raw_os_error() == Some(Errno::EMFILE as i32)).then_some(())?;
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}
