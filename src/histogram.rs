//! The arithmetic of the RTT histogram: seven logarithmic buckets an octave, as `bpf/histogram.h`
//! fills them. Pure.

use crate::abi::{
    HIST_BUCKETS, HIST_CARRIES, HIST_FIRST_OCTAVE, HIST_FIRST_SUB, HIST_PER_OCTAVE, HIST_WORDS,
    SLOT_UNIT_BITS,
};

/// Buckets: one below the range, [`HIST_BUCKETS`] − 2 within, one above.
pub const BUCKETS: usize = HIST_BUCKETS as usize;

/// Samples by RTT. Histograms add up, across sides, handles, CPUs and machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

/// Lower edge of a bucket in ns: bucket 1 starts at 0.195 ms.
fn lower_edge(bucket: usize) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let steps = bucket as f64 - 1.0 + HIST_FIRST_SUB as f64;
    let octave = HIST_FIRST_OCTAVE as f64 + steps / HIST_PER_OCTAVE as f64;
    (octave + SLOT_UNIT_BITS as f64).exp2()
}

/// The value that is within 4.95 % of everything in the bucket: the harmonic middle of its edges.
/// Outside the range, the edge next to it: the caller clamps to the exact minimum and maximum.
fn representative(bucket: usize) -> f64 {
    let (low, high) = (lower_edge(bucket), lower_edge(bucket + 1));
    match bucket {
        0 => high,
        _ if bucket == BUCKETS - 1 => low,
        _ => 2.0 * low * high / (low + high),
    }
}

impl Histogram {
    /// Adds the counters of one epoch: 16 bits each, four a word, and the carries of the buckets
    /// that passed 65535.
    pub fn add_epoch(&mut self, words: &[u64], carry: u64) {
        for (bucket, count) in self.counts.iter_mut().enumerate() {
            let word = words.get(bucket / 4).copied().unwrap_or(0);
            *count += word >> (bucket % 4 * 16) & 0xffff;
        }
        for i in 0..HIST_CARRIES {
            let pair = carry >> (16 * i) & 0xffff;
            let (bucket, times) = ((pair >> 8) as usize, pair & 0xff);
            if let Some(count) = bucket.checked_sub(1).and_then(|b| self.counts.get_mut(b)) {
                *count += times << 16;
            }
        }
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Samples in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The RTT in ns that `share` (0 to 1) of the samples do not exceed, within 5 % from 0.2 ms to
    /// 4 s and always within `min` and `max` (ns), the exact extremes. 0 without samples.
    pub fn quantile(&self, share: f64, min: u64, max: u64) -> u64 {
        let total = self.total();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return (representative(bucket) as u64).clamp(min, max.max(min));
            }
        }
        0
    }
}

const _: () = assert!(HIST_WORDS * 4 >= HIST_BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample of `ns`, by the edges.
    fn bucket_of(ns: f64) -> usize {
        (0..BUCKETS).rev().find(|&b| ns >= lower_edge(b)).unwrap_or(0)
    }

    #[test]
    fn every_value_in_the_range_is_within_five_percent() {
        let mut ns = 200_000.0;
        while ns < 4e9 {
            let bucket = bucket_of(ns);
            assert!((1..BUCKETS - 1).contains(&bucket), "{ns}");
            let error = (representative(bucket) - ns).abs() / ns;
            assert!(error < 0.05, "{ns} ns: {error}");
            ns *= 1.001;
        }
    }

    #[test]
    fn quantiles() {
        let mut hist = Histogram::default();
        assert_eq!(hist.quantile(0.5, 0, 0), 0);
        let mut words = [0; HIST_WORDS as usize];
        let (low, high) = (bucket_of(5e6), bucket_of(40e6));
        words[low / 4] += 10 << (low % 4 * 16);
        words[high / 4] += 1 << (high % 4 * 16);
        hist.add_epoch(&words, 0);
        assert_eq!(hist.total(), 11);
        let median = hist.quantile(0.5, 1, u64::MAX) as f64;
        assert!((median / 5e6 - 1.0).abs() < 0.05, "{median}");
        let top = hist.quantile(1.0, 1, u64::MAX) as f64;
        assert!((top / 40e6 - 1.0).abs() < 0.05, "{top}");
        assert_eq!(hist.quantile(0.5, 4_990_000, 4_990_000), 4_990_000);
    }

    #[test]
    fn carries_count_65536_each() {
        let mut hist = Histogram::default();
        hist.add_epoch(&[7; HIST_WORDS as usize], (4 << 8 | 2) << 16 | (1 << 8 | 1));
        assert_eq!(hist.counts[0], 65536 + 7);
        assert_eq!(hist.counts[3], 2 * 65536);
        assert_eq!(hist.counts[4], 7);
    }

    #[test]
    fn sums_of_histograms() {
        let mut a = Histogram::default();
        a.add_epoch(&[1 << 48], 0);
        let mut b = a.clone();
        b.add(&a);
        assert_eq!(b.total(), 2);
    }
}
