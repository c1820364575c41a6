// SPDX-License-Identifier: GPL-2.0-only
//! Prints results to stdout, and warnings and notes to stderr.

use std::fmt;
use std::io::{self, BufWriter, Write};

use crate::domain::error::{Error, Result};
use crate::domain::format::NamedFormat;

/// Writes text to stdout and flushes it: callers read stdout to its end and do not wait for the
/// process.
///
/// # Errors
/// [`Error::Output`]: stdout is closed or cannot be written.
pub fn print(text: &[u8]) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Writes an output of one record to stdout: the format's begin, the record, the format's end.
///
/// # Errors
/// [`Error::Output`]: stdout is closed or cannot be written.
pub fn print_record<R>(format: &NamedFormat<R>, record: &R) -> Result<()> {
    let mut text = Vec::new();
    let mut format = (format.make)();
    format.begin(&mut text);
    format.record(&mut text, record);
    format.end(&mut text);
    print(&text)
}

/// Writes one line to stdout.
///
/// # Errors
/// [`Error::Output`]: stdout is closed or cannot be written.
pub fn print_line(line: fmt::Arguments<'_>) -> Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Writes one line to stdout, unless `quiet` is set.
///
/// # Errors
/// [`Error::Output`]: stdout is closed or cannot be written.
pub fn print_unless_quiet(quiet: bool, line: fmt::Arguments<'_>) -> Result<()> {
    if quiet {
        return Ok(());
    }
    print_line(line)
}

/// Prints a line to stderr that is neither a result nor a warning.
pub fn print_note(line: fmt::Arguments<'_>) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a warning to stderr.
pub fn warn(line: fmt::Arguments<'_>) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "WARN: {line}");
}
