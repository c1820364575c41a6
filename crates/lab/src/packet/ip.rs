// SPDX-License-Identifier: GPL-2.0-only
//! IP headers.

use crate::packet::checksum::{checksum, sum};
use crate::packet::numbers::{
    IPPROTO_AH, IPPROTO_DSTOPTS, IPPROTO_FRAGMENT, IPPROTO_HOPOPTS, IPPROTO_ROUTING,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 header with its options or extension headers.
#[derive(Clone, Debug)]
pub(super) struct IpHeader {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) tos: u8,
    pub(super) id: u16,
    pub(super) options: Vec<u8>,
    pub(super) fragment: Option<(u16, bool)>,
    pub(super) extensions: Vec<Extension>,
    pub(super) length: Option<u16>,
}

/// An IPv6 extension header. A size is that of the whole header in bytes, a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, padded to this size.
    HopByHop(usize),
    /// A routing header of this size.
    Routing(usize),
    /// Destination options, padded to this size.
    Destination(usize),
    /// An authentication header of this size.
    Authentication(usize),
    /// A fragment header: the offset in bytes (a multiple of 8), and whether more fragments follow.
    Fragment(u16, bool),
}

impl IpHeader {
    /// Returns whether the packet is a fragment other than the first.
    pub(super) fn is_later_fragment(&self) -> bool {
        let later = |extension: &Extension| matches!(extension, Extension::Fragment(1.., _));
        matches!(self.fragment, Some((1.., _))) || self.extensions.iter().any(later)
    }

    /// Returns the sum of the pseudo-header that TCP, UDP and ICMPv6 include in their checksums.
    pub(super) fn pseudo_header(&self, protocol: u8, length: usize) -> u32 {
        let sum = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                sum(0, &[source.octets(), destination.octets()].concat())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                sum(0, &[source.octets(), destination.octets()].concat())
            }
            _ => 0,
        };
        sum + u32::from(protocol) + length as u32
    }

    /// Builds the IPv4 header of a packet that carries `content` bytes.
    pub(super) fn v4(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        content: usize,
    ) -> Vec<u8> {
        assert!(self.extensions.is_empty(), "IPv4 has no extension headers");
        let header_len = 20 + self.options.len();
        let length = self.length.unwrap_or((header_len + content) as u16);
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let mut out = vec![0x40 | (header_len / 4) as u8, self.tos];
        out.extend(length.to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend((offset / 8 + (u16::from(more) << 13)).to_be_bytes());
        out.extend([64, protocol, 0, 0]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(&self.options);
        let checksum = checksum(0, &out);
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    /// Builds the IPv6 header, with its extension headers, of a packet that carries `content` bytes.
    pub(super) fn v6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        protocol: u8,
        content: usize,
    ) -> Vec<u8> {
        assert!(self.options.is_empty() && self.fragment.is_none(), "IPv6 has extension headers");
        let mut numbers: Vec<u8> = self.extensions.iter().map(|ext| ext.number()).collect();
        numbers.push(protocol);
        let mut chain = Vec::new();
        for (extension, next) in self.extensions.iter().zip(&numbers[1..]) {
            chain.extend(extension.header(*next));
        }
        let length = self.length.unwrap_or((chain.len() + content) as u16);
        let [high, low] = self.id.to_be_bytes();
        let mut out = vec![0x60 | self.tos >> 4, self.tos << 4, high, low];
        out.extend(length.to_be_bytes());
        out.extend([numbers[0], 64]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(chain);
        out
    }
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::HopByHop(_) => IPPROTO_HOPOPTS,
            Self::Routing(_) => IPPROTO_ROUTING,
            Self::Destination(_) => IPPROTO_DSTOPTS,
            Self::Authentication(_) => IPPROTO_AH,
            Self::Fragment(..) => IPPROTO_FRAGMENT,
        }
    }

    fn header(self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(size) | Self::Destination(size) => {
                let mut out = sized(next, size, size / 8 - 1);
                for option in out[2..].chunks_mut(2 + 254) {
                    option[0] = 1; // PadN
                    option[1] = (option.len() - 2) as u8;
                }
                out
            }
            Self::Routing(size) => {
                let mut out = sized(next, size, size / 8 - 1);
                out[2] = 4; // segment routing, no segments left
                out
            }
            Self::Authentication(size) => sized(next, size, size / 4 - 2),
            Self::Fragment(offset, more) => {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 1]
            }
        }
    }
}

/// Builds an extension header of `size` bytes that holds zeros after the next header and the length.
fn sized(next: u8, size: usize, length: usize) -> Vec<u8> {
    assert!(
        size.is_multiple_of(8) && size >= 8 && length < 256,
        "extension header of {size} bytes"
    );
    let mut out = vec![0; size];
    out[0] = next;
    out[1] = length as u8;
    out
}
