// SPDX-License-Identifier: GPL-2.0-only
//! Rows of the two tables that operators edit: the mapping and the queue table.

use crate::domain::{Prefix, TcHandle};

/// One entry of the mapping: whose packets go to which CPU and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The subscriber's addresses.
    pub prefix: Prefix,
    /// The CPU that serves them, from 0.
    pub cpu: u32,
    /// The class they are shaped in; [`TcHandle::NONE`] for none.
    pub tc_handle: TcHandle,
}

/// One row of the queue table (`map_txq_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxqRow {
    /// CPU number, from 0.
    pub cpu: u32,
    /// TX queue, from 1; 0 means not configured.
    pub queue_mapping: u16,
    /// Major of the queue's HTB.
    pub htb_major: u16,
}

impl TxqRow {
    /// Whether packets of that class find it behind this CPU's queue; no class is fine anywhere.
    pub fn serves(&self, class: TcHandle) -> bool {
        class == TcHandle::NONE || class.major() == self.htb_major
    }
}
