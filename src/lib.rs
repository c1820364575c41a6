// SPDX-License-Identifier: GPL-2.0-only
//! Steering, classification and passive RTT for ISP traffic shapers.
//!
//! The packet path is BPF (`bpf/`, `include/`). This library loads it, keeps its pinned maps, and
//! prints their content. Its modules are floors: each imports only modules further down this list.
//! The table in docs/ARCHITECTURE.md says which ones, and tests/architecture/ checks the code
//! against the table.

pub mod commands;

pub mod format;

pub mod stream;

pub mod shaper;

pub mod rtt;

pub mod kernel;

pub mod abi;

pub mod domain;
