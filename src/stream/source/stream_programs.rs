// SPDX-License-Identifier: GPL-2.0-only
//! The stream's programs and maps in the kernel. They belong to this process: they are not pinned,
//! and the kernel frees them when the last descriptor closes.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapHandle, MapMut, RingBuffer, RingBufferBuilder};

use crate::abi::skel::pping::{OpenPpingSkel, PpingSkelBuilder};
use crate::abi::{
    self, from_bytes, Control, PpingConfig, StreamConfig, StreamEvent, StreamFlow, StreamStats,
    StreamSubnet, StreamSubnetKey,
};
use crate::domain::error::{Error, Result};
use crate::kernel::capability::{require_capabilities, LOAD_CAPABILITIES};
use crate::kernel::libbpf::Messages;
use crate::kernel::load::flow_config;
use crate::kernel::machine;
use crate::kernel::map::Map;
use crate::kernel::memory::{MappedArray, WritableArray};
use crate::stream::counters::StreamCounters;
use crate::stream::source::BATCH;

/// Size of the ring buffer in bytes: room for 120 000 events.
const RING_BYTES: u32 = 16 << 20;
/// Number of unread bytes from which on the programs wake the reader. The reader also looks every
/// 100 ms, so that a few events are not left waiting.
const WAKEUP_BYTES: u64 = 64 << 10;

/// A program of `bpf/pping.bpf.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamProgram {
    /// For arriving packets, at TC.
    Ingress,
    /// For leaving packets, at TC.
    Egress,
    /// For arriving packets, at XDP.
    Xdp,
    /// For leaving packets of a shaper: its classifier tail-calls it.
    Follow,
}

/// The parameters of [`StreamPrograms::load`].
#[derive(Clone, Copy, Debug)]
pub struct StreamSetup<'a> {
    /// The programs to load.
    pub programs: &'a [StreamProgram],
    /// Their configuration.
    pub stream: StreamConfig,
    /// Whether SYN and SYN-ACK give RTTs.
    pub handshake: bool,
    /// Whether [`StreamPrograms::set_clock`] sets the time, for a replay.
    pub replay: bool,
    /// Number of flows that the flow table holds.
    pub flows: u32,
}

/// Loaded programs and their maps.
pub struct StreamPrograms {
    programs: Vec<(StreamProgram, OwnedFd)>,
    ring: RingBuffer<'static>,
    /// Events that the callback of `ring` has taken out.
    arrived: Rc<RefCell<Vec<StreamEvent>>>,
    control: WritableArray,
    flows: MappedArray,
    stats: MappedArray,
    /// The counters of the RTT rules.
    rtt_stats: MappedArray,
    /// Number of possible CPUs, which is the length of `stats` and `rtt_stats`.
    cpus: usize,
    subnets: Map<StreamSubnetKey, StreamSubnet>,
    /// Whether the programs count by subnet.
    aggregate: bool,
}

impl StreamPrograms {
    /// Loads the programs and makes their maps.
    ///
    /// # Errors
    /// [`Error::Capabilities`], or [`Error::BpfLoad`] with the message of libbpf.
    pub fn load(setup: &StreamSetup<'_>) -> Result<Self> {
        require_capabilities(&LOAD_CAPABILITIES)?;
        let messages = Messages::capture();
        let failed = |err: libbpf_rs::Error| messages.load_error(err);
        let mut storage = MaybeUninit::uninit();
        let mut open = PpingSkelBuilder::default().open(&mut storage).map_err(failed)?;
        let cpus = machine::possible_cpus()?;
        size_maps(&mut open, setup, cpus).map_err(failed)?;
        configure(&mut open, setup, &messages)?;
        let wanted = |program| setup.programs.contains(&program);
        open.progs.pping_ingress.set_autoload(wanted(StreamProgram::Ingress));
        open.progs.pping_egress.set_autoload(wanted(StreamProgram::Egress));
        open.progs.pping_xdp.set_autoload(wanted(StreamProgram::Xdp));
        open.progs.pping_follow.set_autoload(wanted(StreamProgram::Follow));
        let skel = open.load().map_err(failed)?;

        let programs = setup.programs.iter().map(|&program| {
            let fd = match program {
                StreamProgram::Ingress => skel.progs.pping_ingress.as_fd(),
                StreamProgram::Egress => skel.progs.pping_egress.as_fd(),
                StreamProgram::Xdp => skel.progs.pping_xdp.as_fd(),
                StreamProgram::Follow => skel.progs.pping_follow.as_fd(),
            };
            let fd = fd.try_clone_to_owned();
            fd.map(|fd| (program, fd)).map_err(|err| Error::other("keep a program", err, ""))
        });
        let programs = programs.collect::<Result<_>>()?;
        let handle = |map: &MapMut<'_>| MapHandle::try_from(map).map_err(failed);
        let arrived = Rc::new(RefCell::new(Vec::new()));
        Ok(Self {
            programs,
            ring: ring(&skel.maps.stream_events, Rc::clone(&arrived)).map_err(failed)?,
            arrived,
            control: WritableArray::open(&handle(&skel.maps.cpp_control)?)?,
            flows: MappedArray::open(&handle(&skel.maps.stream_flow)?)?,
            stats: MappedArray::open(&handle(&skel.maps.stream_stats)?)?,
            rtt_stats: MappedArray::open(&handle(&skel.maps.cpp_stats)?)?,
            cpus: cpus as usize,
            subnets: Map::new("stream_subnet", handle(&skel.maps.stream_subnet)?),
            aggregate: setup.stream.aggregate != 0,
        })
    }

    /// Returns a program; `None` if it was not among [`StreamSetup::programs`].
    pub fn get(&self, wanted: StreamProgram) -> Option<BorrowedFd<'_>> {
        let found = self.programs.iter().find(|(program, _)| *program == wanted);
        found.map(|(_, fd)| fd.as_fd())
    }

    /// Moves up to `limit` events from the ring buffer to `batch` and returns their number. Does
    /// not wait.
    ///
    /// # Errors
    /// The ring buffer cannot be read.
    pub fn drain(&self, batch: &mut Vec<StreamEvent>, limit: usize) -> Result<usize> {
        check_ring(self.ring.consume_raw_n(limit))?;
        let mut arrived = self.arrived.borrow_mut();
        let count = arrived.len();
        batch.append(&mut arrived);
        Ok(count)
    }

    /// Waits until the ring buffer holds [`WAKEUP_BYTES`], or for `patience`, and moves the events
    /// to `batch`.
    ///
    /// # Errors
    /// The ring buffer cannot be read.
    pub fn wait(&self, batch: &mut Vec<StreamEvent>, patience: Duration) -> Result<()> {
        check_ring(self.ring.poll_raw(patience))?;
        batch.append(&mut self.arrived.borrow_mut());
        // When poll_raw() times out it has not looked into the ring buffer.
        self.drain(batch, BATCH).map(drop)
    }

    /// Sets the clocks of a replay: the next packet's own time, and the time for time-outs. Sets the
    /// length in bytes that its frame had on the wire, too: the capture may hold less.
    pub fn set_clock(&self, packet_ns: u64, steady_ns: u64, frame_len: u32) {
        use std::mem::offset_of;
        use std::sync::atomic::Ordering::Relaxed;
        let set = |offset: usize, value| {
            if let Some(word) = self.control.word(offset / 8) {
                word.store(value, Relaxed);
            }
        };
        set(offset_of!(Control, test_now_ns), packet_ns);
        set(offset_of!(Control, test_steady_ns), steady_ns);
        set(offset_of!(Control, test_frame_len), u64::from(frame_len));
    }

    /// Returns the counters, summed over the CPUs.
    pub fn counters(&self) -> StreamCounters {
        let stats: Vec<StreamStats> =
            (0..self.cpus).filter_map(|cpu| self.stats.read(cpu)).collect();
        StreamCounters::sum(&stats)
    }

    /// Returns the counter of that name in include/counters.def, summed over the CPUs; 0 if there is
    /// none.
    pub fn rtt_counter(&self, name: &str) -> u64 {
        let Some(index) = abi::COUNTERS.iter().position(|(other, _)| *other == name) else {
            return 0;
        };
        let word = |cpu| cpu * abi::STATS_SIZE / size_of::<u64>() + index;
        (0..self.cpus).filter_map(|cpu| self.rtt_stats.load(word(cpu))).sum()
    }

    /// Returns the entry at an index of the flow table; `None` beyond its end.
    pub fn flow(&self, index: u32) -> Option<StreamFlow> {
        self.flows.read(index as usize)
    }

    /// Returns the counts of all subnets. Empty unless the programs aggregate.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn subnets(&self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>> {
        if !self.aggregate {
            return Ok(Vec::new());
        }
        self.subnets.collect(|key, subnet| Some((*key, *subnet)))
    }

    /// Deletes subnets. A subnet that is not in the map is no error.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn forget_subnets(&self, keys: &[StreamSubnetKey]) -> Result<()> {
        self.subnets.remove_all(keys).map(drop)
    }
}

/// Sets the sizes of the maps. The follower does not use the flow table `cpp_flow` (it gets RTTs
/// from the classifier), so its own is as small as possible.
fn size_maps(
    open: &mut OpenPpingSkel<'_>,
    setup: &StreamSetup<'_>,
    cpus: u32,
) -> libbpf_rs::Result<()> {
    let follows = setup.programs == [StreamProgram::Follow];
    let flows = if follows { abi::FLOW_WAYS as u32 } else { setup.flows };
    let maps = &mut open.maps;
    maps.stream_syn.set_autocreate(follows)?;
    for (map, entries) in [
        (&mut maps.cpp_flow, flows / abi::FLOW_WAYS as u32),
        (&mut maps.cpp_stats, cpus),
        (&mut maps.stream_stats, cpus),
        (&mut maps.stream_flow, setup.flows),
        (&mut maps.stream_echo, if setup.stream.icmp != 0 { abi::STREAM_ECHOES as u32 } else { 1 }),
        (&mut maps.stream_events, RING_BYTES),
    ] {
        map.set_max_entries(entries)?;
    }
    Ok(())
}

/// Fills the programs' `.rodata`.
fn configure(
    open: &mut OpenPpingSkel<'_>,
    setup: &StreamSetup<'_>,
    messages: &Messages,
) -> Result<()> {
    let buckets = open.maps.cpp_flow.max_entries();
    let mut config = flow_config(machine::random()?, buckets)?;
    config.handshake = setup.handshake.into();
    config.test_clock = setup.replay.into();
    config.enter_starts = 1;
    let rodata = open.maps.rodata_data.as_deref_mut();
    let rodata = rodata.ok_or_else(|| messages.load_error(std::io::Error::other("no .rodata")))?;
    rodata.config = from_bytes::<PpingConfig>(abi::as_bytes(&config));
    // Nobody waits for the events of a replay, and to wake a reader costs as much as the packet.
    let wakeup_bytes = if setup.replay { u64::MAX } else { WAKEUP_BYTES };
    rodata.stream_config = StreamConfig { wakeup_bytes, ..setup.stream };
    Ok(())
}

/// Makes the reader of the ring buffer, whose callback appends to `arrived`.
fn ring(
    map: &MapMut<'_>,
    arrived: Rc<RefCell<Vec<StreamEvent>>>,
) -> libbpf_rs::Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    let take = move |bytes: &[u8]| {
        arrived.borrow_mut().push(from_bytes(bytes));
        0
    };
    builder.add(map, take)?;
    builder.build()
}

/// Turns a result of libbpf's ring buffer calls into an error. A signal is no error.
fn check_ring(result: i32) -> Result<()> {
    match nix::errno::Errno::from_raw(-result) {
        _ if result >= 0 => Ok(()),
        nix::errno::Errno::EINTR => Ok(()),
        err => Err(Error::map("read the ring buffer", err, "")),
    }
}
