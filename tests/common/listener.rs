// SPDX-License-Identifier: GPL-2.0-only

//! A `pping` at work on an interface: its output, and its programs, maps and links in the kernel.

use super::command::{eventually, program, Said};
use super::events::array;
use lab::{Netns, Sandbox};
use libbpf_rs::query::LinkInfoIter;
use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use tempfile::TempDir;

/// An interface of a namespace.
#[derive(Clone, Debug)]
pub struct Place {
    pub netns: Netns,
    pub dev: String,
}

impl Place {
    pub fn new(netns: &Netns, dev: &str) -> Self {
        Self { netns: netns.clone(), dev: dev.to_owned() }
    }

    pub fn of(sandbox: &Sandbox, dev: &str) -> Self {
        Self::new(sandbox.netns(), dev)
    }

    /// Returns the ids of the interface's tcx programs and of its XDP program.
    pub fn programs(&self) -> BTreeSet<u32> {
        let query = || {
            let index = nix::net::if_::if_nametoindex(self.dev.as_str()).unwrap_or(0);
            let tcx = [libbpf_sys::BPF_TCX_INGRESS, libbpf_sys::BPF_TCX_EGRESS];
            let links = tcx.into_iter().flat_map(|hook| tcx_programs(index, hook));
            links.chain(xdp_program(index)).collect()
        };
        self.netns.run(query).expect("enter the namespace")
    }
}

fn tcx_programs(ifindex: u32, hook: u32) -> Vec<u32> {
    let mut ids = vec![0; 16];
    let mut opts = libbpf_sys::bpf_prog_query_opts {
        sz: size_of::<libbpf_sys::bpf_prog_query_opts>() as u64,
        prog_ids: ids.as_mut_ptr(),
        ..Default::default()
    };
    opts.__bindgen_anon_1.prog_cnt = ids.len() as u32;
    // SAFETY: opts names its own size, and prog_cnt is the room in the array.
    let result = unsafe { libbpf_sys::bpf_prog_query_opts(ifindex as i32, hook, &mut opts) };
    // SAFETY: the kernel has set the count; both members of the union are this number.
    let count = if result == 0 { unsafe { opts.__bindgen_anon_1.count } } else { 0 };
    ids.truncate(count as usize);
    ids
}

fn xdp_program(ifindex: u32) -> Option<u32> {
    let mut id = 0;
    // SAFETY: the call writes the id and nothing else.
    let result = unsafe { libbpf_sys::bpf_xdp_query_id(ifindex as i32, 0, &mut id) };
    (result == 0 && id != 0).then_some(id)
}

/// The ids of one pping's programs, maps and links. The kernel does not reuse an id within a test.
#[derive(Clone, Debug)]
pub struct Held {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Held {
    pub fn by(programs: &BTreeSet<u32>) -> Self {
        let maps = |id: &u32| {
            let fd = open(libbpf_sys::bpf_prog_get_fd_by_id, *id).expect("a program");
            cpumap_pping::kernel::program_info::program_maps(&fd).expect("a program's maps")
        };
        let links = LinkInfoIter::default().filter(|link| programs.contains(&link.prog_id));
        Self {
            programs: programs.clone(),
            maps: programs.iter().flat_map(maps).collect(),
            links: links.map(|link| link.id).collect(),
        }
    }

    pub fn counts(&self) -> [usize; 3] {
        [self.programs.len(), self.maps.len(), self.links.len()]
    }

    /// Returns whether none of them is left.
    pub fn is_gone(&self) -> bool {
        let gone = |open_by: OpenById, ids: &BTreeSet<u32>| {
            ids.iter().all(|id| open(open_by, *id).err() == Some(Errno::ENOENT))
        };
        gone(libbpf_sys::bpf_link_get_fd_by_id, &self.links)
            && gone(libbpf_sys::bpf_prog_get_fd_by_id, &self.programs)
            && gone(libbpf_sys::bpf_map_get_fd_by_id, &self.maps)
    }
}

type OpenById = unsafe extern "C" fn(u32) -> i32;

fn open(by_id: OpenById, id: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: this libbpf function takes a number and returns a descriptor.
    match unsafe { by_id(id) } {
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        fd @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        err => Err(Errno::from_raw(-err)),
    }
}

/// A running pping. Dropping it kills the process.
pub struct Listener {
    child: Child,
    folder: TempDir,
    programs: BTreeSet<u32>,
}

impl Listener {
    /// Starts pping on an interface and waits until both of its programs are attached.
    pub fn on(place: &Place, options: &str) -> Self {
        let mut command = place.netns.command(&program("pping"));
        command.args(["-i", &place.dev]).args(options.split_whitespace());
        Self::start(place, command)
    }

    /// Starts a prepared command and waits until both of its programs are attached.
    pub fn start(place: &Place, mut command: Command) -> Self {
        let (folder, before) = (TempDir::new().unwrap(), place.programs());
        let file = |name| File::create(folder.path().join(name)).unwrap();
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        let mut listener = Self { child, folder, programs: BTreeSet::new() };
        eventually("pping is attached", || {
            assert!(!listener.has_ended(), "{:?}", listener.wait());
            listener.programs = place.programs().difference(&before).copied().collect();
            listener.programs.len() == 2
        });
        listener
    }

    /// Returns the ids of its programs on the interface.
    pub fn programs(&self) -> &BTreeSet<u32> {
        &self.programs
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end and returns its output.
    pub fn wait(&mut self) -> Said {
        eventually("pping ends", || self.has_ended());
        let status = self.child.wait().unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        Said {
            code: status.code().unwrap_or(-1),
            out: text(&self.folder.path().join("out")),
            err: text(&self.folder.path().join("err")),
        }
    }

    pub fn end(mut self, signal: Signal) -> Said {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The process has usually ended by itself: ignore the error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a listener for each of the options, runs the traffic, and returns the events of each.
pub fn hear<const N: usize>(
    place: &Place,
    options: [&str; N],
    traffic: impl FnOnce(),
) -> [Vec<Value>; N] {
    let listeners = options.map(|options| Listener::on(place, &format!("-F json {options}")));
    traffic();
    listeners.map(|listener| {
        let said = listener.end(Signal::SIGINT);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        array(&said.out)
    })
}
