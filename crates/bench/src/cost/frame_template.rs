// SPDX-License-Identifier: GPL-2.0-only
//! Frames of a load: a template with the bytes that all frames share, and the fields that differ.

use std::net::Ipv4Addr;

use crate::cost::testbed::{LAN_MAC, NET_MAC, SUBSCRIBER_MAC, WAN_MAC};
use crate::cost::workload::{subscriber_v4, subscriber_v6, FrameShape, LoadFlow};

/// The way that a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameWay {
    /// Internet to subscriber: a segment with payload.
    Down,
    /// Subscriber to internet: the acknowledgement of a segment.
    Up,
}

/// Builds the frames of one way.
pub struct FrameTemplate {
    bytes: Vec<u8>,
    way: FrameWay,
    ipv6: bool,
    /// Offsets of the IP header, the transport header and TSval, if the frames have one.
    network: usize,
    transport: usize,
    tsval: Option<usize>,
    tcp: bool,
}

/// The fields that differ between the frames of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameFields {
    /// The sender's timestamp.
    pub tsval: u32,
    /// The timestamp that the sender echoes.
    pub tsecr: u32,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
}

impl FrameTemplate {
    /// Makes the template of one way.
    pub fn new(shape: &FrameShape, way: FrameWay) -> Self {
        let (to, from) = match (way, shape.is_bridged()) {
            (FrameWay::Down, false) => (WAN_MAC, NET_MAC),
            (FrameWay::Up, false) => (LAN_MAC, SUBSCRIBER_MAC),
            (FrameWay::Down, true) => (SUBSCRIBER_MAC, NET_MAC),
            (FrameWay::Up, true) => (NET_MAC, SUBSCRIBER_MAC),
        };
        let mut bytes = [to, from].concat();
        for (tpid, vid) in &shape.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(vid.to_be_bytes());
        }
        bytes.extend(if shape.ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let network = bytes.len();
        let payload = if way == FrameWay::Down || shape.udp { shape.payload } else { 0 };
        let transport_header = match (shape.udp, shape.timestamps) {
            (true, _) => 8,
            (false, true) => 32,
            (false, false) => 20,
        };
        let protocol = if shape.udp { 17 } else { 6 };
        bytes.extend(ip_header(shape.ipv6, protocol, transport_header + payload));
        let transport = bytes.len();
        let mut header = vec![0; transport_header];
        if shape.udp {
            header[4..6].copy_from_slice(&((8 + payload) as u16).to_be_bytes());
        } else {
            header[12] = (transport_header as u8 / 4) << 4;
            header[13] = if way == FrameWay::Down { 0x18 } else { 0x10 };
            header[14..16].copy_from_slice(&512u16.to_be_bytes());
        }
        let tsval = (!shape.udp && shape.timestamps).then_some(transport + 24);
        if tsval.is_some() {
            header[20..24].copy_from_slice(&[1, 1, 8, 10]);
        }
        bytes.extend(header);
        bytes.resize(bytes.len() + payload, 0x5a);
        Self { bytes, way, ipv6: shape.ipv6, network, transport, tsval, tcp: !shape.udp }
    }

    /// Returns a frame without addresses, ports and the other fields of a flow, for [`fill`](Self::fill).
    pub fn blank(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Fills the fields of `flow` and of the packet into `frame`, which is a [`blank`](Self::blank) or was
    /// filled before.
    pub fn fill(&self, frame: &mut [u8], flow: &LoadFlow, variable: FrameFields) {
        self.fill_addresses(frame, flow);
        let (remote, local) = (443u16, flow.port);
        let ports = if self.way == FrameWay::Down { [remote, local] } else { [local, remote] };
        put16(frame, self.transport, ports[0]);
        put16(frame, self.transport + 2, ports[1]);
        if self.tcp {
            put32(frame, self.transport + 4, variable.seq);
            put32(frame, self.transport + 8, variable.ack);
        }
        if let Some(at) = self.tsval {
            put32(frame, at, variable.tsval);
            put32(frame, at + 4, variable.tsecr);
        }
    }

    fn fill_addresses(&self, frame: &mut [u8], flow: &LoadFlow) {
        let down = self.way == FrameWay::Down;
        if self.ipv6 {
            let near = subscriber_v6(flow.subscriber).octets();
            let mut far = [0; 16];
            far[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            far[12..].copy_from_slice(&flow.remote.to_be_bytes());
            let (source, destination) = if down { (far, near) } else { (near, far) };
            frame[self.network + 8..][..16].copy_from_slice(&source);
            frame[self.network + 24..][..16].copy_from_slice(&destination);
            return;
        }
        let near = u32::from(subscriber_v4(flow.subscriber));
        let far = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + flow.remote;
        let (source, destination) = if down { (far, near) } else { (near, far) };
        put32(frame, self.network + 12, source);
        put32(frame, self.network + 16, destination);
        put16(frame, self.network + 10, 0);
        let checksum = checksum(&frame[self.network..self.network + 20]);
        put16(frame, self.network + 10, checksum);
    }
}

fn ip_header(ipv6: bool, protocol: u8, payload: usize) -> Vec<u8> {
    if ipv6 {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
        header[6] = protocol;
        header[7] = 64;
        return header;
    }
    let mut header = vec![0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
    header[6] = 0x40; // do not fragment
    header[8] = 64;
    header[9] = protocol;
    header
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put16(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put32(frame: &mut [u8], at: usize, value: u32) {
    frame[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::workload::{Load, LoadFlows};

    fn frame(shape: FrameShape, way: FrameWay) -> Vec<u8> {
        let flows = LoadFlows::new(&Load::live_mix());
        let template = FrameTemplate::new(&shape, way);
        let mut frame = template.blank();
        template.fill(
            &mut frame,
            &flows.all[5],
            FrameFields { tsval: 7, tsecr: 8, seq: 9, ack: 10 },
        );
        frame
    }

    #[test]
    fn a_routed_segment() {
        let frame = frame(FrameShape::default(), FrameWay::Down);
        assert_eq!(frame.len(), 14 + 20 + 32 + 120);
        assert_eq!(frame[12..14], [8, 0]);
        assert_eq!(frame[30..34], [100, 64, 0, 6], "to the sixth subscriber");
        assert_eq!(checksum(&frame[14..34]), 0, "the header's checksum is right");
        assert_eq!(frame[58..66], [0, 0, 0, 7, 0, 0, 0, 8]);
    }

    #[test]
    fn a_tagged_acknowledgement() {
        let shape =
            FrameShape { tags: vec![(0x88a8, 100), (0x8100, 200)], ..FrameShape::default() };
        let frame = frame(shape, FrameWay::Up);
        assert_eq!(frame.len(), 14 + 8 + 20 + 32);
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 100, 0x81, 0, 0, 200, 8, 0]);
        assert_eq!(frame[..6], NET_MAC);
    }

    #[test]
    fn udp_has_payload_both_ways_and_no_timestamps() {
        let shape = FrameShape { udp: true, ipv6: true, ..FrameShape::default() };
        for way in [FrameWay::Down, FrameWay::Up] {
            let frame = frame(shape.clone(), way);
            assert_eq!(frame.len(), 14 + 40 + 8 + 120);
            assert_eq!(frame[20], 17);
            assert_eq!(frame[18..20], 128u16.to_be_bytes());
        }
    }
}
