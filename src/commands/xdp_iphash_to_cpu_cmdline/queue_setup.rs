// SPDX-License-Identifier: GPL-2.0-only
//! The queue table that a mapping needs: its first setup, and classes that do not fit it.

use crate::domain::error::Result;
use crate::domain::{Mapping, TxqRow};
use crate::kernel::pin::PinDir;
use crate::shaper::queues::QueueTable;

/// The queue table, after its base setup if nobody has set it up; `locked`: the caller holds the
/// directory's lock. `None`: a predecessor's pins, without one.
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

/// Queue and class of a subscriber must belong together, or its packets end in a default class.
pub fn mismatch(mapping: &Mapping, row: &TxqRow) -> String {
    let Mapping { prefix, cpu, tc_handle } = mapping;
    format!(
        "{prefix}: class {tc_handle} has major {:x}, but CPU {cpu} has HTB major {:x}: its packets will miss the class",
        tc_handle.major(),
        row.htb_major
    )
}
