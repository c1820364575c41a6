// SPDX-License-Identifier: GPL-2.0-only
//! Writes text: the formats of the snapshot, the status and the stream, and the tables of commands
//! that have only one format.
//!
//! Each format implements [`Format`](crate::domain::format::Format) and is listed in the `FORMATS`
//! of its kind, from which options, help texts and completions follow.

pub mod columns;
pub mod json;
pub mod push;
pub mod snapshot_formats;
pub mod status_formats;
pub mod stream_formats;
pub mod tables;
