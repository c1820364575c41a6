// SPDX-License-Identifier: GPL-2.0-only
//! The RTT histogram, with the buckets that `bpf/histogram.h` fills: eight an octave, with upper edges at
//! 2^(n/8) seconds, which belong to their bucket. These are the buckets of a native histogram of Prometheus
//! of schema 3, and of OpenTelemetry's scale 3. No I/O.
//!
//! Written by hand, because a snapshot adds up the packed counters of the kernel's records, and a bucket
//! here must be the kernel's bucket to the unit. Times in "slot units" are multiples of 8 ns
//! (`SLOT_UNIT_BITS`).

use std::ops::Range;
use std::sync::LazyLock;

use crate::abi::{
    self, HIST_BIAS, HIST_BUCKETS, HIST_FULL, HIST_PER_OCTAVE, HIST_WORDS, SLOT_UNIT_BITS,
};

/// Number of buckets: one below the range, [`HIST_BUCKETS`] − 2 within it, one above. Bucket `b` has the
/// index `b` − [`HIST_BIAS`] in Prometheus' schema 3.
pub const BUCKETS: usize = HIST_BUCKETS as usize;

/// Number of 32-bit words of counters in an epoch, two counters in each.
const WORDS: usize = HIST_WORDS as usize;

/// The upper edge of each bucket but the last in ns; that of the last is infinite.
static UPPER_EDGES: LazyLock<[f64; BUCKETS]> = LazyLock::new(|| std::array::from_fn(upper_edge));

/// The smallest RTT of each bucket in ns, a whole number of slot units.
static SMALLEST: LazyLock<[u64; BUCKETS]> = LazyLock::new(|| {
    let unit = f64::from(1 << SLOT_UNIT_BITS);
    let first = |edge: f64| ((edge / unit).floor() as u64 + 1) << SLOT_UNIT_BITS;
    std::array::from_fn(|bucket| bucket.checked_sub(1).map_or(0, |below| first(upper_edge(below))))
});

/// Returns the smallest RTT of each bucket in ns: the first multiple of 8 ns above the upper edge of the
/// bucket before it, and 0 for bucket 0. The last bucket has no upper end. The index of bucket `b` from 1
/// on in Prometheus' schema 3 is ⌈8 · log2(seconds)⌉ of this RTT, as of every RTT in the bucket.
pub fn lower_edges() -> &'static [u64] {
    &*SMALLEST
}

/// Returns the upper edge of a bucket in ns: that of bucket 0 is 2^−12 s, that of the last one infinite.
fn upper_edge(bucket: usize) -> f64 {
    if bucket >= BUCKETS - 1 {
        return f64::INFINITY;
    }
    1e9 * ((bucket as f64 - HIST_BIAS as f64) / HIST_PER_OCTAVE as f64).exp2()
}

/// 2^58 / 125 000 000, rounded down: brings slot units to multiples of 2^−58 s. Equals `HIST_SCALE` of
/// `bpf/histogram.h`.
const SCALE: u64 = 0x8970_5f41;
/// Octave of one second in units of 2^−27 s.
const OCTAVE_OF_SECOND: i64 = 27;

/// The ends of the parts of an octave but the last, as a mantissa whose top bit is set: ⌊2^(31 + k/8)⌋ for
/// k from 1. They equal `MANTISSA_1` to `MANTISSA_7` of `bpf/histogram.h`.
static MANTISSAS: LazyLock<[u64; 7]> = LazyLock::new(|| {
    std::array::from_fn(|k| (31.0 + (k as f64 + 1.0) / HIST_PER_OCTAVE as f64).exp2() as u64)
});

/// Returns the bucket of an RTT in slot units, like `hist_bucket()` of `bpf/histogram.h`.
pub fn bucket_of(units: u32) -> usize {
    let scaled = u64::from(units) * SCALE;
    let Some(octave) = (scaled >> 31).checked_ilog2() else { return 0 };
    let mantissa = scaled >> octave;
    let part = MANTISSAS.iter().filter(|end| mantissa > **end).count() as i64;
    let octaves_from_second = i64::from(octave) - OCTAVE_OF_SECOND;
    let bucket = octaves_from_second * HIST_PER_OCTAVE as i64 + HIST_BIAS as i64 + 1 + part;
    bucket.clamp(0, BUCKETS as i64 - 1) as usize
}

/// Number of samples in each bucket. Histograms can be added up, across sides, handles, CPUs and
/// machines.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    /// Range of buckets that may hold samples. The others are skipped: samples lie close together.
    used: Range<usize>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], used: 0..0 }
    }
}

/// Counts one RTT (in slot units) in the words of an epoch, like `hist_add()` of `bpf/histogram.h`: a full
/// counter stays as it is.
pub fn count_in(words: &mut [u32; WORDS], units: u32) {
    let bucket = bucket_of(units) as u64;
    let (word, shift) = (abi::hist_word(bucket) as usize, abi::hist_shift(bucket));
    if u64::from(words[word] >> shift & 0xffff) < HIST_FULL {
        words[word] += 1 << shift;
    }
}

/// Returns the counter of a bucket in the words of an epoch.
pub fn counter_in(words: &[u32; WORDS], bucket: usize) -> u32 {
    let bucket = bucket as u64;
    words[abi::hist_word(bucket) as usize] >> abi::hist_shift(bucket) & 0xffff
}

/// Returns the value in ns that represents a bucket between the exact extremes `min` and `max`: the harmonic
/// mean of its edges, which is within 4.4 % of every value in the bucket. The upper edge of the last bucket
/// is `max`. Bucket 0 is represented by its upper edge, because a harmonic mean with a lower edge near 0
/// is near 0, too.
fn representative(bucket: usize, min: u64, max: u64) -> u64 {
    let high = UPPER_EDGES[bucket].min(max as f64);
    let middle = match bucket.checked_sub(1).map(|below| UPPER_EDGES[below]) {
        Some(low) if bucket == BUCKETS - 1 => harmonic_mean(low, high),
        Some(low) => harmonic_mean(low, UPPER_EDGES[bucket]),
        None => high,
    };
    (middle as u64).clamp(min, max.max(min))
}

fn harmonic_mean(a: f64, b: f64) -> f64 {
    2.0 * a * b / (a + b)
}

impl Histogram {
    /// Adds epochs, at most 65537. Each is given by its words, with two 16-bit counters a word, and its exact
    /// number of samples.
    pub fn add_epochs<'a>(&mut self, epochs: impl Iterator<Item = (&'a [u32; WORDS], u32)>) {
        let (mut even, mut odd) = ([0; WORDS], [0; WORDS]);
        for (words, count) in epochs {
            for (index, word) in words.iter().enumerate() {
                even[index] += word & 0xffff;
                odd[index] += word >> 16;
            }
            if u64::from(count) >= HIST_FULL {
                self.add_missing(words, count);
            }
        }
        for (index, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            if even | odd == 0 {
                continue;
            }
            self.add_to_bucket(2 * index, even.into());
            self.add_to_bucket(2 * index + 1, odd.into());
        }
    }

    /// Adds the samples that the full counters of an epoch leave out: its exact number of samples says how
    /// many they are. Several full counters share them equally.
    fn add_missing(&mut self, words: &[u32; WORDS], count: u32) {
        let counters = (0..BUCKETS).map(|bucket| (bucket, u64::from(counter_in(words, bucket))));
        let counted: u64 = counters.clone().map(|(_, counter)| counter).sum();
        let missing = u64::from(count).saturating_sub(counted);
        let full: Vec<usize> = counters
            .filter(|(_, counter)| *counter >= HIST_FULL)
            .map(|(bucket, _)| bucket)
            .collect();
        for (place, bucket) in full.iter().enumerate() {
            let shares = full.len() as u64;
            let rest = u64::from((place as u64) < missing % shares);
            self.add_to_bucket(*bucket, missing / shares + rest);
        }
    }

    fn add_to_bucket(&mut self, bucket: usize, samples: u64) {
        self.counts[bucket] += samples;
        self.widen(&(bucket..bucket + 1));
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
        let units = u32::try_from(ns >> SLOT_UNIT_BITS).unwrap_or(u32::MAX);
        self.add_to_bucket(bucket_of(units), 1);
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
    /// does not exceed. The error is at most 4.4 % from 0.244 ms to 2 s. `min` and `max`, the exact extremes
    /// in ns, limit the results. Returns zeroes if there are no samples.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N], min: u64, max: u64) -> [u64; N] {
        let total = self.total();
        let ranks = shares.map(|share| rank(share, total));
        let mut found = [0; N];
        let (mut next, mut seen) = (0, 0);
        for bucket in self.used.clone() {
            seen += self.counts[bucket];
            while next < N && seen >= ranks[next] {
                found[next] = representative(bucket, min, max);
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

const _: () = assert!(HIST_WORDS * 2 == HIST_BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bucket of an RTT in slot units by its definition, ⌈8 · log2(seconds)⌉.
    fn bucket_by_logarithm(units: u32) -> usize {
        let index = (8.0 * (f64::from(units) / 125e6).log2()).ceil();
        (index + 96.0).clamp(0.0, (BUCKETS - 1) as f64) as usize
    }

    #[test]
    fn constants_equal_those_of_the_c_side() {
        let source = include_str!("../../bpf/histogram.h");
        let has = |line: String| assert!(source.contains(&line), "{line}");
        for (k, mantissa) in MANTISSAS.iter().enumerate() {
            has(format!("#define MANTISSA_{} {mantissa:#x}U", k + 1));
        }
        has(format!("#define HIST_SCALE {SCALE:#x}U"));
        has(format!("#define OCTAVE_OF_SECOND {OCTAVE_OF_SECOND} "));
        assert_eq!(u128::from(SCALE), (1 << 58) / 125_000_000);
    }

    /// At every edge ± 1 unit, and at many places between.
    #[test]
    fn a_bucket_is_the_rounded_up_logarithm() {
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(u32::MAX)), (0, 0, BUCKETS - 1));
        let edges = lower_edges()[1..].iter().map(|ns| (ns >> SLOT_UNIT_BITS) as u32);
        let mut beside = 0;
        for units in edges.flat_map(|edge| edge - 2..=edge + 1) {
            assert_eq!(bucket_of(units), bucket_by_logarithm(units), "{units}");
            beside += 1;
        }
        assert_eq!(beside, 4 * 105);
        for units in (1..100_000).chain((100_000..1_300_000_000).step_by(9973)) {
            assert_eq!(bucket_of(units), bucket_by_logarithm(units), "{units}");
        }
    }

    #[test]
    fn powers_of_two_seconds_belong_to_the_bucket_that_they_end() {
        for (units, bucket) in [(1_953_125, 48), (62_500_000, 88), (125_000_000, 96)] {
            assert_eq!(bucket_of(units), bucket, "{units}");
            assert_eq!(bucket_of(units + 1), bucket + 1, "{units}");
        }
        assert_eq!((bucket_of(250_000_000), bucket_of(250_000_001)), (104, 105));
        assert_eq!((bucket_of(30_517), bucket_of(30_518)), (0, 1));
    }

    #[test]
    fn edges_ascend_and_give_the_index_of_prometheus() {
        assert!(lower_edges().windows(2).all(|pair| pair[0] < pair[1]));
        for (bucket, ns) in lower_edges().iter().enumerate().skip(1) {
            let index = (8.0 * (*ns as f64 / 1e9).log2()).ceil();
            assert_eq!(index as i64, bucket as i64 - HIST_BIAS as i64, "{ns} ns");
        }
    }

    #[test]
    fn a_full_counter_stays_and_the_exact_count_makes_up_for_it() {
        let (mut words, samples) = ([0; WORDS], 3 * 65536 + 5);
        for _ in 0..samples {
            count_in(&mut words, 1_000_000);
        }
        count_in(&mut words, 2_000_000);
        let bucket = bucket_of(1_000_000);
        assert_eq!(u64::from(counter_in(&words, bucket)), HIST_FULL);
        let mut hist = Histogram::default();
        hist.add_epochs([(&words, samples + 1)].into_iter());
        assert_eq!(hist.counts[bucket], u64::from(samples));
        assert_eq!(hist.counts[bucket_of(2_000_000)], 1);
        assert_eq!(hist.total(), u64::from(samples) + 1);
    }

    #[test]
    fn several_full_counters_share_what_is_missing() {
        let mut words = [0; WORDS];
        let full = HIST_FULL as u32;
        // CPUs that counted at the same time may have taken a counter beyond its limit.
        (words[0], words[1], words[2]) = (full | (full - 1) << 16, full + 3, full << 16);
        let counted = 4 * full + 2;
        let mut hist = Histogram::default();
        hist.add_epochs([(&words, counted + 8)].into_iter());
        let full = u64::from(full);
        assert_eq!(hist.counts()[..6], [full + 3, full - 1, full + 3 + 3, 0, 0, full + 2]);
        // A sample that is being added meanwhile may be in the histogram only.
        let mut hist = Histogram::default();
        hist.add_epochs([(&words, counted - 1)].into_iter());
        assert_eq!(hist.total(), u64::from(counted));
    }

    #[test]
    fn every_value_in_the_range_is_within_the_bound() {
        let mut worst: f64 = 0.0;
        let (mut ns, max) = (244_144.0, 10_000_000_000);
        while ns < 2e9 {
            let bucket = bucket_of((ns / 8.0) as u32);
            assert!((1..BUCKETS - 1).contains(&bucket), "{ns}");
            worst = worst.max((representative(bucket, 0, max) as f64 / ns - 1.0).abs());
            ns *= 1.0001;
        }
        assert!((0.0432..0.0434).contains(&worst), "{worst}");
    }

    #[test]
    fn above_two_seconds_the_middle_is_that_of_2_s_and_the_maximum() {
        let mut hist = Histogram::default();
        (0..3).for_each(|_| hist.add_sample(6_000_000_000));
        assert_eq!(hist.quantiles([0.5], 2_000_000_008, 6_000_000_000), [3_000_000_000]);
        assert_eq!(hist.quantiles([0.5], 6_000_000_000, 6_000_000_000), [6_000_000_000]);
        let mut hist = Histogram::default();
        hist.add_sample(1000);
        assert_eq!(hist.quantiles([0.5], 800, 1000), [1000]);
        assert_eq!(hist.quantiles([0.5], 800, 1_000_000), [244_140]);
    }

    #[test]
    fn quantiles_are_within_the_bound_and_the_extremes() {
        let mut hist = Histogram::default();
        assert_eq!(hist.quantiles([0.5], 0, 0)[0], 0);
        (0..10).for_each(|_| hist.add_sample(5_000_000));
        hist.add_sample(40_000_000);
        assert_eq!(hist.total(), 11);
        let [median, top] = hist.quantiles([0.5, 1.0], 1, u64::MAX).map(|ns| ns as f64);
        assert!((median / 5e6 - 1.0).abs() < 0.044, "{median}");
        assert!((top / 40e6 - 1.0).abs() < 0.044, "{top}");
        assert_eq!(hist.quantiles([0.5], 4_990_000, 4_990_000)[0], 4_990_000);
    }

    #[test]
    fn single_samples_agree_with_the_edges() {
        let mut hist = Histogram::default();
        assert_eq!(hist.counts(), [0; 0]);
        for ns in [0, 1, 244_136, 5_000_000] {
            hist.add_sample(ns);
        }
        assert_eq!((hist.counts()[0], hist.total()), (3, 4));
        assert_eq!(hist.counts().len(), bucket_of(625_000) + 1);
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
    fn counters_of_all_epochs_add_up() {
        let mut hist = Histogram::default();
        let most = [u32::MAX; WORDS];
        hist.add_epochs([(&most, 0); 4].into_iter());
        assert!(hist.counts.iter().all(|count| *count == 4 * 65535));
    }

    #[test]
    fn histograms_add_up() {
        let mut a = Histogram::default();
        let mut words = [0; WORDS];
        words[1] = 1 << 16;
        a.add_epochs([(&words, 1)].into_iter());
        let mut b = Histogram::default();
        let mut words = [0; WORDS];
        words[6] = 1;
        b.add_epochs([(&words, 1)].into_iter());
        b.add(&a);
        b.add(&a);
        b.add(&Histogram::default());
        assert_eq!(b.total(), 3);
        assert_eq!((b.counts[3], b.counts[12]), (2, 1));
        let [low, high] = b.quantiles([0.6, 1.0], 0, u64::MAX);
        let of = |bucket| representative(bucket, 0, u64::MAX);
        assert_eq!((low, high), (of(3), of(12)));
    }
}
