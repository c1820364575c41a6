// SPDX-License-Identifier: GPL-2.0-only

//! `pping` from end to end: its start and its end, the packets that it counts, the texts that it prints.

#[path = "../common/mod.rs"]
mod common;

mod captures;
mod clocks;
mod counts;
mod files;
mod filters;
mod flood;
mod golden;
mod life;
mod reference;
mod starts;
mod stops;
