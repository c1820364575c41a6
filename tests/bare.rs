// SPDX-License-Identifier: GPL-2.0-only

//! Devices whose frames have no Ethernet header: a shaper whose subscribers are behind a TUN device.

mod common;

use common::command::MS;
use common::patience::{agree, ms, patiently};
use common::shaper::Shaper;
use lab::{traffic, tun_of_type, Flow, Netns, Sandbox, Server, TunLine, TUN};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::Duration;

const SUBSCRIBER_RTT: Duration = Duration::from_millis(20);
const CLASS: &str = "1:5";
const EXCHANGES: u32 = 20;

/// A subscriber behind a TUN device (LAN), the shaper, and a server behind Ethernet (WAN).
struct TunLab {
    shaper: Sandbox,
    subscriber: Netns,
    server: Server,
    _server_side: Netns,
    _line: TunLine,
}

impl TunLab {
    const SERVER: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 2)),
    ];

    fn new() -> Self {
        let (shaper, subscriber, far) =
            (Sandbox::new().unwrap(), Netns::new().unwrap(), Netns::new().unwrap());
        let line = TunLine::start([shaper.netns(), &subscriber], SUBSCRIBER_RTT).unwrap();
        shaper.add_device("wan", 2);
        shaper.ok(&format!("ip link set wan-peer netns {}", far.path().display()));
        shaper.ok("ip addr add 192.0.2.1/24 dev wan");
        shaper.ok("ip addr add fd00:a::1/64 dev wan nodad");
        // Neighbour discovery for forwarded packets needs a link-local address.
        shaper.ok("ip addr add fe80::1/64 dev wan nodad");
        // XDP redirects lose checksums that a veth device has left for later.
        shaper.ok("ethtool -K wan tx off");
        for (netns, lines) in [
            (
                &far,
                [
                    "ip addr add 192.0.2.2/24 dev wan-peer; ip addr add fd00:a::2/64 dev wan-peer nodad",
                    "ip link set wan-peer up; ethtool -K wan-peer tx off >/dev/null",
                    "ip route add default via 192.0.2.1; ip route add default via fd00:a::1",
                ],
            ),
            (&subscriber, ["ip route add default dev tun0", "ip -6 route add default dev tun0", "true"]),
        ] {
            let status = netns.command("sh").args(["-ec", &lines.join("; ")]).status().unwrap();
            assert!(status.success(), "{lines:?}");
        }
        for forward in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            shaper.netns().sysctl(forward, "1").unwrap();
        }
        let server = Server::start(&far, 0).unwrap();
        Self { shaper, subscriber, server, _server_side: far, _line: line }
    }

    fn talk(&self) {
        let flow = Flow::request_response(EXCHANGES, Duration::ZERO);
        for host in Self::SERVER {
            traffic::run(&self.subscriber, &self.server, host, &flow).unwrap();
        }
        sleep(2 * SUBSCRIBER_RTT);
    }
}

/// Steered, classed and measured, up and down, IPv4 and IPv6.
#[test]
fn a_shaper_on_a_tun_device() {
    lab::require_root();
    let lab = TunLab::new();
    let shaper = &lab.shaper;
    shaper.attach_both(TUN, "wan");
    for ip in TunLine::addresses(1) {
        shaper.ok(&format!("xdp_iphash_to_cpu_cmdline --add --ip {ip} --cpu 0 --classid {CLASS}"));
    }
    let before = shaper.counters();
    patiently(|| {
        lab.talk();
        let rtts = shaper.rtts();
        let (near, far) = (&rtts[CLASS]["subscriber"], &rtts[CLASS]["internet"]);
        for (side, figures) in [("subscriber", near), ("internet", far)] {
            let samples = figures["samples"].as_u64().unwrap_or(0);
            assert!(samples >= u64::from(EXCHANGES), "{side}: {figures}");
        }
        let min = near["min"].as_f64().unwrap_or(f64::NAN);
        if !agree(min, ms(SUBSCRIBER_RTT)) {
            return Err(format!("subscriber: {near}"));
        }
        match far["median"].as_f64() {
            Some(median) if median < ms(5 * MS) => Ok(()),
            _ => Err(format!("internet: {far}")),
        }
    });
    let counted = shaper.counters().since(&before);
    for counter in ["xdp_redirected", "tc_classified"] {
        // Both families, both directions.
        assert!(counted.of(counter) >= 4 * u64::from(EXCHANGES), "{counter}: {counted:?}");
    }
    assert_eq!(counted.of("xdp_malformed") + counted.of("tc_malformed"), 0, "{counted:?}");
}

/// Frames that begin with something else are refused before anything changes.
#[test]
fn a_device_whose_frames_nobody_can_read_is_refused() {
    const ARPHRD_CAN: u16 = 280;
    lab::require_root();
    let sandbox = Sandbox::new().unwrap();
    let _device = tun_of_type(sandbox.netns(), "odd0", ARPHRD_CAN).unwrap();
    for line in ["xdp_iphash_to_cpu --dev odd0 --lan", "tc_classify --dev-egress odd0"] {
        let said = sandbox.call(line);
        let expected = "ERR: attach to odd0: its frames begin neither with Ethernet nor with IP \
                        (hardware type 280)";
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{line}: {said:?}");
        assert!(said.err.starts_with(expected), "{line}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{line}: {said:?}");
    }
    assert_eq!(sandbox.pins(), [""; 0]);
    assert_eq!((sandbox.xdp("odd0"), sandbox.filters("odd0", "egress").len()), (None, 0));
}
