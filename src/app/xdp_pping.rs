//! Print the RTTs of the last 60 seconds.

use std::io::Write;
use std::thread::sleep;

use crate::cli::xdp_pping::Request;
use crate::error::{Error, Result};
use crate::machine::ktime_ns;
use crate::output::{write_report, HandleReport};
use crate::pin::PinDir;
use crate::records::Records;
use crate::rtt;

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    loop {
        show(&request, snapshot(&PinDir::default()))?;
        let Some(interval) = request.watch else { break };
        sleep(interval);
        super::print(|out| writeln!(out))?;
    }
    Ok(())
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
fn show(request: &Request, found: Result<Vec<HandleReport>>) -> Result<()> {
    let write = |reports: &[HandleReport]| {
        super::print(|out| write_report(out, reports, request.side, request.format))
    };
    match found {
        Ok(reports) => write(&reports),
        Err(err @ Error::MapFile(_)) => write(&[]).and(Err(err)),
        Err(err) => Err(err),
    }
}
