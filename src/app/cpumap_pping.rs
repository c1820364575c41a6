//! The command for people: one of its parts.

use std::process::ExitCode;

use crate::cli::cpumap_pping::Request;
use crate::error::{Error, Result};
use crate::inventory::{self, Inventory};
use crate::pin::PinDir;

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<ExitCode> {
    // What libbpf has to say about a device without our filter is no message for an operator.
    libbpf_rs::set_print(None);
    let dir = PinDir::default();
    let inventory = Inventory::read(&dir).map_err(explain_missing_maps);
    match request {
        Request::Status(how) => super::status::run(&dir, &how, inventory),
        Request::Check => super::check::run(&inventory?),
    }
}

/// Programs without pins: bpffs was mounted over, or is not the one that they were loaded in. That
/// is what `ip netns exec` does.
fn explain_missing_maps(err: Error) -> Error {
    let Error::MapFile(detail) = err else { return err };
    let devices = inventory::attached().unwrap_or_default();
    if devices.is_empty() {
        return Error::MapFile(detail);
    }
    let names: Vec<_> = devices.iter().map(ToString::to_string).collect();
    let why = format!("programs are attached to {}, but their maps are not here", names.join(", "));
    let remedy = "`ip netns exec` hides them: use nsenter --net; else load again on each interface";
    Error::map_file(detail.what, why, remedy)
}
