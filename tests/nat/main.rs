// SPDX-License-Identifier: GPL-2.0-only

//! Real TCP through a shaper that changes addresses (NAT by nftables), and between two subscribers (hairpin).
//!
//! Shares and counters are exact. The delays of the two subscribers and of the internet are far apart, so that an RTT
//! under the wrong class or side is no matter of bounds. The tests take turns, as those of `tests/lab.rs`.

#[path = "../common/mod.rs"]
mod common;

mod forwarded;
mod hairpin;
mod masquerade;
mod world;
