// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_iphash_to_cpu`: attaches the steering program to an interface, or detaches it.

use clap::{ArgAction, Parser};
use nix::unistd::{Gid, Uid, User};
use std::collections::BTreeSet;

use super::{exactly_one, exclusive, required, RttArgs, RttOptions, XdpMode};
use crate::error::{exit, Error, Result};
use crate::values::{check_cpu, parse_cpu, parse_number, IfName};

/// Frames that a CPU's queue holds unless `--qsize` says otherwise.
pub const DEFAULT_QSIZE: u32 = 2048;
/// The kernel's limit for a cpumap queue, in frames.
pub const MAX_QSIZE: u32 = 16384;

const USAGE: &str = "xdp_iphash_to_cpu --dev IF {--lan|--wan} [OPTIONS]
       xdp_iphash_to_cpu --dev IF --remove";

const EXAMPLES: &str = "
  The two NICs of a shaper:
    xdp_iphash_to_cpu --dev eth0 --lan
    xdp_iphash_to_cpu --dev eth1 --wan
  Only CPUs 2 and 3, in generic mode:
    xdp_iphash_to_cpu --dev eth0 --lan --cpu 2 --cpu 3 --skb-mode
  Detach (`ip link set dev eth0 xdp off` does it too, but leaves the direction set):
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
/// file system and creates the maps if they are not there; those that are there are used as they
/// are, so loading again loses neither packets nor mappings.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_iphash_to_cpu",
    version,
    override_usage = USAGE,
    after_help = super::after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true,
    disable_help_flag = true
)]
pub struct Args {
    /// Interface to attach to
    #[arg(long, short, value_name = "IF", allow_hyphen_values = true)]
    dev: Option<String>,

    /// The interface faces the internet: a packet's destination is the subscriber
    #[arg(long, short)]
    wan: bool,

    /// The interface faces the subscribers: a packet's source is the subscriber
    #[arg(long, short)]
    lan: bool,

    /// Steer to this CPU; repeat for more. From 0; decimal, 0x hexadecimal or 0 octal
    #[arg(long, short, value_name = "N", allow_hyphen_values = true)]
    #[arg(action = ArgAction::Append, overrides_with = "all_cpus")]
    cpu: Vec<String>,

    /// Steer to every possible CPU [default]
    #[arg(long, short)]
    all_cpus: bool,

    /// Queue towards each CPU, in frames: 1 to 16384 [default: 2048]
    #[arg(long, short = 's', value_name = "N", allow_hyphen_values = true)]
    qsize: Option<String>,

    /// Attach in generic (skb) mode [default: native where the driver can, else generic]
    #[arg(long, short = 'S')]
    skb_mode: bool,

    /// Give the pinned mapping to this user, who may then edit it
    #[arg(long, short, value_name = "USER", allow_hyphen_values = true)]
    owner: Option<String>,

    /// Detach the program and clear the interface's direction
    #[arg(long, short)]
    remove: bool,

    /// Print errors and warnings only
    #[arg(long, short)]
    quiet: bool,

    /// Print this help
    // `--h` is an unambiguous prefix in the predecessor; `--handshake` must not change that.
    #[arg(long, short, alias = "h", action = ArgAction::Help)]
    help: Option<bool>,

    #[command(flatten)]
    rtt: RttArgs,
}

/// Which way an interface looks. The values are those of `map_ifindex_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// Towards the internet.
    Wan = 1,
    /// Towards the subscribers.
    Lan = 2,
}

/// Which CPUs get subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// Every possible CPU.
    All,
    /// These, never empty; not yet checked against the machine (see [`Request::check_cpus`]).
    Only(BTreeSet<u32>),
}

/// What to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Which side of the shaper the interface is on.
    pub direction: Direction,
    /// CPUs for `cpu_map` and `cpus_available`.
    pub cpus: Cpus,
    /// Length of each CPU's queue in frames, 1 to [`MAX_QSIZE`].
    pub qsize: u32,
    /// User who shall own the pinned mapping; see [`resolve_owner`].
    pub owner: Option<String>,
    /// How RTTs are measured.
    pub rtt: RttOptions,
}

/// What to do with the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Load, attach, configure.
    Attach(Attach),
    /// Detach and clear the direction.
    Remove,
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The interface; whether it exists is not known yet.
    pub dev: IfName,
    /// What to do with it.
    pub action: Action,
    /// [`XdpMode::Auto`] or [`XdpMode::Skb`].
    pub mode: XdpMode,
    /// Say nothing but errors and warnings.
    pub quiet: bool,
}

impl Request {
    /// Checks the CPUs asked for against the number of possible CPUs.
    ///
    /// # Errors
    /// [`Error::BadCpu`] for the first that the machine does not have.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        match &self.action {
            Action::Attach(Attach { cpus: Cpus::Only(cpus), .. }) => {
                cpus.iter().try_for_each(|&cpu| check_cpu(cpu, possible_cpus))
            }
            _ => Ok(()),
        }
    }
}

impl super::Request for Request {
    type Args = Args;
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        let dev = IfName::parse("--dev", required("--dev", args.dev.as_deref())?)?;
        let mode = if args.skb_mode { XdpMode::Skb } else { XdpMode::Auto };
        let quiet = args.quiet;
        exclusive(("--wan", args.wan), ("--lan", args.lan))?;
        let action =
            if args.remove { Action::Remove } else { Action::Attach(Attach::try_from(args)?) };
        Ok(Self { dev, action, mode, quiet })
    }
}

impl TryFrom<Args> for Attach {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        let direction = match exactly_one(&[("--wan", args.wan), ("--lan", args.lan)])? {
            "--wan" => Direction::Wan,
            _ => Direction::Lan,
        };
        let read_qsize = |text: String| parse_number("--qsize", &text, 1, MAX_QSIZE);
        let qsize = args.qsize.map(read_qsize).transpose()?.unwrap_or(DEFAULT_QSIZE);
        let rtt = args.rtt.try_into()?;
        let cpus: BTreeSet<u32> =
            args.cpu.iter().map(|cpu| parse_cpu(cpu)).collect::<Result<_>>()?;
        let cpus = if cpus.is_empty() { Cpus::All } else { Cpus::Only(cpus) };
        Ok(Self { direction, cpus, qsize, owner: args.owner, rtt })
    }
}

/// Finds the user and primary group that `--owner` names.
///
/// # Errors
/// [`Error::Usage`] if there is no such user or the user database cannot be read.
pub fn resolve_owner(name: &str) -> Result<(Uid, Gid)> {
    let what = || format!("--owner '{name}'");
    match User::from_name(name) {
        Ok(Some(user)) => Ok((user.uid, user.gid)),
        Ok(None) => Err(Error::usage(what(), "no such user", "`getent passwd` lists the users")),
        Err(errno) => Err(Error::usage(what(), errno, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Request as _;
    use crate::cli::{words, CliExit, Stream};

    fn attach(line: &str) -> Attach {
        match Request::parse(words(line)).unwrap().action {
            Action::Attach(attach) => attach,
            Action::Remove => panic!("{line}"),
        }
    }

    fn refused(line: &str) -> CliExit {
        Request::parse(words(line)).unwrap_err()
    }

    #[test]
    fn calls_in_the_field() {
        let lan = Request::parse(words("--dev eth0 --lan")).unwrap();
        let plain = Attach {
            direction: Direction::Lan,
            cpus: Cpus::All,
            qsize: 2048,
            owner: None,
            rtt: RttOptions::default(),
        };
        assert_eq!(lan.dev.as_str(), "eth0");
        assert_eq!(lan.action, Action::Attach(plain.clone()));
        assert_eq!((lan.mode, lan.quiet), (XdpMode::Auto, false));

        let quiet = Request::parse(words("--dev eth0 --all-cpus --wan --quiet")).unwrap();
        assert!(quiet.quiet);
        assert_eq!(quiet.action, Action::Attach(Attach { direction: Direction::Wan, ..plain }));
    }

    #[test]
    fn getopt_manners() {
        let expected = Request::parse(words("--dev eth0 --lan --qsize 512 --skb-mode")).unwrap();
        let same = [
            "--dev=eth0 --lan --qsize=512 --skb-mode",
            "--skb --qs 512 --la --de eth0",
            "-deth0 -l -s512 -S",
            "-Slds512 --dev eth0 -s 512",
            "-Sls512 -d eth0",
            "--dev eth9 --dev eth0 --lan --lan --qsize 1 --qsize 0x200 -S",
        ];
        for line in same {
            match Request::parse(words(line)) {
                Ok(request) => assert_eq!(request, expected, "{line}"),
                Err(exit) => panic!("{line}: {}", exit.text),
            }
        }
        for ambiguous in ["--q", "--"] {
            let line = format!("--dev eth0 --lan {ambiguous} 1");
            assert_eq!(refused(&line).code, 2, "{line}");
        }
        for help in ["-h", "--h", "--help", "--dev eth0 --he"] {
            let exit = refused(help);
            assert_eq!((exit.code, exit.stream), (0, Stream::Stdout), "{help}");
        }
    }

    #[test]
    fn cpus_replace_all_and_the_last_word_wins() {
        let only = |cpus: &[u32]| Cpus::Only(cpus.iter().copied().collect());
        let table = [
            ("", Cpus::All),
            ("-a", Cpus::All),
            ("--cpu 2", only(&[2])),
            ("--cpu 0x1f -c 010 -c31 --cpu=3", only(&[3, 8, 31])),
            ("--all-cpus --cpu 1", only(&[1])),
            ("--cpu 1 --all-cpus", Cpus::All),
        ];
        for (options, cpus) in table {
            assert_eq!(attach(&format!("-d eth0 -l {options}")).cpus, cpus, "{options}");
        }
    }

    #[test]
    fn cpus_are_checked() {
        for cpu in ["-1", "x", "''", "08", "4294967296"] {
            let exit = refused(&format!("-d eth0 -l --cpu {cpu}"));
            assert_eq!((exit.code, exit.stream), (31, Stream::Stderr), "{cpu}: {}", exit.text);
            assert_eq!(exit.text.lines().count(), 1, "{}", exit.text);
        }
        let request = Request::parse(words("-d eth0 -l -c 0 -c 4")).unwrap();
        assert!(request.check_cpus(5).is_ok());
        assert_eq!(request.check_cpus(4).unwrap_err().exit_code(), 31);
        assert!(Request::parse(words("-d eth0 -l")).unwrap().check_cpus(1).is_ok());
    }

    #[test]
    fn refusals() {
        let table = [
            ("", "--dev"),
            ("--lan", "--dev"),
            ("--dev eth0", "--wan, --lan"),
            ("--dev eth0 --wan --lan", "--wan with --lan"),
            ("--dev 1234567890123456 --lan", "15 bytes"),
            ("--dev a/b --lan", "not an interface name"),
            ("--dev= --lan", "empty"),
            ("--dev", "--dev"),
            ("--dev eth0 --lan --qsize 0", "--qsize '0'"),
            ("--dev eth0 --lan --qsize 16385", "1 to 16384"),
            ("--dev eth0 --lan --qsize -5", "--qsize '-5'"),
            ("--dev eth0 --lan --flows 12", "--flows"),
            ("--dev eth0 --lan --no-rtt --handshake", "--no-rtt with --handshake"),
            ("--dev eth0 --lan extra", "extra"),
            ("--dev eth0 --lan --quiet=1", "--quiet"),
        ];
        for (line, names) in table {
            let exit = refused(line);
            assert_eq!((exit.code, exit.stream), (2, Stream::Stderr), "{line}: {}", exit.text);
            assert!(exit.text.starts_with("ERR: "), "{line}: {}", exit.text);
            let first = exit.text.lines().next().unwrap();
            assert!(first.contains(names), "{line}: {first}");
            assert!(exit.text.contains("\nUsage: xdp_iphash_to_cpu --dev IF"), "{}", exit.text);
        }
    }

    #[test]
    fn remove_needs_no_direction() {
        for line in ["--dev eth0 --remove", "-r -d eth0 --wan"] {
            assert_eq!(Request::parse(words(line)).unwrap().action, Action::Remove, "{line}");
        }
        assert_eq!(refused("--remove").code, 2);
    }

    #[test]
    fn an_option_takes_the_next_word_whatever_it_looks_like() {
        let request = Request::parse(words("--lan --dev -x")).unwrap();
        assert_eq!(request.dev.as_str(), "-x");
        assert_eq!(attach("-l -d eth0 --owner --wan").owner.as_deref(), Some("--wan"));
    }

    #[test]
    fn rtt_switches() {
        let rtt = attach("-d eth0 -l --flows 300000 --handshake").rtt;
        assert_eq!(rtt, RttOptions { enabled: true, handshake: true, flows: Some(524_288) });
        assert!(!attach("-d eth0 -l --no-rtt").rtt.enabled);
    }

    #[test]
    fn owner_is_looked_up() {
        assert_eq!(resolve_owner("root").unwrap().0, Uid::from_raw(0));
        assert_eq!(resolve_owner("no such user").unwrap_err().exit_code(), 2);
    }
}
