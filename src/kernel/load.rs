// SPDX-License-Identifier: GPL-2.0-only
//! Loads a program over the pinned maps: opens the object, writes `.rodata`, reuses or makes the maps,
//! loads, pins, attaches. A load that fails leaves everything as it was.
//!
//! A load reuses pinned maps as they are and replaces only the program. So mappings, flow state and RTT
//! windows outlive reloads, and running programs notice nothing. Where our own maps are of another ABI
//! version, a load replaces them, and all programs that use them ([`map_set`](crate::kernel::map_set)).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle, Object, OpenObject};

use crate::abi::skel::cpumap_pping::{CpumapPpingSkelBuilder, OpenCpumapPpingSkel};
use crate::abi::skel::xdp_pass::XdpPassSkelBuilder;
use crate::abi::{self, maps, Config, Control};
use crate::domain::error::{Error, Result};
use crate::domain::IfName;
use crate::kernel::attachments::{attachments, Attachment};
use crate::kernel::bpffs;
use crate::kernel::capability::{require_capabilities, LOAD_CAPABILITIES};
use crate::kernel::device::{self, LinkHeader};
use crate::kernel::hook::Hook;
use crate::kernel::libbpf::Messages;
use crate::kernel::machine;
use crate::kernel::map::Map;
use crate::kernel::map_set::{MapSet, Wanted};
use crate::kernel::new_pins::{put_pins, NewPin};
use crate::kernel::pin::{PinDir, Shape};
use crate::kernel::program_config::ProgramConfig;
use crate::kernel::replacement::Replacement;
use crate::kernel::undo::Undo;

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

impl ShaperProgram {
    /// Returns where the program is attached.
    fn hook(self) -> Hook {
        match self {
            Self::Steer => Hook::Xdp,
            Self::Classify => Hook::Egress,
        }
    }

    /// Returns the program that is attached there.
    fn at(hook: Hook) -> Self {
        match hook {
            Hook::Xdp => Self::Steer,
            _ => Self::Classify,
        }
    }
}

/// The result of a load.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The result of `attach`.
    pub attached: T,
    /// What the load has replaced besides, for the operator to know.
    pub replacement: Option<Replacement>,
}

/// Loads `program` for the interface `dev` over the pinned maps, and passes its descriptor to `attach`.
/// If our own pinned maps are not fit for this version, makes new ones and puts them in place of the old
/// ones. Then replaces every other program of this network namespace that uses other maps than the
/// pinned ones. If anything fails, `attach` included, leaves pins and programs as they were.
///
/// Holds the directory's lock, so that no two loads run at once.
///
/// # Errors
/// [`Error::BpfLoad`]; [`Error::Map`] for a pinned map of the contract that has another shape;
/// [`Error::Bpffs`]; [`Error::Capabilities`]; [`Error::Other`] for an interface whose frames the parser
/// cannot read; any error of `attach`.
pub fn load<T>(
    dir: &PinDir,
    program: ShaperProgram,
    dev: &IfName,
    rtt: &RttOptions,
    attach: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<Loaded<T>> {
    require_capabilities(&LOAD_CAPABILITIES)?;
    device::has_bare_ip(dev)?; // refuses what the parser cannot read
    bpffs::ensure_mounted()?;
    dir.create()?;
    let _lock = dir.lock()?;
    let mut builder = Builder::new(dir, rtt)?;
    let asked = builder.build(program, dev, rtt)?;
    let mut strays = Vec::new();
    for stray in builder.strays(dir, program.hook(), device::ifindex(dev)?)? {
        let own = ProgramConfig::of(stray.id, &stray.maps);
        let options = own.map_or(*rtt, |own| RttOptions {
            enabled: own.rtt,
            handshake: own.handshake,
            flows: None,
        });
        let new = builder.build(ShaperProgram::at(stray.hook), &stray.dev, &options)?;
        strays.push((stray, new, own.is_some()));
    }

    let mut undo = Undo::default();
    put_pins(dir, &builder.new_pins(), &mut undo)?;
    for (stray, new, _) in &strays {
        stray.exchange(dir, new.as_fd())?;
        undo.add(|| stray.restore(dir, new.as_fd()));
    }
    let attached = attach(asked.as_fd())?;
    undo.forget();
    let strays: Vec<_> = strays.iter().map(|(stray, _, known)| (stray, *known)).collect();
    let replacement = Replacement::new(&builder.pinned, (dev.clone(), program.hook()), &strays);
    Ok(Loaded { attached, replacement })
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

/// Builds the programs of one load, which all share one set of maps.
struct Builder {
    pinned: MapSet,
    /// The maps that the first program has made, by name.
    made: Vec<(String, MapHandle)>,
    control: Control,
    /// Number of possible CPUs.
    cpus: u32,
    /// Number of CPUs that get lines in a new `cpp_rtt_recent`. The pins outlive the hot-plugging of
    /// CPUs, so the control record has the number of lines, and a CPU beyond the array does without.
    online: u32,
    /// Entries of a new flow table.
    flows: u32,
    messages: Messages,
}

impl Builder {
    /// Reads the pins. `rtt` are the options of the program that the load is asked for.
    fn new(dir: &PinDir, rtt: &RttOptions) -> Result<Self> {
        let messages = Messages::capture();
        let pinned = MapSet::read(dir, &wanted(&messages)?)?;
        check_flows(dir, &pinned, rtt)?;
        let online = machine::online_cpus()?;
        let control = pinned.control().map_or_else(|| new_control(online), Ok)?;
        let size = |flows: u32| flows.clamp(RttOptions::MIN_FLOWS, RttOptions::MAX_FLOWS);
        let flows = rtt.flows.or(pinned.flows().map(size)).unwrap_or(RttOptions::DEFAULT_FLOWS);
        let cpus = machine::possible_cpus()?;
        Ok(Self { pinned, made: Vec::new(), control, cpus, online, flows, messages })
    }

    /// Loads a program for an interface. The first program makes the maps that are not pinned.
    fn build(&mut self, program: ShaperProgram, dev: &IfName, rtt: &RttOptions) -> Result<OwnedFd> {
        let mut storage = MaybeUninit::uninit();
        let mut open = open_object(&mut storage, &self.messages)?;
        open.progs.xdp_iphash_to_cpu.set_autoload(program == ShaperProgram::Steer);
        open.progs.tc_classify.set_autoload(program == ShaperProgram::Classify);
        self.use_maps(&mut open)?;
        self.configure(&mut open, dev, rtt)?;
        let skel = open.load().map_err(|err| self.messages.load_error(err))?;
        if self.made.is_empty() {
            self.keep_made(skel.object())?;
        }
        let program = match program {
            ShaperProgram::Steer => skel.progs.xdp_iphash_to_cpu.as_fd(),
            ShaperProgram::Classify => skel.progs.tc_classify.as_fd(),
        };
        program.try_clone_to_owned().map_err(|err| Error::other("keep a program", err, ""))
    }

    /// Sets the sizes of the maps, and uses the existing map in place of each map that there is. A pinned
    /// map keeps its own size.
    fn use_maps(&self, open: &mut OpenCpumapPpingSkel<'_>) -> Result<()> {
        for mut map in open.open_object_mut().maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if !maps::ALL.contains(&name.as_str()) {
                continue;
            }
            if let Some(entries) = self.wanted_entries(&name) {
                map.set_max_entries(entries).map_err(|err| self.messages.load_error(err))?;
            }
            let made = self.made.iter().find(|(known, _)| *known == name).map(|(_, map)| map);
            if let Some(existing) = made.or(self.pinned.used(&name)) {
                map.reuse_fd(existing.as_fd()).map_err(|err| self.messages.load_error(err))?;
            }
        }
        Ok(())
    }

    /// Returns the size in entries of a new map whose size depends on the machine or on options; `None` for
    /// the other maps.
    fn wanted_entries(&self, name: &str) -> Option<u32> {
        match name {
            maps::TXQ_CONFIG | maps::CPU_MAP | maps::CPUS_AVAILABLE | maps::STATS => {
                Some(self.cpus)
            }
            maps::RTT_RECENT => Some(self.online * self.control.recent_lines),
            maps::FLOW => Some(self.flows / abi::FLOW_WAYS as u32),
            _ => None,
        }
    }

    /// Keeps the maps that the first program has made, and fills `cpp_control`: no pin shows it empty.
    fn keep_made(&mut self, object: &Object) -> Result<()> {
        for map in object.maps() {
            let name = map.name().to_string_lossy().into_owned();
            if maps::ALL.contains(&name.as_str()) && self.pinned.used(&name).is_none() {
                let handle = MapHandle::try_from(&map);
                self.made.push((name, handle.map_err(|err| self.messages.load_error(err))?));
            }
        }
        let Some((_, map)) = self.made.iter().find(|(name, _)| name == maps::CONTROL) else {
            return Ok(());
        };
        let handle = MapHandle::try_from(map).map_err(|err| self.messages.load_error(err))?;
        Map::<u32, Control>::new(maps::CONTROL, handle).set(&0, &self.control)
    }

    /// Returns the pins to make: one for each map that was not pinned, or not fit.
    fn new_pins(&self) -> Vec<NewPin<'_>> {
        let made = self.made.iter();
        made.map(|(name, map)| NewPin { name, map, old: self.pinned.unfit(name) }).collect()
    }

    /// Returns the attached programs that must be replaced, except that of `hook` on the interface
    /// `ifindex`, which the load was asked for.
    fn strays(&self, dir: &PinDir, hook: Hook, ifindex: u32) -> Result<Vec<Attachment>> {
        let mut strays = attachments(dir)?;
        strays.retain(|program| {
            (program.hook, program.ifindex) != (hook, ifindex) && program.strays_from(&self.pinned)
        });
        Ok(strays)
    }

    /// Writes `.rodata`, which holds the whole configuration.
    fn configure(
        &self,
        open: &mut OpenCpumapPpingSkel<'_>,
        dev: &IfName,
        rtt: &RttOptions,
    ) -> Result<()> {
        let mask = |entries: u32| (1 << entries.max(1).ilog2()) - 1;
        let flow = flow_config(self.control.hash_seed, open.maps.cpp_flow.max_entries())?;
        let config = Config {
            meta_cookie: self.control.meta_cookie,
            cache_mask: mask(open.maps.cpp_addr_cache.max_entries()),
            cache_ttl_jiffies: (CACHE_TTL_NS / u64::from(flow.jiffy_ns)) as u32,
            recent_mask: mask(self.control.recent_lines),
            recent_samples: abi::RECENT_SAMPLES as u32,
            rtt: rtt.enabled.into(),
            handshake: rtt.handshake.into(),
            metadata: 1,
            no_link_header: (device::link_header(dev) == Some(LinkHeader::None)).into(),
            ..flow
        };
        let rodata = open.maps.rodata_data.as_deref_mut();
        let no_rodata = || self.messages.load_error(std::io::Error::other("no .rodata"));
        rodata.ok_or_else(no_rodata)?.config = config;
        Ok(())
    }
}

fn open_object<'a>(
    storage: &'a mut MaybeUninit<OpenObject>,
    messages: &Messages,
) -> Result<OpenCpumapPpingSkel<'a>> {
    CpumapPpingSkelBuilder::default().open(storage).map_err(|err| messages.load_error(err))
}

/// Returns the name and the shape of every map that is pinned.
fn wanted(messages: &Messages) -> Result<Vec<Wanted>> {
    let mut storage = MaybeUninit::uninit();
    let open = open_object(&mut storage, messages)?;
    let shapes = open.open_object().maps().map(|map| {
        let (key_size, value_size) = (map.key_size(), map.value_size());
        let shape = Shape { map_type: map.map_type(), key_size, value_size };
        (map.name().to_string_lossy().into_owned(), shape)
    });
    Ok(shapes.filter(|(name, _)| maps::ALL.contains(&name.as_str())).collect())
}

/// Refuses another size of a flow table that stays.
fn check_flows(dir: &PinDir, pinned: &MapSet, rtt: &RttOptions) -> Result<()> {
    let (Some(asked), Some(_), Some(flows)) = (rtt.flows, pinned.used(maps::FLOW), pinned.flows())
    else {
        return Ok(());
    };
    if asked == flows {
        return Ok(());
    }
    let path = dir.path_of(maps::FLOW);
    Err(Error::map(
        format!("--flows {asked}"),
        format!("the running flow table has {flows} entries"),
        format!("leave --flows out, or remove {} and load again", path.display()),
    ))
}

/// Number of entries in an array that the CPUs share: in total, at least for each CPU, at most for each
/// CPU.
type Shares = [u64; 3];
const RECENT: Shares = [abi::RECENT_LINES, abi::RECENT_LINES_LEAST, abi::RECENT_LINES_MOST];

/// Returns the number of entries that each CPU gets, a power of two.
fn share(cpus: u32, [total, least, most]: Shares) -> u32 {
    1 << (total / u64::from(cpus.max(1))).clamp(least, most).ilog2()
}

/// Draws the record that all programs of a new set of maps share, for this number of online CPUs.
fn new_control(online: u32) -> Result<Control> {
    Ok(Control {
        hash_seed: machine::random()?,
        meta_cookie: cookie_of(machine::random()?),
        abi_version: abi::ABI_VERSION as u32,
        recent_lines: share(online, RECENT),
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
        abi_version: abi::ABI_VERSION as u32,
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
        let lines = |online| new_control(online).unwrap().recent_lines;
        assert_eq!((lines(4), lines(240)), (32768, 4096));
        assert_eq!(4 * lines(4) * size_of::<abi::RttRecent>() as u32, 8 << 20);
    }
}
