// SPDX-License-Identifier: GPL-2.0-only
//! Frames built header by header. A test sets the fields that matter to it, to valid values or not;
//! all other fields are correct.
//!
//! ```
//! use lab::packet::{hosts, Packet, Tcp, TcpOption};
//!
//! let segment = Tcp::new(1000, 443).options([TcpOption::Nop, TcpOption::Timestamps(5, 0)]);
//! let packet = Packet::new(hosts::ALICE, hosts::SERVER).tag(0x8100, 7).tcp(segment).payload(100);
//! assert_eq!(packet.build().len(), 14 + 4 + 20 + 32 + 100);
//! ```

mod builder;
mod checksum;
pub mod hosts;
mod ip;
pub(crate) mod numbers;
mod tcp;
#[cfg(test)]
mod tests;

pub use builder::{Packet, PacketLayout};
pub use ip::Extension;
pub use numbers::{
    ACK, ETH_P_8021AD, ETH_P_8021Q, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_MC, ETH_P_MPLS_UC,
    ETH_P_PPP_SES, ETH_P_QINQ1, FIN, PSH, RST, SYN,
};
pub use tcp::{Tcp, TcpOption};
