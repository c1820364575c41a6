// SPDX-License-Identifier: GPL-2.0-only

//! Kernels before 6.6, which have no tcx: `pping` attaches cls_bpf filters. Here a seccomp filter makes links to tc hooks
//! fail, as they do there. On such a kernel itself:
//!
//!     cargo test --test pping --no-run
//!     run-in-vm.sh -m 2048 6.1 'target/debug/deps/pping-HASH filters::'

use super::life::{pping, traces, QuietLab};
use crate::common::command::{eventually, Said, MS};
use crate::common::events::array;
use crate::common::foreign::pin_foreign_program;
use crate::common::shaper::Shaper;
use lab::{Sandbox, LAN, WAN};
use nix::libc;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use tempfile::TempDir;

/// Makes links to an interface's tc hooks fail, as they do on kernels before 6.6.
pub fn as_before_tcx(mut command: Command) -> Command {
    const BPF_LINK_CREATE: u32 = libbpf_sys::BPF_LINK_CREATE;
    let load = |k| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k };
    let unless = |k, jf| libc::sock_filter { code: 0x15, jt: 0, jf, k };
    let give = |k| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let mut code = [
        load(0), // the number of the call
        unless(libc::SYS_bpf as u32, 3),
        load(16), // its first argument
        unless(BPF_LINK_CREATE, 1),
        give(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the program outlives the call, which copies it.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec only one system call runs.
    unsafe { command.pre_exec(install) };
    command
}

/// Returns the programs of the LAN's filters.
pub fn filters(sandbox: &Sandbox) -> BTreeSet<u64> {
    let of_hook = |hook: &&str| sandbox.filters(LAN, hook);
    ["ingress", "egress"].iter().flat_map(of_hook).map(|filter| filter.id).collect()
}

/// Starts a pping that uses filters, and waits until both are there.
pub fn filtering(sandbox: &Sandbox) -> (Child, TempDir) {
    let before = filters(sandbox);
    let folder = TempDir::new().unwrap();
    let mut command = as_before_tcx(pping(sandbox, LAN, "-F json -r 0"));
    let out = fs::File::create(folder.path().join("out")).unwrap();
    let child = command.stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the filters are there", || filters(sandbox).difference(&before).count() == 2);
    (child, folder)
}

pub fn end(child: Child, signal: Signal) -> Said {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
    Said::from(child.wait_with_output().unwrap())
}

/// Filters stay when their process is killed. The next pping replaces them, and removes them at its end.
#[test]
fn on_kernels_without_tcx() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let before = traces(shaper, LAN);
    for crash in [false, true] {
        if crash {
            let (child, _folder) = filtering(shaper);
            end(child, Signal::SIGKILL);
            assert_eq!(filters(shaper).len(), 2);
        }
        let (child, folder) = filtering(shaper);
        scene.talk();
        let said = end(child, Signal::SIGTERM);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        let events = array(&fs::read_to_string(folder.path().join("out")).unwrap());
        assert!(events.iter().any(|event| event["rtt"].is_u64()), "{events:?}");
        assert_eq!(traces(shaper, LAN), before);
    }
}

/// Ends a filtering pping; returns its events.
fn events((child, folder): (Child, TempDir)) -> Vec<serde_json::Value> {
    let said = end(child, Signal::SIGTERM);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    array(&fs::read_to_string(folder.path().join("out")).unwrap())
}

fn openings(events: &[serde_json::Value]) -> usize {
    events.iter().filter(|event| event["flow_event"] == "opening").count()
}

/// Two listeners hear the same packets, and the one that ends first leaves the other hearing. The last one removes the
/// qdisc that the first one made.
#[test]
fn two_at_once_without_tcx() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let before = traces(shaper, LAN);
    let talk = || {
        scene.talk();
        sleep(50 * MS); // the FINs are still on their way
    };
    for first_ends_first in [true, false] {
        let (first, second) = (filtering(shaper), filtering(shaper));
        assert_eq!(filters(shaper).len(), 4);
        let (early, late) = if first_ends_first { (first, second) } else { (second, first) };
        talk();
        let early = events(early);
        assert_eq!(filters(shaper).len(), 2, "the other's filters stay");
        talk();
        let late = events(late);
        assert_eq!((openings(&early), openings(&late)), (2, 4), "{early:?} {late:?}");
        let rtts = |events: &[serde_json::Value], port: &serde_json::Value| {
            let of_flow = |event: &&serde_json::Value| {
                event["rtt"].is_u64() && (&event["src_port"] == port || &event["dest_port"] == port)
            };
            events.iter().filter(of_flow).count()
        };
        let port = &early[0]["dest_port"];
        assert!(rtts(&early, port) > 4);
        assert_eq!(rtts(&early, port), rtts(&late, port), "{early:?} {late:?}");
        assert_eq!(traces(shaper, LAN), before);
    }
}

/// The next pping removes the filters of one that was killed, and leaves those of one that runs.
#[test]
fn a_killed_one_beside_a_running_one() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    let before = traces(shaper, LAN);
    let (killed, _folder) = filtering(shaper);
    let running = filtering(shaper);
    end(killed, Signal::SIGKILL);
    assert_eq!(filters(shaper).len(), 4);
    let third = filtering(shaper);
    assert_eq!(filters(shaper).len(), 4, "two filters were left over");
    scene.talk();
    assert_eq!(openings(&events(third)), 2);
    assert_eq!(openings(&events(running)), 2);
    assert_eq!(traces(shaper, LAN), before);
}

/// The classifier accepts every packet that leaves, and pping sees them all the same, whichever came first.
#[test]
fn beside_the_classifier_without_tcx() {
    lab::require_root();
    for classifier_first in [true, false] {
        let scene = QuietLab::new();
        let shaper = scene.lab.shaper();
        let attach = || shaper.attach_both(LAN, WAN);
        if classifier_first {
            attach();
        }
        let listener = filtering(shaper);
        if !classifier_first {
            attach();
        }
        let first = || {
            let filters = shaper.filters(LAN, "egress");
            filters.first().is_some_and(|filter| filter.handle.starts_with("0x7070"))
        };
        eventually("pping stands in front of the classifier", first);
        let classified = || shaper.counters().of("tc_unmapped");
        let before = classified();
        scene.talk();
        let events = events(listener);
        for egress in [false, true] {
            let heard = events.iter().filter(|event| event["match_on_egress"] == egress).count();
            assert!(heard >= 4, "egress {egress}: {events:?}");
        }
        assert!(classified() > before + 10, "the classifier sees every packet, too");
        let left = shaper.filters(LAN, "egress");
        assert_eq!(left.len(), 1, "the classifier stays: {left:?}");
    }
}

/// A filter of another kind or protocol has priority 1: pping goes behind it, and says so.
#[test]
fn behind_a_filter_that_it_cannot_join() {
    lab::require_root();
    let scene = QuietLab::new();
    let shaper = scene.lab.shaper();
    shaper.ok(&format!("tc qdisc add dev {LAN} clsact"));
    let pin = pin_foreign_program(shaper, libbpf_sys::BPF_PROG_TYPE_SCHED_CLS);
    shaper.ok(&format!("tc filter add dev {LAN} egress prio 1 protocol ip bpf da pinned {pin}"));
    let before = traces(shaper, LAN);
    let (child, _folder) = filtering(shaper);
    let said = end(child, Signal::SIGTERM);
    let warning = format!(
        "WARN: {LAN}: packets that the filters at priority 1 accept are not seen: on a shaper, use xdp_pping --follow\n"
    );
    assert_eq!(said.parts(), (0, "", warning.as_str()));
    assert_eq!(traces(shaper, LAN), before);
}
