//! Steering, classification and passive RTT for ISP traffic shapers.
//!
//! The packet path is BPF (`bpf/`, `include/`); this library loads it, keeps
//! its pinned maps, and prints what they say. See docs/ARCHITECTURE.md.

pub mod cli;
pub mod error;
pub mod output;
pub mod skel;
pub mod values;
