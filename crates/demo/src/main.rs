// SPDX-License-Identifier: GPL-2.0-only
//! `make demo`: the whole of it on one machine, in a minute, with nothing left behind.
//!
//! Two subscribers behind a shaper, one 5 ms away and one 40 ms; the internet is 20 ms away on the
//! other side. They download and upload with the kernel's own TCP; then the commands show what they
//! saw, and HTB's class counters where the packets went. Everything lives in unnamed namespaces,
//! which end with this process, also after Ctrl-C.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::traffic::{self, Amount, Flow, Server};
use lab::{htb_class_stats, mq_htb, Host, HtbClass, Lab, Plan, Subscriber, LAN, WAN};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Name, number, round trip of the subscriber's own side in ms, CPU and class.
const SUBSCRIBERS: [(&str, u16, u64, u32, &str); 2] =
    [("alice", 1, 5, 0, "1:10"), ("bob", 2, 40, 1, "2:10")];
const INTERNET_MS: u64 = 20;
/// Each of download and upload.
const TRANSFER: Duration = Duration::from_secs(6);
/// Bytes per second and flow: well below what the delay lines carry.
const PACE: u64 = 2_000_000;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("ERR: the demo makes network namespaces: run it as root (sudo make demo)");
        return ExitCode::FAILURE;
    }
    if ctrlc::set_handler(|| {
        eprintln!("\ninterrupted: the lab is gone with this process");
        std::process::exit(130);
    })
    .is_err()
    {
        eprintln!("WARN: no Ctrl-C handler; the lab goes away all the same");
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("ERR: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let bin = binaries()?;
    title("A lab of network namespaces: subscribers – shaper – internet");
    println!("  alice ─ 5 ms ──┐");
    println!("                 ├─ lan [shaper] wan ─ 20 ms ─ internet");
    println!("  bob ─── 40 ms ─┘");
    let subscribers = SUBSCRIBERS
        .map(|(name, number, ms, ..)| Subscriber::new(name, number).rtt(Duration::from_millis(ms)));
    let lab = Lab::build(Plan::new(subscribers).internet_rtt(Duration::from_millis(INTERNET_MS)))?;
    title("Set up, as an operator does");
    set_up(&lab, &bin)?;
    title("Downloads and uploads, both subscribers at once");
    traffic(&lab)?;
    title("xdp_pping: the last 60 seconds, as callers read it");
    show(&lab, &bin, "xdp_pping", &[])?;
    title("xdp_pping --format table: both sides apart");
    show(&lab, &bin, "xdp_pping", &["--format", "table"])?;
    title("tc -s class show: each subscriber in its own class, on its own queue");
    classes(&lab)?;
    println!("\nAll gone again: the namespaces end with this process.");
    Ok(())
}

fn title(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m\n");
}

/// The folder where cargo put the commands: this program's own.
fn binaries() -> Outcome<PathBuf> {
    let here = std::env::current_exe()?;
    let dir = here.parent().ok_or("this program has no folder")?;
    if !dir.join("xdp_pping").exists() {
        return Err("build the commands first: cargo build --release --bins".into());
    }
    Ok(dir.to_owned())
}

/// Runs one of the commands in the shaper and prints the line and what it says.
fn show(lab: &Lab, bin: &Path, program: &str, args: &[&str]) -> Outcome<()> {
    println!("  # {program} {}", args.join(" "));
    let path = bin.join(program);
    let output = lab.shaper().command(&path.to_string_lossy()).args(args).output()?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    io::stderr().write_all(&output.stderr)?;
    if !output.status.success() {
        return Err(format!("{program}: {}", output.status).into());
    }
    Ok(())
}

fn set_up(lab: &Lab, bin: &Path) -> Outcome<()> {
    for device in [LAN, WAN] {
        // Tags are no subject here: spare the reader the warning about the offload.
        let _ = lab.shaper().command("ethtool").args(["-K", device, "rxvlan", "off"]).output();
    }
    show(lab, bin, "xdp_iphash_to_cpu", &["--dev", LAN, "--lan"])?;
    show(lab, bin, "xdp_iphash_to_cpu", &["--dev", WAN, "--wan"])?;
    for device in [LAN, WAN] {
        show(lab, bin, "tc_classify", &["--dev-egress", device])?;
        let classes = [HtbClass::new(1, 0x10, "200mbit"), HtbClass::new(2, 0x10, "200mbit")];
        println!("  # tc: mq 7FFF:, one HTB per queue, class :10 for each subscriber, on {device}");
        mq_htb(lab.shaper().netns(), device, 2, &classes)?;
    }
    for (name, _, _, cpu, class) in SUBSCRIBERS {
        let host = lab.subscriber(name);
        for ip in [host.v4(), host.v6()] {
            let (ip, cpu) = (ip.to_string(), cpu.to_string());
            let args = ["--add", "--ip", &ip, "--cpu", &cpu, "--classid", class];
            show(lab, bin, "xdp_iphash_to_cpu_cmdline", &args)?;
        }
    }
    Ok(())
}

/// Downloads over IPv4, then uploads over IPv6, by both subscribers at once.
fn traffic(lab: &Lab) -> Outcome<()> {
    let server = Server::start(lab.internet().netns(), 0)?;
    let internet = lab.internet();
    let phases = [
        ("download", internet.v4(), Flow::download(Amount::For(TRANSFER)).rate(PACE)),
        ("upload  ", internet.v6(), Flow::upload(Amount::For(TRANSFER)).rate(PACE)),
    ];
    for (name, address, flow) in phases {
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| -> Outcome<()> {
            let runs: Vec<_> = SUBSCRIBERS
                .iter()
                .map(|(who, ..)| {
                    let host: &Host = lab.subscriber(who);
                    let (server, flow) = (&server, &flow);
                    scope.spawn(move || traffic::run(host.netns(), server, address, flow))
                })
                .collect();
            let bar = scope.spawn(|| progress(name, &done));
            let mut bytes = 0;
            let mut failure = None;
            for run in runs {
                match run.join() {
                    Ok(Ok(report)) => bytes += report.bytes,
                    Ok(Err(err)) => failure = Some(err),
                    Err(_) => failure = Some(io::Error::other("a traffic thread panicked")),
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            let _ = bar.join();
            println!("  {name} {:.1} MB", bytes as f64 / 1e6);
            failure.map_or(Ok(()), |err| Err(err.into()))
        })?;
    }
    Ok(())
}

/// A moving bar on a terminal, nothing elsewhere.
fn progress(name: &str, done: &std::sync::atomic::AtomicBool) {
    if !io::stdout().is_terminal() {
        return;
    }
    let start = Instant::now();
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        let share = (start.elapsed().as_secs_f64() / TRANSFER.as_secs_f64()).min(1.0);
        let filled = (share * 30.0) as usize;
        print!("\r  {name} [{:<30}] {:3.0} %", "#".repeat(filled), share * 100.0);
        let _ = io::stdout().flush();
        std::thread::sleep(Duration::from_millis(100));
    }
    print!("\r{:60}\r", "");
}

fn classes(lab: &Lab) -> Outcome<()> {
    for device in [LAN, WAN] {
        let stats = htb_class_stats(lab.shaper().netns(), device)?;
        let mut classes: Vec<_> = stats.iter().collect();
        classes.sort_by_key(|(class, _)| **class);
        for ((major, minor), stats) in classes {
            let whose = match (*major, *minor) {
                (1, 0x10) => "alice",
                (2, 0x10) => "bob",
                (_, 2) => "default: must stay empty",
                _ => continue,
            };
            println!(
                "  {device}  class {major:x}:{minor:<3x} {:>9} packets {:>11} bytes  {whose}",
                stats.packets, stats.bytes
            );
        }
    }
    Ok(())
}
