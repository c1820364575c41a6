// SPDX-License-Identifier: GPL-2.0-only

//! The recorded texts of one lab run (tests/data) agree with each other, with jq and with the README.

use crate::common::command::{json, Said};
use crate::common::events::{array, check_the_run, data};
use serde_json::Value;
use std::fs;
use std::net::IpAddr;
use std::process::Command;

/// The recorded text has what happened in the run.
#[test]
fn the_run_is_told_as_it_was() {
    check_the_run(&array(&fs::read_to_string(data("run.json")).unwrap()));
}

/// The lines that the README shows of the run are in the recorded text.
#[test]
fn the_readme_shows_the_run() {
    let readme = fs::read_to_string(data("../../README.md")).unwrap();
    let standard = fs::read_to_string(data("run.standard.txt")).unwrap();
    let hour = &standard[..6];
    let shown: Vec<&str> = readme.lines().filter(|line| line.starts_with(hour)).collect();
    assert!(shown.len() >= 4, "{shown:?}");
    let mut lines = standard.lines();
    assert!(shown.iter().all(|shown| lines.any(|line| line == *shown)), "{shown:?}");
}

/// The RTTs of the standard format, of ppviz and of JSON are the same.
#[test]
fn the_formats_agree() {
    let text = |name: &str| fs::read_to_string(data(name)).unwrap();
    let objects = array(&text("run.json"));
    let lines: Vec<_> = text("run.jsonl").lines().map(json).collect();
    assert_eq!(objects, lines);
    let rtts: Vec<_> = objects.iter().filter(|event| event["rtt"].is_u64()).collect();
    let standard = text("run.standard.txt");
    let of_standard: Vec<&str> = standard.lines().filter(|line| line.contains(" ms ")).collect();
    let of_ppviz = text("run.ppviz.txt");
    assert_eq!((of_standard.len(), of_ppviz.lines().count()), (rtts.len(), rtts.len()));
    for ((event, standard), ppviz) in rtts.into_iter().zip(of_standard).zip(of_ppviz.lines()) {
        check_ppviz(event, ppviz);
        let ms = |ns: &Value| decimal(ns.as_u64().unwrap(), 6);
        let flow = ppviz.rsplit(' ').next().unwrap();
        let (rtt, least) = (ms(&event["rtt"]), ms(&event["min_rtt"]));
        let protocol = event["protocol"].as_str().unwrap();
        let end = format!(" {rtt} ms {least} ms {protocol} {flow}");
        assert!(standard.ends_with(&end), "{standard}: {end}");
    }
}

/// Returns `number / 10^digits`.
fn decimal(number: u64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    format!("{}.{:0width$}", number / unit, number % unit, width = digits as usize)
}

/// Checks the four fields of a line: time, RTT and least RTT in seconds with nine decimals, and the flow.
fn check_ppviz(event: &Value, line: &str) {
    let fields: Vec<&str> = line.split(' ').collect();
    let seconds = |name: &str| decimal(event[name].as_u64().unwrap(), 9);
    assert_eq!(fields[..3], [seconds("timestamp"), seconds("rtt"), seconds("min_rtt")], "{line}");
    assert_eq!(fields.len(), 4, "{line}");
    let (src, dest) = fields[3].split_once('+').unwrap();
    for (end, ip, port) in [(src, "src_ip", "src_port"), (dest, "dest_ip", "dest_port")] {
        let (address, number) = end.rsplit_once(':').unwrap();
        assert!(address.parse::<IpAddr>().is_ok() && event[ip] == address, "{line}");
        assert_eq!(event[port].to_string(), number, "{line}");
    }
}

/// jq reads what serde reads.
#[test]
fn jq_reads_it() {
    lab::require_tool("jq");
    let jq = |options: &[&str], name: &str| {
        let said = Said::by(Command::new("jq").args(options).arg(data(name)));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}: {said:?}");
        said.out
    };
    let events = array(&fs::read_to_string(data("run.json")).unwrap());
    let rtts: u64 = events.iter().filter_map(|event| event["rtt"].as_u64()).sum();
    for (name, slurp) in [("run.json", "-c"), ("run.jsonl", "-s")] {
        assert_eq!(jq(&[slurp, "[.[].rtt // 0] | add"], name), format!("{rtts}\n"));
    }
    // jq may hold numbers in 64 bits of floating point: compare the number of elements only.
    let same = jq(&["-c", "."], "run.json");
    assert_eq!(array(&same).len(), events.len());
    let subnets = jq(&["-c", "[.[].ip_prefix // empty] | unique | length"], "run.aggregates.json");
    assert_eq!(subnets, "4\n");
}
