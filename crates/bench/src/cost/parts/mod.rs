// SPDX-License-Identifier: GPL-2.0-only
//! The parts of the report: each measures and returns its rows.

pub(super) mod bulk_commands;
pub(super) mod flow_scale;
pub(super) mod follower;
pub(super) mod load_mix;
pub(super) mod mapping_scale;
