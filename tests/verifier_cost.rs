// SPDX-License-Identifier: GPL-2.0-only

//! The verifier's cost of each program: a rise of more than a tenth over tests/verifier_cost.txt fails.
//!
//! The programs are loaded with the configuration of production, since the verifier removes code that the configuration
//! turns off. The figures depend on the kernel and on clang: record them again after you have judged a step.

use cpumap_pping::abi::skel::{
    cpumap_pping::CpumapPpingSkelBuilder, pping::PpingSkelBuilder, xdp_pass::XdpPassSkelBuilder,
};
use cpumap_pping::kernel::load::hash_keys;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::mem::{size_of, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verifier_cost.txt");
const RECORD: &str = "VERIFIER_COST=record cargo test --test verifier_cost";

/// Returns how many instructions the verifier went through for a loaded program.
fn verified_insns(program: BorrowedFd<'_>) -> u32 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut size = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: info is a writable struct of the size given; its null pointers ask for no arrays.
    let result =
        unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut size) };
    assert_eq!(result, 0, "bpf_prog_get_info_by_fd");
    info.verified_insns
}

fn measure() -> BTreeMap<String, u32> {
    let mut object = MaybeUninit::uninit();
    let mut open = CpumapPpingSkelBuilder::default().open(&mut object).expect("open");
    let config = &mut open.maps.rodata_data.as_deref_mut().expect("rodata").config;
    (config.hash_key, config.meta_cookie) = (hash_keys(0x0123_4567_89ab_cdef), 0xc00c_1e55);
    (config.cache_ttl_jiffies, config.jiffy_ns) = (225, 4_000_000);
    (config.sweep_ticks, config.idle_ticks, config.resync_ticks) = (15, 62, 3);
    let skel = open.load().expect("load");
    let mut pass_object = MaybeUninit::uninit();
    let pass = XdpPassSkelBuilder::default().open(&mut pass_object).expect("open");
    let pass = pass.load().expect("load");
    let mut stream_object = MaybeUninit::uninit();
    let mut open = PpingSkelBuilder::default().open(&mut stream_object).expect("open");
    let rodata = open.maps.rodata_data.as_deref_mut().expect("rodata");
    (rodata.config.sweep_ticks, rodata.config.idle_ticks) = (15, 62);
    rodata.config.resync_ticks = 3;
    // All options that can be combined.
    let config = &mut rodata.stream_config;
    (config.events, config.aggregate, config.tcp, config.icmp) = (1, 1, 1, 1);
    (config.subnet_v4, config.subnet_v6) = (24, 48);
    let stream = open.load().expect("load");
    [
        ("pping_ingress", stream.progs.pping_ingress.as_fd()),
        ("pping_egress", stream.progs.pping_egress.as_fd()),
        ("pping_xdp", stream.progs.pping_xdp.as_fd()),
        ("pping_follow", stream.progs.pping_follow.as_fd()),
        ("xdp_iphash_to_cpu", skel.progs.xdp_iphash_to_cpu.as_fd()),
        ("tc_classify", skel.progs.tc_classify.as_fd()),
        ("xdp_pass", pass.progs.xdp_pass.as_fd()),
    ]
    .map(|(name, program)| (name.to_owned(), verified_insns(program)))
    .into()
}

fn recorded() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(FILE).expect(FILE);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    lines.map(|line| parse(line).unwrap_or_else(|| panic!("{FILE}: {line}"))).collect()
}

fn record(measured: &BTreeMap<String, u32>) {
    let release =
        nix::sys::utsname::uname().expect("uname").release().to_string_lossy().into_owned();
    let mut text = format!("# Instructions verified, Linux {release}. To record: {RECORD}\n");
    for (name, value) in measured {
        let _ = writeln!(text, "{name} {value}");
    }
    fs::write(FILE, text).expect(FILE);
}

#[test]
fn no_program_costs_the_verifier_a_tenth_more() {
    lab::require_root();
    let measured = measure();
    if std::env::var("VERIFIER_COST").is_ok_and(|value| value == "record") {
        record(&measured);
    }
    let recorded = recorded();
    assert!(
        measured.keys().eq(recorded.keys()),
        "{FILE} names other programs; to record: {RECORD}"
    );
    for (name, now) in &measured {
        let before = recorded[name];
        let rise = f64::from(*now) / f64::from(before) - 1.0;
        eprintln!("{name}: {now} instructions verified ({:+.1} % of {before})", rise * 100.0);
        assert!(
            rise <= 0.1,
            "{name} costs the verifier {:.0} % more than recorded ({before}, now {now}). If that is worth it: {RECORD}",
            rise * 100.0
        );
    }
}
