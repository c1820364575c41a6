// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_iphash_to_cpu`: attaches the steering program to an interface, or detaches it.

use std::collections::BTreeSet;

use nix::unistd::{Gid, Uid, User};

use crate::abi::maps;
use crate::commands::command_line::CommandLine;
use crate::commands::options::{exactly_one, exclusive, required};
use crate::commands::print::{print_unless_quiet, warn};
use crate::commands::xdp_iphash_to_cpu::args::SteerArgs;
use crate::domain::error::{Error, Result};
use crate::domain::number::{check_cpu, parse_cpu, parse_number};
use crate::domain::{Direction, IfName};
use crate::kernel::device;
use crate::kernel::load::{self, RttOptions, ShaperProgram};
use crate::kernel::machine::possible_cpus;
use crate::kernel::map::Map;
use crate::kernel::pin::PinDir;
use crate::kernel::xdp::{xdp_attach, xdp_detach, Outcome, XdpMode};

mod args;

/// Length of a CPU's queue in frames unless `--qsize` says otherwise.
pub const DEFAULT_QSIZE: u32 = 2048;
/// Largest length of a cpumap queue in frames (kernel/bpf/cpumap.c).
pub const MAX_QSIZE: u32 = 16384;

/// The CPUs to steer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// Every possible CPU.
    All,
    /// These CPUs, at least one. [`SteerRequest::check_cpus`] checks that the machine has them.
    Only(BTreeSet<u32>),
}

/// How to attach the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerAttach {
    /// The side that the interface faces.
    pub direction: Direction,
    /// The CPUs to steer to.
    pub cpus: Cpus,
    /// Length of each CPU's queue in frames, 1 to [`MAX_QSIZE`].
    pub qsize: u32,
    /// The user to give the pinned maps to; see [`resolve_owner`].
    pub owner: Option<String>,
    /// How to measure RTTs.
    pub rtt: RttOptions,
}

/// What to do with the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SteerAction {
    /// Load, attach and configure the program.
    Attach(SteerAttach),
    /// Detach the program and clear the interface's direction.
    Remove,
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerRequest {
    /// The interface. Whether it exists is checked when the command runs.
    pub dev: IfName,
    /// What to do with it.
    pub action: SteerAction,
    /// The mode to attach in: [`XdpMode::Auto`] or [`XdpMode::Skb`].
    pub mode: XdpMode,
    /// Print errors and warnings only.
    pub quiet: bool,
}

impl SteerRequest {
    /// Checks the CPUs asked for against the number of possible CPUs.
    ///
    /// # Errors
    /// [`Error::BadCpu`] for the first CPU that the machine does not have.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        match &self.action {
            SteerAction::Attach(SteerAttach { cpus: Cpus::Only(cpus), .. }) => {
                cpus.iter().try_for_each(|&cpu| check_cpu(cpu, possible_cpus))
            }
            _ => Ok(()),
        }
    }
}

impl CommandLine for SteerRequest {
    type Args = SteerArgs;
}

impl TryFrom<SteerArgs> for SteerRequest {
    type Error = Error;

    fn try_from(args: SteerArgs) -> Result<Self> {
        let dev = IfName::parse("--dev", required("--dev", args.dev.as_deref())?)?;
        let mode = if args.skb_mode { XdpMode::Skb } else { XdpMode::Auto };
        let quiet = args.quiet;
        exclusive(("--wan", args.wan), ("--lan", args.lan))?;
        let action = if args.remove {
            SteerAction::Remove
        } else {
            SteerAction::Attach(SteerAttach::try_from(args)?)
        };
        Ok(Self { dev, action, mode, quiet })
    }
}

impl TryFrom<SteerArgs> for SteerAttach {
    type Error = Error;

    fn try_from(args: SteerArgs) -> Result<Self> {
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

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: SteerRequest) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    match &request.action {
        SteerAction::Attach(attach) => attach_to(&dir, &request, attach),
        SteerAction::Remove => remove_from(&dir, &request),
    }
}

fn attach_to(dir: &PinDir, request: &SteerRequest, attach: &SteerAttach) -> Result<()> {
    let dev = &request.dev;
    let ifindex = device::ifindex(dev)?;
    let owner = attach.owner.as_deref().map(resolve_owner).transpose()?;
    let loaded = load::load(dir, ShaperProgram::Steer, dev, &attach.rtt, |program| {
        fill_cpus(dir, attach)?;
        with_direction(dir, dev, ifindex, attach.direction, || {
            xdp_attach(dir, dev, program, request.mode, false)
        })
    })?;
    if let Some((uid, gid)) = owner {
        dir.give_to(uid, gid)?;
    }
    let outcome = loaded.attached;
    loaded.replacement.iter().for_each(|replaced| warn(format_args!("{replaced}")));
    warn_about(dev, &outcome);
    let side = match attach.direction {
        Direction::Lan => "LAN: faces the subscribers",
        Direction::Wan => "WAN: faces the internet",
    };
    print_unless_quiet(
        request.quiet,
        format_args!("{dev}: XDP attached ({}), {side}", outcome.mode),
    )
}

/// Warns about a slow mode, and about an offload that hides VLAN tags.
fn warn_about(dev: &IfName, outcome: &Outcome) {
    if let Some(why) = outcome.fallback {
        warn(format_args!(
            "{dev}: no native XDP ({}): attached in generic mode, which costs more per packet",
            why.desc()
        ));
    }
    if device::rx_vlan_offload(dev) == Some(true) {
        warn(format_args!(
            "{dev}: receive VLAN offload hides tags from XDP; turn it off: ethtool -K {dev} rxvlan off"
        ));
    }
}

/// Fills `cpu_map` and `cpus_available`. Does not write entries of `cpu_map` that are right
/// already: writing one restarts that CPU's kernel thread, which loses the frames in its queue.
fn fill_cpus(dir: &PinDir, attach: &SteerAttach) -> Result<()> {
    let cpu_map: Map<u32, u32> = dir.open(maps::CPU_MAP)?;
    let available: Map<u32, u32> = dir.open(maps::CPUS_AVAILABLE)?;
    for cpu in 0..available.max_entries().min(cpu_map.max_entries()) {
        let wanted = match &attach.cpus {
            Cpus::All => true,
            Cpus::Only(cpus) => cpus.contains(&cpu),
        };
        if wanted && cpu_map.get(&cpu)? != Some(attach.qsize) {
            cpu_map.set(&cpu, &attach.qsize)?;
        }
        available.set(&cpu, &wanted.into())?;
        if !wanted {
            cpu_map.remove(&cpu)?;
        }
    }
    Ok(())
}

/// Sets the interface's direction, then calls `attach`. Restores the old direction if that fails.
fn with_direction<T>(
    dir: &PinDir,
    dev: &IfName,
    ifindex: u32,
    wanted: Direction,
    attach: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let map: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
    if ifindex >= map.max_entries() {
        let why = format!("its index {ifindex} is beyond the map's {} entries", map.max_entries());
        let remedy = "remove the map_ifindex_type pin, or recreate the interface";
        return Err(Error::map_key(format!("set the direction of {dev}"), why, remedy));
    }
    let before = map.get(&ifindex)?.unwrap_or(Direction::NONE);
    map.set(&ifindex, &wanted.to_abi())?;
    attach().inspect_err(|_| {
        // Ignore this error: the one of `attach` is reported.
        let _ = map.set(&ifindex, &before);
    })
}

fn remove_from(dir: &PinDir, request: &SteerRequest) -> Result<()> {
    let dev = &request.dev;
    let ifindex = device::ifindex(dev)?;
    let detached = xdp_detach(dir, dev, false)?;
    if dir.try_open(maps::IFINDEX_TYPE)?.is_some() {
        let map: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
        if ifindex < map.max_entries() {
            map.set(&ifindex, &Direction::NONE)?;
        }
    }
    let what = if detached { "XDP detached" } else { "no XDP program of ours" };
    print_unless_quiet(request.quiet, format_args!("{dev}: {what}, direction cleared"))
}

#[cfg(test)]
mod tests;
