// SPDX-License-Identifier: GPL-2.0-only

//! `pping` from end to end: what it hears, how it comes and goes, and what it says.

#[path = "../common/mod.rs"]
mod common;

mod counts;
mod flood;
mod golden;
mod life;
mod listener;
mod live;
mod recording;
mod starts;
mod tools;
