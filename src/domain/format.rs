// SPDX-License-Identifier: GPL-2.0-only
//! The trait that every output format implements.

use std::fmt;

/// Turns records of one kind into text: the snapshot of `xdp_pping`, the records of a stream, or the
/// state that `status` shows. `crate::format` holds the formats, with one list of them for each kind.
pub trait Format<R: ?Sized> {
    /// Writes the text before the first record.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// Writes one record.
    fn record(&mut self, out: &mut Vec<u8>, record: &R);

    /// Writes the text after the last record.
    fn end(&mut self, _out: &mut Vec<u8>) {}
}

/// An output format, with the name by which operators choose it.
pub struct NamedFormat<R: ?Sized> {
    /// The value of `--format`.
    pub name: &'static str,
    /// One line for help texts and shell completions.
    pub help: &'static str,
    /// Makes the formatter of one output.
    pub make: fn() -> Box<dyn Format<R>>,
    /// True if the whole output is one JSON array: a second run must not append to the file.
    pub is_array: bool,
}

impl<R: ?Sized> fmt::Debug for NamedFormat<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Formats of one kind are equal if their names are.
impl<R: ?Sized> PartialEq for NamedFormat<R> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<R: ?Sized> Eq for NamedFormat<R> {}
