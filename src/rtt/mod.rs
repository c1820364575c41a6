// SPDX-License-Identifier: GPL-2.0-only
//! From the RTT records of the packet path to figures: the histogram, the window, the records.

pub mod histogram;
pub mod records;
pub mod window;
