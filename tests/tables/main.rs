//! Table tests of the packet path: a packet goes in, the row says what must come of it.

#[path = "../common/mod.rs"]
mod common;
mod fixtures;

mod classify;
mod parse;
mod rtt_rules;
mod steer;
mod truncation;
