// SPDX-License-Identifier: GPL-2.0-only
//! The Internet checksum.

/// Adds the 16-bit words of `bytes` to `start`; an odd byte at the end is the high byte of a word.
pub(super) fn sum(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    })
}

/// Returns the Internet checksum (RFC 1071) of `bytes`, begun with the sum `start`.
pub(super) fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = sum(start, bytes);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
