// SPDX-License-Identifier: GPL-2.0-only
//! The packets of a capture that cannot be read, counted by reason.

use std::collections::BTreeMap;
use std::fmt;

use crate::stream::capture::link_layer::link_type_name;

/// The reason why a packet of a capture is left out. The rest of the capture can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// Its link type, this number, carries no IP that we read.
    LinkType(u16),
    /// The capture has no time for it (a simple packet block).
    NoTime,
    /// Its time is before 1970 or after 2554: 64 bits of nanoseconds end there.
    TimeOutOfRange,
    /// The capture does not describe its interface.
    UnknownInterface,
    /// The lengths in its block contradict each other.
    MalformedBlock,
    /// The capture holds less of it than the header of its link layer.
    CutShort,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType(number) => write!(f, "of {}", LinkTypeText(*number)),
            Self::NoTime => f.write_str("without a time"),
            Self::TimeOutOfRange => f.write_str("with an impossible time"),
            Self::UnknownInterface => f.write_str("of an interface that is not described"),
            Self::MalformedBlock => f.write_str("in a malformed block"),
            Self::CutShort => f.write_str("cut short within a header"),
        }
    }
}

/// Prints a link type with its name: `link type 227 (CAN_SOCKETCAN)`.
#[derive(Clone, Copy, Debug)]
pub struct LinkTypeText(pub u16);

impl fmt::Display for LinkTypeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link type {}", self.0)?;
        link_type_name(self.0).map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Numbers of packets by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOutCounts(BTreeMap<LeftOut, u64>);

impl LeftOutCounts {
    /// Counts one packet.
    pub fn add(&mut self, reason: LeftOut) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Returns the reasons that have occurred, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (LeftOut, u64)> + '_ {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}
