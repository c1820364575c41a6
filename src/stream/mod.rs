// SPDX-License-Identifier: GPL-2.0-only
//! The stream of flow events: what `pping` and `xdp_pping --follow` do with what their
//! [`source`] hands them. Arithmetic and formatting; only [`writer`] and [`signals`] touch the
//! outside.

pub mod aggregate;
pub mod clock;
pub mod counters;
pub mod event;
pub mod flows;
pub mod format;
pub mod kernel;
pub mod live;
pub mod replay;
pub mod signals;
pub mod source;
pub mod writer;
