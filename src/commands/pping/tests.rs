// SPDX-License-Identifier: GPL-2.0-only
use std::time::Duration;

use super::*;
use crate::commands::command_line::words;
use crate::stream::event_options::RttType;

fn plain() -> PpingRequest {
    PpingRequest {
        input: PacketSource::Interface(IfName::parse("-i", "eth0").unwrap()),
        events: EventOptions::default(),
        file: None,
        format: &stream_formats::STANDARD,
        tcp: true,
        icmp: false,
        include_local: false,
        include_syn: false,
        ingress: Hook::Ingress,
        xdp_mode: XdpMode::Auto,
        aggregate: None,
    }
}

fn limit(ms: u64) -> EventOptions {
    EventOptions { rate_limit: Duration::from_millis(ms), ..EventOptions::default() }
}

#[test]
fn options_become_requests() {
    let capture = PacketSource::Capture("a.pcap".into());
    let table = [
        ("-i eth0", plain()),
        ("--interface=eth0 --force -c 1 -f --cleanup-interval 0.5", plain()),
        ("--read a.pcap", PpingRequest { input: capture, ..plain() }),
        ("-ieth0 -T", plain()),
        ("-ieth0 -C", PpingRequest { tcp: false, icmp: true, ..plain() }),
        ("-ieth0 -TC", PpingRequest { icmp: true, ..plain() }),
        ("-ieth0 -ls", PpingRequest { include_local: true, include_syn: true, ..plain() }),
        ("-ieth0 --include-SYN", PpingRequest { include_syn: true, ..plain() }),
        ("-ieth0 -r 0", PpingRequest { events: limit(0), ..plain() }),
        ("-ieth0 -r 9 --rate-limit 50", PpingRequest { events: limit(50), ..plain() }),
        ("-ieth0 -F jsonl", PpingRequest { format: &stream_formats::JSONL, ..plain() }),
        (
            "-ieth0 -I xdp -x generic",
            PpingRequest { ingress: Hook::Xdp, xdp_mode: XdpMode::Skb, ..plain() },
        ),
    ];
    for (line, request) in table {
        assert_eq!(PpingRequest::parse(words(line)).unwrap(), request, "{line}");
    }
}

#[test]
fn the_rate_is_fixed_point_and_a_dash_is_standard_output() {
    let request = PpingRequest::parse(words("-i eth0 -R 0.5 -t smoothed -w out.json")).unwrap();
    assert_eq!(request.events.rtt_rate, 32_768);
    assert_eq!(request.events.rtt_type, RttType::Smoothed);
    assert_eq!(request.file, Some("out.json".into()));
    assert_eq!(PpingRequest::parse(words("-i eth0 -w -")).unwrap().file, None);
}

#[test]
fn aggregate_options_become_parameters() {
    let default = AggregateOptions::default();
    let one = AggregateOptions { interval: Duration::from_secs(1), ..default };
    let all = AggregateOptions {
        interval: Duration::from_millis(2500),
        subnet_v4: 0,
        subnet_v6: 64,
        reverse: true,
        timeout: Duration::ZERO,
    };
    let table = [
        ("-i eth0 -a 1", one),
        ("-i eth0 --aggregate 1 -F json", one),
        (
            "-i eth0 -a 2.5 --aggregate-subnets-v4 0 -6 64 --aggregate-rev \
             --aggregate-timeout=0",
            all,
        ),
    ];
    for (line, options) in table {
        assert_eq!(PpingRequest::parse(words(line)).unwrap().aggregate, Some(options), "{line}");
    }
    assert_eq!((default.subnet_v4, default.subnet_v6), (24, 48));
    assert_eq!(default.timeout, Duration::from_secs(30));
}

#[test]
fn options_are_written_into_the_configuration() {
    let mut config = StreamConfig::default();
    PpingRequest::parse(words("-i eth0 -C -l -r 5 -a 1 -4 20 -6 56")).unwrap().apply(&mut config);
    assert_eq!((config.tcp, config.icmp, config.include_local), (0, 1, 1));
    assert_eq!((config.rate_limit_ns, config.events), (5_000_000, 1));
    assert_eq!((config.aggregate, config.subnet_v4, config.subnet_v6), (1, 20, 56));
}

#[test]
fn bad_command_lines_are_refused() {
    let table = [
        ("", "missing --interface, --read"),
        ("-i eth0 --read x", "--interface with --read"),
        ("-i a/b", "--interface 'a/b'"),
        ("-i eth0 -r -1", "--rate-limit '-1'"),
        ("-i eth0 -r x", "--rate-limit 'x'"),
        ("-i eth0 -r 604800001", "--rate-limit '604800001'"),
        ("-i eth0 -R 10001", "--rtt-rate '10001'"),
        ("-i eth0 -t avg", "'avg'"),
        ("-i eth0 -F xml", "'xml'"),
        ("-i eth0 -I lan", "'lan'"),
        ("-i eth0 -x skb", "'skb'"),
        ("-i eth0 -c -1", "--cleanup-interval '-1'"),
        ("-i eth0 -a 0", "--aggregate '0'"),
        ("-i eth0 -a 1 -F ppviz", "--aggregate with --format ppviz"),
        ("-i eth0 -a 1 -4 33", "--aggregate-subnets-v4 '33'"),
        ("-i eth0 -a 1 -6 +4", "--aggregate-subnets-v6 '+4'"),
        ("-i eth0 -a 1 --aggregate-timeout x", "--aggregate-timeout 'x'"),
        ("-i eth0 --aggregate-reverse", "--aggregate-reverse"),
        ("-i eth0 --include", "--include"),
        ("-i eth0 --bogus", "--bogus"),
        ("-i eth0 extra", "'extra'"),
    ];
    for (line, names) in table {
        let exit = PpingRequest::parse(words(line)).unwrap_err();
        assert_eq!(exit.code, 2, "{line}");
        let first = exit.text.lines().next().unwrap();
        assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
    }
}
