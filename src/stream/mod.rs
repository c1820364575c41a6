// SPDX-License-Identifier: GPL-2.0-only
//! The stream of flow events behind `pping` and `xdp_pping --follow`. A [`source`] yields events,
//! [`session`] turns them into records, and [`output`] writes the text of a format.

pub mod aggregate;
pub mod aggregate_records;
pub mod capture;
pub mod clock;
pub mod counters;
pub mod event;
pub mod event_options;
pub mod flows;
pub mod output;
pub mod record;
pub mod session;
pub mod signals;
pub mod source;
