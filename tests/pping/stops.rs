// SPDX-License-Identifier: GPL-2.0-only

//! One signal ends a `pping` at once, whatever it waits for, and what it has read is printed.

use crate::common::command::{eventually, program, Said, MS};
use crate::common::events::{array, data};
use crate::common::listener::Place;
use crate::common::patience::patiently;
use crate::common::shaper::Shaper;
use lab::{traffic, Flow, Lab, Plan, Server, Subscriber, LAN};
use nix::fcntl::OFlag;
use nix::sys::signal::{kill, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pipe2, Pid};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest time from the signal to the end.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Starts a `pping` on a capture, with its standard output in a file.
fn start(capture: &Path, stdin: impl Into<Stdio>, out: &Path) -> Child {
    let mut command = Command::new(program("pping"));
    command.arg("--read").arg(capture).args(["-r", "0", "-F", "json"]).stdin(stdin);
    command.stdout(File::create(out).unwrap()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Makes a pipe of which a child gets no end but the one that it is given: reader and writer.
fn closing_pipe() -> (OwnedFd, OwnedFd) {
    pipe2(OFlag::O_CLOEXEC).unwrap()
}

/// Signals the process; returns what it said, and how long it took to end.
fn end(child: Child, signal: Signal) -> (Said, Duration) {
    let start = Instant::now();
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    (said, start.elapsed())
}

/// Waits until a process blocks the signals that stop it, and sleeps in poll(2).
fn waits(child: &Child) {
    let proc = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    eventually("pping waits for its input", || {
        let blocked =
            proc("status").lines().any(|line| line.starts_with("SigBlk:\t0000000000004003"));
        blocked && proc("wchan").contains("poll")
    });
}

fn in_time(time: Duration) -> Result<(), String> {
    if time <= AT_ONCE {
        return Ok(());
    }
    Err(format!("it took {time:?}"))
}

/// Nobody has opened the FIFO for writing yet, or its writer says nothing.
#[test]
fn while_it_waits_for_a_fifo() {
    lab::require_root();
    let folder = TempDir::new().unwrap();
    let (fifo, out) = (folder.path().join("fifo"), folder.path().join("out"));
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    for (silent_writer, signal) in
        [(false, Signal::SIGTERM), (false, Signal::SIGINT), (true, Signal::SIGTERM)]
    {
        patiently(|| {
            let child = start(&fifo, Stdio::null(), &out);
            let writer = silent_writer.then(|| File::options().write(true).open(&fifo).unwrap());
            waits(&child);
            let (said, time) = end(child, signal);
            assert_eq!(said.parts(), (0, "", ""));
            assert_eq!(fs::read_to_string(&out).unwrap(), "[]\n");
            drop(writer);
            in_time(time)
        });
    }
}

/// A pipe falls silent after some packets, or within one. The events until then are printed, the array is closed.
#[test]
fn while_a_pipe_is_silent() {
    lab::require_root();
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let bytes = fs::read(data("run.pcap")).unwrap();
    let [half, whole] = [bytes.len() / 2, bytes.len()].map(|length| {
        let part = folder.path().join("part");
        fs::write(&part, &bytes[..length]).unwrap();
        end_of_itself(start(&part, Stdio::null(), &out));
        array(&fs::read_to_string(&out).unwrap())
    });
    assert!(half.len() > 10 && half.len() < whole.len());
    for (length, events) in [(bytes.len() / 2, &half), (bytes.len(), &whole)] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            patiently(|| {
                let (reader, writer) = closing_pipe();
                let child = start(Path::new("-"), reader, &out);
                let mut writer: File = writer.into();
                writer.write_all(&bytes[..length]).unwrap();
                eventually("pping has read all", || pending(&writer) == 0);
                waits(&child);
                let (said, time) = end(child, signal);
                let (said, summary) = said.of_replay();
                assert_eq!(said.parts(), (0, "", ""));
                assert!(!summary.is_empty());
                assert_eq!(&array(&fs::read_to_string(&out).unwrap()), events);
                in_time(time)
            });
        }
    }
}

/// The events before a silence are printed without waiting for the next packet.
#[test]
fn a_silent_pipe_holds_no_event_back() {
    lab::require_root();
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let (reader, writer) = closing_pipe();
    let child = start(Path::new("-"), reader, &out);
    let mut writer: File = writer.into();
    writer.write_all(&fs::read(data("run.pcap")).unwrap()).unwrap();
    let whole = array(&fs::read_to_string(data("run.json")).unwrap());
    let rtts = |text: &str| text.matches("\"rtt\":").count();
    let wanted = whole.iter().filter(|event| event["protocol"] == "TCP" && event["rtt"].is_u64());
    let wanted = wanted.count();
    eventually("the events are printed", || rtts(&fs::read_to_string(&out).unwrap()) == wanted);
    drop(writer);
    end_of_itself(child);
}

fn end_of_itself(child: Child) {
    child.wait_with_output().unwrap();
}

/// Returns the number of bytes in a pipe that its reader has not read.
fn pending(pipe: &File) -> i32 {
    use std::os::fd::AsRawFd;
    let mut count = 0;
    // SAFETY: the call writes one integer.
    let result = unsafe { nix::libc::ioctl(pipe.as_raw_fd(), nix::libc::FIONREAD, &mut count) };
    assert_eq!(result, 0);
    count
}

/// One signal ends a live stream whose reader does not read while more events wait.
#[test]
fn while_its_reader_stalls() {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let place = Place::of(lab.shaper(), LAN);
    let mut command = lab.shaper().prepare(&format!("pping -i {LAN} -F jsonl -r 0"));
    let (stalled, out): (OwnedFd, OwnedFd) = closing_pipe();
    let child = command.stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    eventually("pping is attached", || place.programs().len() == 2);
    // Enough to fill the pipe and the stream's own buffer, and the ring buffer with some more.
    let flow = Flow::request_response(600, MS);
    let alice = lab.subscriber("alice").netns();
    traffic::run(alice, &server, lab.internet().v4(), &flow).unwrap();
    // The pipe has no page left, and the last write may not have filled its page.
    eventually("the pipe is full", || {
        pending(&File::from(stalled.try_clone().unwrap())) > 65_536 - 4_096
    });
    let (said, time) = end(child, Signal::SIGTERM);
    assert_eq!(
        (said.code, said.err.as_str()),
        (1, "ERR: write to standard output: its reader does not read\n")
    );
    assert!(time < Duration::from_secs(1), "{time:?}");
    assert!(place.programs().is_empty());
    drop(stalled);
}
