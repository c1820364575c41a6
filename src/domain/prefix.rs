// SPDX-License-Identifier: GPL-2.0-only
//! Subscriber prefixes, in the form of the mapping's keys.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::error::{Error, Result};

/// The twelve bytes in front of an IPv4 address in a key of the mapping.
const V4_LEAD: [u8; 12] = [0xFF; 12];
/// Number of bits that a key adds to an IPv4 prefix length.
const V4_SHIFT: u32 = 96;
/// Number of bits in a key's address.
const ADDR_BITS: u32 = 128;

/// A subscriber prefix in the form of a key of `map_ip_hash`. Host bits are zero, the length is 0 to
/// 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: [u8; 16],
    prefixlen: u32,
}

impl Prefix {
    /// The default entry, for traffic that no other entry covers: all ones, /128, printed as
    /// `255.255.255.255/32`.
    pub const DEFAULT: Self = Self { addr: [0xFF; 16], prefixlen: ADDR_BITS };

    /// Makes a prefix from a map key: `addr` in network byte order (IPv4 = twelve 0xFF bytes, then the
    /// address), `prefixlen` in bits of those 128. Clears the host bits. Returns `None` if the length
    /// is over 128.
    pub fn new(addr: [u8; 16], prefixlen: u32) -> Option<Self> {
        let host_bits = ADDR_BITS.checked_sub(prefixlen)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let addr = (u128::from_be_bytes(addr) & mask).to_be_bytes();
        Some(Self { addr, prefixlen })
    }

    /// Returns the address in network byte order; IPv4 is twelve 0xFF bytes, then the address.
    pub fn addr(&self) -> [u8; 16] {
        self.addr
    }

    /// Returns the length in bits of the 128-bit key; for IPv4, the prefix length plus 96.
    pub fn prefixlen(&self) -> u32 {
        self.prefixlen
    }

    /// Returns address and length as people write them. Prefixes shorter than /96 are IPv6 even if they
    /// cover the keys of IPv4.
    pub fn to_cidr(&self) -> (IpAddr, u32) {
        match (self.addr.strip_prefix(&V4_LEAD), self.prefixlen.checked_sub(V4_SHIFT)) {
            (Some(&[a, b, c, d]), Some(len)) => (Ipv4Addr::new(a, b, c, d).into(), len),
            _ => (Ipv6Addr::from(self.addr).into(), self.prefixlen),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (addr, len) = self.to_cidr();
        write!(f, "{addr}/{len}")
    }
}

/// Reads an IPv4 or IPv6 address, with or without `/LENGTH` (0 to 32, 0 to 128). Host bits are
/// dropped.
///
/// # Errors
/// [`Error::BadIp`] for anything else: empty string, host name, zone index, netmask, empty or
/// signed length, spaces.
pub fn parse_cidr(text: &str) -> Result<Prefix> {
    let bad = |why: &str| {
        let remedy = "give an IPv4 or IPv6 address or prefix, e.g. 100.64.0.2 or 2001:db8:1::/48";
        Error::bad_ip(format!("--ip '{text}'"), why, remedy)
    };
    let (host, length) = match text.split_once('/') {
        Some((host, length)) => (host, Some(length)),
        None => (text, None),
    };
    let addr: IpAddr = host.parse().map_err(|_| bad("not an IP address"))?;
    let (bytes, max, shift) = match addr {
        IpAddr::V4(v4) => (v4_key(v4), 32, V4_SHIFT),
        IpAddr::V6(v6) => (v6.octets(), ADDR_BITS, 0),
    };
    let length = match length {
        None => max,
        Some(digits) => parse_length(digits)
            .ok_or_else(|| bad("the prefix length is not a number"))
            .and_then(|len| if len <= max { Ok(len) } else { Err(bad(too_long(max))) })?,
    };
    Prefix::new(bytes, length + shift).ok_or_else(|| bad(too_long(max)))
}

fn too_long(max: u32) -> &'static str {
    if max == 32 {
        "an IPv4 prefix length is 0 to 32"
    } else {
        "an IPv6 prefix length is 0 to 128"
    }
}

/// Returns an IPv4 address in the form of a key.
fn v4_key(addr: Ipv4Addr) -> [u8; 16] {
    let [a, b, c, d] = addr.octets();
    let mut key = [0xFF; 16];
    key[12..].copy_from_slice(&[a, b, c, d]);
    key
}

/// Reads a prefix length that consists of digits only. A number over 32 bits becomes `u32::MAX`, which
/// the caller refuses like any other length that is too large.
fn parse_length(digits: &str) -> Option<u32> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::exit;

    #[test]
    fn printed_prefixes_read_back() {
        let table = [
            ("100.64.0.2", "100.64.0.2/32", 128),
            ("100.64.0.2/32", "100.64.0.2/32", 128),
            ("100.64.1.77/24", "100.64.1.0/24", 120),
            ("10.1.2.3/8", "10.0.0.0/8", 104),
            ("10.1.2.3/1", "0.0.0.0/1", 97),
            ("0.0.0.0/0", "0.0.0.0/0", 96),
            ("255.255.255.255", "255.255.255.255/32", 128),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.255/32", 128),
            ("::/0", "::/0", 0),
            ("::", "::/128", 128),
            ("2001:db8::1", "2001:db8::1/128", 128),
            ("2001:DB8:0:0::1/32", "2001:db8::/32", 32),
            ("2001:db8:ffff::/33", "2001:db8:8000::/33", 33),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4/128", 128),
            ("ffff:ffff:ffff:ffff:ffff:ffff::/96", "0.0.0.0/0", 96),
            ("ffff:ffff:ffff:ffff:ffff:ffff::/95", "ffff:ffff:ffff:ffff:ffff:fffe::/95", 95),
            ("ffff::/16", "ffff::/16", 16),
            ("10.0.0.1/08", "10.0.0.0/8", 104),
        ];
        for (text, printed, prefixlen) in table {
            let prefix = parse_cidr(text).unwrap();
            assert_eq!(prefix.to_string(), printed, "{text}");
            assert_eq!(prefix.prefixlen(), prefixlen, "{text}");
            assert_eq!(parse_cidr(printed).unwrap(), prefix, "{text} reads back");
        }
        assert_eq!(parse_cidr("255.255.255.255").unwrap(), Prefix::DEFAULT);
    }

    #[test]
    fn ipv4_keys_are_ones_then_network_byte_order() {
        let mut key = [0xFF; 16];
        key[12..].copy_from_slice(&[100, 64, 0, 2]);
        assert_eq!(parse_cidr("100.64.0.2").unwrap().addr(), key);
        let mut v6 = [0; 16];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(parse_cidr("2001:db8::1/32").unwrap().addr(), v6);
    }

    #[test]
    fn bad_prefixes_are_refused() {
        let table = [
            "",
            " ",
            "/",
            "/24",
            "10.0.0.1/",
            "10.0.0.1/33",
            "::/129",
            "10.0.0.1/+5",
            "10.0.0.1/-1",
            "10.0.0.1/ 5",
            "10.0.0.1/5 ",
            " 10.0.0.1",
            "10.0.0.1 ",
            "10.0.0.1/24/",
            "10.0.0.1/24x",
            "10.0.0.1/255.255.255.0",
            "10.0.0.1/0x8",
            "10.0.0.1/99999999999999999999",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1.",
            "010.0.0.1",
            "localhost",
            "example.com",
            "fe80::1%eth0",
            "2001:db8:::1",
            ":",
            "1:2:3:4:5:6:7",
            "[::1]",
            "0x0a000001",
            "167772161",
            "10.0.0.1\n",
            "10.0.0.1/\u{0661}",
        ];
        for text in table {
            let err = parse_cidr(text).unwrap_err();
            assert_eq!(err.exit_code(), exit::BAD_IP, "{text:?}: {err}");
        }
    }

    #[test]
    fn host_bits_of_a_key_are_cleared() {
        assert_eq!(Prefix::new([0xFF; 16], 129), None);
        assert_eq!(Prefix::new([0xFF; 16], 0).unwrap().to_string(), "::/0");
        assert_eq!(Prefix::new([0xFF; 16], 8).unwrap().to_string(), "ff00::/8");
        assert_eq!(Prefix::new([0xFF; 16], 104).unwrap().to_string(), "255.0.0.0/8");
    }
}
