// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_list`: prints the XDP program of each interface.

use clap::Parser;

use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::print::print;
use crate::domain::error::{Error, Result};
use crate::format::columns::write_columns;
use crate::kernel::hook::Hook;
use crate::kernel::netlink::{self, NetlinkInterface};
use crate::kernel::pin::PinDir;
use crate::kernel::program::Attached;
use crate::kernel::program_pin::ProgramPin;

const EXAMPLES: &str = "
  xdp_list
  Only the interfaces with a program:
    xdp_list | awk '$2 != \"-\"'

Reading the name of a program that is not of this package needs CAP_SYS_ADMIN; without it the name is ?.";

/// Print the XDP program of each interface
///
/// One line for each interface of this network namespace: the program's name, its mode and the
/// kernel's id of it. The columns are - for an interface without a program.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_list",
    version,
    after_help = after_help(EXAMPLES, &[]),
    infer_long_args = true,
    args_override_self = true
)]
pub struct ListArgs {}

/// A checked command line. There is nothing to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRequest;

impl CommandLine for ListRequest {
    type Args = ListArgs;
}

impl TryFrom<ListArgs> for ListRequest {
    type Error = Error;

    fn try_from(_: ListArgs) -> Result<Self> {
        Ok(Self)
    }
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(_: ListRequest) -> Result<()> {
    let dir = PinDir::default();
    let rows = netlink::links()?.into_iter().map(|interface| row(&dir, interface));
    let mut out = Vec::new();
    write_columns(&mut out, &["interface", "program", "mode", "id"], rows);
    print(&out)
}

fn row(dir: &PinDir, interface: NetlinkInterface) -> [String; 4] {
    let Some((id, mode)) = interface.xdp else {
        return [&interface.name, "-", "-", "-"].map(str::to_owned);
    };
    let pin = ProgramPin::of(dir, Hook::Xdp, interface.ifindex);
    let program = Attached::new(id, Some(mode), &pin);
    [interface.name, program.name, mode.to_string(), id.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::words;

    #[test]
    fn no_option_is_needed() {
        assert_eq!(ListRequest::parse(words("")).unwrap(), ListRequest);
    }
}
