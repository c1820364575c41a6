//! Builds frames for the tests and the generator: right by default, wrong where asked.
//!
//! Checksums are left 0: nobody on this path looks at them.

use std::net::IpAddr;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// What the IP header says of its packet's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Right,
    /// BIG TCP: ask the frame.
    Zero,
    /// This number in the header.
    Says(u16),
}

/// An IPv6 extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub kind: u8,
    /// The header's second byte; its unit depends on `kind`.
    pub length: u8,
    /// In a fragment header: offset in units of 8 bytes.
    pub offset: u16,
}

impl Extension {
    pub fn new(kind: u8, length: u8) -> Extension {
        Extension { kind, length, offset: 0 }
    }

    pub fn fragment(offset: u16) -> Extension {
        Extension { kind: 44, length: 0, offset }
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

/// A frame to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// TPIDs, outermost first.
    pub tags: Vec<u16>,
    pub pppoe: bool,
    /// In place of the EtherType that fits.
    pub ethertype: Option<u16>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IPv4: words of options; the header can say at most 10.
    pub ip_option_words: u8,
    /// IPv4: fragment offset in units of 8 bytes.
    pub fragment_offset: u16,
    /// IPv6.
    pub extensions: Vec<Extension>,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub flags: u8,
    /// Padded with 0 to whole words.
    pub tcp_options: Vec<u8>,
    pub payload: usize,
    pub length: Length,
    /// Bytes after the packet.
    pub padding: usize,
}

impl Frame {
    /// TCP with ACK, from port 1000 to 2000, without options or payload.
    pub fn tcp(source: IpAddr, destination: IpAddr) -> Frame {
        Frame {
            tags: Vec::new(),
            pppoe: false,
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

    pub fn protocol(mut self, protocol: u8) -> Frame {
        self.protocol = protocol;
        self
    }

    pub fn extensions(mut self, extensions: &[Extension]) -> Frame {
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

    /// Timestamps as RFC 7323, appendix A, lays them out: NOP, NOP, 8, 10.
    pub fn timestamps(self, tsval: u32, tsecr: u32) -> Frame {
        let mut options = vec![1, 1];
        options.extend(timestamps_option(tsval, tsecr));
        self.tcp_options(&options)
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut packet = self.tcp_header();
        packet.resize(packet.len() + self.payload, 0xda);
        let is_ipv6 = self.source.is_ipv6();
        let packet = if is_ipv6 { self.ipv6(packet) } else { self.ipv4(packet) };

        let ethertype = self.ethertype.unwrap_or(match (self.pppoe, is_ipv6) {
            (true, _) => 0x8864,
            (false, true) => 0x86dd,
            (false, false) => 0x0800,
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

/// Kind 8, length 10.
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
