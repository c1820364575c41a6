//! Print the RTTs of the last 60 seconds, or follow the events of every flow.

use std::io::Write;
use std::thread::sleep;

use crate::abi::StreamConfig;
use crate::cli::xdp_pping::{Follow, Request, Snapshot};
use crate::error::{Error, Result};
use crate::follow::{self, Following};
use crate::machine::ktime_ns;
use crate::output::{write_report, Format, HandleReport, Side};
use crate::pin::PinDir;
use crate::records::Records;
use crate::rtt;
use crate::stream::clock::Clock;
use crate::stream::kernel::{Kernel, Program, Setup};
use crate::stream::live::Live;
use crate::stream::signals::ProcessSignals;
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
        show(request, snapshot(&PinDir::default(), needs_sides(request)))?;
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
    stream::run(&mut source, &mut signals, output, Clock::live()?, report)
}

/// The follower's program behind the classifiers of the shaper.
fn follower(request: &Follow) -> Result<Live<Following>> {
    let mut stream = StreamConfig { events: 1, ..StreamConfig::default() };
    request.events.apply(&mut stream);
    let kernel = Kernel::load(&Setup {
        programs: &[Program::Follow],
        stream,
        handshake: false,
        replay: false,
        flows: follow::flow_places(&PinDir::default())?,
    })?;
    Ok(Live::new(Following::begin(&kernel)?, kernel))
}

/// Only the contract's JSON, the quickest, does without the sides apart.
fn needs_sides(request: &Snapshot) -> bool {
    request.side != Side::Both || request.format != Format::Json
}

/// Every tc handle with samples, in the order of the handles; on request with the sides apart.
///
/// # Errors
/// [`Error::MapFile`]: nothing is loaded.
pub fn snapshot(dir: &PinDir, sides: bool) -> Result<Vec<HandleReport>> {
    let records = Records::open(dir)?;
    let now = ktime_ns()?;
    let report = if sides { rtt::report } else { rtt::report_both };
    let mut reports = records.collect(|handle, record| report(handle, record, now))?;
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
