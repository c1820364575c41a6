use super::*;
use crate::error::exit;

#[test]
fn cidr_is_read_and_printed_back() {
    let table = [
        ("100.64.0.2", "100.64.0.2/32", 128),
        ("100.64.0.2/32", "100.64.0.2/32", 128),
        ("100.64.1.77/24", "100.64.1.0/24", 120),
        ("10.1.2.3/8", "10.0.0.0/8", 104),
        ("10.1.2.3/1", "0.0.0.0/1", 97),
        ("0.0.0.0/0", "0.0.0.0/0", 96),
        ("255.255.255.255", "255.255.255.255/32", 128),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.255/32", 128),
        ("::/0", "::/0", 0),
        ("::", "::/128", 128),
        ("2001:db8::1", "2001:db8::1/128", 128),
        ("2001:DB8:0:0::1/32", "2001:db8::/32", 32),
        ("2001:db8:ffff::/33", "2001:db8:8000::/33", 33),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4/128", 128),
        ("ffff:ffff:ffff:ffff:ffff:ffff::/96", "0.0.0.0/0", 96),
        ("ffff:ffff:ffff:ffff:ffff:ffff::/95", "ffff:ffff:ffff:ffff:ffff:fffe::/95", 95),
        ("ffff::/16", "ffff::/16", 16),
        ("10.0.0.1/08", "10.0.0.0/8", 104),
    ];
    for (text, printed, prefixlen) in table {
        let prefix = parse_cidr(text).unwrap();
        assert_eq!(prefix.to_string(), printed, "{text}");
        assert_eq!(prefix.prefixlen(), prefixlen, "{text}");
        assert_eq!(parse_cidr(printed).unwrap(), prefix, "{text} reads back");
    }
    assert_eq!(parse_cidr("255.255.255.255").unwrap(), Prefix::DEFAULT);
}

#[test]
fn v4_key_is_ones_then_network_order() {
    let mut key = [0xFF; 16];
    key[12..].copy_from_slice(&[100, 64, 0, 2]);
    assert_eq!(parse_cidr("100.64.0.2").unwrap().addr(), key);
    let mut v6 = [0; 16];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(parse_cidr("2001:db8::1/32").unwrap().addr(), v6);
}

#[test]
fn cidr_refusals() {
    let table = [
        "",
        " ",
        "/",
        "/24",
        "10.0.0.1/",
        "10.0.0.1/33",
        "::/129",
        "10.0.0.1/+5",
        "10.0.0.1/-1",
        "10.0.0.1/ 5",
        "10.0.0.1/5 ",
        " 10.0.0.1",
        "10.0.0.1 ",
        "10.0.0.1/24/",
        "10.0.0.1/24x",
        "10.0.0.1/255.255.255.0",
        "10.0.0.1/0x8",
        "10.0.0.1/99999999999999999999",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.1.",
        "010.0.0.1",
        "localhost",
        "example.com",
        "fe80::1%eth0",
        "2001:db8:::1",
        ":",
        "1:2:3:4:5:6:7",
        "[::1]",
        "0x0a000001",
        "167772161",
        "10.0.0.1\n",
        "10.0.0.1/\u{0661}",
    ];
    for text in table {
        let err = parse_cidr(text).unwrap_err();
        assert_eq!(err.exit_code(), exit::BAD_IP, "{text:?}: {err}");
    }
}

#[test]
fn prefix_from_a_foreign_key_is_canonical() {
    assert_eq!(Prefix::new([0xFF; 16], 129), None);
    assert_eq!(Prefix::new([0xFF; 16], 0).unwrap().to_string(), "::/0");
    assert_eq!(Prefix::new([0xFF; 16], 8).unwrap().to_string(), "ff00::/8");
    assert_eq!(Prefix::new([0xFF; 16], 104).unwrap().to_string(), "255.0.0.0/8");
}

#[test]
fn tc_handle_as_iproute2() {
    let table = [
        ("1:5", 0x1_0005),
        ("0x1:0x8", 0x1_0008),
        ("0X1:0Xa", 0x1_000a),
        ("4:12", 0x4_0012),
        ("7FFF:", 0x7fff_0000),
        ("1:", 0x1_0000),
        (":1f", 0x1f),
        (":", 0),
        ("ffff:ffff", 0xffff_ffff),
        ("0x00001:0x00005", 0x1_0005),
        ("root", 0xffff_ffff),
        ("none", 0),
        ("1", 1),
        ("10005", 0x1_0005),
        ("0x10005", 0x1_0005),
        ("ffffffff", 0xffff_ffff),
    ];
    for (text, raw) in table {
        assert_eq!(parse_tc_handle(text).unwrap(), TcHandle(raw), "{text}");
    }
}

#[test]
fn tc_handle_refusals() {
    let table = [
        "",
        "10000:1",
        "1:10000",
        "1:2:3",
        "1:g",
        "x:1",
        "0x:1",
        "1:0x",
        "-1",
        "1:-5",
        "1:5 ",
        "1 :5",
        "100000000",
        "0x1_0",
        "ROOT",
        "rooted",
        "none ",
        "1.5",
        "++1",
        "1:0x0x5",
    ];
    for text in table {
        let err = parse_tc_handle(text).unwrap_err();
        assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
    }
}

#[test]
fn tc_handle_prints_and_reads_back() {
    let table = [
        (0, "none", "0:0"),
        (u32::MAX, "root", "65535:65535"),
        (0x1_0005, "1:5", "1:5"),
        (0x12_00ab, "12:ab", "18:171"),
        (0x1f, "0:1f", "0:31"),
        (0x1_0000, "1:0", "1:0"),
    ];
    for (raw, hex, decimal) in table {
        let handle = TcHandle(raw);
        assert_eq!(handle.to_string(), hex);
        assert_eq!(handle.decimal().to_string(), decimal);
        assert_eq!(parse_tc_handle(hex).unwrap(), handle);
        assert_eq!(TcHandle::new(handle.major(), handle.minor()), handle);
    }
}

#[test]
fn cpu_in_base_0() {
    let table = [
        ("0", 0),
        ("3", 3),
        ("0x0", 0),
        ("0x1F", 31),
        ("0X1f", 31),
        ("010", 8),
        ("+5", 5),
        (" 7", 7),
        ("4294967295", u32::MAX),
    ];
    for (text, cpu) in table {
        assert_eq!(parse_cpu(text).unwrap(), cpu, "{text}");
    }
    let refused = [
        "",
        " ",
        "-1",
        "--1",
        "+-1",
        "++1",
        "08",
        "0x",
        "0xg",
        "3 ",
        "3\n",
        "1.5",
        "abc",
        "4294967296",
        "0x1ffffffffffffffff",
        "0x+1",
        "1_0",
    ];
    for text in refused {
        assert_eq!(parse_cpu(text).unwrap_err().exit_code(), exit::BAD_CPU, "{text:?}");
    }
}

#[test]
fn cpu_must_be_possible() {
    assert!(check_cpu(1, 2).is_ok());
    let err = check_cpu(2, 2).unwrap_err();
    assert_eq!(err.exit_code(), exit::BAD_CPU);
    assert_eq!(err.to_string(), "--cpu 2: this machine has 2 possible CPUs; give 0 to 1");
}

#[test]
fn sixteen_bits_in_hexadecimal() {
    for (text, value) in [("0", 0), ("a", 10), ("0xA", 10), ("10", 16), ("ffff", 0xffff)] {
        assert_eq!(parse_u16_hex("-j", text).unwrap(), value, "{text}");
    }
    for text in ["", "0x", "10000", "-1", "g", "1:", "1 "] {
        assert_eq!(parse_u16_hex("-j", text).unwrap_err().exit_code(), exit::USAGE, "{text:?}");
    }
}

#[test]
fn numbers_keep_to_their_range() {
    for (text, value) in [("1", 1), ("2048", 2048), ("0x10", 16), ("16384", 16384)] {
        assert_eq!(parse_number("--qsize", text, 1, 16384).unwrap(), value);
    }
    for text in ["", "0", "16385", "-1", "2048k"] {
        let err = parse_number("--qsize", text, 1, 16384).unwrap_err();
        assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
    }
}

#[test]
fn interface_names() {
    for name in ["eth0", "a", "enp175s0f1.100", "123456789012345", "-", "br-lan", "wän"] {
        assert_eq!(IfName::parse("--dev", name).unwrap().as_str(), name);
    }
    for name in ["", ".", "..", "a/b", "a b", "a:b", "a\tb", "1234567890123456"] {
        let err = IfName::parse("--dev", name).unwrap_err();
        assert_eq!(err.exit_code(), exit::USAGE, "{name:?}");
    }
}

#[test]
fn unknown_interface_is_a_bad_option() {
    let err = IfName::parse("--dev", "nosuchif0").unwrap().index().unwrap_err();
    assert_eq!(err.exit_code(), exit::USAGE);
    assert!(err.to_string().starts_with("interface nosuchif0: ENODEV"), "{err}");
    assert_eq!(IfName::parse("--dev", "lo").unwrap().index().unwrap(), 1);
}
