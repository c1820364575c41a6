// SPDX-License-Identifier: GPL-2.0-only
//! Converts times of a source's clock to wall-clock time.

use nix::time::{clock_gettime, ClockId};

use crate::domain::error::{Error, Result};

/// Number of readings from which the fastest is chosen.
const TRIES: usize = 3;

/// Largest change of the offset, beyond the time that a reading takes, that does not count as a
/// step of the wall clock. The kernel slews both clocks alike, so a smaller change is an error of
/// measurement, and following it would make timestamps jitter.
const TOLERANCE_NS: u64 = 1_000;

/// Converts times of a source to nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    offset_ns: i128,
    live: bool,
}

/// The wall clock, read between two readings of the monotonic one.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    before_ns: u64,
    wall_ns: u64,
    after_ns: u64,
}

impl Clock {
    /// Makes the clock of a source whose times are `CLOCK_MONOTONIC`, as bpf_ktime_get_ns()
    /// returns.
    ///
    /// # Errors
    /// [`Error::Other`]: the kernel cannot read the clocks.
    pub fn live() -> Result<Self> {
        Ok(Self { offset_ns: best_reading()?.offset_ns(), live: true })
    }

    /// Makes the clock of a source whose times are wall-clock times plus `offset_ns`. For a capture
    /// the offset is 0.
    pub fn fixed(offset_ns: i64) -> Self {
        Self { offset_ns: -i128::from(offset_ns), live: false }
    }

    /// Reads the clocks again and follows a step of the wall clock. Call it about once a second.
    ///
    /// # Errors
    /// [`Error::Other`]: the kernel cannot read the clocks.
    pub fn refresh(&mut self) -> Result<()> {
        if self.live {
            self.follow(best_reading()?);
        }
        Ok(())
    }

    fn follow(&mut self, reading: ClockReading) {
        let offset_ns = reading.offset_ns();
        let noise = u128::from(reading.duration_ns() + TOLERANCE_NS);
        if offset_ns.abs_diff(self.offset_ns) > noise {
            self.offset_ns = offset_ns;
        }
    }

    /// Converts a time of the source to nanoseconds since 1970.
    pub fn wall_ns(&self, source_ns: u64) -> u64 {
        let wall = i128::from(source_ns) + self.offset_ns;
        wall.clamp(0, i128::from(u64::MAX)) as u64
    }
}

impl ClockReading {
    fn take() -> Result<Self> {
        Ok(Self {
            before_ns: read(ClockId::CLOCK_MONOTONIC)?,
            wall_ns: read(ClockId::CLOCK_REALTIME)?,
            after_ns: read(ClockId::CLOCK_MONOTONIC)?,
        })
    }

    fn duration_ns(&self) -> u64 {
        self.after_ns.saturating_sub(self.before_ns)
    }

    fn offset_ns(&self) -> i128 {
        let middle = self.before_ns + self.duration_ns() / 2;
        i128::from(self.wall_ns) - i128::from(middle)
    }
}

/// Reads the clocks [`TRIES`] times and returns the fastest reading, whose offset is the most
/// exact: an interrupt between two of its clocks would have made it slower.
fn best_reading() -> Result<ClockReading> {
    let mut best = ClockReading::take()?;
    for _ in 1..TRIES {
        let reading = ClockReading::take()?;
        if reading.duration_ns() < best.duration_ns() {
            best = reading;
        }
    }
    Ok(best)
}

fn read(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock).map_err(|err| Error::other("read the clocks", err, ""))?;
    Ok((now.tv_sec() as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(before_ns: u64, wall_ns: u64, after_ns: u64) -> ClockReading {
        ClockReading { before_ns, wall_ns, after_ns }
    }

    #[test]
    fn the_offset_refers_to_the_middle_of_a_reading() {
        assert_eq!(reading(100, 1_000_050, 200).offset_ns(), 999_900);
        assert_eq!(reading(1_000, 500, 1_000).offset_ns(), -500);
    }

    #[test]
    fn steps_are_followed_and_noise_is_not() {
        let mut clock = Clock { offset_ns: 1_000_000, live: true };
        clock.follow(reading(0, 1_000_500, 0));
        assert_eq!(clock.wall_ns(7), 1_000_007);
        clock.follow(reading(0, 1_020_000, 50_000));
        assert_eq!(clock.wall_ns(7), 1_000_007);
        clock.follow(reading(0, 900_000, 0));
        assert_eq!(clock.wall_ns(7), 900_007);
    }

    #[test]
    fn a_fixed_clock_subtracts_its_offset() {
        let mut clock = Clock::fixed(0);
        clock.refresh().unwrap();
        assert_eq!(clock.wall_ns(1_623_420_121_483_727_575), 1_623_420_121_483_727_575);
        assert_eq!(Clock::fixed(100).wall_ns(150), 50);
        assert_eq!(Clock::fixed(100).wall_ns(50), 0);
        assert_eq!(Clock::fixed(i64::MIN).wall_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_live_clock_agrees_with_the_wall_clock() {
        let clock = Clock::live().unwrap();
        let wall = clock.wall_ns(read(ClockId::CLOCK_MONOTONIC).unwrap());
        let now = read(ClockId::CLOCK_REALTIME).unwrap();
        assert!(now.abs_diff(wall) < 1_000_000_000, "{now} {wall}");
    }
}
