// SPDX-License-Identifier: GPL-2.0-only

//! The harness of the tests: the commands as callers type them, a shaper in a sandbox and the facts about it, and the
//! packet path one packet at a time. Each suite includes this module and uses a part of it.

#![allow(dead_code, unused_imports, reason = "each suite uses its part")]

pub mod capture_file;
pub mod command;
pub mod echo;
pub mod events;
pub mod foreign;
pub mod lab_facts;
pub mod listener;
pub mod names;
pub mod patience;
pub mod recording;
pub mod replayed;
pub mod rig;
pub mod scene;
pub mod shaper;
pub mod test_run;
