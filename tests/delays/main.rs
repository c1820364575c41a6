// SPDX-License-Identifier: GPL-2.0-only

//! The RTTs that `pping` hears over known delays, beside the delays and beside other tools.
//!
//! Two CPUs carry hosts, delay lines and all ppings. So these tests are a suite of their own, and take turns.

#[path = "../common/mod.rs"]
mod common;

mod live;
mod tools;
