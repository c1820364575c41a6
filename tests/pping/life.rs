// SPDX-License-Identifier: GPL-2.0-only

//! The life of a pping: it starts, ends, or is killed, and leaves nothing behind.

use super::filters::{end, filtering, filters};
use crate::common::command::{eventually, json, Said, MS};
use crate::common::events::{array, rtts_by_flow};
use crate::common::foreign::pin_foreign_program;
use crate::common::listener::{Held, Listener, Place};
use crate::common::shaper::{sandbox_with_devices, Shaper};
use lab::{traffic, Flow, Lab, Plan, Sandbox, Server, Subscriber, LAN, WAN};
use nix::sys::signal::Signal;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use tempfile::TempDir;

/// A lab without delay.
pub struct QuietLab {
    server: Server,
    pub lab: Lab,
}

impl QuietLab {
    pub fn new() -> Self {
        let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
        let server = Server::start(lab.internet().netns(), 0).unwrap();
        Self { server, lab }
    }

    pub fn talk(&self) {
        let flow = Flow::request_response(5, 2 * MS); // a TSval each
        let alice = self.lab.subscriber("alice").netns();
        traffic::run(alice, &self.server, self.lab.internet().v4(), &flow).unwrap();
    }
}

/// Prepares a pping on an interface of a sandbox.
pub fn pping(sandbox: &Sandbox, dev: &str, options: &str) -> Command {
    sandbox.prepare(&format!("pping -i {dev} {options}"))
}

/// Returns all traces that a pping could leave on an interface and in bpffs.
pub fn traces(sandbox: &Sandbox, dev: &str) -> Vec<String> {
    let mut lines = vec![
        sandbox.ok(&format!("tc qdisc show dev {dev}")),
        format!("{:?}", sandbox.xdp(dev)),
        sandbox.ok("find /sys/fs/bpf"),
    ];
    for hook in ["ingress", "egress"] {
        lines.push(format!("{:?}", sandbox.filters(dev, hook)));
    }
    lines
}

/// Starts and ends fifty ppings on each of two interfaces.
#[test]
fn a_hundred_times() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let before = [LAN, WAN].map(|dev| traces(shaper, dev));
    let folder = TempDir::new().unwrap();
    scope(|threads| {
        for dev in [LAN, WAN] {
            let (scene, folder) = (&scene, &folder);
            threads.spawn(move || {
                (0..50).for_each(|time| come_and_go(scene, dev, folder, time));
            });
        }
    });
    assert_eq!([LAN, WAN].map(|dev| traces(shaper, dev)), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no file either");
}

/// Starts a pping and ends it: all its programs, maps and links are gone.
fn come_and_go(scene: &QuietLab, dev: &str, folder: &TempDir, time: usize) {
    let (hook, signal) = match time % 3 {
        0 => ("xdp", Signal::SIGTERM),
        1 => ("tc", Signal::SIGINT),
        _ => ("tc", Signal::SIGTERM),
    };
    let place = Place::of(scene.lab.shaper(), dev);
    let mut command = pping(scene.lab.shaper(), dev, &format!("-F json -r 0 -I {hook}"));
    command.current_dir(folder.path());
    let listener = Listener::start(&place, command);
    let held = Held::by(listener.programs());
    let [programs, maps, links] = held.counts();
    assert!(programs == 2 && maps >= 5 && links == 2, "{held:?}");
    if time.is_multiple_of(10) {
        scene.talk();
    }
    let said = listener.end(signal);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(!time.is_multiple_of(10) || array(&said.out).len() > 4, "{said:?}");
    eventually("everything is gone", || held.is_gone());
}

/// The kernel removes links when the process ends, however it ends.
#[test]
fn after_kill_9() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let before = traces(shaper, LAN);
    for hook in ["tc", "xdp"] {
        let start = || {
            let command = pping(shaper, LAN, &format!("-F jsonl -r 0 -I {hook}"));
            Listener::start(&Place::of(shaper, LAN), command)
        };
        let killed = start();
        let held = Held::by(killed.programs());
        killed.end(Signal::SIGKILL);
        eventually("everything is gone", || held.is_gone());
        assert_eq!(traces(shaper, LAN), before);
        let restarted = start();
        let held = Held::by(restarted.programs());
        scene.talk();
        let said = restarted.end(Signal::SIGTERM);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        assert!(said.out.contains("\"rtt\":"), "{said:?}");
        eventually("everything is gone", || held.is_gone());
        assert_eq!(traces(shaper, LAN), before);
    }
}

/// A pping leaves the clsact, the filters and the tcx links of other programs as they are.
#[test]
fn others_are_left_alone() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let pin = pin_foreign_program(shaper, libbpf_sys::BPF_PROG_TYPE_SCHED_CLS);
    shaper.ok(&format!("tc qdisc add dev {LAN} clsact"));
    // A foreign filter that has our priority.
    let place = "prio 49152 handle 1";
    shaper.ok(&format!("tc filter add dev {LAN} egress {place} bpf da pinned {pin}"));
    shaper.ok(&format!("tc filter add dev {LAN} ingress prio 1 handle 1 bpf da pinned {pin}"));
    let link = foreign_link(shaper, &pin);
    let before = (traces(shaper, LAN), Place::of(shaper, LAN).programs());
    assert_eq!((filters(shaper).len(), before.1.len()), (1, 1));

    let listener = Listener::start(&Place::of(shaper, LAN), pping(shaper, LAN, "-F json -r 0"));
    assert_eq!(listener.end(Signal::SIGTERM).code, 0);
    assert_eq!((traces(shaper, LAN), Place::of(shaper, LAN).programs()), before);

    let (child, _folder) = filtering(shaper);
    assert_eq!(end(child, Signal::SIGTERM).code, 0);
    assert_eq!((traces(shaper, LAN), Place::of(shaper, LAN).programs()), before);
    drop(link);
}

/// Attaches a foreign program to the LAN's egress by a tcx link.
fn foreign_link(sandbox: &Sandbox, pin: &str) -> std::os::fd::OwnedFd {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    let attach = || {
        let program = libbpf_rs::Program::fd_from_pinned_path(pin).unwrap();
        let index = nix::net::if_::if_nametoindex(LAN).unwrap();
        let hook = libbpf_sys::BPF_TCX_EGRESS;
        // SAFETY: the program is open, and a null pointer means no options.
        let link = unsafe {
            libbpf_sys::bpf_link_create(program.as_raw_fd(), index as i32, hook, std::ptr::null())
        };
        assert!(link >= 0, "a foreign link: {link}");
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(link) }
    };
    sandbox.run(attach).unwrap()
}

/// When its interface goes away, a pping says so, closes its array and exits with 1.
#[test]
fn an_interface_that_goes_away() {
    lab::require_root();
    for hook in ["tc", "xdp"] {
        let sandbox = sandbox_with_devices(1);
        let command = pping(&sandbox, "lan", &format!("-F json -I {hook}"));
        let mut listener = Listener::start(&Place::of(&sandbox, "lan"), command);
        let held = Held::by(listener.programs());
        sandbox.ok("ip link del lan");
        let said = listener.wait();
        assert_eq!(said.parts(), (1, "[]\n", "ERR: listen on lan: it is gone\n"));
        eventually("everything is gone", || held.is_gone());
    }
}

/// An interface in another namespace is gone, and a new one of the same name is another interface.
#[test]
fn an_interface_that_is_moved_or_replaced() {
    lab::require_root();
    for replace in [false, true] {
        let sandbox = sandbox_with_devices(1);
        let command = pping(&sandbox, "lan", "-F json");
        let mut listener = Listener::start(&Place::of(&sandbox, "lan"), command);
        if replace {
            sandbox.ok("ip link del lan");
            sandbox.ok("ip link add lan type veth peer name lan-peer");
        } else {
            let elsewhere = lab::Netns::new().unwrap();
            sandbox.ok(&format!("ip link set lan netns {}", elsewhere.path().display()));
        }
        let said = listener.wait();
        assert_eq!(said.parts(), (1, "[]\n", "ERR: listen on lan: it is gone\n"));
    }
}

/// After SIGHUP the old file is complete, and the new one continues where it ends.
#[test]
fn a_hang_up_reopens_the_file() {
    lab::require_root();
    let scene = QuietLab::new();
    for format in ["json", "jsonl"] {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| folder.path().join(name);
        let options = format!("-F {format} -r 0 -w {}", file("new").display());
        let place = Place::of(scene.lab.shaper(), LAN);
        let listener = Listener::start(&place, pping(scene.lab.shaper(), LAN, &options));
        scene.talk();
        fs::rename(file("new"), file("old")).unwrap();
        listener.signal(Signal::SIGHUP);
        eventually("the file is there again", || file("new").exists());
        scene.talk();
        let said = listener.end(Signal::SIGTERM);
        assert_eq!(said.parts(), (0, "", ""));
        for name in ["old", "new"] {
            let text = fs::read_to_string(file(name)).unwrap();
            let events = match format {
                "json" => array(&text),
                _ => text.lines().map(json).collect(),
            };
            let of_kind =
                |what: &str| events.iter().filter(|event| event["flow_event"] == what).count();
            assert_eq!(of_kind("opening"), 2, "{name}: {text}");
        }
    }
}

/// When the reader of stdout has gone, a pping ends, and that is no error.
#[test]
fn a_closed_pipe() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let place = Place::of(shaper, LAN);
    let mut command = pping(shaper, LAN, "-r 0");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("pping is attached", || place.programs().len() == 2);
    drop(child.stdout.take());
    scene.talk();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.parts(), (0, "", ""));
    assert!(place.programs().is_empty());
}

/// Two listeners on one interface hear the same packets; the one that ends first leaves the other hearing, and nothing
/// stays attached.
#[test]
fn two_at_once() {
    lab::require_root();
    let lab = QuietLab::new();
    let shaper = lab.lab.shaper();
    let (place, before) = (Place::of(shaper, LAN), traces(shaper, LAN));
    let start = || Listener::start(&place, pping(shaper, LAN, "-F json -r 0"));
    let talk = || {
        lab.talk();
        sleep(50 * MS); // the FINs are still on their way
    };
    for first_ends_first in [true, false] {
        let (first, second) = (start(), start());
        assert!(first.programs().is_disjoint(second.programs()), "each has programs of its own");
        assert_eq!(place.programs().len(), 4);
        let (early, late) = if first_ends_first { (first, second) } else { (second, first) };
        let held = [&early, &late].map(|listener| Held::by(listener.programs()));
        let programs_of_late = late.programs().clone();
        talk();
        let said = early.end(Signal::SIGINT);
        eventually("everything of one is gone", || held[0].is_gone());
        assert_eq!(place.programs(), programs_of_late, "the other's programs stay");
        talk();
        let both = late.end(Signal::SIGINT);
        eventually("everything is gone", || held[1].is_gone());
        for said in [&said, &both] {
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        }
        let openings = |said: &Said| said.out.matches("\"opening\"").count();
        assert_eq!((openings(&said), openings(&both)), (2, 4), "{said:?} {both:?}");
        // Both heard the first connection and have the same number of its RTTs. Only the other heard the second.
        let (one, other) = (rtts_by_flow(&array(&said.out)), rtts_by_flow(&array(&both.out)));
        assert_eq!((one.len(), other.len()), (2, 4), "{one:?} {other:?}");
        for (flow, count) in &one {
            assert_eq!(other.get(flow), Some(count), "{flow:?}: {one:?} {other:?}");
        }
        assert_eq!(traces(shaper, LAN), before);
    }
}
