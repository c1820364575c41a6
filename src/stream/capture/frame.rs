// SPDX-License-Identifier: GPL-2.0-only
//! A captured packet as an Ethernet frame.

/// One packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Length of the Ethernet frame on the wire, of which the capture may hold less.
    pub wire_len: u32,
    /// What the capture holds, as an Ethernet frame: 14 bytes at least.
    pub data: Vec<u8>,
    /// Whether the packet left the machine; `None` if the capture does not say.
    pub outgoing: Option<bool>,
}
