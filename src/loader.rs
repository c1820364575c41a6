//! Loading a program over the pinned maps: open, write `.rodata`, reuse or make the maps, load, pin,
//! attach. All of it or nothing.
//!
//! A load never changes what a running program uses: maps that are pinned are reused as they are, so
//! mappings, flow state and RTT windows outlive reloads and upgrades. Only the program is new.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle, OpenMapMut, PrintLevel};

use crate::abi::{self, Config, Control};
use crate::cli::RttOptions;
use crate::error::{require_capabilities, Capability, Error, Result};
use crate::machine;
use crate::map::Map;
use crate::pin::{NewPins, PinDir, Shape};
use crate::skel::cpumap_pping::{CpumapPpingSkelBuilder, OpenCpumapPpingSkel};
use crate::skel::xdp_pass::XdpPassSkelBuilder;

/// The pinned maps by name.
pub mod maps {
    /// Subscriber address → CPU and class.
    pub const IP_HASH: &str = "map_ip_hash";
    /// Interface → direction.
    pub const IFINDEX_TYPE: &str = "map_ifindex_type";
    /// CPU → TX queue and HTB major.
    pub const TXQ_CONFIG: &str = "map_txq_config";
    /// CPU → queue length: the redirect itself.
    pub const CPU_MAP: &str = "cpu_map";
    /// CPU → takes frames.
    pub const CPUS_AVAILABLE: &str = "cpus_available";
    /// Shared by all programs.
    pub const CONTROL: &str = "cpp_control";
    /// Cache in front of the mapping.
    pub const ADDR_CACHE: &str = "cpp_addr_cache";
    /// TCP flows.
    pub const FLOW: &str = "cpp_flow";
    /// tc handle → RTT record.
    pub const RTT: &str = "cpp_rtt";
    /// Samples on their way to the records.
    pub const RTT_RECENT: &str = "cpp_rtt_recent";
    /// Counters of each CPU.
    pub const STATS: &str = "cpp_stats";
    /// All of them.
    pub const ALL: [&str; 11] = [
        IP_HASH,
        IFINDEX_TYPE,
        TXQ_CONFIG,
        CPU_MAP,
        CPUS_AVAILABLE,
        CONTROL,
        ADDR_CACHE,
        FLOW,
        RTT,
        RTT_RECENT,
        STATS,
    ];
}

/// What the rights are needed for: maps and programs, network attachment, and the pointer
/// arithmetic of the programs.
pub const LOAD_CAPABILITIES: [Capability; 3] =
    [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

/// Which program of the object to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// XDP: `xdp_iphash_to_cpu`.
    Steer,
    /// TC: `tc_classify`.
    Classify,
}

/// Loads `program` over the pinned maps of `dir` and hands its descriptor to `attach`. When
/// anything fails, `attach` included, no pin is left that was not there before.
///
/// Takes the directory's lock, so that no two loads run at once.
///
/// # Errors
/// [`Error::BpfLoad`], [`Error::Map`] for a pin of another shape, [`Error::Bpffs`], the missing
/// capabilities, and whatever `attach` says.
pub fn load<T>(
    dir: &PinDir,
    program: Program,
    rtt: &RttOptions,
    attach: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    require_capabilities(&LOAD_CAPABILITIES)?;
    crate::pin::ensure_bpffs()?;
    dir.create()?;
    let _lock = dir.lock()?;
    capture_messages();
    let mut storage = MaybeUninit::uninit();
    let mut open = CpumapPpingSkelBuilder::default().open(&mut storage).map_err(load_error)?;
    open.progs.xdp_iphash_to_cpu.set_autoload(program == Program::Steer);
    open.progs.tc_classify.set_autoload(program == Program::Classify);
    let cpus = machine::possible_cpus()?;
    let reused = reuse_pins(dir, &mut open, cpus, rtt)?;
    let control = control_of(&reused)?;
    configure(&mut open, &control, cpus, rtt)?;

    let skel = open.load().map_err(load_error)?;
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
        Program::Steer => skel.progs.xdp_iphash_to_cpu.as_fd(),
        Program::Classify => skel.progs.tc_classify.as_fd(),
    };
    let attached = attach(fd)?;
    pins.keep();
    Ok(attached)
}

/// Loads the program that passes everything, and hands its descriptor to `attach`.
///
/// # Errors
/// [`Error::BpfLoad`], the missing capabilities, and whatever `attach` says.
pub fn load_pass<T>(attach: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
    capture_messages();
    let mut storage = MaybeUninit::uninit();
    let open = XdpPassSkelBuilder::default().open(&mut storage).map_err(load_error)?;
    let skel = open.load().map_err(load_error)?;
    attach(skel.progs.xdp_pass.as_fd())
}

/// Sizes the maps, and puts the pinned ones in their place. Their own sizes win.
fn reuse_pins(
    dir: &PinDir,
    open: &mut OpenCpumapPpingSkel<'_>,
    cpus: u32,
    rtt: &RttOptions,
) -> Result<Vec<(String, MapHandle)>> {
    let mut reused = Vec::new();
    for mut map in open.open_object_mut().maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if !maps::ALL.contains(&name.as_str()) {
            continue;
        }
        if let Some(entries) = wanted_entries(&name, cpus, rtt) {
            map.set_max_entries(entries).map_err(load_error)?;
        }
        if let Some(pinned) = dir.try_open(&name)? {
            check_pin(dir, &name, &map, &pinned, rtt)?;
            map.reuse_fd(pinned.as_fd()).map_err(load_error)?;
            reused.push((name, pinned));
        }
    }
    Ok(reused)
}

/// Entries of the maps whose size depends on the machine or on options.
fn wanted_entries(name: &str, cpus: u32, rtt: &RttOptions) -> Option<u32> {
    match name {
        maps::TXQ_CONFIG | maps::CPU_MAP | maps::CPUS_AVAILABLE | maps::STATS => Some(cpus),
        maps::ADDR_CACHE => Some(cpus * share(cpus, ADDR_CACHE)),
        maps::RTT_RECENT => Some(cpus * share(cpus, RECENT)),
        maps::FLOW => Some(rtt.flows.unwrap_or(RttOptions::DEFAULT_FLOWS) / abi::FLOW_WAYS as u32),
        _ => None,
    }
}

/// Entries of a per-CPU array over all CPUs, and the least and the most that a CPU gets.
type Shares = [u64; 3];
const ADDR_CACHE: Shares =
    [abi::ADDR_CACHE_ENTRIES_TOTAL, abi::ADDR_CACHE_ENTRIES, abi::ADDR_CACHE_ENTRIES_MOST];
const RECENT: Shares = [abi::RECENT_LINES, abi::RECENT_LINES_LEAST, abi::RECENT_LINES_MOST];

/// What each CPU gets: a power of two.
fn share(cpus: u32, [total, least, most]: Shares) -> u32 {
    1 << (total / u64::from(cpus.max(1))).clamp(least, most).ilog2()
}

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

/// What all programs share: the pinned record, or a new one.
fn control_of(reused: &[(String, MapHandle)]) -> Result<Control> {
    let Some((_, pinned)) = reused.iter().find(|(name, _)| name == maps::CONTROL) else {
        return new_control();
    };
    let found =
        Map::<u32, Control>::new(maps::CONTROL, MapHandle::try_from(pinned).map_err(load_error)?)
            .get(&0)?
            .unwrap_or_default();
    match found.abi_version {
        version if u64::from(version) == abi::ABI_VERSION => Ok(found),
        version => Err(Error::map(
            "use the pinned maps",
            format!("they are of ABI version {version}, this program's is {}", abi::ABI_VERSION),
            "remove the cpp_* pins (RTT state is lost, mappings stay) and load again",
        )),
    }
}

fn new_control() -> Result<Control> {
    Ok(Control {
        hash_seed: machine::random()?,
        meta_cookie: machine::random()? as u32,
        abi_version: abi::ABI_VERSION as u32,
        ..Control::default()
    })
}

/// Age at which a cached mapping is looked up again: foreign writers must be seen within a second.
const CACHE_TTL_NS: u64 = 900_000_000;

/// What every program of ours that measures RTTs needs to know: a flow table of `buckets`, hashed
/// with `hash_seed`, and the kernel's tick.
pub(crate) fn flow_config(hash_seed: u64, buckets: u32) -> Result<Config> {
    let jiffy_ns = machine::jiffy_ns()?;
    let ticks = |ns: u64| (ns / (64 * u64::from(jiffy_ns))) as u32;
    Ok(Config {
        hash_seed,
        flow_mask: (1 << buckets.max(1).ilog2()) - 1,
        sweep_ticks: ticks(abi::FLOW_SWEEP_NS),
        idle_ticks: ticks(abi::FLOW_IDLE_NS),
        jiffy_ns,
        rtt: 1,
        ..Config::default()
    })
}

/// The whole of `.rodata`.
fn configure(
    open: &mut OpenCpumapPpingSkel<'_>,
    control: &Control,
    cpus: u32,
    rtt: &RttOptions,
) -> Result<()> {
    let mask = |entries: u32| (1 << (entries / cpus).max(1).ilog2()) - 1;
    let flow = flow_config(control.hash_seed, open.maps.cpp_flow.max_entries())?;
    let config = Config {
        meta_cookie: control.meta_cookie,
        cache_mask: mask(open.maps.cpp_addr_cache.max_entries()),
        cache_ttl_jiffies: (CACHE_TTL_NS / u64::from(flow.jiffy_ns)) as u32,
        recent_mask: mask(open.maps.cpp_rtt_recent.max_entries()),
        recent_samples: abi::RECENT_SAMPLES as u32,
        rtt: rtt.enabled.into(),
        handshake: rtt.handshake.into(),
        metadata: 1,
        ..flow
    };
    let rodata = open.maps.rodata_data.as_deref_mut();
    rodata.ok_or_else(|| load_error(std::io::Error::other("no .rodata")))?.config = config;
    Ok(())
}

/// The first complaint of libbpf: it says more than the errno that follows it.
static COMPLAINT: Mutex<Option<String>> = Mutex::new(None);

/// Keeps libbpf off stderr, where callers scan for certain lines, and from raising the memlock limit:
/// no kernel that can run the programs has one for maps.
pub(crate) fn capture_messages() {
    // SAFETY: sets a number.
    unsafe { libbpf_sys::libbpf_set_memlock_rlim(0) };
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, message| {
        if let Ok(mut complaint) = COMPLAINT.lock() {
            complaint.get_or_insert_with(|| message.trim().replace('\n', " "));
        }
    })));
}

pub(crate) fn load_error(err: impl Into<crate::error::Cause>) -> Error {
    let complaint = COMPLAINT.lock().ok().and_then(|mut complaint| complaint.take());
    let err = Error::bpf_load("load the BPF programs", err, "they need a kernel of 6.1 or later");
    let err = err.or_missing(&LOAD_CAPABILITIES);
    match (err, complaint) {
        (Error::BpfLoad(mut detail), Some(complaint)) => {
            detail.why = format!("{} ({complaint})", detail.why).into();
            Error::BpfLoad(detail)
        }
        (err, _) => err,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_powers_of_two_between_the_least_and_the_most() {
        for (cpus, entries, lines) in
            [(1, 65536, 32768), (2, 65536, 32768), (6, 32768, 16384), (64, 16384, 4096)]
        {
            assert_eq!((share(cpus, ADDR_CACHE), share(cpus, RECENT)), (entries, lines), "{cpus}");
        }
    }
}
