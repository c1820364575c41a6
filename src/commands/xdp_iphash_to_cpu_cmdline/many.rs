// SPDX-License-Identifier: GPL-2.0-only
//! Runs `--batch` and `--replace`, which make many changes of the mapping, or none if one of them
//! is bad.

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

/// A file of edits, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManyRequest {
    /// The file.
    pub source: EditSource,
    /// Whether the file is the whole mapping: entries that it does not add are deleted.
    pub replace: bool,
    /// Whether to print what would change, and change nothing.
    pub dry_run: bool,
}

/// The source of a file of edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditSource {
    /// Standard input.
    Stdin,
    /// The file at this path.
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

/// Largest number of warnings of one kind that are printed singly. The rest are only counted.
const WARNINGS: usize = 3;

/// Checks the whole file, then makes the changes and prints their numbers.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`]. An error of the file names its line.
pub fn run(dir: &PinDir, request: &ManyRequest) -> Result<()> {
    let lines = read(request)?;
    let mappings = Mappings::open(dir)?;
    // Without the lock, two of these commands at once would leave a mixture of both files.
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
    // Bytes that are not UTF-8 become U+FFFD, which the message about their line shows.
    let text = String::from_utf8_lossy(&bytes);
    let allowed = if request.replace { AllowedEdits::AddOnly } else { AllowedEdits::AddAndDel };
    edit_file::read(&request.source.to_string(), &text, allowed, possible_cpus()?)
}

/// Compares the edits with the current mapping and returns the changes to make.
fn plan(request: &ManyRequest, current: &[Mapping], lines: Vec<EditLine>) -> Result<Changes> {
    if !request.replace {
        return changes::batch(current, lines).map_err(|Absent { line, prefix }| {
            let remedy = "neither the mapping nor a line before this one has it";
            Error::map_key(format!("delete {prefix}"), "it is not mapped", remedy)
                .at(format_args!("{} line {line}", request.source))
        });
    }
    let (changes, repeated) = changes::replace(current, lines);
    warn_some(repeated.len(), "prefixes that the file has more than once", || {
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

/// Checks that the map has room for all changes: it must not become full half-way.
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

/// Warnings about entries whose class belongs to another queue than that of their CPU: the first
/// ones, and the number of all.
#[derive(Default)]
struct MajorWarnings {
    first: Vec<String>,
    count: usize,
}

impl MajorWarnings {
    /// Compares the added entries with the queue table, or with its base setup if it is not set up
    /// yet.
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

/// Prints the first [`WARNINGS`] of `count` warnings, then the number of the others.
fn warn_some<I: Iterator<Item = String>>(count: usize, what: &str, warnings: impl FnOnce() -> I) {
    warnings().take(WARNINGS).for_each(|line| warn(format_args!("{line}")));
    if count > WARNINGS {
        warn(format_args!("{} more {what}", count - WARNINGS));
    }
}

/// A line on stderr that shows the progress, if stderr is a terminal.
struct ProgressLine {
    /// Number of changes to make.
    total: usize,
    /// Number of changes made.
    done: usize,
    /// Time of the last output.
    shown: Option<Instant>,
    /// Whether stderr is a terminal.
    terminal: bool,
}

impl ProgressLine {
    /// Shortest time between two outputs: they look alive, and their cost does not matter.
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

    /// Clears the line. Ignores errors, as [`ProgressLine::step`] does.
    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
