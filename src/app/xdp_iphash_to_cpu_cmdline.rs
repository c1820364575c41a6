//! Edit and list the mapping.

use crate::cli::xdp_iphash_to_cpu_cmdline::Request;
use crate::error::{Error, Result};
use crate::loader::maps;
use crate::machine::possible_cpus;
use crate::mapping::Mappings;
use crate::output::write_mappings;
use crate::pin::PinDir;
use crate::queues::QueueTable;
use crate::values::Mapping;

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    match request {
        Request::Add(mapping) => add(&dir, &mapping),
        Request::Del(prefix) => Mappings::open(&dir)?.remove(&prefix),
        Request::Clear => Mappings::open(&dir)?.clear().map(drop),
        Request::List => list(&dir),
    }
}

fn add(dir: &PinDir, mapping: &Mapping) -> Result<()> {
    let mappings = Mappings::open(dir)?;
    warn_about_major(dir, mapping)?;
    mappings.set(mapping)
}

/// Queue and class of a subscriber must belong together, or its packets end in a default class.
fn warn_about_major(dir: &PinDir, mapping: &Mapping) -> Result<()> {
    if dir.try_open(maps::TXQ_CONFIG)?.is_none() {
        return Ok(());
    }
    let queues = QueueTable::open(dir)?;
    if queues.is_unset()? {
        let _lock = dir.lock()?;
        if queues.is_unset()? {
            queues.base_setup()?;
        }
    }
    let row = queues.row(mapping.cpu)?;
    if mapping.tc_handle.0 != 0 && row.htb_major != mapping.tc_handle.major() {
        super::warn(format_args!(
            "{}: class {} has major {:x}, but CPU {} has HTB major {:x}: its packets will miss the class",
            mapping.prefix,
            mapping.tc_handle,
            mapping.tc_handle.major(),
            mapping.cpu,
            row.htb_major
        ));
    }
    Ok(())
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
