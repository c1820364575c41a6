// SPDX-License-Identifier: GPL-2.0-only
//! The systems that are compared: ours and the reference programs.

pub(super) mod ours;
pub(super) mod reference;
pub(super) mod system;
