// SPDX-License-Identifier: GPL-2.0-only
//! The RTT histogram, with the buckets that `bpf/histogram.h` fills: seven an octave, on a logarithmic
//! scale. No I/O.
//!
//! Written by hand, because no crate has these buckets: a snapshot adds up the packed counters of the
//! kernel's records, and a bucket here must be the kernel's bucket to the unit. Times in "slot units" are
//! multiples of 8 ns (`SLOT_UNIT_BITS`).

use std::ops::Range;
use std::sync::LazyLock;

use crate::abi::{
    self, HIST_BUCKETS, HIST_CARRIES, HIST_FIRST_OCTAVE, HIST_FIRST_SUB, HIST_PER_OCTAVE,
    HIST_WORDS, SLOT_UNIT_BITS,
};

/// Number of buckets: one below the range, [`HIST_BUCKETS`] − 2 within it, one above.
pub const BUCKETS: usize = HIST_BUCKETS as usize;

/// The representative of each bucket in ns. A table, because a snapshot reads it hundreds of thousands of
/// times.
static REPRESENTATIVES: LazyLock<[u64; BUCKETS]> =
    LazyLock::new(|| std::array::from_fn(|bucket| representative(bucket) as u64));

/// The smallest RTT of each bucket in ns, a whole number of slot units.
static EDGES: LazyLock<[u64; BUCKETS]> = LazyLock::new(|| {
    let unit = f64::from(1 << SLOT_UNIT_BITS);
    std::array::from_fn(|bucket| ((lower_edge(bucket) / unit).ceil() as u64) << SLOT_UNIT_BITS)
});

/// Returns the smallest RTT of each bucket in ns. The last bucket has no upper end.
pub fn lower_edges() -> &'static [u64] {
    &*EDGES
}

/// Number of 64-bit words of counters in an epoch.
const WORDS: usize = HIST_WORDS as usize;
/// Number of counters in these words, four in each. The last one belongs to no bucket.
const ROOM: usize = WORDS * 4;

/// Number of samples in each bucket. Histograms can be added up, across sides, handles, CPUs and
/// machines.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; ROOM],
    /// Range of buckets that may hold samples. The others are skipped: samples lie close together.
    used: Range<usize>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; ROOM], used: 0..0 }
    }
}

/// Returns the lower edge of a bucket in ns. Bucket 1 starts at 0.195 ms.
fn lower_edge(bucket: usize) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let steps = bucket as f64 - 1.0 + HIST_FIRST_SUB as f64;
    let octave = HIST_FIRST_OCTAVE as f64 + steps / HIST_PER_OCTAVE as f64;
    (octave + SLOT_UNIT_BITS as f64).exp2()
}

/// The starts of the second to seventh bucket of an octave, as a mantissa whose top bit is set:
/// ⌈2^(31 + k/7)⌉ for k from 1. They equal `MANTISSA_1` to `MANTISSA_6` of `bpf/histogram.h`.
static MANTISSAS: LazyLock<[u32; 6]> = LazyLock::new(|| {
    std::array::from_fn(|k| (31.0 + (k as f64 + 1.0) / HIST_PER_OCTAVE as f64).exp2().ceil() as u32)
});

/// Returns the bucket of an RTT in slot units, like `hist_bucket()` of `bpf/histogram.h`.
pub fn bucket_of(units: u32) -> usize {
    let Some(octave) = units.checked_ilog2() else { return 0 };
    let mantissa = units << (31 - octave);
    let part = MANTISSAS.iter().filter(|edge| mantissa >= **edge).count() as u64;
    let bucket = u64::from(octave) * HIST_PER_OCTAVE + part + 1;
    let below = HIST_FIRST_OCTAVE * HIST_PER_OCTAVE + HIST_FIRST_SUB;
    (bucket.saturating_sub(below) as usize).min(BUCKETS - 1)
}

/// Counts one RTT (in slot units) in the words of an epoch, like `hist_add()` of `bpf/histogram.h`: a
/// counter that overflows starts again at 0, and `carry` counts 65536 for its bucket. If all pairs of
/// `carry` belong to other buckets, the sample is not counted.
pub fn count_in(words: &mut [u64; WORDS], carry: &mut u64, units: u32) {
    let bucket = bucket_of(units);
    let word = abi::hist_word(bucket as u64) as usize;
    let shift = abi::hist_shift(bucket as u64);
    if words[word] >> shift & 0xffff != 0xffff {
        words[word] += 1 << shift;
        return;
    }
    let lanes = (0..HIST_CARRIES).map(|lane| 16 * lane);
    let pair = |at: u64| *carry >> at & 0xffff;
    let own = |at: &u64| pair(*at) >> 8 == bucket as u64 + 1 && pair(*at) & 0xff != 0xff;
    let place = lanes.clone().find(own).or_else(|| lanes.clone().find(|at| pair(*at) == 0));
    if let Some(at) = place {
        words[word] -= 0xffff << shift;
        let add = if pair(at) == 0 { (bucket as u64 + 1) << 8 | 1 } else { 1 };
        *carry += add << at;
    }
}

/// Returns the value in ns that represents a bucket: the harmonic mean of its edges, which is within
/// 4.95 % of every value in the bucket. The buckets below and above the range have only one edge, which
/// represents them; callers clamp it to the exact minimum and maximum.
fn representative(bucket: usize) -> f64 {
    let (low, high) = (lower_edge(bucket), lower_edge(bucket + 1));
    match bucket {
        0 => high,
        _ if bucket == BUCKETS - 1 => low,
        _ => 2.0 * low * high / (low + high),
    }
}

impl Histogram {
    /// Adds epochs, at most 65537. Each is given by its words, with four 16-bit counters a word, and its
    /// carries, which count 65536 samples each.
    pub fn add_epochs<'a>(&mut self, epochs: impl Iterator<Item = (&'a [u64; WORDS], u64)>) {
        // Spreads four counters over two words, so that each has 32 bits for its sum.
        const LANES: u64 = 0x0000_ffff_0000_ffff;
        let (mut even, mut odd) = ([0; WORDS], [0; WORDS]);
        for (words, carry) in epochs {
            for (index, word) in words.iter().enumerate() {
                even[index] += word & LANES;
                odd[index] += word >> 16 & LANES;
            }
            if carry != 0 {
                self.add_carries(carry);
            }
        }
        for (index, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            if even | odd == 0 {
                continue;
            }
            let buckets = index * 4..index * 4 + 4;
            let sums = [even & 0xffff_ffff, odd & 0xffff_ffff, even >> 32, odd >> 32];
            self.counts[buckets.clone()].iter_mut().zip(sums).for_each(|(n, sum)| *n += sum);
            self.widen(&buckets);
        }
    }

    /// Adds the carries of an epoch (`rtt_epoch.carry` of include/abi.h).
    fn add_carries(&mut self, carry: u64) {
        for i in 0..HIST_CARRIES {
            let pair = carry >> (16 * i) & 0xffff;
            let (bucket, times) = ((pair >> 8) as usize, pair & 0xff);
            if let Some(bucket) = bucket.checked_sub(1).filter(|bucket| *bucket < BUCKETS) {
                self.counts[bucket] += times << 16;
                self.widen(&(bucket..bucket + 1));
            }
        }
    }

    /// Includes `buckets` in the used range.
    fn widen(&mut self, buckets: &Range<usize>) {
        self.used = match self.used.is_empty() {
            true => buckets.clone(),
            false => self.used.start.min(buckets.start)..self.used.end.max(buckets.end),
        };
    }

    /// Adds one sample, given in ns.
    pub fn add_sample(&mut self, ns: u64) {
        let bucket = bucket_of(u32::try_from(ns >> SLOT_UNIT_BITS).unwrap_or(u32::MAX));
        self.counts[bucket] += 1;
        self.widen(&(bucket..bucket + 1));
    }

    /// Returns the number of samples in each bucket, up to the last bucket that is not empty.
    pub fn counts(&self) -> &[u64] {
        let used = self.counts[..self.used.end].iter().rposition(|count| *count > 0);
        &self.counts[..used.map_or(0, |last| last + 1)]
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        let used = other.used.clone();
        if used.is_empty() {
            return;
        }
        self.widen(&used);
        for (count, more) in self.counts[used.clone()].iter_mut().zip(&other.counts[used]) {
            *count += more;
        }
    }

    /// Returns the number of samples.
    pub fn total(&self) -> u64 {
        self.counts[self.used.clone()].iter().sum()
    }

    /// Returns, for each of the ascending `shares` (0 to 1), the RTT in ns that this share of the samples
    /// does not exceed. The error is below 5 % from 0.2 ms to 4 s. `min` and `max`, the exact extremes in
    /// ns, limit the results. Returns zeroes if there are no samples.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N], min: u64, max: u64) -> [u64; N] {
        let total = self.total();
        let ranks = shares.map(|share| rank(share, total));
        let mut found = [0; N];
        let (mut next, mut seen) = (0, 0);
        for bucket in self.used.clone() {
            seen += self.counts[bucket];
            while next < N && seen >= ranks[next] {
                found[next] = REPRESENTATIVES[bucket.min(BUCKETS - 1)].clamp(min, max.max(min));
                next += 1;
            }
        }
        found
    }
}

/// Returns the rank of the sample at `share`, from 1 in ascending order.
fn rank(share: f64, total: u64) -> u64 {
    ((total as f64 * share).ceil() as u64).clamp(1, total.max(1))
}

const _: () = assert!(HIST_WORDS * 4 >= HIST_BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bucket of an RTT in ns, by the edges.
    fn bucket_of_ns(ns: f64) -> usize {
        (0..BUCKETS).rev().find(|&b| ns >= lower_edge(b)).unwrap_or(0)
    }

    #[test]
    fn mantissas_equal_those_of_the_c_side() {
        let source = include_str!("../../bpf/histogram.h");
        for (k, mantissa) in MANTISSAS.iter().enumerate() {
            let line = format!("#define MANTISSA_{} {mantissa:#x}U", k + 1);
            assert!(source.contains(&line), "{line}");
        }
    }

    #[test]
    fn bucket_of_agrees_with_the_edges() {
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(u32::MAX)), (0, 0, BUCKETS - 1));
        for units in (1..100_000).chain((100_000..1_300_000_000).step_by(9973)) {
            let ns = f64::from(units) * 8.0;
            assert_eq!(bucket_of(units), bucket_of_ns(ns), "{units}");
        }
    }

    #[test]
    fn a_counter_that_overflows_is_carried() {
        let (mut words, mut carry) = ([0; WORDS], 0);
        for _ in 0..3 * 65536 + 5 {
            count_in(&mut words, &mut carry, 1_000_000);
        }
        let mut hist = Histogram::default();
        hist.add_epochs([(&words, carry)].into_iter());
        assert_eq!(hist.counts[bucket_of(1_000_000)], 3 * 65536 + 5);
        assert_eq!(hist.total(), 3 * 65536 + 5);
    }

    #[test]
    fn every_value_in_the_range_is_within_five_percent() {
        let mut ns = 200_000.0;
        while ns < 4e9 {
            let bucket = bucket_of_ns(ns);
            assert!((1..BUCKETS - 1).contains(&bucket), "{ns}");
            let error = (representative(bucket) - ns).abs() / ns;
            assert!(error < 0.05, "{ns} ns: {error}");
            ns *= 1.001;
        }
    }

    #[test]
    fn quantiles_are_within_five_percent_and_the_extremes() {
        let mut hist = Histogram::default();
        assert_eq!(hist.quantiles([0.5], 0, 0)[0], 0);
        let mut words = [0; WORDS];
        let (low, high) = (bucket_of_ns(5e6), bucket_of_ns(40e6));
        words[low / 4] += 10 << (low % 4 * 16);
        words[high / 4] += 1 << (high % 4 * 16);
        hist.add_epochs([(&words, 0)].into_iter());
        assert_eq!(hist.total(), 11);
        let median = hist.quantiles([0.5], 1, u64::MAX)[0] as f64;
        assert!((median / 5e6 - 1.0).abs() < 0.05, "{median}");
        let top = hist.quantiles([1.0], 1, u64::MAX)[0] as f64;
        assert!((top / 40e6 - 1.0).abs() < 0.05, "{top}");
        assert_eq!(hist.quantiles([0.5], 4_990_000, 4_990_000)[0], 4_990_000);
    }

    #[test]
    fn single_samples_agree_with_the_edges() {
        let mut hist = Histogram::default();
        assert_eq!(hist.counts(), [0; 0]);
        for ns in [0, 1, 194_700, 5_000_000] {
            hist.add_sample(ns);
        }
        assert_eq!((hist.counts()[0], hist.total()), (3, 4));
        assert_eq!(hist.counts().len(), bucket_of_ns(5e6) + 1);
        hist.add_sample(u64::MAX);
        assert_eq!((hist.counts().len(), hist.counts()[BUCKETS - 1]), (BUCKETS, 1));
        for (bucket, edge) in lower_edges().iter().enumerate() {
            let mut hist = Histogram::default();
            hist.add_sample(*edge);
            assert_eq!(hist.counts().len(), bucket + 1);
            let mut hist = Histogram::default();
            hist.add_sample(edge.saturating_sub(1));
            assert_eq!(hist.counts().len(), bucket.max(1));
        }
    }

    #[test]
    fn carries_count_65536_each() {
        let mut hist = Histogram::default();
        let carry = (4 << 8 | 2) << 16 | (1 << 8 | 1);
        hist.add_epochs([(&[7; WORDS], carry)].into_iter());
        assert_eq!(hist.counts[0], 65536 + 7);
        assert_eq!(hist.counts[3], 2 * 65536);
        assert_eq!(hist.counts[4], 7);
    }

    #[test]
    fn full_counters_of_all_epochs_add_up() {
        let mut hist = Histogram::default();
        let full = [u64::MAX; WORDS];
        hist.add_epochs([(&full, 0); 4].into_iter());
        assert!(hist.counts.iter().all(|count| *count == 4 * 65535));
    }

    #[test]
    fn histograms_add_up() {
        let mut a = Histogram::default();
        let mut words = [0; WORDS];
        words[0] = 1 << 48;
        a.add_epochs([(&words, 0)].into_iter());
        let mut b = Histogram::default();
        let mut words = [0; WORDS];
        words[3] = 1;
        b.add_epochs([(&words, 0)].into_iter());
        b.add(&a);
        b.add(&a);
        b.add(&Histogram::default());
        assert_eq!(b.total(), 3);
        assert_eq!((b.counts[3], b.counts[12]), (2, 1));
        let [low, high] = b.quantiles([0.6, 1.0], 0, u64::MAX);
        assert_eq!((low, high), (REPRESENTATIVES[3], REPRESENTATIVES[12]));
    }
}
