// SPDX-License-Identifier: GPL-2.0-only
//! The command's options, as clap reads them.

use std::path::PathBuf;

use clap::Parser;

use crate::commands::command_line::after_help;
use crate::domain::error::exit;

const USAGE: &str = "xdp_iphash_to_cpu_cmdline --add --ip ADDR[/LEN] --cpu N --classid MAJ:MIN
       xdp_iphash_to_cpu_cmdline --del --ip ADDR[/LEN]
       xdp_iphash_to_cpu_cmdline {--batch|--replace} FILE [--dry-run]
       xdp_iphash_to_cpu_cmdline {--list|--clear}";

const EXAMPLES: &str = "
  xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.0/24 --cpu 0x0 --classid 0x1:0x8
  xdp_iphash_to_cpu_cmdline --add --ip 2001:db8:1::/48 --cpu 3 --classid 4:12
  Traffic that no other entry matches:
    xdp_iphash_to_cpu_cmdline --add --ip ::/0 --cpu 0 --classid 1:2
  xdp_iphash_to_cpu_cmdline --del --ip 100.64.1.0/24
  xdp_iphash_to_cpu_cmdline --list | jq .
  Replace the whole mapping by the output of a program, without a gap:
    print-subscribers | xdp_iphash_to_cpu_cmdline --replace -

A file for --batch or --replace has the options of one --add or --del on each line; # starts a
comment. All lines are checked before the first one is applied: if one is bad, the command names it
and changes nothing.";

const CODES: [u8; 6] =
    [exit::MAP, exit::MAP_KEY, exit::MAP_FILE, exit::BPFFS, exit::BAD_IP, exit::BAD_CPU];

/// Map subscribers to CPUs and traffic classes
///
/// Edits the mapping that the attached programs use. A change takes effect with the next packet. A
/// packet belongs to the entry with the longest prefix that matches its address.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_iphash_to_cpu_cmdline",
    version,
    override_usage = USAGE,
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct MappingArgs {
    /// Add or replace an entry; needs --ip, --cpu and --classid
    #[arg(long, short)]
    pub add: bool,

    /// Delete an entry; needs --ip
    // `--d` was an unambiguous prefix in the predecessor; the alias keeps it so beside `--dry-run`.
    #[arg(long, short = 'x', alias = "d")]
    pub del: bool,

    /// Address or prefix, IPv4 or IPv6 [default length: 32 or 128]; host bits are dropped
    #[arg(long, short, value_name = "ADDR[/LEN]", allow_hyphen_values = true)]
    pub ip: Option<String>,

    /// Traffic class: both numbers in hexadecimal, with or without 0x; none: leave packets
    /// unclassified
    #[arg(long, short = 't', value_name = "MAJ:MIN", allow_hyphen_values = true)]
    pub classid: Option<String>,

    /// CPU that serves the subscriber, from 0; decimal, hexadecimal with 0x, octal with 0
    #[arg(long, short, value_name = "N", allow_hyphen_values = true)]
    pub cpu: Option<String>,

    /// Print all entries as one JSON object, majors and minors in hexadecimal
    #[arg(long, short)]
    pub list: bool,

    /// Delete all entries
    #[arg(long, short = 'e')]
    pub clear: bool,

    /// Apply each line of FILE in order; - is standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub batch: Option<PathBuf>,

    /// Replace the whole mapping by the --add lines of FILE; - is standard input
    ///
    /// Entries that stay are not written. New entries are added before old ones are deleted, so a
    /// packet finds the old or the new entry at any time. If two lines have the same prefix, the
    /// last one applies, with a warning.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub replace: Option<PathBuf>,

    /// With --batch or --replace: check all lines, print what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
}
