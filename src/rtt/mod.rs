// SPDX-License-Identifier: GPL-2.0-only
//! Computes figures from the RTT records of the packet path: histogram, window, records.

pub mod histogram;
pub mod records;
pub mod window;
