// SPDX-License-Identifier: GPL-2.0-only
//! Named addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(net: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
}

/// A subscriber.
pub const ALICE: IpAddr = v4(100, 64, 1, 1);
/// Another subscriber.
pub const BOB: IpAddr = v4(100, 64, 2, 2);
/// An address on the subscribers' side that is in no mapping.
pub const MALLORY: IpAddr = v4(100, 64, 66, 6);
/// A server in the internet.
pub const SERVER: IpAddr = v4(198, 51, 100, 80);
/// The IPv6 address of [`ALICE`].
pub const ALICE6: IpAddr = v6(0xa11c, 1);
/// The IPv6 address of [`BOB`].
pub const BOB6: IpAddr = v6(0xb0b, 2);
/// The IPv6 address of [`MALLORY`].
pub const MALLORY6: IpAddr = v6(0x666, 6);
/// The IPv6 address of [`SERVER`].
pub const SERVER6: IpAddr = v6(0x80, 0x80);
