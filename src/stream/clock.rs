// SPDX-License-Identifier: GPL-2.0-only
//! From the clock of a source to wall-clock time.

use nix::time::{clock_gettime, ClockId};

use crate::domain::error::{Error, Result};

/// Readings of which the one in the shortest time is taken.
const TRIES: usize = 3;

/// What the offset may differ by, beyond the time that reading it takes, before the wall clock
/// counts as stepped: both clocks are slewed alike, and timestamps should not jitter.
const TOLERANCE_NS: u64 = 1_000;

/// Turns times of a source into nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    offset_ns: i128,
    live: bool,
}

/// The wall clock, read between two readings of the monotonic one.
#[derive(Clone, Copy, Debug)]
struct Reading {
    before_ns: u64,
    wall_ns: u64,
    after_ns: u64,
}

impl Clock {
    /// Of a source on `CLOCK_MONOTONIC`, which is what BPF calls ktime.
    ///
    /// # Errors
    /// The kernel does not know the clocks.
    pub fn live() -> Result<Self> {
        Ok(Self { offset_ns: best_reading()?.offset_ns(), live: true })
    }

    /// Of a source whose times are those of a capture, plus `offset_ns`.
    pub fn fixed(offset_ns: i64) -> Self {
        Self { offset_ns: -i128::from(offset_ns), live: false }
    }

    /// Follows a step of the wall clock. Once a second is enough.
    ///
    /// # Errors
    /// The kernel does not know the clocks.
    pub fn refresh(&mut self) -> Result<()> {
        if self.live {
            self.follow(best_reading()?);
        }
        Ok(())
    }

    fn follow(&mut self, reading: Reading) {
        let offset_ns = reading.offset_ns();
        let noise = u128::from(reading.duration_ns() + TOLERANCE_NS);
        if offset_ns.abs_diff(self.offset_ns) > noise {
            self.offset_ns = offset_ns;
        }
    }

    /// Nanoseconds since 1970.
    pub fn wall_ns(&self, source_ns: u64) -> u64 {
        let wall = i128::from(source_ns) + self.offset_ns;
        wall.clamp(0, i128::from(u64::MAX)) as u64
    }
}

impl Reading {
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

/// The reading that took the shortest time: nothing came between.
fn best_reading() -> Result<Reading> {
    let mut best = Reading::take()?;
    for _ in 1..TRIES {
        let reading = Reading::take()?;
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

    fn reading(before_ns: u64, wall_ns: u64, after_ns: u64) -> Reading {
        Reading { before_ns, wall_ns, after_ns }
    }

    #[test]
    fn the_wall_clock_is_read_in_the_middle() {
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
    fn captures_have_their_own_clock() {
        let mut clock = Clock::fixed(0);
        clock.refresh().unwrap();
        assert_eq!(clock.wall_ns(1_623_420_121_483_727_575), 1_623_420_121_483_727_575);
        assert_eq!(Clock::fixed(100).wall_ns(150), 50);
        assert_eq!(Clock::fixed(100).wall_ns(50), 0);
        assert_eq!(Clock::fixed(i64::MIN).wall_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn now_is_now() {
        let clock = Clock::live().unwrap();
        let wall = clock.wall_ns(read(ClockId::CLOCK_MONOTONIC).unwrap());
        let now = read(ClockId::CLOCK_REALTIME).unwrap();
        assert!(now.abs_diff(wall) < 1_000_000_000, "{now} {wall}");
    }
}
