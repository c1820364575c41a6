// SPDX-License-Identifier: GPL-2.0-only
//! Steering, classification and passive RTT for ISP traffic shapers.
//!
//! The packet path is BPF (`bpf/`, `include/`). This library loads it, keeps its pinned maps, and
//! prints their content. Its modules are floors: each imports only those below it. The table in
//! docs/ARCHITECTURE.md says which, and tests/architecture.rs holds the code to it.

pub mod commands;

pub mod format;

pub mod stream;

pub mod shaper;

pub mod rtt;

pub mod kernel;

pub mod abi;

pub mod domain;
