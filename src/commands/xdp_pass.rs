// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_pass`: attaches an XDP program that passes every packet.

use clap::Parser;

use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::options::{exclusive, required};
use crate::commands::print::print_line;
use crate::domain::error::{exit, Error, Result};
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::load::load_pass;
use crate::kernel::pin::PinDir;
use crate::kernel::xdp::{xdp_attach, xdp_detach, XdpMode};

const EXAMPLES: &str = "
  xdp_pass --dev eth1
  xdp_pass --dev eth1 --unload";

const CODES: [u8; 2] = [exit::XDP_ATTACH, exit::BPF_LOAD];

/// Attach an XDP program that passes every packet
///
/// Some drivers accept redirected frames only on interfaces that have an XDP program themselves.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_pass",
    version,
    override_usage = "xdp_pass --dev IF [--skb-mode|--native-mode] [--force|--unload]",
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct PassArgs {
    /// Interface to attach to
    #[arg(long, short, value_name = "IF", allow_hyphen_values = true)]
    dev: Option<String>,

    /// Attach in generic (skb) mode [default: native if the driver supports it, else generic]
    #[arg(long, short = 'S')]
    skb_mode: bool,

    /// Attach in native mode, in the driver, or fail
    #[arg(long, short = 'N')]
    native_mode: bool,

    /// Replace another program that is attached; with --unload, detach it
    #[arg(long, short = 'F')]
    force: bool,

    /// Detach the program
    #[arg(long, short = 'U')]
    unload: bool,
}

/// What to do with the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassAction {
    /// Attach the program.
    Attach {
        /// Whether to replace a program that is not of this package.
        force: bool,
    },
    /// Detach the program.
    Unload {
        /// Whether to detach a program that is not of this package.
        force: bool,
    },
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassRequest {
    /// The interface. Whether it exists is checked when the command runs.
    pub dev: IfName,
    /// The mode to attach in.
    pub mode: XdpMode,
    /// Whether to attach or detach.
    pub action: PassAction,
}

impl CommandLine for PassRequest {
    type Args = PassArgs;
}

impl TryFrom<PassArgs> for PassRequest {
    type Error = Error;

    fn try_from(args: PassArgs) -> Result<Self> {
        exclusive(("--skb-mode", args.skb_mode), ("--native-mode", args.native_mode))?;
        let dev = IfName::parse("--dev", &required("--dev", args.dev)?)?;
        let mode = match (args.skb_mode, args.native_mode) {
            (true, _) => XdpMode::Skb,
            (_, true) => XdpMode::Native,
            _ => XdpMode::Auto,
        };
        let force = args.force;
        let action =
            if args.unload { PassAction::Unload { force } } else { PassAction::Attach { force } };
        Ok(Self { dev, mode, action })
    }
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: PassRequest) -> Result<()> {
    let (dev, dir) = (&request.dev, PinDir::default());
    device::ifindex(dev)?;
    match request.action {
        PassAction::Attach { force } => {
            let outcome = load_pass(|program| xdp_attach(&dir, dev, program, request.mode, force))?;
            print_line(format_args!("{dev}: xdp_pass attached ({})", outcome.mode))
        }
        PassAction::Unload { force } => {
            let found = xdp_detach(&dir, dev, force)?;
            let what = if found { "detached" } else { "was not attached" };
            print_line(format_args!("{dev}: xdp_pass {what}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::words;

    #[test]
    fn options_become_requests() {
        let attach = PassAction::Attach { force: false };
        let table = [
            ("--dev eth0", XdpMode::Auto, attach),
            ("-d eth0 -S", XdpMode::Skb, attach),
            ("-N --dev=eth0", XdpMode::Native, attach),
            ("--nat -FF -deth0", XdpMode::Native, PassAction::Attach { force: true }),
            ("-U -d eth0", XdpMode::Auto, PassAction::Unload { force: false }),
            ("--unload --skb --dev eth0 --force", XdpMode::Skb, PassAction::Unload { force: true }),
        ];
        for (line, mode, action) in table {
            let request = PassRequest::parse(words(line)).unwrap();
            assert_eq!(request.dev.as_str(), "eth0", "{line}");
            assert_eq!((request.mode, request.action), (mode, action), "{line}");
        }
    }

    #[test]
    fn bad_command_lines_are_refused() {
        let table = [
            ("", "missing --dev"),
            ("-S -N -d eth0", "--skb-mode with --native-mode"),
            ("-d a/b", "--dev 'a/b'"),
            ("-d eth0 --bogus", "--bogus"),
        ];
        for (line, names) in table {
            let exit = PassRequest::parse(words(line)).unwrap_err();
            assert_eq!(exit.code, 2, "{line}");
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
            assert!(exit.text.contains("\nUsage: xdp_pass "), "{line}: {}", exit.text);
        }
    }
}
