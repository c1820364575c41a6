// SPDX-License-Identifier: GPL-2.0-only
//! Numbers of EtherTypes, protocols and TCP flags.

/// IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// ARP.
pub const ETH_P_ARP: u16 = 0x0806;
/// IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// A PPPoE session.
pub const ETH_P_PPP_SES: u16 = 0x8864;
/// MPLS labels.
pub const ETH_P_MPLS_UC: u16 = 0x8847;
/// MPLS labels that the upstream router assigned (RFC 5332), formerly multicast.
pub const ETH_P_MPLS_MC: u16 = 0x8848;
/// A VLAN tag of 802.1Q.
pub const ETH_P_8021Q: u16 = 0x8100;
/// A VLAN tag of 802.1ad.
pub const ETH_P_8021AD: u16 = 0x88a8;
/// A VLAN tag as used before 802.1ad.
pub const ETH_P_QINQ1: u16 = 0x9100;

/// The PPP protocol of IPv4.
pub(crate) const PPP_IP: u16 = 0x0021;
/// The PPP protocol of IPv6.
pub(crate) const PPP_IPV6: u16 = 0x0057;

pub(super) const IPPROTO_HOPOPTS: u8 = 0;
pub(super) const IPPROTO_ICMP: u8 = 1;
pub(super) const IPPROTO_TCP: u8 = 6;
pub(super) const IPPROTO_UDP: u8 = 17;
pub(super) const IPPROTO_ROUTING: u8 = 43;
pub(super) const IPPROTO_FRAGMENT: u8 = 44;
pub(super) const IPPROTO_AH: u8 = 51;
pub(super) const IPPROTO_ICMPV6: u8 = 58;
pub(super) const IPPROTO_NONE: u8 = 59;
pub(super) const IPPROTO_DSTOPTS: u8 = 60;

/// The TCP flag FIN: the sender has no more data.
pub const FIN: u8 = 0x01;
/// The TCP flag SYN: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// The TCP flag RST: reset the connection.
pub const RST: u8 = 0x04;
/// The TCP flag PSH: push data to the application.
pub const PSH: u8 = 0x08;
/// The TCP flag ACK: the acknowledgement number is valid.
pub const ACK: u8 = 0x10;
