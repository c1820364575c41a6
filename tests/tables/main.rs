// SPDX-License-Identifier: GPL-2.0-only

//! Table tests of the packet path: each row has a packet and the expected result.

#[path = "../common/mod.rs"]
mod common;
mod fixtures;
mod flow_table;
mod hash;

mod addr_cache;
mod classify;
mod handed_on;
mod mapping;
mod parse;
mod recent;
mod rtt_record;
mod rtt_rules;
mod stalls;
mod steer;
mod table_share;
mod truncation;
mod two_cpus;
