// SPDX-License-Identifier: GPL-2.0-only
//! The direction that an interface faces.

include!(concat!(env!("OUT_DIR"), "/direction.rs"));

impl Direction {
    /// Returns the direction as operators write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wan => "WAN",
            Self::Lan => "LAN",
        }
    }

    /// Returns the name of the option that sets it, which the JSON of `status` uses, too.
    pub fn option(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
        }
    }
}
