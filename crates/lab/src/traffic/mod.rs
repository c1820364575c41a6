// SPDX-License-Identifier: GPL-2.0-only
//! Connections of the kernel's TCP, and numbered UDP packets, between the hosts of a lab.

mod client;
mod connection;
mod flow;
mod server;
mod tcp_info;
mod udp;

pub use client::{run, short_flows, transfer, TransferReport};
pub use flow::{Amount, Flow, Pattern};
pub use server::Server;
pub use tcp_info::TcpInfo;
pub use udp::{send_udp, UdpReceiver, UdpReport};
