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
mod tests;
