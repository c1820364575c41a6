//! Attach the steering program to an interface, or take it off again.

use crate::abi::direction;
use crate::attach::{xdp_attach, xdp_detach, Outcome};
use crate::cli::xdp_iphash_to_cpu::{resolve_owner, Action, Attach, Cpus, Direction, Request};
use crate::device;
use crate::error::{Error, Result};
use crate::loader::{self, maps, Program};
use crate::machine::possible_cpus;
use crate::map::Map;
use crate::pin::PinDir;
use crate::values::IfName;

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    match &request.action {
        Action::Attach(attach) => attach_to(&dir, &request, attach),
        Action::Remove => remove_from(&dir, &request),
    }
}

fn attach_to(dir: &PinDir, request: &Request, attach: &Attach) -> Result<()> {
    let dev = &request.dev;
    let ifindex = dev.index()?;
    let owner = attach.owner.as_deref().map(resolve_owner).transpose()?;
    let outcome = loader::load(dir, Program::Steer, &attach.rtt, |program| {
        fill_cpus(dir, attach)?;
        with_direction(dir, dev, ifindex, attach.direction, || {
            xdp_attach(dev, program, request.mode, false)
        })
    })?;
    if let Some((uid, gid)) = owner {
        dir.give_to(uid, gid)?;
    }
    warn_about(dev, &outcome);
    let side = match attach.direction {
        Direction::Lan => "LAN: faces the subscribers",
        Direction::Wan => "WAN: faces the internet",
    };
    super::report(request.quiet, format_args!("{dev}: XDP attached ({}), {side}", outcome.mode))
}

fn warn_about(dev: &IfName, outcome: &Outcome) {
    if let Some(why) = outcome.fallback {
        super::warn(format_args!(
            "{dev}: no native XDP ({}): attached in generic mode, which costs more per packet",
            why.desc()
        ));
    }
    if device::rx_vlan_offload(dev) == Some(true) {
        super::warn(format_args!(
            "{dev}: receive VLAN offload hides tags from XDP; turn it off: ethtool -K {dev} rxvlan off"
        ));
    }
}

/// Fills `cpu_map` and `cpus_available`. Entries that are right are not written: writing one
/// restarts that CPU's thread and loses what is in its queue.
fn fill_cpus(dir: &PinDir, attach: &Attach) -> Result<()> {
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

/// Sets the interface's direction for `attach`, and puts the old one back when that fails.
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
    let before = map.get(&ifindex)?.unwrap_or(direction::NONE);
    map.set(&ifindex, &(wanted as u32))?;
    attach().inspect_err(|_| {
        // The attach error is the one to report.
        let _ = map.set(&ifindex, &before);
    })
}

fn remove_from(dir: &PinDir, request: &Request) -> Result<()> {
    let dev = &request.dev;
    let ifindex = dev.index()?;
    let detached = xdp_detach(dev, false)?;
    if dir.try_open(maps::IFINDEX_TYPE)?.is_some() {
        let map: Map<u32, u32> = dir.open(maps::IFINDEX_TYPE)?;
        if ifindex < map.max_entries() {
            map.set(&ifindex, &direction::NONE)?;
        }
    }
    let what = if detached { "XDP detached" } else { "no XDP program of ours" };
    super::report(request.quiet, format_args!("{dev}: {what}, direction cleared"))
}
