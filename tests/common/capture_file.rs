// SPDX-License-Identifier: GPL-2.0-only

//! Captures made by tests: pcap and pcapng of any link type, and the conversation in them.

use lab::packet::{Packet, Tcp, ACK, PSH};
use std::net::IpAddr;

pub const MICROSECONDS: u32 = 0xA1B2_C3D4;
pub const NANOSECONDS: u32 = 0xA1B2_3C4D;
/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// The time of a conversation's begin, in nanoseconds since 1970.
pub const START_NS: u64 = 1_700_000_000_000_000_000;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

/// A packet to be written: its time, its bytes, its length on the wire.
#[derive(Clone, Debug)]
pub struct Captured {
    pub time_ns: u64,
    pub bytes: Vec<u8>,
    pub wire_len: u32,
}

impl Captured {
    pub fn new(time_ns: u64, bytes: Vec<u8>) -> Self {
        let wire_len = bytes.len() as u32;
        Self { time_ns, bytes, wire_len }
    }

    /// Replaces the Ethernet header by `header`.
    pub fn behind(mut self, header: &[u8]) -> Self {
        self.wire_len = self.wire_len - ETHERNET as u32 + header.len() as u32;
        self.bytes.splice(..ETHERNET, header.iter().copied());
        self
    }

    /// Keeps only the first bytes of the packet.
    pub fn snapped(mut self, bytes: usize) -> Self {
        self.bytes.truncate(bytes);
        self
    }
}

/// The ends of a conversation: a client and a server with their ports.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub client: IpAddr,
    pub server: IpAddr,
    pub port: u16,
}

/// Exchanges of a conversation.
pub const EXCHANGES: usize = 20;
/// The RTTs of a conversation: each exchange gives one of 20 ms and one of 5 ms, but for the first.
pub const RTTS: usize = 2 * (EXCHANGES - 1);

/// Makes a conversation of Ethernet frames. Each exchange is data from the client, data from the server 20 ms later,
/// and the client's acknowledgement 5 ms after that.
pub fn conversation(ends: Ends, start_ns: u64) -> Vec<Captured> {
    let frame = |from_client: bool, flags, value, echo, payload| {
        let tcp = Tcp::new(ends.port, 443).flags(flags).timestamps(value, echo);
        let packet = Packet::new(ends.client, ends.server).tcp(tcp).payload(payload);
        if from_client { packet } else { packet.reply() }.build()
    };
    let exchange = |number: usize| {
        let (at, tick) = (start_ns + number as u64 * 200 * MS, number as u32 * 200);
        let (client, server) = (1000 + tick, 5000 + tick);
        [
            Captured::new(at, frame(true, PSH | ACK, client, server - 200, 100)),
            Captured::new(at + 20 * MS, frame(false, PSH | ACK, server, client, 200)),
            Captured::new(at + 25 * MS, frame(true, ACK, client + 25, server, 0)),
        ]
    };
    (0..EXCHANGES).flat_map(exchange).collect()
}

/// Sorts packets by their times, as a capture of several conversations has them.
pub fn merged(conversations: impl IntoIterator<Item = Vec<Captured>>) -> Vec<Captured> {
    let mut packets: Vec<_> = conversations.into_iter().flatten().collect();
    packets.sort_by_key(|packet| packet.time_ns);
    packets
}

/// Writes numbers in one byte order.
#[derive(Clone, Debug)]
pub struct FileBytes {
    big: bool,
    pub bytes: Vec<u8>,
}

impl FileBytes {
    pub fn new(big: bool) -> Self {
        Self { big, bytes: Vec::new() }
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes zeroes up to a multiple of four bytes.
    fn padded(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// Writes a pcap file.
pub fn pcap(magic: u32, big: bool, link_type: u32, packets: &[Captured]) -> Vec<u8> {
    let head = FileBytes::new(big).u32(magic).u16(2).u16(4).u32(0).u32(0).u32(262_144);
    let unit = if magic == NANOSECONDS { 1 } else { 1000 };
    let packet = |file: FileBytes, packet: &Captured| {
        let (seconds, rest) = (packet.time_ns / SECOND, packet.time_ns % SECOND);
        file.u32(seconds as u32)
            .u32((rest / unit) as u32)
            .u32(packet.bytes.len() as u32)
            .u32(packet.wire_len)
            .raw(&packet.bytes)
    };
    packets.iter().fold(head.u32(link_type), packet).bytes
}

/// Writes a block of pcapng.
pub fn block(big: bool, kind: u32, body: FileBytes) -> Vec<u8> {
    let body = body.padded().bytes;
    let length = body.len() as u32 + 12;
    FileBytes::new(big).u32(kind).u32(length).raw(&body).u32(length).bytes
}

pub fn section(big: bool) -> Vec<u8> {
    block(big, 0x0A0D_0D0A, FileBytes::new(big).u32(0x1A2B_3C4D).u16(1).u16(0).raw(&[0xFF; 8]))
}

/// Writes an interface, with a resolution of its clock (if_tsresol) and an offset in seconds (if_tsoffset).
pub fn interface(big: bool, link_type: u16, resolution: u8, offset: i64) -> Vec<u8> {
    let offset = if big { offset.to_be_bytes() } else { offset.to_le_bytes() };
    let body = FileBytes::new(big).u16(link_type).u16(0).u32(0);
    let body = body.u16(9).u16(1).raw(&[resolution, 0, 0, 0]);
    block(big, 1, body.u16(14).u16(8).raw(&offset).u32(0))
}

/// Writes a packet with a time in ticks of its interface, and the flag that it came in.
pub fn packet(big: bool, interface: u32, ticks: u64, packet: &Captured) -> Vec<u8> {
    let body = FileBytes::new(big).u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32);
    let body = body.u32(packet.bytes.len() as u32).u32(packet.wire_len).raw(&packet.bytes);
    block(big, 6, body.padded().u16(2).u16(4).u32(1).u32(0))
}
