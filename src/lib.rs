//! Steering, classification and passive RTT for ISP traffic shapers.
//!
//! The packet path is BPF (`bpf/`, `include/`); this library loads it, keeps its pinned maps, and
//! prints what they say. See docs/ARCHITECTURE.md.

pub mod abi;
pub mod app;
pub mod attach;
pub mod bulk;
pub mod capture;
pub mod cli;
pub mod device;
pub mod doctor;
pub mod error;
pub mod follow;
pub mod histogram;
pub mod inventory;
pub mod loader;
pub mod machine;
pub mod map;
pub mod mapping;
pub mod netlink;
pub mod output;
pub mod pin;
pub mod program_pin;
pub mod queues;
pub mod records;
pub mod rtt;
pub mod skel;
pub mod stream;
pub mod values;
pub mod watch;
