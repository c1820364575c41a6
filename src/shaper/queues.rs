// SPDX-License-Identifier: GPL-2.0-only
//! Reads and changes the queue table, `map_txq_config`: the TX queue and the HTB major of each CPU.

use crate::abi::{maps, TxqConfig};
use crate::domain::error::{Error, Result};
use crate::domain::TxqRow;
use crate::kernel::map::Map;
use crate::kernel::pin::PinDir;

/// The pinned queue table.
pub struct QueueTable(Map<u32, TxqConfig>);

impl QueueTable {
    /// Opens the table.
    ///
    /// # Errors
    /// [`Error::MapFile`]: nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        dir.open(maps::TXQ_CONFIG).map(Self)
    }

    /// Opens the table if it is pinned; the oldest predecessors had none.
    ///
    /// # Errors
    /// [`Error::Map`]: the pin exists and cannot be opened.
    pub fn try_open(dir: &PinDir) -> Result<Option<Self>> {
        match dir.try_open(maps::TXQ_CONFIG)? {
            Some(_) => Self::open(dir).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the row of a CPU. Its numbers are 0 if the CPU is not configured.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn row(&self, cpu: u32) -> Result<TxqRow> {
        let row = self.0.get(&cpu)?.unwrap_or_default();
        Ok(TxqRow { cpu, queue_mapping: row.queue_mapping, htb_major: row.htb_major })
    }

    /// Returns all rows, in the order of the CPUs.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn rows(&self) -> Result<Vec<TxqRow>> {
        (0..self.0.max_entries()).map(|cpu| self.row(cpu)).collect()
    }

    /// Sets one row.
    ///
    /// # Errors
    /// [`Error::MapKey`]: the table has no such CPU.
    pub fn set(&self, row: TxqRow) -> Result<()> {
        let TxqRow { cpu, queue_mapping, htb_major } = row;
        self.0.set(&cpu, &TxqConfig { queue_mapping, htb_major })
    }

    /// Tells whether no CPU is configured yet.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn is_unset(&self) -> Result<bool> {
        Ok(self.rows()?.iter().all(|row| row.queue_mapping == 0 && row.htb_major == 0))
    }

    /// Writes the base setup to the table.
    ///
    /// # Errors
    /// [`Error::MapKey`]: the kernel refuses a row. [`Error::Other`]: the table has more than 65535 CPUs.
    pub fn base_setup(&self) -> Result<()> {
        self.base_rows()?.into_iter().try_for_each(|row| self.set(row))
    }

    /// Returns the rows of the base setup: queue n + 1 and HTB major n + 1 for each CPU n of the table.
    ///
    /// # Errors
    /// [`Error::Other`]: the table has more than 65535 CPUs.
    pub fn base_rows(&self) -> Result<Vec<TxqRow>> {
        let row = |cpu: u32| {
            let number = u16::try_from(cpu + 1)
                .map_err(|err| Error::other("base setup of the queues", err, ""))?;
            Ok(TxqRow { cpu, queue_mapping: number, htb_major: number })
        };
        (0..self.0.max_entries()).map(row).collect()
    }
}
