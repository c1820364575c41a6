// SPDX-License-Identifier: GPL-2.0-only
//! Builds frames for the tests and the generator. All fields are valid by default; a test or the generator
//! makes some of them invalid.
//!
//! Checksums are 0: the packet path does not read them.

use std::net::IpAddr;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// The length field of the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// The length of the packet.
    Right,
    /// 0, as in BIG TCP: the length of the frame counts.
    Zero,
    /// This number.
    Says(u16),
}

/// An IPv6 extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionHeader {
    pub kind: u8,
    /// The second byte of the header; its unit depends on `kind`.
    pub length: u8,
    /// The offset of a fragment header, in units of 8 bytes.
    pub offset: u16,
}

impl ExtensionHeader {
    pub fn new(kind: u8, length: u8) -> ExtensionHeader {
        ExtensionHeader { kind, length, offset: 0 }
    }

    pub fn fragment(offset: u16) -> ExtensionHeader {
        ExtensionHeader { kind: 44, length: 0, offset }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        let length = match self.kind {
            44 => 8,
            51 => (usize::from(self.length) + 2) * 4,
            _ => (usize::from(self.length) + 1) * 8,
        };
        let mut header = vec![0; length];
        header[0] = next;
        header[1] = self.length;
        if self.kind == 44 {
            header[2..4].copy_from_slice(&(self.offset << 3 | 1).to_be_bytes());
        }
        header
    }
}

/// An MPLS label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub label: u32,
    /// Whether it is the last of the stack.
    pub bottom: bool,
}

impl Label {
    /// Describes a stack of this many labels, of which the last is the bottom.
    pub fn stack(depth: usize) -> Vec<Label> {
        let label = |n: usize| Label { label: 100 + n as u32, bottom: n + 1 == depth };
        (0..depth).map(label).collect()
    }

    fn bytes(self) -> [u8; 4] {
        (self.label << 12 | u32::from(self.bottom) << 8 | 64).to_be_bytes()
    }
}

/// The description of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// TPIDs, outermost first.
    pub tags: Vec<u16>,
    pub pppoe: bool,
    /// MPLS labels, outermost first; with PPPoE, none of them is built.
    pub labels: Vec<Label>,
    /// An EtherType in place of the right one.
    pub ethertype: Option<u16>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Words of IPv4 options; the header allows at most 10.
    pub ip_option_words: u8,
    /// IPv4 fragment offset in units of 8 bytes, with the flags of its field.
    pub fragment_offset: u16,
    /// IPv6 extension headers.
    pub extensions: Vec<ExtensionHeader>,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub flags: u8,
    /// TCP options; the builder pads them with 0 to whole words.
    pub tcp_options: Vec<u8>,
    pub payload: usize,
    pub length: Length,
    /// Bytes of padding after the packet.
    pub padding: usize,
}

impl Frame {
    /// Describes a TCP segment with ACK, from port 1000 to 2000, without options or payload.
    pub fn tcp(source: IpAddr, destination: IpAddr) -> Frame {
        Frame {
            tags: Vec::new(),
            pppoe: false,
            labels: Vec::new(),
            ethertype: None,
            source,
            destination,
            ip_option_words: 0,
            fragment_offset: 0,
            extensions: Vec::new(),
            protocol: 6,
            source_port: 1000,
            destination_port: 2000,
            flags: ACK,
            tcp_options: Vec::new(),
            payload: 0,
            length: Length::Right,
            padding: 0,
        }
    }

    pub fn tcp4(source: [u8; 4], destination: [u8; 4]) -> Frame {
        Frame::tcp(source.into(), destination.into())
    }

    pub fn tcp6(source: [u8; 16], destination: [u8; 16]) -> Frame {
        Frame::tcp(source.into(), destination.into())
    }

    pub fn ports(mut self, source: u16, destination: u16) -> Frame {
        (self.source_port, self.destination_port) = (source, destination);
        self
    }

    pub fn flags(mut self, flags: u8) -> Frame {
        self.flags = flags;
        self
    }

    pub fn payload(mut self, bytes: usize) -> Frame {
        self.payload = bytes;
        self
    }

    pub fn tags(mut self, tpids: &[u16]) -> Frame {
        self.tags = tpids.to_vec();
        self
    }

    pub fn pppoe(mut self) -> Frame {
        self.pppoe = true;
        self
    }

    pub fn labels(mut self, labels: &[Label]) -> Frame {
        self.labels = labels.to_vec();
        self
    }

    pub fn protocol(mut self, protocol: u8) -> Frame {
        self.protocol = protocol;
        self
    }

    pub fn extensions(mut self, extensions: &[ExtensionHeader]) -> Frame {
        self.extensions = extensions.to_vec();
        self
    }

    pub fn length(mut self, length: Length) -> Frame {
        self.length = length;
        self
    }

    pub fn padding(mut self, bytes: usize) -> Frame {
        self.padding = bytes;
        self
    }

    pub fn tcp_options(mut self, options: &[u8]) -> Frame {
        self.tcp_options = options.to_vec();
        self
    }

    /// Sets timestamps in the layout of RFC 7323, appendix A: NOP, NOP, 8, 10.
    pub fn timestamps(self, tsval: u32, tsecr: u32) -> Frame {
        let mut options = vec![1, 1];
        options.extend(timestamps_option(tsval, tsecr));
        self.tcp_options(&options)
    }

    /// Builds the frame.
    pub fn build(&self) -> Vec<u8> {
        let mut packet = self.tcp_header();
        packet.resize(packet.len() + self.payload, 0xda);
        let is_ipv6 = self.source.is_ipv6();
        let packet = if is_ipv6 { self.ipv6(packet) } else { self.ipv4(packet) };

        let ethertype = self.ethertype.unwrap_or(match (self.pppoe, self.labels.len(), is_ipv6) {
            (true, ..) => 0x8864,
            (false, 1.., _) => 0x8847,
            (false, 0, true) => 0x86dd,
            (false, 0, false) => 0x0800,
        });
        let mut frame = vec![2; 12];
        for (vid, tpid) in self.tags.iter().enumerate() {
            frame.extend(tpid.to_be_bytes());
            frame.extend((vid as u16 + 100).to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        if self.pppoe {
            frame.extend([0x11, 0, 0, 1]);
            frame.extend((packet.len() as u16 + 2).to_be_bytes());
            frame.extend(if is_ipv6 { [0x00, 0x57] } else { [0x00, 0x21] });
        } else {
            frame.extend(self.labels.iter().flat_map(|label| label.bytes()));
        }
        frame.extend(packet);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    fn tcp_header(&self) -> Vec<u8> {
        let words = (5 + self.tcp_options.len().div_ceil(4)).min(15);
        let mut header = Vec::new();
        header.extend(self.source_port.to_be_bytes());
        header.extend(self.destination_port.to_be_bytes());
        header.extend([0; 8]);
        header.extend([(words as u8) << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        header.extend(&self.tcp_options);
        header.resize(words * 4, 0);
        header
    }

    fn ipv4(&self, payload: Vec<u8>) -> Vec<u8> {
        let words = 5 + self.ip_option_words.min(10);
        let header_length = usize::from(words) * 4;
        let length = self.length_field(header_length + payload.len());
        let mut packet = vec![0x40 | words, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(self.fragment_offset.to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.resize(header_length, 1);
        packet.extend(payload);
        packet
    }

    fn ipv6(&self, payload: Vec<u8>) -> Vec<u8> {
        let (mut next, mut body) = (self.protocol, payload);
        for extension in self.extensions.iter().rev() {
            let mut header = extension.bytes(next);
            header.extend(body);
            (next, body) = (extension.kind, header);
        }
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(self.length_field(body.len()).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(body);
        packet
    }

    fn length_field(&self, right: usize) -> u16 {
        match self.length {
            Length::Right => right as u16,
            Length::Zero => 0,
            Length::Says(length) => length,
        }
    }
}

/// Returns the timestamps option: kind 8, length 10.
pub fn timestamps_option(tsval: u32, tsecr: u32) -> [u8; 10] {
    let ([v0, v1, v2, v3], [e0, e1, e2, e3]) = (tsval.to_be_bytes(), tsecr.to_be_bytes());
    [8, 10, v0, v1, v2, v3, e0, e1, e2, e3]
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
