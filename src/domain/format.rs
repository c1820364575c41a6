// SPDX-License-Identifier: GPL-2.0-only
//! The interface of every output format.

use std::fmt;

/// Turns records of one kind into text: the snapshot of `xdp_pping`, the records of a stream, the
/// state that `status` shows. `crate::format` implements it; one list there names the formats of each
/// kind.
pub trait Format<R: ?Sized> {
    /// Writes the text before the first record.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// Writes one record.
    fn record(&mut self, out: &mut Vec<u8>, record: &R);

    /// Writes the text after the last record.
    fn end(&mut self, _out: &mut Vec<u8>) {}
}

/// A format that operators choose by its name.
pub struct NamedFormat<R: ?Sized> {
    /// The value of `--format`.
    pub name: &'static str,
    /// One line for help texts and shell completions.
    pub help: &'static str,
    /// Makes a formatter for one output.
    pub make: fn() -> Box<dyn Format<R>>,
    /// The text between `begin` and `end` is one JSON array, so that a file cannot be appended to.
    pub is_array: bool,
}

impl<R: ?Sized> fmt::Debug for NamedFormat<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Two formats of one kind are the same if their names are.
impl<R: ?Sized> PartialEq for NamedFormat<R> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<R: ?Sized> Eq for NamedFormat<R> {}
