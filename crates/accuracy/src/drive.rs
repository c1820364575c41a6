//! The traffic: two connections that last, or many short ones, and what the kernel says of them.

use std::io;
use std::net::IpAddr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use lab::{traffic, Amount, Flow, Netns, Pattern, Report, Server, TcpInfo};

use crate::plan::Side;

/// Short connections at once, of each kind.
const LANES: usize = 2;
/// From the start of a short connection to that of its lane's next, at least.
const SHORT_PACE: Duration = Duration::from_millis(40);

/// TCP_INFO of an end whose data went towards one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub towards: Side,
    pub tcp: TcpInfo,
}

/// Runs both flows at once, each over its address: once if they last, over and over if they are short.
pub fn drive(
    from: &Netns,
    server: &Server,
    to: [IpAddr; 2],
    flows: [Flow; 2],
    time: Duration,
) -> io::Result<Vec<Seen>> {
    let lanes = if is_short(&flows[0]) { LANES } else { 1 };
    thread::scope(|scope| {
        let lane = |(address, flow)| {
            scope.spawn(move || match lanes {
                1 => traffic::run(from, server, address, &flow).map(|report| seen(&flow, &report)),
                _ => again_and_again(from, server, address, &flow, time),
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

fn again_and_again(
    from: &Netns,
    server: &Server,
    address: IpAddr,
    flow: &Flow,
    time: Duration,
) -> io::Result<Vec<Seen>> {
    let start = Instant::now();
    let mut all = Vec::new();
    while start.elapsed() < time {
        let begun = Instant::now();
        all.extend(seen(flow, &traffic::run(from, server, address, flow)?));
        sleep(SHORT_PACE.saturating_sub(begun.elapsed()));
    }
    Ok(all)
}

/// The ends that sent what the flow is for.
fn seen(flow: &Flow, report: &Report) -> Vec<Seen> {
    let client = Some(Seen { towards: Side::Internet, tcp: report.client });
    let server = report.server.map(|tcp| Seen { towards: Side::Subscriber, tcp });
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
    use crate::plan::Traffic;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn who_sends_is_asked() {
        let rtt = |ms| TcpInfo { rtt: Duration::from_millis(ms), ..TcpInfo::default() };
        let somewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let report = Report {
            bytes: 0,
            duration: Duration::ZERO,
            client: rtt(1),
            server: Some(rtt(2)),
            exchanges: Vec::new(),
            local: somewhere,
            peer: somewhere,
        };
        let towards =
            |flow: Flow| seen(&flow, &report).iter().map(|s| s.towards).collect::<Vec<_>>();
        let second = Duration::from_secs(1);
        for kind in [Traffic::Bulk, Traffic::Paced, Traffic::ShortFlows, Traffic::Loss] {
            let [down, up] = kind.flows(second, second);
            assert_eq!(towards(down), [Side::Subscriber], "{kind:?}");
            assert_eq!(towards(up), [Side::Internet], "{kind:?}");
        }
        let [both, _] = Traffic::RequestResponse.flows(second, second);
        assert_eq!(towards(both), [Side::Subscriber, Side::Internet]);
    }

    #[test]
    fn only_short_flows_are_repeated() {
        let second = Duration::from_secs(1);
        assert!(is_short(&Traffic::ShortFlows.flows(second, second)[0]));
        assert!(!is_short(&Traffic::Bulk.flows(second, second)[0]));
        assert!(!is_short(&Traffic::Paced.flows(second, second)[1]));
    }
}
