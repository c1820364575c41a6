// SPDX-License-Identifier: GPL-2.0-only
//! What a packet costs: our packet path and reference programs, attached in turn under one load.
//!
//! ```text
//! generator ── to-wan ─ wan [shaper] lan ── to-lan: counted and dropped     (segments down)
//! generator ── to-lan ─ lan [shaper] wan ── to-wan: counted and dropped     (ACKs up)
//! ```
//!
//! Imports go down only:
//!
//! | floor | modules |
//! |---|---|
//! | the program | `run` |
//! | the report | `text`, `targets`, `report` |
//! | the parts of the report | `parts/` |
//! | comparing systems | `turns`, `comparison`, `rtt_accuracy`, `memory`, `options`, `compare` |
//! | programs and maps | `systems/`, `program_stats` |
//! | traffic | `generator`, `sender`, `frame_template` |
//! | base | `testbed`, `workload`, `target`, `names` |

mod compare;
mod comparison;
mod frame_template;
mod generator;
mod memory;
mod names;
mod options;
mod parts;
mod program_stats;
mod report;
mod rtt_accuracy;
mod run;
mod sender;
mod systems;
mod target;
mod targets;
mod testbed;
mod text;
mod turns;
mod workload;

pub use run::main;
