// SPDX-License-Identifier: GPL-2.0-only
//! One delayed link: its delay, impairments and counters in each direction. Delay and impairments can
//! change while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A host's link to the shaper.
#[derive(Debug, Default)]
pub struct HostLink {
    /// From the host to the shaper.
    pub to_shaper: LinkDirection,
    /// From the shaper to the host.
    pub from_shaper: LinkDirection,
}

impl HostLink {
    /// Makes a link without impairments that adds `rtt` to the round trip.
    pub fn new(rtt: Duration) -> Self {
        let link = Self::default();
        link.set_rtt(rtt);
        link
    }

    /// Changes the time that this link adds to the round trip, half each way. Frames that the line
    /// already holds keep their delay.
    pub fn set_rtt(&self, rtt: Duration) {
        self.to_shaper.set_delay(rtt / 2);
        self.from_shaper.set_delay(rtt - rtt / 2);
    }

    /// Returns the time that this link adds to the round trip.
    pub fn rtt(&self) -> Duration {
        self.to_shaper.delay() + self.from_shaper.delay()
    }
}

/// One direction of a link. Shares are probabilities from 0 to 1.
#[derive(Debug, Default)]
pub struct LinkDirection {
    delay: AtomicU64,
    loss: AtomicU32,
    duplicate: AtomicU32,
    reorder: AtomicU32,
    reorder_delay: AtomicU64,
    pub(crate) counts: AtomicLinkCounters,
}

/// [`LinkCounters`] while the line runs.
#[derive(Debug, Default)]
pub(crate) struct AtomicLinkCounters {
    pub(crate) forwarded: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) reordered: AtomicU64,
    pub(crate) overflow: AtomicU64,
}

/// Counts of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames forwarded, duplicates included.
    pub forwarded: u64,
    /// Frames dropped by [`LinkDirection::set_loss`].
    pub lost: u64,
    /// Copies made by [`LinkDirection::set_duplicate`].
    pub duplicated: u64,
    /// Frames held back by [`LinkDirection::set_reorder`].
    pub reordered: u64,
    /// Frames dropped because the queue was full or the frame could not be encapsulated.
    pub overflow: u64,
}

impl LinkDirection {
    /// Returns the one-way delay.
    pub fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay.load(Relaxed))
    }

    /// Changes the one-way delay. Frames keep their order when the delay shrinks.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.store(nanoseconds(delay), Relaxed);
    }

    /// Drops this share of the frames.
    pub fn set_loss(&self, share: f64) {
        self.loss.store(threshold(share), Relaxed);
    }

    /// Sends this share of the frames twice.
    pub fn set_duplicate(&self, share: f64) {
        self.duplicate.store(threshold(share), Relaxed);
    }

    /// Holds this share of the frames back for `extra`, so that later frames overtake them.
    pub fn set_reorder(&self, share: f64, extra: Duration) {
        self.reorder_delay.store(nanoseconds(extra), Relaxed);
        self.reorder.store(threshold(share), Relaxed);
    }

    /// Returns the counters.
    pub fn counters(&self) -> LinkCounters {
        LinkCounters {
            forwarded: self.counts.forwarded.load(Relaxed),
            lost: self.counts.lost.load(Relaxed),
            duplicated: self.counts.duplicated.load(Relaxed),
            reordered: self.counts.reordered.load(Relaxed),
            overflow: self.counts.overflow.load(Relaxed),
        }
    }

    /// Draws the fate of the next frame.
    pub(crate) fn draw(&self, random: &mut FateRandom) -> Fate {
        let delay = self.delay.load(Relaxed);
        if random.hit(self.loss.load(Relaxed)) {
            return Fate::Lost;
        }
        let copies = 1 + usize::from(random.hit(self.duplicate.load(Relaxed)));
        if random.hit(self.reorder.load(Relaxed)) {
            return Fate::HeldBack { delay: delay + self.reorder_delay.load(Relaxed), copies };
        }
        Fate::InOrder { delay, copies }
    }
}

/// The way a frame is treated; delays in nanoseconds.
pub(crate) enum Fate {
    Lost,
    InOrder { delay: u64, copies: usize },
    HeldBack { delay: u64, copies: usize },
}

/// A seeded random number generator (SplitMix64): the same sequence of frames has the same fates.
pub(crate) struct FateRandom(pub(crate) u64);

impl FateRandom {
    /// Returns true with a probability of `threshold` / 2^32.
    fn hit(&mut self, threshold: u32) -> bool {
        if threshold == 0 {
            return false;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32 <= threshold
    }
}

fn threshold(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_rtt_is_kept_to_the_nanosecond() {
        assert_eq!(HostLink::new(Duration::from_nanos(7)).rtt(), Duration::from_nanos(7));
    }

    #[test]
    fn shares_are_met() {
        let mut random = FateRandom(1);
        for (share, low, high) in [(0.0, 0, 0), (0.01, 900, 1100), (1.0, 100_000, 100_000)] {
            let hits = (0..100_000).filter(|_| random.hit(threshold(share))).count();
            assert!((low..=high).contains(&hits), "{share}: {hits}");
        }
    }
}
