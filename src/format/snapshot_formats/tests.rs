// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::domain::summary::HandleReport;
use crate::domain::{Side, Sides, Summary, TcHandle};

const MS: u64 = 1_000_000;

fn summary(count: u64, median_ns: u64) -> Summary {
    Summary {
        count,
        avg_ns: median_ns + MS,
        min_ns: median_ns / 2,
        max_ns: median_ns * 3,
        median_ns,
        p95_ns: median_ns * 2,
    }
}

fn contract() -> HandleReport {
    let both = Summary {
        count: 12,
        avg_ns: 2_640_000,
        min_ns: 384_999,
        max_ns: 5_385_000,
        median_ns: 2_030_001,
        p95_ns: 5_000_000,
    };
    HandleReport { tc_handle: TcHandle(0x1_0005), subscriber: Some(both), internet: None, both }
}

fn two_sided(tc_handle: u32, subscriber: u64, internet: u64) -> HandleReport {
    HandleReport {
        tc_handle: TcHandle(tc_handle),
        subscriber: Some(summary(7, subscriber)),
        internet: Some(summary(1234, internet)),
        both: summary(1241, internet),
    }
}

fn text(format: &NamedFormat<Snapshot>, reports: &[HandleReport], sides: Sides) -> String {
    let mut out = Vec::new();
    let snapshot = Snapshot { reports: reports.to_vec(), sides };
    let mut format = (format.make)();
    format.begin(&mut out);
    format.record(&mut out, &snapshot);
    format.end(&mut out);
    String::from_utf8(out).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn json_is_the_contract_to_the_byte() {
    let out = text(&JSON, &[contract()], Sides::Both);
    let golden = "[\n\
        {\"tc\":\"1:5\", \"avg\": 2.64, \"min\": 0.38, \"max\": 5.39, \"median\": 2.03, \"samples\": 12},\n\
        {}]\n";
    assert_eq!(out, golden);
    assert_eq!(json(&out)[1], serde_json::json!({}));
}

#[test]
fn json_of_nothing_is_valid() {
    let out = text(&JSON, &[], Sides::Both);
    assert_eq!(out, "[\n{}]\n");
    json(&out);
}

#[test]
fn json_handles_are_decimal() {
    let report =
        HandleReport { tc_handle: TcHandle(0x12_00ab), both: summary(1, MS), ..contract() };
    let out = text(&JSON, &[report], Sides::Both);
    assert_eq!(json(&out)[0]["tc"], "18:171");
}

#[test]
fn handles_without_a_sample_on_the_side_are_left_out() {
    let none = HandleReport { both: Summary::default(), subscriber: None, ..contract() };
    assert_eq!(text(&JSON, &[none], Sides::Both), "[\n{}]\n");
    assert_eq!(text(&JSON, &[contract()], Sides::One(Side::Internet)), "[\n{}]\n");
    assert_eq!(text(&JSONL, &[contract()], Sides::One(Side::Internet)), "");
    let table = text(&TABLE, &[contract(), none], Sides::One(Side::Internet));
    assert_eq!(table.lines().count(), 2);
}

#[test]
fn jsonl_has_a_line_for_each_handle() {
    let one = [contract()];
    let both = text(&JSONL, &one, Sides::Both);
    let fields = r#""avg":2.64,"min":0.38,"max":5.39,"median":2.03,"p95":5.00,"samples":12"#;
    let golden = format!(
        "{{\"tc\":\"1:5\",\"side\":\"both\",{fields},\"subscriber\":{{{fields}}},\"internet\":null}}\n"
    );
    assert_eq!(both, golden);
    assert_eq!(json(&both)["subscriber"]["p95"], 5.0);
    let side = text(&JSONL, &one, Sides::One(Side::Subscriber));
    assert_eq!(side, format!("{{\"tc\":\"1:5\",\"side\":\"subscriber\",{fields}}}\n"));
    let empty = text(&JSONL, &[], Sides::Both);
    assert_eq!(empty, "");
}

#[test]
fn table_shows_the_worst_median_first() {
    let reports = [
        two_sided(0x1_0005, 5 * MS, 20 * MS),
        two_sided(0x1f_0123, 640 * MS, 20 * MS),
        contract(),
        two_sided(0x2_000a, 40 * MS, 20 * MS),
    ];
    let out = text(&TABLE, &reports, Sides::Both);
    let golden = [
        "          -------------- subscriber side, ms --------------    ------------ internet side, ms ------------",
        "class     median      p95     avg     min      max  samples    median    p95    avg    min    max  samples",
        "1f:123    640.00  1280.00  641.00  320.00  1920.00        7     20.00  40.00  21.00  10.00  60.00     1234",
        "2:a        40.00    80.00   41.00   20.00   120.00        7     20.00  40.00  21.00  10.00  60.00     1234",
        "1:5         5.00    10.00    6.00    2.50    15.00        7     20.00  40.00  21.00  10.00  60.00     1234",
        "1:5         2.03     5.00    2.64    0.38     5.39       12         -      -      -      -      -        -",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), golden, "\n{out}");
}

#[test]
fn table_of_one_side() {
    let reports = [two_sided(0x1_0005, 5 * MS, 900 * MS), two_sided(0x1_0006, 6 * MS, 20 * MS)];
    let out = text(&TABLE, &reports, Sides::One(Side::Subscriber));
    let golden = "         ---------- subscriber side, ms ----------\n\
        class    median    p95   avg   min    max  samples\n\
        1:6        6.00  12.00  7.00  3.00  18.00        7\n\
        1:5        5.00  10.00  6.00  2.50  15.00        7\n";
    assert_eq!(out, golden, "\n{out}");
}

#[test]
fn table_of_nothing_has_its_head() {
    let out = text(&TABLE, &[], Sides::Both);
    assert_eq!(out.lines().count(), 2);
    assert!(out.lines().nth(1).unwrap().starts_with("class"));
}
