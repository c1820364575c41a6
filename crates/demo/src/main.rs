// SPDX-License-Identifier: GPL-2.0-only
//! `make demo` shows the whole system on one machine, in a minute, and leaves nothing behind.
//!
//! Two subscribers are behind a shaper, one 5 ms away and one 40 ms; the internet is 20 ms away on the
//! other side. They download and upload with the kernel's own TCP. Then the commands show the RTTs that they
//! measured, and HTB's class counters show which packets went where. Everything is in namespaces without a
//! name, which end with this process, also after Ctrl-C.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use lab::traffic::{self, Amount, Flow, Server};
use lab::{htb_class_stats, mq_htb, Host, HtbClass, Lab, Plan, Programs, Subscriber, LAN, WAN};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const STEER: &str = "xdp_iphash_to_cpu";
const CMDLINE: &str = "xdp_iphash_to_cpu_cmdline";
const CLASSIFY: &str = "tc_classify";
const PPING: &str = "xdp_pping";

/// Name, number, round trip of the subscriber's own side in ms, CPU and class.
const SUBSCRIBERS: [(&str, u16, u64, u32, &str); 2] =
    [("alice", 1, 5, 0, "1:10"), ("bob", 2, 40, 1, "2:10")];
const INTERNET_MS: u64 = 20;
/// Duration of the downloads, and of the uploads.
const TRANSFER: Duration = Duration::from_secs(6);
/// Bytes per second of each flow, well below the rate that the delay lines can carry.
const PACE: u64 = 2_000_000;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("ERR: network namespaces need root: run it as root (sudo make demo)");
        return ExitCode::FAILURE;
    }
    if ctrlc::set_handler(|| {
        eprintln!("\ninterrupted: the lab ends with this process");
        std::process::exit(130);
    })
    .is_err()
    {
        eprintln!("WARN: cannot handle Ctrl-C; the lab ends with this process nevertheless");
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("ERR: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let programs = Programs::beside_this_one(&[STEER, CMDLINE, CLASSIFY, PPING])?;
    title("A lab of network namespaces: subscribers – shaper – internet");
    println!("  alice ─ 5 ms ──┐");
    println!("                 ├─ lan [shaper] wan ─ 20 ms ─ internet");
    println!("  bob ─── 40 ms ─┘");
    let subscribers = SUBSCRIBERS
        .map(|(name, number, ms, ..)| Subscriber::new(name, number).rtt(Duration::from_millis(ms)));
    let lab = Lab::build(Plan::new(subscribers).internet_rtt(Duration::from_millis(INTERNET_MS)))?;
    title("Set up the shaper, as an operator does");
    set_up(&lab, &programs)?;
    title("Downloads and uploads, both subscribers at once");
    transfer(&lab)?;
    title("xdp_pping: the last 60 seconds, as callers read it");
    show(&lab, &programs, PPING, &[])?;
    title("xdp_pping --format table: both sides apart");
    show(&lab, &programs, PPING, &["--format", "table"])?;
    title("tc -s class show: each subscriber in its own class, on its own queue");
    classes(&lab)?;
    println!("\nNothing stays behind: the namespaces end with this process.");
    Ok(())
}

fn title(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m\n");
}

/// Runs one of the commands in the shaper; prints the command line and its output.
fn show(lab: &Lab, programs: &Programs, program: &str, args: &[&str]) -> Result<()> {
    println!("  # {program} {}", args.join(" "));
    let output = programs.command(lab.shaper(), program, args).output()?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    io::stderr().write_all(&output.stderr)?;
    if !output.status.success() {
        return Err(format!("{program}: {}", output.status).into());
    }
    Ok(())
}

fn set_up(lab: &Lab, programs: &Programs) -> Result<()> {
    for device in [LAN, WAN] {
        // No frame here has a VLAN tag. Without the offload, the commands print no warning about it.
        let _ = lab.shaper().command("ethtool").args(["-K", device, "rxvlan", "off"]).output();
    }
    show(lab, programs, STEER, &["--dev", LAN, "--lan"])?;
    show(lab, programs, STEER, &["--dev", WAN, "--wan"])?;
    for device in [LAN, WAN] {
        show(lab, programs, CLASSIFY, &["--dev-egress", device])?;
        let classes = [HtbClass::new(1, 0x10, "200mbit"), HtbClass::new(2, 0x10, "200mbit")];
        println!("  # tc: mq 7FFF:, one HTB per queue, class :10 for each subscriber, on {device}");
        mq_htb(lab.shaper().netns(), device, 2, &classes)?;
    }
    for (name, _, _, cpu, class) in SUBSCRIBERS {
        let host = lab.subscriber(name);
        for ip in [host.v4(), host.v6()] {
            let (ip, cpu) = (ip.to_string(), cpu.to_string());
            let args = ["--add", "--ip", &ip, "--cpu", &cpu, "--classid", class];
            show(lab, programs, CMDLINE, &args)?;
        }
    }
    Ok(())
}

/// Runs downloads over IPv4, then uploads over IPv6, of both subscribers at once.
fn transfer(lab: &Lab) -> Result<()> {
    let server = Server::start(lab.internet().netns(), 0)?;
    let internet = lab.internet();
    let phases = [
        ("download", internet.v4(), Flow::download(Amount::For(TRANSFER)).rate(PACE)),
        ("upload  ", internet.v6(), Flow::upload(Amount::For(TRANSFER)).rate(PACE)),
    ];
    for (name, address, flow) in phases {
        let done = AtomicBool::new(false);
        thread::scope(|scope| -> Result<()> {
            let runs: Vec<_> = SUBSCRIBERS
                .iter()
                .map(|(subscriber, ..)| {
                    let host: &Host = lab.subscriber(subscriber);
                    let (server, flow) = (&server, &flow);
                    scope.spawn(move || traffic::run(host.netns(), server, address, flow))
                })
                .collect();
            let bar = scope.spawn(|| show_progress(name, &done));
            let mut bytes = 0;
            let mut failure = None;
            for run in runs {
                match run.join() {
                    Ok(Ok(report)) => bytes += report.bytes,
                    Ok(Err(err)) => failure = Some(err),
                    Err(_) => failure = Some(io::Error::other("a traffic thread panicked")),
                }
            }
            done.store(true, Relaxed);
            let _ = bar.join();
            println!("  {name} {:.1} MB", bytes as f64 / 1e6);
            failure.map_or(Ok(()), |err| Err(err.into()))
        })?;
    }
    Ok(())
}

/// Draws a bar until the transfer is done; draws nothing if stdout is not a terminal.
fn show_progress(name: &str, done: &AtomicBool) {
    if !io::stdout().is_terminal() {
        return;
    }
    let start = Instant::now();
    while !done.load(Relaxed) {
        let share = (start.elapsed().as_secs_f64() / TRANSFER.as_secs_f64()).min(1.0);
        let filled = (share * 30.0) as usize;
        print!("\r  {name} [{:<30}] {:3.0} %", "#".repeat(filled), share * 100.0);
        let _ = io::stdout().flush();
        thread::sleep(Duration::from_millis(100));
    }
    print!("\r{:60}\r", "");
}

/// Prints the counters of the subscribers' classes and of the default classes.
fn classes(lab: &Lab) -> Result<()> {
    for device in [LAN, WAN] {
        let stats = htb_class_stats(lab.shaper().netns(), device)?;
        let mut classes: Vec<_> = stats.iter().collect();
        classes.sort_by_key(|(class, _)| **class);
        for ((major, minor), stats) in classes {
            let owner = match (*major, *minor) {
                (1, 0x10) => "alice",
                (2, 0x10) => "bob",
                (_, 2) => "default: must stay empty",
                _ => continue,
            };
            println!(
                "  {device}  class {major:x}:{minor:<3x} {:>9} packets {:>11} bytes  {owner}",
                stats.packets, stats.bytes
            );
        }
    }
    Ok(())
}
