use super::*;
use crate::values::parse_cidr;

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
    HandleReport { tc_handle: 0x1_0005, subscriber: Some(both), internet: None, both }
}

fn two_sided(tc_handle: u32, subscriber: u64, internet: u64) -> HandleReport {
    HandleReport {
        tc_handle,
        subscriber: Some(summary(7, subscriber)),
        internet: Some(summary(1234, internet)),
        both: summary(1241, internet),
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn json_is_the_contract_to_the_byte() {
    let out = text(|out| write_json(out, &[contract()], Side::Both));
    let golden = "[\n\
        {\"tc\":\"1:5\", \"avg\": 2.64, \"min\": 0.38, \"max\": 5.39, \"median\": 2.03, \"samples\": 12},\n\
        {}]\n";
    assert_eq!(out, golden);
    assert_eq!(json(&out)[1], serde_json::json!({}));
}

#[test]
fn json_of_nothing_is_valid() {
    let out = text(|out| write_json(out, &[], Side::Both));
    assert_eq!(out, "[\n{}]\n");
    json(&out);
}

#[test]
fn json_handles_are_decimal() {
    let report = HandleReport { tc_handle: 0x12_00ab, both: summary(1, MS), ..contract() };
    let out = text(|out| write_json(out, &[report], Side::Both));
    assert_eq!(json(&out)[0]["tc"], "18:171");
}

#[test]
fn handles_without_a_sample_on_the_side_are_left_out() {
    let none = HandleReport { both: Summary::default(), subscriber: None, ..contract() };
    assert_eq!(text(|out| write_json(out, &[none], Side::Both)), "[\n{}]\n");
    assert_eq!(text(|out| write_json(out, &[contract()], Side::Internet)), "[\n{}]\n");
    assert_eq!(text(|out| write_jsonl(out, &[contract()], Side::Internet)), "");
    let table = text(|out| write_table(out, &[contract(), none], Side::Internet));
    assert_eq!(table.lines().count(), 2);
}

#[test]
fn jsonl_has_a_line_for_each_handle() {
    let one = [contract()];
    let both = text(|out| write_jsonl(out, &one, Side::Both));
    let fields = r#""avg":2.64,"min":0.38,"max":5.39,"median":2.03,"p95":5.00,"samples":12"#;
    let golden = format!(
        "{{\"tc\":\"1:5\",\"side\":\"both\",{fields},\"subscriber\":{{{fields}}},\"internet\":null}}\n"
    );
    assert_eq!(both, golden);
    assert_eq!(json(&both)["subscriber"]["p95"], 5.0);
    let side = text(|out| write_jsonl(out, &one, Side::Subscriber));
    assert_eq!(side, format!("{{\"tc\":\"1:5\",\"side\":\"subscriber\",{fields}}}\n"));
    let empty = text(|out| write_jsonl(out, &[], Side::Both));
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
    let out = text(|out| write_table(out, &reports, Side::Both));
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
    let out = text(|out| write_table(out, &reports, Side::Subscriber));
    let golden = "         ---------- subscriber side, ms ----------\n\
        class    median    p95   avg   min    max  samples\n\
        1:6        6.00  12.00  7.00  3.00  18.00        7\n\
        1:5        5.00  10.00  6.00  2.50  15.00        7\n";
    assert_eq!(out, golden, "\n{out}");
}

#[test]
fn table_of_nothing_has_its_head() {
    let out = text(|out| write_table(out, &[], Side::Both));
    assert_eq!(out.lines().count(), 2);
    assert!(out.lines().nth(1).unwrap().starts_with("class"));
}

#[test]
fn milliseconds_are_rounded_half_up() {
    let table = [
        (0, "0.00"),
        (4_999, "0.00"),
        (5_000, "0.01"),
        (994_999, "0.99"),
        (995_000, "1.00"),
        (12_345_678, "12.35"),
        (u64::MAX, "18446744073709.55"),
    ];
    for (ns, ms) in table {
        assert_eq!(Ms(ns).to_string(), ms, "{ns}");
        let mut line = Vec::new();
        push_ms(&mut line, ns);
        assert_eq!(line, ms.as_bytes(), "{ns}");
    }
}

fn mapping(cidr: &str, cpu: u32, tc_handle: u32) -> Mapping {
    Mapping { prefix: parse_cidr(cidr).unwrap(), cpu, tc_handle: TcHandle(tc_handle) }
}

#[test]
fn list_is_the_contract_to_the_byte() {
    let entries = [
        mapping("100.64.0.2", 1, 0x2_0005),
        mapping("2001:db8::/32", 63, 0xabc_00ff),
        mapping("::/0", 0, 0),
    ];
    let out = text(|out| write_mappings(out, entries));
    let golden = concat!(
        "{\n",
        r#""100.64.0.2/32" : { "cpu" : 1, "tc_maj" : "2" , "tc_min" : "5" }"#,
        ",\n",
        r#""2001:db8::/32" : { "cpu" : 63, "tc_maj" : "ABC" , "tc_min" : "FF" }"#,
        ",\n",
        r#""::/0" : { "cpu" : 0, "tc_maj" : "0" , "tc_min" : "0" }"#,
        "\n}\n",
    );
    assert_eq!(out, golden);
    assert_eq!(json(&out)["2001:db8::/32"]["cpu"], 63);
}

#[test]
fn list_of_nothing_is_valid() {
    let out = text(|out| write_mappings(out, []));
    assert_eq!(out, "{\n}\n");
    assert_eq!(json(&out), serde_json::json!({}));
}

#[test]
fn queue_table_keeps_the_predecessors_layout() {
    let rows = [
        TxqRow { cpu: 0, queue_mapping: 1, htb_major: 1 },
        TxqRow { cpu: 63, queue_mapping: 64, htb_major: 0x40 },
    ];
    let golden = "\
        |-----------+---------------+-----------|\n\
        | key (cpu) | queue_mapping | htb_major |\n\
        |-----------+---------------+-----------|\n\
        |    0      |        1      |  0x1      |\n\
        |    63     |        64     |  0x40     |\n\
        |-----------+---------------+-----------|\n";
    assert_eq!(text(|out| write_txq_table(out, rows)), golden);
}

#[test]
fn columns_are_as_wide_as_they_need_to_be() {
    let rows = [["a", "1", "-"], ["longer", "1000", "2"]];
    let rows = rows.map(|row| row.map(str::to_owned)).into_iter();
    let golden = "name    many  n\na          1  -\nlonger  1000  2\n";
    assert_eq!(text(|out| write_columns(out, &["name", "many", "n"], rows)), golden);
    let head = text(|out| write_columns(out, &["name", "many"], [].into_iter()));
    assert_eq!(head, "name  many\n");
}
