// SPDX-License-Identifier: GPL-2.0-only
//! The two measurements: [`cost`], what a packet costs, and [`accuracy`], how right the RTTs are.
//!
//! Imports between the files go down only:
//!
//! | floor | modules |
//! |---|---|
//! | measurements | `cost`, `accuracy`; they do not import each other |
//! | shared | `machine`, `progress`, `table`, `quantile`, `cpumap_threads`, `scratch_file` |
//! | base | `error` |

pub mod accuracy;
pub mod cost;
mod cpumap_threads;
mod error;
mod machine;
mod progress;
mod quantile;
mod scratch_file;
mod table;
