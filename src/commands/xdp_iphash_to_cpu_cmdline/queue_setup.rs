// SPDX-License-Identifier: GPL-2.0-only
//! Sets up the queue table that mappings need, and describes classes that do not fit it.

use crate::domain::error::Result;
use crate::domain::{Mapping, TxqRow};
use crate::kernel::pin::PinDir;
use crate::shaper::queues::QueueTable;

/// Returns the queue table, after its base setup if it is empty. Returns `None` if the pins are a
/// predecessor's, which has no queue table. `locked` tells whether the caller holds the directory's
/// lock.
///
/// # Errors
/// Those of the table's map and of the lock.
pub fn set_up_queues(dir: &PinDir, locked: bool) -> Result<Option<QueueTable>> {
    let Some(queues) = QueueTable::try_open(dir)? else { return Ok(None) };
    if queues.is_unset()? {
        let _lock = if locked { None } else { Some(dir.lock()?) };
        if queues.is_unset()? {
            queues.base_setup()?;
        }
    }
    Ok(Some(queues))
}

/// Describes a mapping whose class belongs to another queue than that of its CPU: its packets end
/// in a default class, because a queue's HTB does not know the classes of another.
pub fn mismatch(mapping: &Mapping, row: &TxqRow) -> String {
    let Mapping { prefix, cpu, tc_handle } = mapping;
    format!(
        "{prefix}: class {tc_handle} has major {:x}, but CPU {cpu} has HTB major {:x}: its packets will miss the class",
        tc_handle.major(),
        row.htb_major
    )
}
