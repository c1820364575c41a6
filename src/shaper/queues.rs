// SPDX-License-Identifier: GPL-2.0-only
//! `map_txq_config`: which TX queue and HTB major belong to each CPU.

use crate::abi::{maps, TxqConfig};
use crate::domain::error::{Error, Result};
use crate::domain::TxqRow;
use crate::kernel::map::Map;
use crate::kernel::pin::PinDir;

/// The pinned queue table.
pub struct QueueTable(Map<u32, TxqConfig>);

impl QueueTable {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::MapFile`]: nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        dir.open(maps::TXQ_CONFIG).map(Self)
    }

    /// Opens it, if there is one: the oldest predecessors had none.
    ///
    /// # Errors
    /// [`Error::Map`]: it is there and cannot be opened.
    pub fn try_open(dir: &PinDir) -> Result<Option<Self>> {
        match dir.try_open(maps::TXQ_CONFIG)? {
            Some(_) => Self::open(dir).map(Some),
            None => Ok(None),
        }
    }

    /// The row of a CPU; zeroes if it is not configured.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn row(&self, cpu: u32) -> Result<TxqRow> {
        let row = self.0.get(&cpu)?.unwrap_or_default();
        Ok(TxqRow { cpu, queue_mapping: row.queue_mapping, htb_major: row.htb_major })
    }

    /// All rows.
    ///
    /// # Errors
    /// [`Error::Map`].
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

    /// Nobody has written to it yet.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn is_unset(&self) -> Result<bool> {
        Ok(self.rows()?.iter().all(|row| row.queue_mapping == 0 && row.htb_major == 0))
    }

    /// The base setup: CPU n → queue n + 1, HTB major n + 1, for every CPU of the table.
    ///
    /// # Errors
    /// [`Error::Map`]; [`Error::Other`] beyond 65534 CPUs.
    pub fn base_setup(&self) -> Result<()> {
        self.base_rows()?.into_iter().try_for_each(|row| self.set(row))
    }

    /// What the base setup makes of the table.
    ///
    /// # Errors
    /// [`Error::Other`] beyond 65534 CPUs.
    pub fn base_rows(&self) -> Result<Vec<TxqRow>> {
        let row = |cpu: u32| {
            let number = u16::try_from(cpu + 1)
                .map_err(|err| Error::other("base setup of the queues", err, ""))?;
            Ok(TxqRow { cpu, queue_mapping: number, htb_major: number })
        };
        (0..self.0.max_entries()).map(row).collect()
    }
}
