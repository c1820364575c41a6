//! Print the RTTs of the last 60 seconds, or follow the events of every flow.

use std::io::Write;
use std::thread::sleep;

use crate::cli::xdp_pping::{Follow, Request, Snapshot};
use crate::error::{Error, Result};
use crate::machine::ktime_ns;
use crate::output::{write_report, HandleReport};
use crate::pin::PinDir;
use crate::records::Records;
use crate::rtt;
use crate::stream::clock::Clock;
use crate::stream::signals::ProcessSignals;
use crate::stream::source::Source;
use crate::stream::writer::Output;

use super::stream::{self, Report};

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    match request {
        Request::Snapshot(snapshot) => watch(&snapshot),
        Request::Follow(request) => follow(&request),
    }
}

fn watch(request: &Snapshot) -> Result<()> {
    loop {
        show(request, snapshot(&PinDir::default()))?;
        let Some(interval) = request.watch else { break };
        sleep(interval);
        super::print(|out| writeln!(out))?;
    }
    Ok(())
}

fn follow(request: &Follow) -> Result<()> {
    let output = Output::open(request.events.write.as_deref(), request.format, true)?;
    let mut signals = ProcessSignals::block()?;
    let mut source = follower(request)?;
    let report = Report::Events(request.side);
    stream::run(source.as_mut(), &mut signals, output, Clock::live()?, report)
}

/// The follower's programs behind those of the shaper.
fn follower(_: &Follow) -> Result<Box<dyn Source>> {
    Err(Error::other("--follow", "the follower's programs are not part of this build", ""))
}

/// Every tc handle with samples, in the order of the handles.
///
/// # Errors
/// [`Error::MapFile`]: nothing is loaded.
pub fn snapshot(dir: &PinDir) -> Result<Vec<HandleReport>> {
    let records = Records::open(dir)?;
    let now = ktime_ns()?;
    let mut reports = records.collect(|handle, record| rtt::report(handle, record, now))?;
    // A report is large: its key is sorted, then each report moves once.
    reports.sort_by_cached_key(|report: &HandleReport| report.tc_handle);
    Ok(reports)
}

/// Also before anything is loaded: the caller's JSON parser gets an empty list, and the exit code.
fn show(request: &Snapshot, found: Result<Vec<HandleReport>>) -> Result<()> {
    let write = |reports: &[HandleReport]| {
        super::print(|out| write_report(out, reports, request.side, request.format))
    };
    match found {
        Ok(reports) => write(&reports),
        Err(err @ Error::MapFile(_)) => write(&[]).and(Err(err)),
        Err(err) => Err(err),
    }
}
