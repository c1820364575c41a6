// SPDX-License-Identifier: GPL-2.0-only
//! How right the RTTs are: known delays on both sides and connections of the kernel's TCP; our RTTs beside
//! the delay line's and the kernel's.
//!
//! Imports go down only:
//!
//! | floor | modules |
//! |---|---|
//! | the program | `run` |
//! | the report | `report` |
//! | the measurements | `rounds`, `measured_lab`, `drive` |
//! | rows and figures | `row`, `figures` |
//! | base | `traffic_kind`, `cases` |

mod cases;
mod drive;
mod figures;
mod measured_lab;
mod report;
mod rounds;
mod row;
mod run;
mod traffic_kind;

pub use run::main;
