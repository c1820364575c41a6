// SPDX-License-Identifier: GPL-2.0-only
//! The shaper: its mapping, its queue table, its state, and the faults of its set-up.

pub mod changes;
pub mod counters;
pub mod doctor;
pub mod inventory;
pub mod mapping;
pub mod queueing;
pub mod queues;
pub mod status;
