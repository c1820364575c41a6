//! Edit and list the mapping.

use crate::bulk::Edit;
use crate::cli::xdp_iphash_to_cpu_cmdline::Request;
use crate::error::{Error, Result};
use crate::machine::possible_cpus;
use crate::mapping::Mappings;
use crate::output::write_mappings;
use crate::pin::PinDir;
use crate::queues::QueueTable;
use crate::values::{Mapping, TxqRow};

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    match request {
        Request::Edit(Edit::Add(mapping)) => add(&dir, &mapping),
        Request::Edit(Edit::Del(prefix)) => Mappings::open(&dir)?.remove(&prefix),
        Request::Clear => Mappings::open(&dir)?.clear().map(drop),
        Request::List => list(&dir),
        Request::Bulk(bulk) => super::bulk::run(&dir, &bulk),
    }
}

fn add(dir: &PinDir, mapping: &Mapping) -> Result<()> {
    let mappings = Mappings::open(dir)?;
    if let Some(queues) = set_up_queues(dir, false)? {
        let row = queues.row(mapping.cpu)?;
        if !row.serves(mapping.tc_handle) {
            super::warn(format_args!("{}", mismatch(mapping, &row)));
        }
    }
    mappings.set(mapping)
}

/// The queue table, after its base setup if nobody has set it up; `locked`: the caller holds the
/// directory's lock. `None`: a predecessor's pins, without one.
pub(super) fn set_up_queues(dir: &PinDir, locked: bool) -> Result<Option<QueueTable>> {
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
pub(super) fn mismatch(mapping: &Mapping, row: &TxqRow) -> String {
    let Mapping { prefix, cpu, tc_handle } = mapping;
    format!(
        "{prefix}: class {tc_handle} has major {:x}, but CPU {cpu} has HTB major {:x}: its packets will miss the class",
        tc_handle.major(),
        row.htb_major
    )
}

/// Also before anything is loaded: the caller's JSON parser gets an empty object, and the exit code.
fn list(dir: &PinDir) -> Result<()> {
    match Mappings::open(dir).and_then(|mappings| mappings.list()) {
        Ok(found) => super::print(|out| write_mappings(out, found)),
        Err(err @ Error::MapFile(_)) => {
            super::print(|out| write_mappings(out, []))?;
            Err(err)
        }
        Err(err) => Err(err),
    }
}
