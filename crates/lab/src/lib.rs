// SPDX-License-Identifier: GPL-2.0-only
//! The laboratory: network namespaces, delay lines, packets and the kernel's TCP for tests, demo and
//! benches.
//!
//! ```text
//! subscriber ── delay ─┐
//! subscriber ── delay ─┼─ lan  [shaper]  wan ── delay ── internet
//! subscriber ── delay ─┘
//! ```
//!
//! A [`Plan`] describes a [`Lab`], [`Lab::build`] builds it, and dropping it removes it. Namespaces have
//! no names, so that labs cannot collide and nothing stays behind, not even after `kill -9`. The shaper
//! is a [`Sandbox`]: its own network namespace, `/sys` and bpffs. The crate knows nothing about BPF.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use lab::{traffic, Flow, Lab, Plan, Server, Subscriber};
//! use std::time::Duration;
//!
//! let alice = Subscriber::new("alice", 1).rtt(Duration::from_millis(5));
//! let lab = Lab::build(Plan::new([alice]).internet_rtt(Duration::from_millis(20)))?;
//! let server = Server::start(lab.internet().netns(), 0)?;
//! let ping_pong = Flow::request_response(100, Duration::from_millis(10));
//! let report = traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &ping_pong)?;
//! println!("{:?}", report.client.rtt); // about 25 ms
//! # Ok(()) }
//! ```

pub mod delay;
pub mod encapsulation;
mod engine;
mod frame_buffer;
pub mod host;
mod inside;
pub mod line_plan;
pub mod link;
pub mod mac;
pub mod ns;
pub mod offload;
pub mod packet;
pub mod packet_socket;
pub mod plan;
pub mod privilege;
pub mod programs;
pub mod qdisc;
pub mod sandbox;
pub mod scheduling;
mod sockopt;
pub mod tool;
pub mod topology;
pub mod traffic;
pub mod tun;

pub use delay::DelayLine;
pub use encapsulation::Encapsulation;
pub use host::{Host, ETH};
pub use link::{HostLink, LinkCounters, LinkDirection};
pub use ns::Netns;
pub use plan::{Forwarding, Plan, Subscriber};
pub use privilege::{is_root, require_cpus, require_root, require_tool};
pub use programs::Programs;
pub use qdisc::{htb_class_stats, mq_htb, ClassStats, HtbClass};
pub use sandbox::{private_bpffs, Sandbox};
pub use topology::{Lab, LAN, WAN, WAN_GATEWAY};
pub use traffic::{Amount, Flow, Pattern, Server, TcpInfo, TransferReport, UdpReceiver};
pub use tun::{tun_of_type, TunLine, TUN};
