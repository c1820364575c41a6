// SPDX-License-Identifier: GPL-2.0-only
//! Text out: the formats of the snapshot, the state and the stream, each implementing
//! [`Format`](crate::domain::format::Format) and listed in the `FORMATS` of its kind; and the tables of
//! the commands that have one format.

pub mod columns;
pub mod json;
pub mod number;
pub mod snapshot;
pub mod status;
pub mod stream;
pub mod tables;
