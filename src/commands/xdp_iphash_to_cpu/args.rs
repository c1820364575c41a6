// SPDX-License-Identifier: GPL-2.0-only
//! The command's options, as clap reads them.

use clap::{ArgAction, Parser};

use crate::commands::command_line::after_help;
use crate::commands::rtt_args::RttArgs;
use crate::domain::error::exit;

const USAGE: &str = "xdp_iphash_to_cpu --dev IF {--lan|--wan} [OPTIONS]
       xdp_iphash_to_cpu --dev IF --remove";

const EXAMPLES: &str = "
  The two NICs of a shaper:
    xdp_iphash_to_cpu --dev eth0 --lan
    xdp_iphash_to_cpu --dev eth1 --wan
  Only CPUs 2 and 3, in generic mode:
    xdp_iphash_to_cpu --dev eth0 --lan --cpu 2 --cpu 3 --skb-mode
  Detach (`ip link set dev eth0 xdp off` detaches too, but does not clear the direction):
    xdp_iphash_to_cpu --dev eth0 --remove";

const CODES: [u8; 7] = [
    exit::XDP_ATTACH,
    exit::MAP,
    exit::MAP_KEY,
    exit::MAP_FILE,
    exit::BPFFS,
    exit::BAD_CPU,
    exit::BPF_LOAD,
];

/// Steer each subscriber's packets to one CPU
///
/// Loads the steering program and attaches it to the receive side of an interface. Mounts the BPF
/// file system and creates the maps unless they exist. Existing maps keep their size and
/// content: loading again loses neither packets nor mappings.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_iphash_to_cpu",
    version,
    override_usage = USAGE,
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true,
    disable_help_flag = true
)]
pub struct SteerArgs {
    /// Interface to attach to
    #[arg(long, short, value_name = "IF", allow_hyphen_values = true)]
    pub dev: Option<String>,

    /// The interface faces the internet: a packet's destination is the subscriber
    #[arg(long, short)]
    pub wan: bool,

    /// The interface faces the subscribers: a packet's source is the subscriber
    #[arg(long, short)]
    pub lan: bool,

    /// Steer to this CPU; repeat for more. From 0; decimal, hexadecimal with 0x, octal with 0
    #[arg(long, short, value_name = "N", allow_hyphen_values = true)]
    #[arg(action = ArgAction::Append, overrides_with = "all_cpus")]
    pub cpu: Vec<String>,

    /// Steer to every possible CPU [default]
    #[arg(long, short)]
    pub all_cpus: bool,

    /// Length of the queue to each CPU, in frames: 1 to 16384 [default: 2048]
    #[arg(long, short = 's', value_name = "N", allow_hyphen_values = true)]
    pub qsize: Option<String>,

    /// Attach in generic (skb) mode [default: native if the driver supports it, else generic]
    #[arg(long, short = 'S')]
    pub skb_mode: bool,

    /// Give the pinned maps to this user, who can then edit the mapping
    #[arg(long, short, value_name = "USER", allow_hyphen_values = true)]
    pub owner: Option<String>,

    /// Detach the program and clear the interface's direction
    #[arg(long, short)]
    pub remove: bool,

    /// Print errors and warnings only
    #[arg(long, short)]
    pub quiet: bool,

    /// Print this help
    // `--h` is an unambiguous prefix of `--help` in the predecessor; the alias keeps it so beside
    // `--handshake`.
    #[arg(long, short, alias = "h", action = ArgAction::Help)]
    pub help: Option<bool>,

    #[command(flatten)]
    pub rtt: RttArgs,
}
