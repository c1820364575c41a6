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

/// Number of files that a step may have open for a moment, and has closed when it reports its failure.
const SPARE: usize = 8;

/// Returns the limit if hardly any more files can be opened; `None` as long as [`SPARE`] can.
pub fn exhausted_limit() -> Option<u64> {
    let opened: Result<Vec<File>, _> = (0..SPARE).map(|_| File::open("/")).collect();
    let err = opened.err()?;
    (err.raw_os_error() == Some(Errno::EMFILE as i32)).then_some(())?;
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}
