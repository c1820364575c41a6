// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_iphash_to_cpu_cmdline`: edits and lists the mapping of prefixes to CPU and class.

use crate::commands::command_line::CommandLine;
use crate::commands::options::{exactly_one, exclusive};
use crate::commands::print::{print, warn};
use crate::commands::xdp_iphash_to_cpu_cmdline::args::MappingArgs;
use crate::commands::xdp_iphash_to_cpu_cmdline::edit_options::EditOptions;
use crate::commands::xdp_iphash_to_cpu_cmdline::many::{EditSource, ManyRequest};
use crate::commands::xdp_iphash_to_cpu_cmdline::queue_setup::{mismatch, set_up_queues};
use crate::domain::error::{Error, Result};
use crate::domain::number::check_cpu;
use crate::domain::Mapping;
use crate::format::tables::write_mappings;
use crate::kernel::machine::possible_cpus;
use crate::kernel::pin::PinDir;
use crate::shaper::changes::Edit;
use crate::shaper::mapping::Mappings;

mod args;
mod edit_file;
mod edit_options;
mod many;
mod queue_setup;

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingRequest {
    /// Change one entry.
    Edit(Edit),
    /// Print all entries.
    List,
    /// Delete all entries.
    Clear,
    /// Apply a file of edits.
    Many(ManyRequest),
}

impl MappingRequest {
    /// Checks the CPU of an added entry against the number of possible CPUs. Files check their own.
    ///
    /// # Errors
    /// [`Error::BadCpu`] if the machine does not have it.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        match self {
            Self::Edit(Edit::Add(mapping)) => check_cpu(mapping.cpu, possible_cpus),
            _ => Ok(()),
        }
    }
}

impl CommandLine for MappingRequest {
    type Args = MappingArgs;
}

impl TryFrom<MappingArgs> for MappingRequest {
    type Error = Error;

    fn try_from(args: MappingArgs) -> Result<Self> {
        let actions = [
            ("--add", args.add),
            ("--del", args.del),
            ("--list", args.list),
            ("--clear", args.clear),
            ("--batch", args.batch.is_some()),
            ("--replace", args.replace.is_some()),
        ];
        let action = exactly_one(&actions)?;
        if action.starts_with("--batch") || action.starts_with("--replace") {
            takes_nothing(action, &args)?;
            return Ok(Self::Many(many_request(args)));
        }
        exclusive((action, true), ("--dry-run", args.dry_run))?;
        match action {
            "--list" => takes_nothing(action, &args).map(|()| Self::List),
            "--clear" => takes_nothing(action, &args).map(|()| Self::Clear),
            _ => EditOptions {
                add: args.add,
                del: args.del,
                ip: args.ip.as_deref(),
                cpu: args.cpu.as_deref(),
                classid: args.classid.as_deref(),
            }
            .edit()
            .map(Self::Edit),
        }
    }
}

fn many_request(args: MappingArgs) -> ManyRequest {
    let replace = args.replace.is_some();
    let path = args.replace.or(args.batch).unwrap_or_default();
    let source = if path.as_os_str() == "-" { EditSource::Stdin } else { EditSource::File(path) };
    ManyRequest { source, replace, dry_run: args.dry_run }
}

/// Refuses calls such as `--clear --ip X`, which probably mean to delete one entry and not all.
fn takes_nothing(action: &str, args: &MappingArgs) -> Result<()> {
    let given = [
        ("--ip", args.ip.is_some()),
        ("--cpu", args.cpu.is_some()),
        ("--classid", args.classid.is_some()),
    ];
    given.into_iter().try_for_each(|option| exclusive((action, true), option))
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: MappingRequest) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    match request {
        MappingRequest::Edit(Edit::Add(mapping)) => add(&dir, &mapping),
        MappingRequest::Edit(Edit::Del(prefix)) => Mappings::open(&dir)?.remove(&prefix),
        MappingRequest::Clear => Mappings::open(&dir)?.clear().map(drop),
        MappingRequest::List => list(&dir),
        MappingRequest::Many(request) => many::run(&dir, &request),
    }
}

/// Adds or replaces an entry. Warns if its class belongs to another queue than that of its CPU.
fn add(dir: &PinDir, mapping: &Mapping) -> Result<()> {
    let mappings = Mappings::open(dir)?;
    if let Some(queues) = set_up_queues(dir, false)? {
        let row = queues.row(mapping.cpu)?;
        if !row.serves(mapping.tc_handle) {
            warn(format_args!("{}", mismatch(mapping, &row)));
        }
    }
    mappings.set(mapping)
}

/// Prints the mapping. If nothing is loaded, prints an empty object before it returns the error, so
/// that a caller's JSON parser does not fail.
fn list(dir: &PinDir) -> Result<()> {
    let write = |mappings| {
        let mut text = Vec::new();
        write_mappings(&mut text, mappings);
        print(&text)
    };
    match Mappings::open(dir).and_then(|mappings| mappings.list()) {
        Ok(found) => write(found),
        Err(err @ Error::MapFile(_)) => write(Vec::new()).and(Err(err)),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests;
