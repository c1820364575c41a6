// SPDX-License-Identifier: GPL-2.0-only
//! Loads a program over the pinned maps: opens the object, writes `.rodata`, reuses or makes the maps,
//! loads, pins, attaches. A load that fails leaves nothing behind.
//!
//! A load reuses pinned maps as they are and replaces only the program. So mappings, flow state and RTT
//! windows outlive reloads and upgrades, and running programs notice nothing.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle, OpenMapMut};

use crate::abi::skel::cpumap_pping::{CpumapPpingSkelBuilder, OpenCpumapPpingSkel};
use crate::abi::skel::xdp_pass::XdpPassSkelBuilder;
use crate::abi::{self, maps, Config, Control};
use crate::domain::error::{Error, Result};
use crate::domain::IfName;
use crate::kernel::bpffs;
use crate::kernel::capability::{require_capabilities, LOAD_CAPABILITIES};
use crate::kernel::device;
use crate::kernel::libbpf::Messages;
use crate::kernel::machine;
use crate::kernel::map::Map;
use crate::kernel::pin::{NewPins, PinDir, Shape};

/// How RTTs are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttOptions {
    /// Measure RTTs. If false, the verifier removes the measurement from the programs.
    pub enabled: bool,
    /// Let SYN and SYN-ACK open samples, too.
    pub handshake: bool,
    /// Entries of the flow table, a power of two from [`MIN_FLOWS`](Self::MIN_FLOWS) to
    /// [`MAX_FLOWS`](Self::MAX_FLOWS). With `None`, a new table gets
    /// [`DEFAULT_FLOWS`](Self::DEFAULT_FLOWS), and an existing table keeps its size.
    pub flows: Option<u32>,
}

impl RttOptions {
    /// Size of a new flow table if the operator gives none, in entries.
    pub const DEFAULT_FLOWS: u32 = abi::DEFAULT_FLOWS as u32;
    /// Size of the smallest flow table, in entries.
    pub const MIN_FLOWS: u32 = 1 << 10;
    /// Size of the largest flow table, in entries.
    pub const MAX_FLOWS: u32 = 1 << 24;
}

impl Default for RttOptions {
    fn default() -> Self {
        Self { enabled: true, handshake: false, flows: None }
    }
}

/// A program of the shaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShaperProgram {
    /// XDP: `xdp_iphash_to_cpu`.
    Steer,
    /// TC: `tc_classify`.
    Classify,
}

/// Loads `program` for the interface `dev` over the pinned maps of `dir` and passes its descriptor to
/// `attach`. If anything fails, `attach` included, removes the pins that it made.
///
/// Holds the directory's lock, so that no two loads run at once.
///
/// # Errors
/// [`Error::BpfLoad`]; [`Error::Map`] for a pinned map of another shape; [`Error::Bpffs`];
/// [`Error::Capabilities`]; [`Error::Other`] for an interface whose frames the parser cannot read; any
/// error of `attach`.
pub fn load<T>(
    dir: &PinDir,
    program: ShaperProgram,
    dev: &IfName,
    rtt: &RttOptions,
    attach: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    require_capabilities(&LOAD_CAPABILITIES)?;
    let bare = device::has_bare_ip(dev)?;
    bpffs::ensure_mounted()?;
    dir.create()?;
    let _lock = dir.lock()?;
    let messages = Messages::capture();
    let mut storage = MaybeUninit::uninit();
    let mut open = CpumapPpingSkelBuilder::default()
        .open(&mut storage)
        .map_err(|err| messages.load_error(err))?;
    open.progs.xdp_iphash_to_cpu.set_autoload(program == ShaperProgram::Steer);
    open.progs.tc_classify.set_autoload(program == ShaperProgram::Classify);
    let cpus = machine::possible_cpus()?;
    let reused = reuse_pins(dir, &mut open, cpus, rtt, &messages)?;
    let mut control = control_of(&reused, &messages)?;
    size_recent(&mut open, &mut control, &reused, machine::online_cpus()?, &messages)?;
    configure(&mut open, &control, rtt, bare, &messages)?;

    let skel = open.load().map_err(|err| messages.load_error(err))?;
    let mut pins = NewPins::new(dir);
    for map in skel.object().maps() {
        let name = map.name().to_string_lossy().into_owned();
        if maps::ALL.contains(&name.as_str()) && !reused.iter().any(|(known, _)| *known == name) {
            pins.add(&name, &map)?;
        }
    }
    if !reused.iter().any(|(name, _)| *name == maps::CONTROL) {
        dir.open::<u32, Control>(maps::CONTROL)?.set(&0, &control)?;
    }
    let fd = match program {
        ShaperProgram::Steer => skel.progs.xdp_iphash_to_cpu.as_fd(),
        ShaperProgram::Classify => skel.progs.tc_classify.as_fd(),
    };
    let attached = attach(fd)?;
    pins.keep();
    Ok(attached)
}

/// Loads the program that passes every frame, and passes its descriptor to `attach`.
///
/// # Errors
/// [`Error::BpfLoad`]; [`Error::Capabilities`]; any error of `attach`.
pub fn load_pass<T>(attach: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
    let messages = Messages::capture();
    let mut storage = MaybeUninit::uninit();
    let open =
        XdpPassSkelBuilder::default().open(&mut storage).map_err(|err| messages.load_error(err))?;
    let skel = open.load().map_err(|err| messages.load_error(err))?;
    attach(skel.progs.xdp_pass.as_fd())
}

/// Sets the sizes of the maps, and uses the pinned map in place of each map that has a pin. A pinned map
/// keeps its own size. Returns the names and handles of the pinned maps.
fn reuse_pins(
    dir: &PinDir,
    open: &mut OpenCpumapPpingSkel<'_>,
    cpus: u32,
    rtt: &RttOptions,
    messages: &Messages,
) -> Result<Vec<(String, MapHandle)>> {
    let mut reused = Vec::new();
    for mut map in open.open_object_mut().maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if !maps::ALL.contains(&name.as_str()) {
            continue;
        }
        if let Some(entries) = wanted_entries(&name, cpus, rtt) {
            map.set_max_entries(entries).map_err(|err| messages.load_error(err))?;
        }
        if let Some(pinned) = dir.try_open(&name)? {
            check_pin(dir, &name, &map, &pinned, rtt)?;
            map.reuse_fd(pinned.as_fd()).map_err(|err| messages.load_error(err))?;
            reused.push((name, pinned));
        }
    }
    Ok(reused)
}

/// Returns the size in entries of a map whose size depends on the machine or on options; `None` for the
/// other maps.
fn wanted_entries(name: &str, cpus: u32, rtt: &RttOptions) -> Option<u32> {
    match name {
        maps::TXQ_CONFIG | maps::CPU_MAP | maps::CPUS_AVAILABLE | maps::STATS => Some(cpus),
        maps::FLOW => Some(rtt.flows.unwrap_or(RttOptions::DEFAULT_FLOWS) / abi::FLOW_WAYS as u32),
        _ => None,
    }
}

/// Sets the size of a new `cpp_rtt_recent`, and the lines of each CPU in a new control record. The array has
/// lines for the `online` CPUs only: the pins outlive the hot-plugging of CPUs, so the number of lines is kept
/// in the control record, and a CPU beyond the array does without.
fn size_recent(
    open: &mut OpenCpumapPpingSkel<'_>,
    control: &mut Control,
    reused: &[(String, MapHandle)],
    online: u32,
    messages: &Messages,
) -> Result<()> {
    let pinned = reused.iter().find(|(name, _)| name == maps::RTT_RECENT);
    if control.recent_lines == 0 {
        let entries = pinned.map(|(_, map)| map.max_entries() / online);
        control.recent_lines = recent_lines(entries, online);
    }
    if pinned.is_none() {
        let entries = online * control.recent_lines;
        let set = open.maps.cpp_rtt_recent.set_max_entries(entries);
        set.map_err(|err| messages.load_error(err))?;
    }
    Ok(())
}

/// Returns the number of lines of each CPU in `cpp_rtt_recent`, a power of two: its share, or what a pinned
/// array has for each CPU.
fn recent_lines(pinned: Option<u32>, online: u32) -> u32 {
    pinned.map_or_else(|| share(online, RECENT), |lines| 1 << lines.max(1).ilog2())
}

/// Number of entries in an array that the CPUs share: in total, at least for each CPU, at most for each
/// CPU.
type Shares = [u64; 3];
const RECENT: Shares = [abi::RECENT_LINES, abi::RECENT_LINES_LEAST, abi::RECENT_LINES_MOST];

/// Returns the number of entries that each CPU gets, a power of two.
fn share(cpus: u32, [total, least, most]: Shares) -> u32 {
    1 << (total / u64::from(cpus.max(1))).clamp(least, most).ilog2()
}

/// Refuses a pinned map of another shape, and a flow table of another size than the operator asks for.
fn check_pin(
    dir: &PinDir,
    name: &str,
    wanted: &OpenMapMut<'_>,
    pinned: &MapHandle,
    rtt: &RttOptions,
) -> Result<()> {
    let (key_size, value_size) = (wanted.key_size(), wanted.value_size());
    dir.check_shape(name, pinned, Shape { map_type: wanted.map_type(), key_size, value_size })?;
    let flows = pinned.max_entries() * abi::FLOW_WAYS as u32;
    match rtt.flows {
        Some(asked) if name == maps::FLOW && asked != flows => Err(Error::map(
            format!("--flows {asked}"),
            format!("the running flow table has {flows} entries"),
            format!("leave --flows out, or remove {} and load again", dir.path_of(name).display()),
        )),
        _ => Ok(()),
    }
}

/// Returns the record that all programs share: the pinned one, or a new one.
fn control_of(reused: &[(String, MapHandle)], messages: &Messages) -> Result<Control> {
    let Some((_, pinned)) = reused.iter().find(|(name, _)| name == maps::CONTROL) else {
        return new_control();
    };
    let found = Map::<u32, Control>::new(
        maps::CONTROL,
        MapHandle::try_from(pinned).map_err(|err| messages.load_error(err))?,
    )
    .get(&0)?
    .unwrap_or_default();
    match found.abi_version {
        version if u64::from(version) == abi::ABI_VERSION => Ok(found),
        version => Err(Error::map(
            "use the pinned maps",
            format!("they have ABI version {version}, this program needs {}", abi::ABI_VERSION),
            "remove the cpp_* pins (RTT state is lost, mappings stay) and load again",
        )),
    }
}

fn new_control() -> Result<Control> {
    Ok(Control {
        hash_seed: machine::random()?,
        meta_cookie: cookie_of(machine::random()?),
        abi_version: abi::ABI_VERSION as u32,
        ..Control::default()
    })
}

/// Returns a cookie from random bits. It is never 0, which is what unwritten metadata begins with.
fn cookie_of(random: u64) -> u32 {
    ((random >> 32) as u32).max(1)
}

/// Age at which the packet path looks up a cached mapping again. The contract says that it must notice
/// changes by other writers within a second.
const CACHE_TTL_NS: u64 = 900_000_000;

/// Returns the part of the configuration that every program with RTTs needs: the hash seed, the mask of
/// a flow table with this number of buckets, and times in the kernel's ticks.
///
/// # Errors
/// [`Error::Other`]: the length of a tick cannot be read.
pub fn flow_config(hash_seed: u64, buckets: u32) -> Result<Config> {
    let jiffy_ns = machine::jiffy_ns()?;
    let ticks = |ns: u64| (ns / (64 * u64::from(jiffy_ns))) as u32;
    Ok(Config {
        hash_key: hash_keys(hash_seed),
        flow_mask: (1 << buckets.max(1).ilog2()) - 1,
        sweep_ticks: ticks(abi::FLOW_SWEEP_NS),
        idle_ticks: ticks(abi::FLOW_IDLE_NS),
        resync_ticks: ticks(abi::FLOW_RESYNC_NS),
        jiffy_ns,
        rtt: 1,
        ..Config::default()
    })
}

/// Draws the keys of the hashes from a seed, by splitmix64: all programs that share maps need the same
/// keys, and the pinned record of the seed has no room for the keys themselves.
pub fn hash_keys<const N: usize>(seed: u64) -> [u64; N] {
    let mut state = seed;
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

/// Writes `.rodata`, which holds the whole configuration.
fn configure(
    open: &mut OpenCpumapPpingSkel<'_>,
    control: &Control,
    rtt: &RttOptions,
    bare: bool,
    messages: &Messages,
) -> Result<()> {
    let mask = |entries: u32| (1 << entries.max(1).ilog2()) - 1;
    let flow = flow_config(control.hash_seed, open.maps.cpp_flow.max_entries())?;
    let config = Config {
        meta_cookie: control.meta_cookie,
        cache_mask: mask(open.maps.cpp_addr_cache.max_entries()),
        cache_ttl_jiffies: (CACHE_TTL_NS / u64::from(flow.jiffy_ns)) as u32,
        recent_mask: control.recent_lines - 1,
        recent_samples: abi::RECENT_SAMPLES as u32,
        rtt: rtt.enabled.into(),
        handshake: rtt.handshake.into(),
        metadata: 1,
        no_link_header: bare.into(),
        ..flow
    };
    let rodata = open.maps.rodata_data.as_deref_mut();
    rodata.ok_or_else(|| messages.load_error(std::io::Error::other("no .rodata")))?.config = config;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_never_zero() {
        assert_eq!([0, 1 << 32, u64::MAX].map(cookie_of), [1, 1, u32::MAX]);
    }

    #[test]
    fn shares_are_powers_of_two_between_the_least_and_the_most() {
        for (cpus, lines) in [(1, 32768), (2, 32768), (6, 16384), (64, 4096)] {
            assert_eq!(share(cpus, RECENT), lines, "{cpus}");
        }
    }

    /// 240 possible CPUs with 4 online: 8 MiB, not 60.
    #[test]
    fn recent_lines_follow_the_online_cpus() {
        assert_eq!((recent_lines(None, 4), recent_lines(None, 240)), (32768, 4096));
        assert_eq!(4 * recent_lines(None, 4) * size_of::<abi::RttRecent>() as u32, 8 << 20);
        assert_eq!((recent_lines(Some(5000), 4), recent_lines(Some(0), 4)), (4096, 1));
    }
}
