// SPDX-License-Identifier: GPL-2.0-only
//! Names of network interfaces.

use std::fmt;

use crate::domain::error::{Error, Result};

/// A name that the kernel accepts for a network interface: 1 to 15 bytes without `/`, `:` and white
/// space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

impl IfName {
    /// Length of the longest name in bytes (IFNAMSIZ without the terminating zero).
    pub const MAX_LEN: usize = 15;

    /// Checks a name. `option` is the command-line option, for the error message.
    ///
    /// # Errors
    /// [`Error::Usage`] if no interface can have this name.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let remedy = "give an interface name as `ip link` shows it";
            Err(Error::usage(format!("{option} '{text}'"), why, remedy))
        };
        let forbidden = |c: char| matches!(c, '/' | ':' | '\0' | '\x0B') || c.is_ascii_whitespace();
        if text.is_empty() {
            return bad("empty interface name");
        }
        if text.len() > Self::MAX_LEN {
            return bad("an interface name has at most 15 bytes");
        }
        if text.contains(forbidden) || matches!(text, "." | "..") {
            return bad("not an interface name");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::exit;

    #[test]
    fn names_are_checked_as_the_kernel_does() {
        for name in ["eth0", "a", "enp175s0f1.100", "123456789012345", "-", "br-lan", "wän"] {
            assert_eq!(IfName::parse("--dev", name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a\tb", "1234567890123456"] {
            let err = IfName::parse("--dev", name).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{name:?}");
        }
    }
}
