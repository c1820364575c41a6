//! What the commands do: a checked request in, results on stdout.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::error::{Error, Result};

mod bulk;
pub mod check;
pub mod cpumap_pping;
pub mod pping;
pub mod status;
pub mod stream;
pub mod tc_classify;
pub mod xdp_iphash_to_cpu;
pub mod xdp_iphash_to_cpu_cmdline;
pub mod xdp_pass;
pub mod xdp_pping;

/// Writes results to stdout, all of them before it returns.
fn print(write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(Error::Output)
}

/// A line about success, unless `--quiet` was given.
fn report(quiet: bool, line: std::fmt::Arguments<'_>) -> Result<()> {
    if quiet {
        return Ok(());
    }
    print(|out| writeln!(out, "{line}"))
}

/// A line about something that works but should not stay as it is.
fn warn(line: std::fmt::Arguments<'_>) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "WARN: {line}");
}
