// SPDX-License-Identifier: GPL-2.0-only
//! Drives the traffic: two long connections or many short ones. Collects TCP_INFO of each.

use std::io;
use std::net::IpAddr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use lab::{traffic, Amount, Flow, Netns, Pattern, Server, TcpInfo, TransferReport};

use crate::accuracy::cases::ShaperSide;

/// Number of short downloads, and of short uploads, at the same time.
const LANES: usize = 2;
/// Least time between the starts of two short connections of a lane.
const SHORT_PACE: Duration = Duration::from_millis(40);

/// TCP_INFO of an end that sent data towards one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    pub towards: ShaperSide,
    pub tcp: TcpInfo,
}

/// Runs both flows at once, each to its address: once if they are long, repeatedly if they are short.
pub fn drive(
    from: &Netns,
    server: &Server,
    to: [IpAddr; 2],
    flows: [Flow; 2],
    time: Duration,
) -> io::Result<Vec<SenderInfo>> {
    let lanes = if is_short(&flows[0]) { LANES } else { 1 };
    thread::scope(|scope| {
        let lane = |(address, flow)| {
            scope.spawn(move || match lanes {
                1 => {
                    traffic::run(from, server, address, &flow).map(|report| senders(&flow, &report))
                }
                _ => repeat(from, server, address, &flow, time),
            })
        };
        let pairs = to.into_iter().zip(flows);
        let running: Vec<_> = pairs.flat_map(|pair| [pair].repeat(lanes)).map(lane).collect();
        let mut all = Vec::new();
        for thread in running {
            let connections = thread.join();
            all.extend(connections.map_err(|_| io::Error::other("a traffic thread panicked"))??);
        }
        Ok(all)
    })
}

fn is_short(flow: &Flow) -> bool {
    matches!(flow.pattern, Pattern::Download(Amount::Bytes(_)) | Pattern::Upload(Amount::Bytes(_)))
}

/// Runs a short flow again and again for `time`.
fn repeat(
    from: &Netns,
    server: &Server,
    address: IpAddr,
    flow: &Flow,
    time: Duration,
) -> io::Result<Vec<SenderInfo>> {
    let start = Instant::now();
    let mut all = Vec::new();
    while start.elapsed() < time {
        let begun = Instant::now();
        all.extend(senders(flow, &traffic::run(from, server, address, flow)?));
        sleep(SHORT_PACE.saturating_sub(begun.elapsed()));
    }
    Ok(all)
}

/// Returns TCP_INFO of the ends that send the payload of the flow.
fn senders(flow: &Flow, report: &TransferReport) -> Vec<SenderInfo> {
    let client = Some(SenderInfo { towards: ShaperSide::Internet, tcp: report.client });
    let server = report.server.map(|tcp| SenderInfo { towards: ShaperSide::Subscriber, tcp });
    let ends = match flow.pattern {
        Pattern::Download(_) | Pattern::PacedDownload { .. } => [server, None],
        Pattern::Upload(_) | Pattern::PacedUpload { .. } => [client, None],
        Pattern::RequestResponse { .. } => [server, client],
    };
    ends.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::traffic_kind::TrafficKind;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn the_senders_are_asked() {
        let rtt = |ms| TcpInfo { rtt: Duration::from_millis(ms), ..TcpInfo::default() };
        let somewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let report = TransferReport {
            bytes: 0,
            duration: Duration::ZERO,
            client: rtt(1),
            server: Some(rtt(2)),
            exchanges: Vec::new(),
            local: somewhere,
            peer: somewhere,
        };
        let towards =
            |flow: Flow| senders(&flow, &report).iter().map(|s| s.towards).collect::<Vec<_>>();
        let second = Duration::from_secs(1);
        for kind in
            [TrafficKind::Bulk, TrafficKind::Paced, TrafficKind::ShortFlows, TrafficKind::Loss]
        {
            let [down, up] = kind.flows(second, second);
            assert_eq!(towards(down), [ShaperSide::Subscriber], "{kind:?}");
            assert_eq!(towards(up), [ShaperSide::Internet], "{kind:?}");
        }
        let [both, _] = TrafficKind::RequestResponse.flows(second, second);
        assert_eq!(towards(both), [ShaperSide::Subscriber, ShaperSide::Internet]);
    }

    #[test]
    fn only_short_flows_are_repeated() {
        let second = Duration::from_secs(1);
        assert!(is_short(&TrafficKind::ShortFlows.flows(second, second)[0]));
        assert!(!is_short(&TrafficKind::Bulk.flows(second, second)[0]));
        assert!(!is_short(&TrafficKind::Paced.flows(second, second)[1]));
    }
}
