// SPDX-License-Identifier: GPL-2.0-only
//! The commands. Each module has the command's arguments, the request that is made of them and
//! checked, and its `run`.
//!
//! [`COMMANDS`] lists them: man pages, completions, the package check, the README's table and the
//! tests follow from this list. `src/bin/` has a file of three lines for each.

use std::process::ExitCode;

use crate::commands::command_line::{main_exit, CommandLine};

mod aggregate_args;
pub mod command_line;
pub mod cpumap_pping;
mod event_args;
mod options;
pub mod pping;
mod print;
mod replay_progress;
mod rtt_args;
pub mod tc_classify;
pub mod xdp_iphash_to_cpu;
pub mod xdp_iphash_to_cpu_cmdline;
pub mod xdp_pass;
pub mod xdp_pping;

/// A command of the package.
pub struct CommandEntry {
    /// The name of its binary.
    pub name: &'static str,
    /// What it does, for the README's table (Markdown).
    pub summary: &'static str,
    /// Its options, for help, man page and completions.
    pub definition: fn() -> clap::Command,
    /// Its `main`.
    pub main: fn() -> ExitCode,
}

/// Every command, in the order of the README's table.
pub const COMMANDS: [CommandEntry; 7] = [
    CommandEntry {
        name: "xdp_iphash_to_cpu",
        summary: "attaches the steering program to an interface and sets the direction it faces (`--remove` detaches it)",
        definition: xdp_iphash_to_cpu::SteerRequest::command,
        main: || main_exit(xdp_iphash_to_cpu::run),
    },
    CommandEntry {
        name: "xdp_iphash_to_cpu_cmdline",
        summary: "adds, deletes, lists, clears the mapping of addresses to CPU and class; `--batch FILE`, `--replace FILE` (all or nothing, and every look-up finds the old or the new entry)",
        definition: xdp_iphash_to_cpu_cmdline::MappingRequest::command,
        main: || main_exit(xdp_iphash_to_cpu_cmdline::run),
    },
    CommandEntry {
        name: "tc_classify",
        summary: "attaches the classifier to an interface's egress; sets and lists the table of queues and HTB majors",
        definition: tc_classify::ClassifyRequest::command,
        main: || main_exit(tc_classify::run),
    },
    CommandEntry {
        name: "xdp_pping",
        summary: "prints the RTTs of the last 60 s per class: JSON as callers expect it, `--format jsonl`, `table`, one `--side`, `--watch`; `--follow` streams every flow's",
        definition: xdp_pping::XdpPpingRequest::command,
        main: || main_exit(xdp_pping::run),
    },
    CommandEntry {
        name: "pping",
        summary: "streams the RTT of every flow on one interface (`-i IF`) or in a capture (`--read FILE`): standard, ppviz, JSON, JSON lines, or aggregates by subnet",
        definition: pping::PpingRequest::command,
        main: || main_exit(pping::run),
    },
    CommandEntry {
        name: "xdp_pass",
        summary: "attaches a program that passes everything, for drivers that require one on the receiving end",
        definition: xdp_pass::PassRequest::command,
        main: || main_exit(xdp_pass::run),
    },
    CommandEntry {
        name: "cpumap-pping",
        summary: "`status`: attachments, map fill, counters by reason with rates; `check`: a doctor",
        definition: cpumap_pping::CpumapPpingRequest::command,
        main: || main_exit(cpumap_pping::run),
    },
];

/// Runs the command `name`, for the `main` of its binary. A test checks that every binary is in
/// [`COMMANDS`], so the failure code is never returned.
pub fn main(name: &str) -> ExitCode {
    match COMMANDS.into_iter().find(|command| command.name == name) {
        Some(command) => (command.main)(),
        None => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::{CliExit, StdStream};

    #[test]
    fn definitions_are_consistent() {
        for CommandEntry { name, definition, .. } in COMMANDS {
            let command = definition();
            assert_eq!(command.get_name(), name);
            command.debug_assert();
        }
    }

    #[test]
    fn help_has_examples_exit_codes_and_short_lines() {
        for CommandEntry { name, definition: command, .. } in COMMANDS {
            let help = command().render_long_help().to_string();
            for part in ["Usage:", "Examples:", "Exit codes:", "  0   success"] {
                assert!(help.contains(part), "{name}: {part} in\n{help}");
            }
            let longest = help.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{name}: a help line is too long for a terminal");
            let mut todo = vec![command()];
            while let Some(command) = todo.pop() {
                for arg in command.get_arguments() {
                    assert!(arg.get_help().is_some(), "{name}: {} has no help", arg.get_id());
                }
                todo.extend(command.get_subcommands().cloned());
            }
        }
    }

    #[test]
    fn every_command_has_help_and_refuses_unknown_options() {
        for CommandEntry { name, definition: command, .. } in COMMANDS {
            for option in ["--help", "-h", "--hel"] {
                let err = command().try_get_matches_from([name, option]).unwrap_err();
                let exit = CliExit::from_clap(&err, command());
                assert_eq!((exit.code, exit.stream), (0, StdStream::Stdout), "{name} {option}");
                assert!(exit.text.contains("Usage:"), "{name} {option}");
            }
            for option in ["--bogus", "-Z", "stray"] {
                let err = command().try_get_matches_from([name, option]).unwrap_err();
                let exit = CliExit::from_clap(&err, command());
                assert_eq!((exit.code, exit.stream), (2, StdStream::Stderr), "{name} {option}");
                assert!(exit.text.starts_with("ERR: "), "{name} {option}: {}", exit.text);
                assert!(exit.text.contains("Usage:"), "{name} {option}: {}", exit.text);
            }
        }
    }

    /// The compiler finds neither a command without a binary nor a binary without a command.
    #[test]
    fn every_command_has_its_binary() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let mut binaries: Vec<_> =
            files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let mut commands = COMMANDS.map(|command| command.name.to_owned()).to_vec();
        binaries.sort();
        commands.sort();
        assert_eq!(binaries, commands);
    }
}
