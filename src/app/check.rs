//! Look for faults; each finding is one line with its remedy.

use std::io::Write;
use std::process::ExitCode;

use crate::doctor::{diagnose, Facts, Severity};
use crate::error::{exit, missing_capabilities, Result};
use crate::inventory::{Device, Inventory};
use crate::loader::LOAD_CAPABILITIES;
use crate::netlink;

/// Runs the command: success unless there is an error among the findings.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(inventory: &Inventory) -> Result<ExitCode> {
    let findings = diagnose(&Facts {
        inventory,
        devices: devices(inventory)?,
        missing_capabilities: missing_capabilities(&LOAD_CAPABILITIES),
    });
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    super::print(|out| {
        findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
        let (interfaces, mappings) = (inventory.present().count(), inventory.mappings.len());
        write!(out, "{errors} errors, {warnings} warnings; ")?;
        writeln!(out, "{interfaces} interfaces, {mappings} mappings checked")
    })?;
    Ok(ExitCode::from(if errors > 0 { exit::FAILURE } else { exit::SUCCESS }))
}

/// What the devices of the set-up say, in the order of the interfaces.
fn devices(inventory: &Inventory) -> Result<Vec<(u32, Device)>> {
    let qdiscs = netlink::qdiscs()?;
    let read = |(name, interface): (&_, &crate::inventory::Interface)| {
        Ok((interface.ifindex, Device::read(name, interface.ifindex, &qdiscs)?))
    };
    inventory.present().map(read).collect()
}
