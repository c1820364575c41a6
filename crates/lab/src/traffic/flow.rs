// SPDX-License-Identifier: GPL-2.0-only
//! The traffic of a connection, and the header line in which the client describes it to the server.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How much a bulk transfer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// This many bytes.
    Bytes(u64),
    /// As many bytes as possible in this time.
    For(Duration),
}

/// Which end sends how much, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The server sends as fast as TCP and the rate allow.
    Download(Amount),
    /// The client sends as fast as TCP and the rate allow.
    Upload(Amount),
    /// The server sends `count` segments of `segment` bytes, one every `interval`.
    PacedDownload { segment: u32, interval: Duration, count: u32 },
    /// The client sends `count` segments of `segment` bytes, one every `interval`.
    PacedUpload { segment: u32, interval: Duration, count: u32 },
    /// `count` times, the client waits `think` and sends `request` bytes; the server waits `service` and
    /// answers with `response` bytes.
    RequestResponse { request: u32, response: u32, think: Duration, service: Duration, count: u32 },
}

/// The traffic of one TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Which end sends how much, and when.
    pub pattern: Pattern,
    /// Pacing limit of both senders in bytes per second (SO_MAX_PACING_RATE), so that no queue builds.
    pub rate: Option<u64>,
}

impl Flow {
    /// Makes a flow of any pattern, without a rate limit.
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, rate: None }
    }

    /// Makes a flow of `count` small requests and answers, `think` apart. The RTT of this connection is
    /// that of the path.
    pub fn request_response(count: u32, think: Duration) -> Self {
        let service = Duration::ZERO;
        Self::new(Pattern::RequestResponse { request: 100, response: 200, think, service, count })
    }

    /// Makes a download.
    pub fn download(amount: Amount) -> Self {
        Self::new(Pattern::Download(amount))
    }

    /// Makes an upload.
    pub fn upload(amount: Amount) -> Self {
        Self::new(Pattern::Upload(amount))
    }

    /// Limits both senders to this many bytes per second.
    pub fn rate(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Writes the header line.
    pub(super) fn encode(&self) -> String {
        let rate = self.rate.unwrap_or(0);
        let ns = |duration: Duration| duration.as_nanos();
        match self.pattern {
            Pattern::Download(Amount::Bytes(bytes)) => format!("{rate} download-bytes {bytes}\n"),
            Pattern::Download(Amount::For(time)) => format!("{rate} download-for {}\n", ns(time)),
            Pattern::Upload(Amount::Bytes(bytes)) => format!("{rate} upload-bytes {bytes}\n"),
            Pattern::Upload(Amount::For(time)) => format!("{rate} upload-for {}\n", ns(time)),
            Pattern::PacedDownload { segment, interval, count } => {
                format!("{rate} paced-download {segment} {} {count}\n", ns(interval))
            }
            Pattern::PacedUpload { segment, interval, count } => {
                format!("{rate} paced-upload {segment} {} {count}\n", ns(interval))
            }
            Pattern::RequestResponse { request, response, think, service, count } => {
                let (think, service) = (ns(think), ns(service));
                format!("{rate} request {request} {response} {think} {service} {count}\n")
            }
        }
    }

    /// Reads a header line.
    pub(super) fn decode(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let rate: u64 = words.next()?.parse().ok()?;
        let kind = words.next()?;
        let numbers = words.map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let ns = Duration::from_nanos;
        let pattern = match (kind, &numbers[..]) {
            ("download-bytes", &[bytes]) => Pattern::Download(Amount::Bytes(bytes)),
            ("download-for", &[time]) => Pattern::Download(Amount::For(ns(time))),
            ("upload-bytes", &[bytes]) => Pattern::Upload(Amount::Bytes(bytes)),
            ("upload-for", &[time]) => Pattern::Upload(Amount::For(ns(time))),
            ("paced-download", &[segment, interval, count]) => {
                let (segment, count) = (segment.try_into().ok()?, count.try_into().ok()?);
                Pattern::PacedDownload { segment, interval: ns(interval), count }
            }
            ("paced-upload", &[segment, interval, count]) => {
                let (segment, count) = (segment.try_into().ok()?, count.try_into().ok()?);
                Pattern::PacedUpload { segment, interval: ns(interval), count }
            }
            ("request", &[request, response, think, service, count]) => Pattern::RequestResponse {
                request: request.try_into().ok()?,
                response: response.try_into().ok()?,
                think: ns(think),
                service: ns(service),
                count: count.try_into().ok()?,
            },
            _ => return None,
        };
        Some(Self { pattern, rate: (rate != 0).then_some(rate) })
    }
}

/// Sends a bulk amount and returns the number of bytes.
pub(super) fn send_bulk(mut stream: impl Write, amount: Amount) -> io::Result<u64> {
    let chunk = [b'x'; 16 << 10];
    let start = Instant::now();
    let mut sent = 0;
    loop {
        let left = match amount {
            Amount::Bytes(bytes) => bytes - sent,
            Amount::For(time) if start.elapsed() < time => chunk.len() as u64,
            Amount::For(_) => 0,
        };
        if left == 0 {
            return Ok(sent);
        }
        let part = left.min(chunk.len() as u64);
        stream.write_all(&chunk[..part as usize])?;
        sent += part;
    }
}

/// Sends a segment every interval, on a fixed schedule, and returns the number of bytes.
pub(super) fn send_paced(
    mut stream: impl Write,
    segment: u32,
    interval: Duration,
    count: u32,
) -> io::Result<u64> {
    let bytes = vec![b'x'; segment as usize];
    let start = Instant::now();
    for index in 0..count {
        sleep((interval * index).saturating_sub(start.elapsed()));
        stream.write_all(&bytes)?;
    }
    Ok(u64::from(segment) * u64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_survives_the_wire() {
        let time = Duration::from_nanos(1_234_567_890);
        for pattern in [
            Pattern::Download(Amount::Bytes(7)),
            Pattern::Download(Amount::For(time)),
            Pattern::Upload(Amount::Bytes(7)),
            Pattern::Upload(Amount::For(time)),
            Pattern::PacedDownload { segment: 1, interval: time, count: 3 },
            Pattern::PacedUpload { segment: 1, interval: time, count: 3 },
            Pattern::RequestResponse {
                request: 1,
                response: 2,
                think: time,
                service: time * 2,
                count: 4,
            },
        ] {
            for flow in [Flow::new(pattern), Flow::new(pattern).rate(9)] {
                assert_eq!(Flow::decode(&flow.encode()), Some(flow));
            }
        }
        assert_eq!(Flow::decode("nonsense"), None);
    }
}
