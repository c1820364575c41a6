// SPDX-License-Identifier: GPL-2.0-only

//! One recorded lab run, and the output of `--read` for it in every format.
//!
//! PPING_GOLDEN=run cargo test --test pping golden::a_fresh_run records the run anew.
//! PPING_GOLDEN=record cargo test --test pping golden records the texts; judge their changes.

use crate::common::command::{program, Said, MS};
use crate::common::events::{array, check_the_run, data};
use crate::common::listener::Place;
use crate::common::recording::Recording;
use flate2::{write::GzEncoder, Compression};
use lab::{traffic, Flow, Lab, Plan, Server, Subscriber, LAN};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use tempfile::TempDir;

/// Returns the output of `pping --read`, in universal time.
fn read(file: &Path, options: &str) -> String {
    let mut command = Command::new(program("pping"));
    command.env("TZ", "UTC").arg("--read").arg(file).args(options.split_whitespace());
    let (said, summary) = Said::by(&mut command).of_replay();
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{options}: {said:?}");
    assert!(!summary.is_empty());
    said.out
}

/// Returns whether `PPING_GOLDEN` asks to record `what`.
fn asked_for(what: &str) -> bool {
    std::env::var("PPING_GOLDEN").is_ok_and(|value| value == what)
}

/// The options that print every TSval and every echo.
const ALL: &str = "-r 0 -T -C";

#[test]
fn golden_texts() {
    lab::require_root();
    let table = [
        ("run.standard.txt", "-F standard"),
        ("run.ppviz.txt", "-F ppviz"),
        ("run.json", "-F json"),
        ("run.jsonl", "-F jsonl"),
        ("run.aggregates.txt", "-a 1"),
        ("run.aggregates.json", "-a 1 -F json --aggregate-subnets-v4 32 --aggregate-reverse"),
    ];
    for (name, options) in table {
        let text = read(&data("run.pcap"), &format!("{ALL} {options}"));
        if asked_for("record") {
            fs::write(data(name), &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(data(name)).unwrap(), "{name}");
    }
}

/// The same capture as pcapng, gzipped, and through a pipe gives the same output.
#[test]
fn every_container_says_the_same() {
    lab::require_root();
    lab::require_tool("editcap");
    let folder = TempDir::new().unwrap();
    let pcapng = folder.path().join("run.pcapng");
    let mut editcap = Command::new("editcap");
    let said = Said::by(editcap.args(["-F", "pcapng"]).arg(data("run.pcap")).arg(&pcapng));
    assert_eq!(said.code, 0, "{said:?}");
    let wanted = fs::read_to_string(data("run.jsonl")).unwrap();
    let options = format!("{ALL} -F jsonl");
    assert_eq!(read(&pcapng, &options), wanted);
    for plain in [data("run.pcap"), pcapng] {
        let bytes = fs::read(&plain).unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&bytes).unwrap();
        let zipped = folder.path().join("zipped");
        fs::write(&zipped, gzip.finish().unwrap()).unwrap();
        assert_eq!(read(&zipped, &options), wanted);
        let mut command = Command::new(program("pping"));
        command.args(["--read", "-"]).args(options.split(' '));
        let stdin = fs::File::open(&zipped).unwrap();
        let (said, _) = Said::by(command.stdin(Stdio::from(stdin))).of_replay();
        assert_eq!(said.parts(), (0, wanted.as_str(), ""));
    }
}

/// A capture that ends within a packet gives the events before that, the summary, one error on stderr, and exit 1.
#[test]
fn a_capture_that_is_cut_short() {
    lab::require_root();
    let bytes = fs::read(data("run.pcap")).unwrap();
    let folder = TempDir::new().unwrap();
    let cut = folder.path().join("cut");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let mut command = Command::new(program("pping"));
    let said = Said::by(command.arg("--read").arg(&cut).args(["-r", "0", "-F", "json"]));
    let (said, summary) = said.of_replay();
    assert!(summary.contains(" packets read, "), "{summary}");
    assert_eq!(said.code, 1, "{said:?}");
    let start = format!("ERR: read {}, packet ", cut.display());
    assert!(said.err.starts_with(&start) && said.err.lines().count() == 1, "{said:?}");
    let (some, all) = (array(&said.out), array(&fs::read_to_string(data("run.json")).unwrap()));
    assert!(!some.is_empty() && some.iter().all(|event| all.contains(event)), "{some:?}");
}

/// A run that is recorded now gives the same events.
#[test]
fn a_fresh_run_is_told_alike() {
    lab::require_root();
    lab::require_tool("tcpdump");
    lab::require_tool("ping");
    let folder = TempDir::new().unwrap();
    let file = if asked_for("run") { data("run.pcap") } else { folder.path().join("run.pcap") };
    record_the_run(&file);
    check_the_run(&array(&read(&file, &format!("{ALL} -F json"))));
}

/// Records connections between Alice, 15 ms from the shaper, and the internet, 30 ms behind it, on the LAN.
fn record_the_run(file: &Path) {
    let alice = Subscriber::new("alice", 1).rtt(15 * MS);
    let lab = Lab::build(Plan::new([alice]).internet_rtt(30 * MS)).unwrap();
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let recording = Recording::start(&Place::of(lab.shaper(), LAN), file, 96);
    let server = Server::start(internet.netns(), 443).unwrap();
    let flow = Flow::request_response(8, 20 * MS);
    traffic::run(alice.netns(), &server, internet.v4(), &flow).unwrap();
    reset(&lab);
    half_close(&lab);
    for address in [internet.v4(), internet.v6()] {
        let mut ping = alice.netns().command("ping");
        assert_eq!(Said::by(ping.args(["-c3", "-i0.1", &address.to_string()])).code, 0);
    }
    sleep(200 * MS);
    recording.end();
}

/// Connects alice to a port of the internet; returns both ends.
fn connected(lab: &Lab, address: IpAddr, port: u16) -> [TcpStream; 2] {
    let listener = lab.internet().netns().run(|| TcpListener::bind((address, port)));
    let listener = listener.unwrap().unwrap();
    let connect = || TcpStream::connect((address, port));
    let near = lab.subscriber("alice").netns().run(connect).unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    [&near, &far].into_iter().for_each(|end| end.set_nodelay(true).unwrap());
    [near, far]
}

/// Sends a byte and its echo.
fn exchange([near, far]: [&mut TcpStream; 2]) {
    let mut byte = [0];
    near.write_all(b"x").unwrap();
    far.read_exact(&mut byte).unwrap();
    far.write_all(&byte).unwrap();
    near.read_exact(&mut byte).unwrap();
}

fn reset(lab: &Lab) {
    let [mut near, mut far] = connected(lab, lab.internet().v4(), 8080);
    (0..4).for_each(|_| exchange([&mut near, &mut far]));
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&near, Linger, &at_once).unwrap();
    drop(near);
    sleep(100 * MS);
}

fn half_close(lab: &Lab) {
    let [mut near, mut far] = connected(lab, lab.internet().v6(), 8443);
    (0..3).for_each(|_| exchange([&mut near, &mut far]));
    near.shutdown(Shutdown::Write).unwrap();
    scope(|threads| {
        threads.spawn(move || {
            for _ in 0..5 {
                sleep(60 * MS);
                far.write_all(b"still here").unwrap();
            }
        });
        near.read_to_end(&mut Vec::new()).unwrap();
    });
    sleep(100 * MS);
}
