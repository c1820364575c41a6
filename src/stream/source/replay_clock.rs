// SPDX-License-Identifier: GPL-2.0-only
//! The clock of a replay's time-outs and intervals. Does no I/O.
//!
//! The times in a capture can step back (a clock that was set, two captures appended, two machines
//! merged), and single packets can bear any time. RTTs are the packets' own differences, so the
//! programs get each packet's own time. Time-outs and intervals go by this clock instead: it never
//! goes back, and one stray time does not move it.

/// Length of a step between two packets that is taken as it is. A step forward that is longer needs
/// the next packet's word; a step back that is shorter is a packet out of order.
const USUAL_NS: u64 = 1_000_000_000;
/// Longest step forward that the last packet of a capture may make.
const LAST_STEP_NS: u64 = 3_600_000_000_000;

/// A clock that follows the packets of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayClock {
    steady_ns: u64,
    /// The packets' time at `steady_ns`.
    packet_ns: u64,
    /// The packets' time, and the time of this clock, where the packets' time last stepped back. When
    /// packets of two clocks alternate, this keeps each return to the first from counting as time.
    left: Option<(u64, u64)>,
}

impl ReplayClock {
    /// Starts the clock at the time of the first packet.
    pub fn new(first_ns: u64) -> Self {
        Self { steady_ns: first_ns, packet_ns: first_ns, left: None }
    }

    /// Tells whether a packet's time is so far ahead that the packet after it decides.
    pub fn is_jump(&self, packet_ns: u64) -> bool {
        packet_ns.saturating_sub(self.packet_ns) > USUAL_NS
    }

    /// Moves the clock to a packet's time. `next_ns` is the time of the packet after it, and counts
    /// only after [`ReplayClock::is_jump`]; `None`: there is none, or it is not known.
    pub fn advance(&mut self, packet_ns: u64, next_ns: Option<u64>) {
        let step_ns = packet_ns.saturating_sub(self.packet_ns);
        let back_ns = self.packet_ns.saturating_sub(packet_ns);
        if back_ns > USUAL_NS {
            if self.left_ns().is_none_or(|left_ns| left_ns < self.packet_ns) {
                self.left = Some((self.packet_ns, self.steady_ns));
            }
            self.packet_ns = packet_ns;
        } else if self.is_jump(packet_ns) {
            let is_stray = match next_ns {
                Some(next_ns) => packet_ns.saturating_sub(next_ns) > USUAL_NS,
                None => step_ns > LAST_STEP_NS,
            };
            if !is_stray {
                let returned =
                    self.left_ns().filter(|left_ns| packet_ns.saturating_add(USUAL_NS) >= *left_ns);
                let passed_ns =
                    returned.map_or(step_ns, |left_ns| packet_ns.saturating_sub(left_ns));
                self.move_by(passed_ns.min(step_ns), packet_ns);
            }
        } else if step_ns > 0 {
            self.move_by(step_ns, packet_ns);
        }
    }

    /// Returns the present time of the clock that was left when time last stepped back.
    fn left_ns(&self) -> Option<u64> {
        let (packet_ns, steady_ns) = self.left?;
        Some(packet_ns.saturating_add(self.steady_ns - steady_ns))
    }

    fn move_by(&mut self, step_ns: u64, packet_ns: u64) {
        self.steady_ns = self.steady_ns.saturating_add(step_ns);
        self.packet_ns = packet_ns;
    }

    /// Returns the time of the clock.
    pub fn steady_ns(&self) -> u64 {
        self.steady_ns
    }

    /// Converts a time of this clock to the time that the packets around it bear.
    pub fn stamp_ns(&self, steady_ns: u64) -> u64 {
        let ahead_ns = i128::from(steady_ns) - i128::from(self.steady_ns);
        let stamp_ns = i128::from(self.packet_ns) + ahead_ns;
        stamp_ns.clamp(0, i128::from(u64::MAX)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * S;
    const START: u64 = 1_700_000_000 * S;

    /// Runs packets of these times, in seconds from the start; returns the clock after each.
    fn run(times: &[f64]) -> Vec<f64> {
        let ns = |seconds: f64| (START as i64 + (seconds * S as f64) as i64) as u64;
        let mut clock = ReplayClock::new(ns(times[0]));
        let from_start = clock.steady_ns() as i64 - START as i64;
        assert_eq!(from_start, (times[0] * S as f64) as i64);
        let after = |index: usize| times.get(index + 1).copied().map(ns);
        let each = times.iter().enumerate().map(|(index, time)| {
            let before = clock.steady_ns();
            clock.advance(ns(*time), after(index));
            assert!(clock.steady_ns() >= before);
            (clock.steady_ns() as i64 - START as i64) as f64 / S as f64
        });
        each.collect()
    }

    #[test]
    fn it_follows_packets_in_order_and_pauses() {
        let times = [0.0, 0.02, 0.02, 0.9, 1.9, 5.0, 400.0, 400.5, 90_000.0, 90_000.1];
        assert_eq!(run(&times), times);
        assert_eq!(run(&[0.0, 3000.0]), [0.0, 3000.0]);
    }

    #[test]
    fn packets_out_of_order_leave_it_alone() {
        assert_eq!(run(&[0.0, 0.5, 0.4, 0.45, 0.6]), [0.0, 0.5, 0.5, 0.5, 0.6]);
    }

    #[test]
    fn a_stray_time_leaves_it_alone() {
        let day = DAY as f64 / S as f64;
        assert_eq!(run(&[0.0, 0.5, day, 0.6, 0.7]), [0.0, 0.5, 0.5, 0.6, 0.7]);
        assert_eq!(run(&[0.0, 0.5, 30.0, 0.6, 0.7]), [0.0, 0.5, 0.5, 0.6, 0.7]);
        assert_eq!(run(&[0.0, 0.5, -day, 0.6, 0.75]), [0.0, 0.5, 0.5, 0.6, 0.75]);
        assert_eq!(run(&[0.0, 0.5, day]), [0.0, 0.5, 0.5]);
        assert_eq!(run(&[day, 0.0, 0.5, 1.0]), [day, day, day + 0.5, day + 1.0]);
    }

    #[test]
    fn it_runs_on_after_a_step_back() {
        assert_eq!(run(&[0.0, 0.5, -29.5, -29.0, -28.5]), [0.0, 0.5, 0.5, 1.0, 1.5]);
        assert_eq!(run(&[0.0, 0.5, -3600.0, -3500.0, -3400.0]), [0.0, 0.5, 0.5, 100.5, 200.5]);
    }

    #[test]
    fn changes_between_two_clocks_are_no_time() {
        let times: Vec<f64> =
            (0..100).map(|n| f64::from(n) * 0.125 + if n % 2 == 0 { 0.0 } else { 30.0 }).collect();
        let last = *run(&times).last().unwrap();
        assert!((0.0..=30.0 + 12.5).contains(&last), "{last}");
    }

    #[test]
    fn records_bear_the_times_of_the_packets() {
        let mut clock = ReplayClock::new(START);
        clock.advance(START + S / 2, None);
        assert_eq!(clock.stamp_ns(START + S), START + S);
        clock.advance(START - 30 * S, None);
        assert_eq!(clock.stamp_ns(clock.steady_ns()), START - 30 * S);
        assert_eq!(clock.stamp_ns(clock.steady_ns() + 5), START - 30 * S + 5);
        clock.advance(0, None);
        assert_eq!(clock.stamp_ns(0), 0);
        clock.advance(u64::MAX, Some(u64::MAX));
        clock.advance(u64::MAX, None);
    }
}
