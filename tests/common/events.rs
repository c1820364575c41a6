// SPDX-License-Identifier: GPL-2.0-only

//! The events that pping prints: RTTs and flows.

use super::command::json;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Returns the path of a file in tests/data.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Returns the elements of a JSON array.
pub fn array(text: &str) -> Vec<Value> {
    let Value::Array(elements) = json(text) else { panic!("no array: {text}") };
    elements
}

/// Returns the RTTs of a host, in milliseconds.
pub fn rtts_of(events: &[Value], host: IpAddr) -> Vec<f64> {
    let host = host.to_string();
    let of_host = events.iter().filter(|event| event["src_ip"] == host.as_str());
    of_host.filter_map(|event| event["rtt"].as_f64()).map(|ns| ns / 1e6).collect()
}

/// Returns the flow events of a kind as `reason by`: `SYN by dest`.
pub fn flow_events(events: &[Value], what: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let said = events.iter().filter(|event| event["flow_event"] == what);
    said.map(|event| text(&event["reason"]) + " by " + &text(&event["triggered_by"])).collect()
}

/// Returns the number of RTTs of each flow: source and destination, each with its port.
pub fn rtts_by_flow(events: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|event| event["rtt"].is_u64()) {
        let ends =
            ["src_ip", "src_port", "dest_ip", "dest_port"].map(|name| event[name].to_string());
        *counts.entry(ends.join(" ")).or_default() += 1;
    }
    counts
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

/// Asserts that the events of the recorded run show what happened in it, whatever the recorded texts say.
pub fn check_the_run(events: &[Value]) {
    let rtts = |protocol: &str, of_v6: bool| {
        let of_protocol = events.iter().filter(|event| event["protocol"] == protocol);
        let v6 = |event: &&Value| event["src_ip"].as_str().unwrap().contains(':') == of_v6;
        of_protocol.filter(v6).filter(|event| event["rtt"].is_u64()).count()
    };
    assert_eq!((rtts("ICMP", false), rtts("ICMPv6", true)), (3, 3));
    assert!(rtts("TCP", false) > 15 && rtts("TCP", true) > 4);
    let closed = flow_events(events, "closing");
    let count = |what: &str| closed.iter().filter(|event| *event == what).count();
    // Two connections end with two FINs, one with a reset, which ends both ways.
    assert_eq!(count("FIN by dest"), 4, "{closed:?}");
    assert_eq!((count("RST by dest"), count("RST by src")), (1, 1), "{closed:?}");
    // The half-closed one is measured the other way after its first FIN.
    let half = events
        .iter()
        .skip_while(|event| event["reason"] != "FIN" || event["src_ip"] != "2001:db8::1");
    let rest = half.filter(|event| event["dest_ip"] == "2001:db8::1" && event["rtt"].is_u64());
    assert!(rest.count() >= 2);
}
