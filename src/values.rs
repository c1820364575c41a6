// SPDX-License-Identifier: GPL-2.0-only
//! The values that operators type: prefixes, tc handles, CPU numbers, interface names. Parsing and
//! printing only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::error::{Error, Result};

/// Twelve bytes of ones in front of an IPv4 address: how the mapping's key holds IPv4.
const V4_LEAD: [u8; 12] = [0xFF; 12];
/// What an IPv4 prefix length grows by in the key, in bits.
const V4_SHIFT: u32 = 96;
/// Bits in a key's address.
const ADDR_BITS: u32 = 128;

/// A subscriber prefix as `map_ip_hash` keys it. Host bits are zero, the length is 0 to 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: [u8; 16],
    prefixlen: u32,
}

impl Prefix {
    /// The entry for traffic that no other entry names: all ones, /128, printed
    /// `255.255.255.255/32`.
    pub const DEFAULT: Self = Self { addr: [0xFF; 16], prefixlen: ADDR_BITS };

    /// From a map key: `addr` in network byte order (IPv4 = twelve 0xFF bytes, then the address),
    /// `prefixlen` in bits of those 128. Host bits are cleared. `None` if the length is over 128.
    pub fn new(addr: [u8; 16], prefixlen: u32) -> Option<Self> {
        let host_bits = ADDR_BITS.checked_sub(prefixlen)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let addr = (u128::from_be_bytes(addr) & mask).to_be_bytes();
        Some(Self { addr, prefixlen })
    }

    /// The address in network byte order; IPv4 is twelve 0xFF bytes, then the address.
    pub fn addr(&self) -> [u8; 16] {
        self.addr
    }

    /// The length in bits of the 128-bit key: an IPv4 length plus 96.
    pub fn prefixlen(&self) -> u32 {
        self.prefixlen
    }

    /// Address and length as people write them. Prefixes shorter than /96 are IPv6 even if they
    /// cover IPv4's region.
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

fn v4_key(addr: Ipv4Addr) -> [u8; 16] {
    let [a, b, c, d] = addr.octets();
    let mut key = [0xFF; 16];
    key[12..].copy_from_slice(&[a, b, c, d]);
    key
}

/// Digits only; a number too large to hold is as good as any other that is too large.
fn parse_length(digits: &str) -> Option<u32> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// A tc handle: major in the upper, minor in the lower 16 bits, host byte order. 0 is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcHandle(pub u32);

impl TcHandle {
    /// No class: the packet keeps its priority.
    pub const NONE: Self = Self(0);
    /// `TC_H_ROOT`.
    pub const ROOT: Self = Self(u32::MAX);

    /// From its halves.
    pub fn new(major: u16, minor: u16) -> Self {
        Self(u32::from(major) << 16 | u32::from(minor))
    }

    /// The upper half: which qdisc.
    pub fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The lower half: which class of it.
    pub fn minor(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    /// Both halves in decimal, as `xdp_pping` prints them.
    pub fn decimal(self) -> impl fmt::Display {
        DecimalHandle(self)
    }
}

/// `major:minor` in plain hexadecimal, as tc prints it; `none` for 0 and `root` for the root.
/// [`parse_tc_handle`] reads every form back.
impl fmt::Display for TcHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::ROOT => f.write_str("root"),
            handle => write!(f, "{:x}:{:x}", handle.major(), handle.minor()),
        }
    }
}

struct DecimalHandle(TcHandle);

impl fmt::Display for DecimalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.major(), self.0.minor())
    }
}

/// Reads a class id as iproute2's `get_tc_classid` does: halves in hexadecimal, with or without
/// `0x`.
///
/// `MAJ:MIN`, `MAJ:` (minor 0), `:MIN` (major 0), `root`, `none`, or a bare number, which is the
/// whole 32-bit handle (`10005` is `1:5`; `5` is `:5`).
///
/// # Errors
/// [`Error::Usage`] for an empty string, a half over 0xFFFF, a bare number over 0xFFFFFFFF, signs,
/// trailing garbage.
pub fn parse_tc_handle(text: &str) -> Result<TcHandle> {
    let bad = |why: &str| {
        let remedy = "give MAJOR:MINOR in hexadecimal, e.g. 1:5 or 0x1:0x5, or none";
        Error::usage(format!("--classid '{text}'"), why, remedy)
    };
    match text {
        "" => return Err(bad("empty")),
        "root" => return Ok(TcHandle::ROOT),
        "none" => return Ok(TcHandle::NONE),
        _ => {}
    }
    let number = |digits: &str, max: u64| match strtoul(digits, 16) {
        Some(value) if value <= max => Ok(value),
        Some(_) => Err(bad("out of range")),
        None => Err(bad("not hexadecimal")),
    };
    let half = |digits: &str| match digits {
        "" => Ok(0),
        _ => number(digits, u64::from(u16::MAX)).map(|value| value as u16),
    };
    match text.split_once(':') {
        Some((major, minor)) => Ok(TcHandle::new(half(major)?, half(minor)?)),
        None => Ok(TcHandle(number(text, u64::from(u32::MAX))? as u32)),
    }
}

/// One entry of the mapping: whose packets go to which CPU and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The subscriber's addresses.
    pub prefix: Prefix,
    /// The CPU that serves them, from 0.
    pub cpu: u32,
    /// The class they are shaped in; [`TcHandle::NONE`] for none.
    pub tc_handle: TcHandle,
}

/// One row of the queue table (`map_txq_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxqRow {
    /// CPU number, from 0.
    pub cpu: u32,
    /// TX queue, from 1; 0 means not configured.
    pub queue_mapping: u16,
    /// Major of the queue's HTB.
    pub htb_major: u16,
}

impl TxqRow {
    /// Whether packets of that class find it behind this CPU's queue; no class is fine anywhere.
    pub fn serves(&self, class: TcHandle) -> bool {
        class == TcHandle::NONE || class.major() == self.htb_major
    }
}

/// Reads a CPU number in C's base 0: decimal, `0x…` hexadecimal, `0…` octal.
///
/// # Errors
/// [`Error::BadCpu`] for anything else and for numbers over 32 bits. Whether the machine has the
/// CPU is for [`check_cpu`] to say.
pub fn parse_cpu(text: &str) -> Result<u32> {
    strtoul(text, 0).and_then(|value| u32::try_from(value).ok()).ok_or_else(|| {
        Error::bad_cpu(
            format!("--cpu '{text}'"),
            "not a CPU number",
            "give a number from 0 up: decimal, 0x hexadecimal or 0 octal",
        )
    })
}

/// Checks a CPU number against the number of possible CPUs of this machine.
///
/// # Errors
/// [`Error::BadCpu`] if `cpu >= possible_cpus`.
pub fn check_cpu(cpu: u32, possible_cpus: u32) -> Result<()> {
    if cpu < possible_cpus {
        return Ok(());
    }
    Err(Error::bad_cpu(
        format!("--cpu {cpu}"),
        format!("this machine has {possible_cpus} possible CPUs"),
        format!("give 0 to {}", possible_cpus.saturating_sub(1)),
    ))
}

/// Reads a 16-bit number in hexadecimal, with or without `0x`; `option` names it in the error.
///
/// # Errors
/// [`Error::Usage`] for anything else.
pub fn parse_u16_hex(option: &str, text: &str) -> Result<u16> {
    strtoul(text, 16).and_then(|value| u16::try_from(value).ok()).ok_or_else(|| {
        Error::usage(format!("{option} '{text}'"), "not a hexadecimal number", "give 0 to ffff")
    })
}

/// Reads a number in C's base 0 that must lie within `min..=max`; `option` names it in the error.
///
/// # Errors
/// [`Error::Usage`] for anything else.
pub fn parse_number(option: &str, text: &str, min: u32, max: u32) -> Result<u32> {
    let in_range = |value: &u32| (min..=max).contains(value);
    strtoul(text, 0).and_then(|value| u32::try_from(value).ok()).filter(in_range).ok_or_else(|| {
        let remedy = format!("give a number from {min} to {max}");
        Error::usage(format!("{option} '{text}'"), "not a number in its range", remedy)
    })
}

/// C's `strtoul` over the whole string: leading white space and `+` are skipped, base 0 goes by the
/// prefix, base 16 takes `0x` too. `None` for no digits, trailing characters, a minus sign, more
/// than 64 bits.
fn strtoul(text: &str, base: u32) -> Option<u64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0B', '\x0C', '\r']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (base, hex) {
        (0 | 16, Some(digits)) => (digits, 16),
        (0, None) if text.starts_with('0') => (text, 8),
        (0, None) => (text, 10),
        (base, _) => (text, base),
    };
    // from_str_radix would take a second sign.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// The name of a network interface: what the kernel accepts as one (1 to 15 bytes; no `/`, `:` or
/// white space).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct IfName(String);

impl IfName {
    /// Longest name in bytes (IFNAMSIZ without its zero byte).
    pub const MAX_LEN: usize = 15;

    /// Checks a name; `option` names it in the error.
    ///
    /// # Errors
    /// [`Error::Usage`] if no interface can have this name.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let remedy = "give an interface name as `ip link` shows it";
            Err(Error::usage(format!("{option} '{text}'"), why, remedy))
        };
        let forbidden = |c: char| matches!(c, '/' | ':' | '\0' | '\x0B') || c.is_ascii_whitespace();
        if text.is_empty() {
            return bad("empty interface name");
        }
        if text.len() > Self::MAX_LEN {
            return bad("an interface name has at most 15 bytes");
        }
        if text.contains(forbidden) || matches!(text, "." | "..") {
            return bad("not an interface name");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The interface's index (1 and up) in the caller's network namespace.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such interface: the predecessors call that a bad option.
    pub fn index(&self) -> Result<u32> {
        nix::net::if_::if_nametoindex(self.as_str()).map_err(|errno| {
            let remedy = "`ip link` lists the interfaces of this network namespace";
            Error::usage(format!("interface {self}"), errno, remedy)
        })
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit;

    #[test]
    fn cidr_is_read_and_printed_back() {
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
    fn v4_key_is_ones_then_network_order() {
        let mut key = [0xFF; 16];
        key[12..].copy_from_slice(&[100, 64, 0, 2]);
        assert_eq!(parse_cidr("100.64.0.2").unwrap().addr(), key);
        let mut v6 = [0; 16];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(parse_cidr("2001:db8::1/32").unwrap().addr(), v6);
    }

    #[test]
    fn cidr_refusals() {
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
    fn prefix_from_a_foreign_key_is_canonical() {
        assert_eq!(Prefix::new([0xFF; 16], 129), None);
        assert_eq!(Prefix::new([0xFF; 16], 0).unwrap().to_string(), "::/0");
        assert_eq!(Prefix::new([0xFF; 16], 8).unwrap().to_string(), "ff00::/8");
        assert_eq!(Prefix::new([0xFF; 16], 104).unwrap().to_string(), "255.0.0.0/8");
    }

    #[test]
    fn tc_handle_as_iproute2() {
        let table = [
            ("1:5", 0x1_0005),
            ("0x1:0x8", 0x1_0008),
            ("0X1:0Xa", 0x1_000a),
            ("4:12", 0x4_0012),
            ("7FFF:", 0x7fff_0000),
            ("1:", 0x1_0000),
            (":1f", 0x1f),
            (":", 0),
            ("ffff:ffff", 0xffff_ffff),
            ("0x00001:0x00005", 0x1_0005),
            ("root", 0xffff_ffff),
            ("none", 0),
            ("1", 1),
            ("10005", 0x1_0005),
            ("0x10005", 0x1_0005),
            ("ffffffff", 0xffff_ffff),
        ];
        for (text, raw) in table {
            assert_eq!(parse_tc_handle(text).unwrap(), TcHandle(raw), "{text}");
        }
    }

    #[test]
    fn tc_handle_refusals() {
        let table = [
            "",
            "10000:1",
            "1:10000",
            "1:2:3",
            "1:g",
            "x:1",
            "0x:1",
            "1:0x",
            "-1",
            "1:-5",
            "1:5 ",
            "1 :5",
            "100000000",
            "0x1_0",
            "ROOT",
            "rooted",
            "none ",
            "1.5",
            "++1",
            "1:0x0x5",
        ];
        for text in table {
            let err = parse_tc_handle(text).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
        }
    }

    #[test]
    fn tc_handle_prints_and_reads_back() {
        let table = [
            (0, "none", "0:0"),
            (u32::MAX, "root", "65535:65535"),
            (0x1_0005, "1:5", "1:5"),
            (0x12_00ab, "12:ab", "18:171"),
            (0x1f, "0:1f", "0:31"),
            (0x1_0000, "1:0", "1:0"),
        ];
        for (raw, hex, decimal) in table {
            let handle = TcHandle(raw);
            assert_eq!(handle.to_string(), hex);
            assert_eq!(handle.decimal().to_string(), decimal);
            assert_eq!(parse_tc_handle(hex).unwrap(), handle);
            assert_eq!(TcHandle::new(handle.major(), handle.minor()), handle);
        }
    }

    #[test]
    fn cpu_in_base_0() {
        let table = [
            ("0", 0),
            ("3", 3),
            ("0x0", 0),
            ("0x1F", 31),
            ("0X1f", 31),
            ("010", 8),
            ("+5", 5),
            (" 7", 7),
            ("4294967295", u32::MAX),
        ];
        for (text, cpu) in table {
            assert_eq!(parse_cpu(text).unwrap(), cpu, "{text}");
        }
        let refused = [
            "",
            " ",
            "-1",
            "--1",
            "+-1",
            "++1",
            "08",
            "0x",
            "0xg",
            "3 ",
            "3\n",
            "1.5",
            "abc",
            "4294967296",
            "0x1ffffffffffffffff",
            "0x+1",
            "1_0",
        ];
        for text in refused {
            assert_eq!(parse_cpu(text).unwrap_err().exit_code(), exit::BAD_CPU, "{text:?}");
        }
    }

    #[test]
    fn cpu_must_be_possible() {
        assert!(check_cpu(1, 2).is_ok());
        let err = check_cpu(2, 2).unwrap_err();
        assert_eq!(err.exit_code(), exit::BAD_CPU);
        assert_eq!(err.to_string(), "--cpu 2: this machine has 2 possible CPUs; give 0 to 1");
    }

    #[test]
    fn sixteen_bits_in_hexadecimal() {
        for (text, value) in [("0", 0), ("a", 10), ("0xA", 10), ("10", 16), ("ffff", 0xffff)] {
            assert_eq!(parse_u16_hex("-j", text).unwrap(), value, "{text}");
        }
        for text in ["", "0x", "10000", "-1", "g", "1:", "1 "] {
            assert_eq!(parse_u16_hex("-j", text).unwrap_err().exit_code(), exit::USAGE, "{text:?}");
        }
    }

    #[test]
    fn numbers_keep_to_their_range() {
        for (text, value) in [("1", 1), ("2048", 2048), ("0x10", 16), ("16384", 16384)] {
            assert_eq!(parse_number("--qsize", text, 1, 16384).unwrap(), value);
        }
        for text in ["", "0", "16385", "-1", "2048k"] {
            let err = parse_number("--qsize", text, 1, 16384).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
        }
    }

    #[test]
    fn interface_names() {
        for name in ["eth0", "a", "enp175s0f1.100", "123456789012345", "-", "br-lan", "wän"] {
            assert_eq!(IfName::parse("--dev", name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a\tb", "1234567890123456"] {
            let err = IfName::parse("--dev", name).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{name:?}");
        }
    }

    #[test]
    fn unknown_interface_is_a_bad_option() {
        let err = IfName::parse("--dev", "nosuchif0").unwrap().index().unwrap_err();
        assert_eq!(err.exit_code(), exit::USAGE);
        assert!(err.to_string().starts_with("interface nosuchif0: ENODEV"), "{err}");
        assert_eq!(IfName::parse("--dev", "lo").unwrap().index().unwrap(), 1);
    }
}
