// SPDX-License-Identifier: GPL-2.0-only

//! The command lines of the callers in the field, word for word: each sequence twice, and under traffic.

mod abi_version;
mod caller;
#[path = "../common/mod.rs"]
mod common;
mod libreqos;
mod others;
mod reload;
mod upgrade;

use common::command::MS;
use lab::{Lab, Plan, Server, Subscriber};

/// A shaper with one subscriber, alice, 4 ms away; the internet is 6 ms away.
fn traffic_lab() -> (Lab, Server) {
    let plan = Plan::new([Subscriber::new("alice", 1).rtt(4 * MS)]).internet_rtt(6 * MS);
    let lab = Lab::build(plan).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    (lab, server)
}
