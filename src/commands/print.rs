// SPDX-License-Identifier: GPL-2.0-only
//! Where commands print: results to stdout, warnings to stderr.

use std::fmt;
use std::io::{self, BufWriter, Write};

use crate::domain::error::{Error, Result};
use crate::domain::format::NamedFormat;

/// Writes results to stdout, all of them before it returns.
///
/// # Errors
/// [`Error::Output`].
pub fn print(text: &[u8]) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Writes one record to stdout.
///
/// # Errors
/// [`Error::Output`].
pub fn print_record<R>(format: &NamedFormat<R>, record: &R) -> Result<()> {
    let mut text = Vec::new();
    (format.make)().record(&mut text, record);
    print(&text)
}

/// Writes one line to stdout.
///
/// # Errors
/// [`Error::Output`].
pub fn print_line(line: fmt::Arguments<'_>) -> Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Writes a line about success, unless `--quiet` was given.
///
/// # Errors
/// [`Error::Output`].
pub fn report(quiet: bool, line: fmt::Arguments<'_>) -> Result<()> {
    if quiet {
        return Ok(());
    }
    print_line(line)
}

/// Prints a warning to stderr.
pub fn warn(line: fmt::Arguments<'_>) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "WARN: {line}");
}
