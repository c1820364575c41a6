// SPDX-License-Identifier: GPL-2.0-only
//! A captured packet as an Ethernet frame.

/// One packet of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Length of the Ethernet frame on the wire, in bytes. The capture may hold less of it.
    pub wire_len: u32,
    /// The bytes that the capture holds, as an Ethernet frame of at least 14 bytes.
    pub data: Vec<u8>,
}
