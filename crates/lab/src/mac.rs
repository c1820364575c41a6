// SPDX-License-Identifier: GPL-2.0-only
//! Hardware addresses.

/// A hardware address.
pub type Mac = [u8; 6];

/// Writes a hardware address as `ip` does: `02:00:00:00:00:01`.
pub fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
