// SPDX-License-Identifier: GPL-2.0-only
//! tc handles: the classes of the shaper, as tc and `xdp_pping` write them.

use std::fmt;

use crate::domain::error::{Error, Result};
use crate::domain::number::strtoul;

/// A tc handle: major in the upper, minor in the lower 16 bits, host byte order. 0 is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcHandle(pub u32);

impl TcHandle {
    /// No class: the packet keeps its priority.
    pub const NONE: Self = Self(0);
    /// `TC_H_ROOT`.
    pub const ROOT: Self = Self(u32::MAX);

    /// Makes a handle from its halves.
    pub fn new(major: u16, minor: u16) -> Self {
        Self(u32::from(major) << 16 | u32::from(minor))
    }

    /// Returns the upper half, the number of the qdisc.
    pub fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Returns the lower half, the number of the class in that qdisc.
    pub fn minor(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    /// Formats both halves in decimal, as `xdp_pping` prints them.
    pub fn decimal(self) -> impl fmt::Display {
        DecimalHandle(self)
    }
}

/// Writes `major:minor` in hexadecimal without prefix, as tc does; `none` for 0, `root` for the root.
/// [`parse_tc_handle`] reads every form back.
impl fmt::Display for TcHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::ROOT => f.write_str("root"),
            handle => write!(f, "{:x}:{:x}", handle.major(), handle.minor()),
        }
    }
}

struct DecimalHandle(TcHandle);

impl fmt::Display for DecimalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.major(), self.0.minor())
    }
}

/// Reads a class id as iproute2's `get_tc_classid` does: halves in hexadecimal, with or without
/// `0x`.
///
/// `MAJ:MIN`, `MAJ:` (minor 0), `:MIN` (major 0), `root`, `none`, or a bare number, which is the
/// whole 32-bit handle (`10005` is `1:5`; `5` is `:5`).
///
/// # Errors
/// [`Error::Usage`] for an empty string, a half over 0xFFFF, a bare number over 0xFFFFFFFF, signs,
/// trailing garbage.
pub fn parse_tc_handle(text: &str) -> Result<TcHandle> {
    let bad = |why: &str| {
        let remedy = "give MAJOR:MINOR in hexadecimal, e.g. 1:5 or 0x1:0x5, or none";
        Error::usage(format!("--classid '{text}'"), why, remedy)
    };
    match text {
        "" => return Err(bad("empty")),
        "root" => return Ok(TcHandle::ROOT),
        "none" => return Ok(TcHandle::NONE),
        _ => {}
    }
    let number = |digits: &str, max: u64| match strtoul(digits, 16) {
        Some(value) if value <= max => Ok(value),
        Some(_) => Err(bad("out of range")),
        None => Err(bad("not hexadecimal")),
    };
    let half = |digits: &str| match digits {
        "" => Ok(0),
        _ => number(digits, u64::from(u16::MAX)).map(|value| value as u16),
    };
    match text.split_once(':') {
        Some((major, minor)) => Ok(TcHandle::new(half(major)?, half(minor)?)),
        None => Ok(TcHandle(number(text, u64::from(u32::MAX))? as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::exit;

    #[test]
    fn tc_handles_are_read_as_iproute2_reads_them() {
        let table = [
            ("1:5", 0x1_0005),
            ("0x1:0x8", 0x1_0008),
            ("0X1:0Xa", 0x1_000a),
            ("4:12", 0x4_0012),
            ("7FFF:", 0x7fff_0000),
            ("1:", 0x1_0000),
            (":1f", 0x1f),
            (":", 0),
            ("ffff:ffff", 0xffff_ffff),
            ("0x00001:0x00005", 0x1_0005),
            ("root", 0xffff_ffff),
            ("none", 0),
            ("1", 1),
            ("10005", 0x1_0005),
            ("0x10005", 0x1_0005),
            ("ffffffff", 0xffff_ffff),
        ];
        for (text, raw) in table {
            assert_eq!(parse_tc_handle(text).unwrap(), TcHandle(raw), "{text}");
        }
    }

    #[test]
    fn bad_tc_handles_are_refused() {
        let table = [
            "",
            "10000:1",
            "1:10000",
            "1:2:3",
            "1:g",
            "x:1",
            "0x:1",
            "1:0x",
            "-1",
            "1:-5",
            "1:5 ",
            "1 :5",
            "100000000",
            "0x1_0",
            "ROOT",
            "rooted",
            "none ",
            "1.5",
            "++1",
            "1:0x0x5",
        ];
        for text in table {
            let err = parse_tc_handle(text).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
        }
    }

    #[test]
    fn printed_tc_handles_read_back() {
        let table = [
            (0, "none", "0:0"),
            (u32::MAX, "root", "65535:65535"),
            (0x1_0005, "1:5", "1:5"),
            (0x12_00ab, "12:ab", "18:171"),
            (0x1f, "0:1f", "0:31"),
            (0x1_0000, "1:0", "1:0"),
        ];
        for (raw, hex, decimal) in table {
            let handle = TcHandle(raw);
            assert_eq!(handle.to_string(), hex);
            assert_eq!(handle.decimal().to_string(), decimal);
            assert_eq!(parse_tc_handle(hex).unwrap(), handle);
            assert_eq!(TcHandle::new(handle.major(), handle.minor()), handle);
        }
    }
}
