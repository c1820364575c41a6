// SPDX-License-Identifier: GPL-2.0-only
//! `--batch` and `--replace`: many changes of the mapping at once, or none.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::commands::print::{print_line, warn};
use crate::commands::xdp_iphash_to_cpu_cmdline::edit_file::{self, AllowedEdits};
use crate::commands::xdp_iphash_to_cpu_cmdline::queue_setup::{mismatch, set_up_queues};
use crate::domain::error::{Error, Result};
use crate::domain::{Mapping, TxqRow};
use crate::kernel::machine::possible_cpus;
use crate::kernel::pin::PinDir;
use crate::shaper::changes::{self, Absent, Changes, Edit, EditLine};
use crate::shaper::mapping::Mappings;
use crate::shaper::queues::QueueTable;

/// Many changes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManyRequest {
    /// Where they are read from.
    pub source: EditSource,
    /// The file is the whole mapping: what it does not add is deleted.
    pub replace: bool,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// Where edits are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditSource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for EditSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Warnings of one kind that are printed one by one.
const WARNINGS: usize = 3;

/// Runs it: everything is checked before anything changes.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`]; a fault of the file is named by its line.
pub fn run(dir: &PinDir, request: &ManyRequest) -> Result<()> {
    let lines = read(request)?;
    let mappings = Mappings::open(dir)?;
    // Two of these at once would each finish the other's half.
    let _lock = if request.dry_run { None } else { Some(dir.lock()?) };
    let majors = MajorWarnings::new(dir, &lines)?;
    let current = mappings.list()?;
    let changes = plan(request, &current, lines)?;
    check_room(request, &changes, mappings.max_entries() as usize)?;
    majors.print();
    if !request.dry_run {
        set_up_queues(dir, true)?;
        apply(request, &mappings, &changes)?;
    }
    print_line(format_args!("{changes}"))
}

fn read(request: &ManyRequest) -> Result<Vec<EditLine>> {
    let mut bytes = Vec::new();
    match &request.source {
        EditSource::Stdin => io::stdin().lock().read_to_end(&mut bytes).map(drop),
        EditSource::File(path) => fs::read(path).map(|found| bytes = found),
    }
    .map_err(|err| Error::other(format!("read {}", request.source), err, ""))?;
    // What is not UTF-8 ends up in a message about its line.
    let text = String::from_utf8_lossy(&bytes);
    let allowed = if request.replace { AllowedEdits::AddOnly } else { AllowedEdits::AddAndDel };
    edit_file::read(&request.source.to_string(), &text, allowed, possible_cpus()?)
}

fn plan(request: &ManyRequest, current: &[Mapping], lines: Vec<EditLine>) -> Result<Changes> {
    if !request.replace {
        return changes::batch(current, lines).map_err(|Absent { line, prefix }| {
            let remedy = "neither the mapping nor a line before this one has it";
            Error::map_key(format!("delete {prefix}"), "it is not mapped", remedy)
                .at(format_args!("{} line {line}", request.source))
        });
    }
    let (changes, repeated) = changes::replace(current, lines);
    warn_some(repeated.len(), "prefixes that are there more than once", || {
        repeated.iter().map(|repeated| {
            let changes::Repeated { line, before, prefix } = repeated;
            format!(
                "{} line {line}: {prefix} was on line {before} already: the last line counts",
                request.source
            )
        })
    });
    Ok(changes)
}

/// A map that is full half-way would leave half of the work.
fn check_room(request: &ManyRequest, changes: &Changes, room: usize) -> Result<()> {
    let (after, at_most) = (changes.entries_after(), changes.entries_at_most());
    let what = || format!("apply {}", request.source);
    if after > room {
        let why = format!("it makes {after} entries, and the map has room for {room}");
        let remedy = "give fewer prefixes, or rebuild the pinned map larger";
        return Err(Error::map(what(), why, remedy));
    }
    if request.replace && at_most > room {
        let why = format!("new entries come before old ones go: that is {at_most}, and the map has room for {room}");
        let remedy = "delete some first (--batch), or rebuild the pinned map larger";
        return Err(Error::map(what(), why, remedy));
    }
    Ok(())
}

fn apply(request: &ManyRequest, mappings: &Mappings, changes: &Changes) -> Result<()> {
    let mut progress = ProgressLine::new(changes.len());
    let deletions_first = changes.entries_at_most() > mappings.max_entries() as usize;
    let applied = mappings.apply(changes, deletions_first, |count| progress.step(count));
    progress.end();
    applied.map_err(|err| {
        let ProgressLine { done, total, .. } = progress;
        err.at(format_args!(
            "apply {} (of {total} changes, {done} or more are made)",
            request.source
        ))
    })
}

/// Entries whose class is not of their CPU's queue: the first ones, and how many there are.
#[derive(Default)]
struct MajorWarnings {
    first: Vec<String>,
    count: usize,
}

impl MajorWarnings {
    /// Before the queue table is set up, its base setup is what counts.
    fn new(dir: &PinDir, lines: &[EditLine]) -> Result<Self> {
        let mut found = Self::default();
        let Some(queues) = QueueTable::try_open(dir)? else { return Ok(found) };
        let rows = match queues.is_unset()? {
            true => queues.base_rows()?,
            false => queues.rows()?,
        };
        let row = |cpu: u32| rows.get(cpu as usize).copied();
        for line in lines {
            let Edit::Add(mapping) = &line.edit else { continue };
            let row = row(mapping.cpu).unwrap_or(TxqRow {
                cpu: mapping.cpu,
                queue_mapping: 0,
                htb_major: 0,
            });
            if row.serves(mapping.tc_handle) {
                continue;
            }
            found.count += 1;
            if found.first.len() < WARNINGS {
                found.first.push(mismatch(mapping, &row));
            }
        }
        Ok(found)
    }

    fn print(&self) {
        warn_some(self.count, "entries whose class is not of their CPU's HTB", || {
            self.first.iter().cloned()
        });
    }
}

/// Warns of the first few of `count`, and of how many more there are.
fn warn_some<I: Iterator<Item = String>>(count: usize, what: &str, warnings: impl FnOnce() -> I) {
    warnings().take(WARNINGS).for_each(|line| warn(format_args!("{line}")));
    if count > WARNINGS {
        warn(format_args!("{} more {what}", count - WARNINGS));
    }
}

/// How far it is, for whoever watches on a terminal.
struct ProgressLine {
    total: usize,
    done: usize,
    shown: Option<Instant>,
    terminal: bool,
}

impl ProgressLine {
    /// Short enough to look alive, long enough not to cost anything.
    const PAUSE: Duration = Duration::from_millis(100);

    fn new(total: usize) -> Self {
        Self { total, done: 0, shown: None, terminal: io::stderr().is_terminal() }
    }

    fn step(&mut self, count: usize) {
        self.done += count;
        let recent = self.shown.is_some_and(|shown| shown.elapsed() < Self::PAUSE);
        if !self.terminal || recent {
            return;
        }
        self.shown = Some(Instant::now());
        // A closed stderr is no reason to fail.
        let _ = write!(io::stderr(), "\r{} of {} changes", self.done, self.total);
    }

    /// Clears the line.
    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
