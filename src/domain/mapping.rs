// SPDX-License-Identifier: GPL-2.0-only
//! Rows of the two tables that operators edit: the mapping and the queue table.

use crate::domain::{Prefix, TcHandle};

/// One entry of the mapping: the CPU and the class of a subscriber's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The subscriber's addresses.
    pub prefix: Prefix,
    /// CPU that handles the packets, from 0.
    pub cpu: u32,
    /// Class that shapes the packets; [`TcHandle::NONE`] for no class.
    pub tc_handle: TcHandle,
}

/// One row of the queue table (`map_txq_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxqRow {
    /// CPU number, from 0.
    pub cpu: u32,
    /// TX queue, from 1; 0 means not configured.
    pub queue_mapping: u16,
    /// Major number of the queue's HTB.
    pub htb_major: u16,
}

impl TxqRow {
    /// Tells whether `class` belongs to the HTB of this CPU's queue. Also true of [`TcHandle::NONE`].
    pub fn serves(&self, class: TcHandle) -> bool {
        class == TcHandle::NONE || class.major() == self.htb_major
    }
}
