// SPDX-License-Identifier: GPL-2.0-only
//! The RTTs of one tc handle and side: count, sum, extremes and a logarithmic histogram.

/// Number of buckets: one below the range, 101 of a seventh of an octave each, one above the range.
pub const BUCKETS: usize = 103;
/// Nanoseconds of a unit in which samples are counted.
pub const UNIT_NS: u64 = 8;

const PER_OCTAVE: u32 = 7;
/// The lower edge of bucket 1 in sevenths of an octave: 2^14 × 2^(4/7) units, 195 µs.
const FIRST_EDGE: u32 = 14 * PER_OCTAVE + 4;
const LAST: usize = BUCKETS - 1;

/// Returns the lower edge of a bucket in units. That of bucket 0 is 0, that of `BUCKETS` is infinite.
pub fn lower_edge(bucket: usize) -> f64 {
    match bucket {
        0 => 0.0,
        BUCKETS.. => f64::INFINITY,
        _ => {
            let sevenths = FIRST_EDGE + bucket as u32 - 1;
            let octave = f64::from(1u32 << (sevenths / PER_OCTAVE));
            octave * (f64::from(sevenths % PER_OCTAVE) / f64::from(PER_OCTAVE)).exp2()
        }
    }
}

/// Returns the bucket of an RTT: the last bucket whose lower edge is not above the RTT.
pub fn bucket(units: u32) -> usize {
    (0..BUCKETS).rev().find(|&b| lower_edge(b) <= f64::from(units)).unwrap_or(0)
}

/// Returns the value that represents a bucket, in units: the harmonic mean 2ab / (a + b) of its edges,
/// whose relative error is the same at both. That of the last bucket, which has no upper edge, is twice its
/// lower edge.
pub fn middle(bucket: usize) -> f64 {
    let (a, b) = (lower_edge(bucket), lower_edge(bucket + 1));
    if bucket >= LAST {
        2.0 * a
    } else {
        2.0 * a * b / (a + b)
    }
}

/// All samples of one tc handle and side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceHistogram {
    pub count: u64,
    pub sum_ns: u64,
    /// Valid if `count` is not 0, as is `max_ns`.
    pub min_ns: u64,
    pub max_ns: u64,
    pub buckets: [u64; BUCKETS],
}

impl Default for ReferenceHistogram {
    fn default() -> Self {
        ReferenceHistogram {
            count: 0,
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl ReferenceHistogram {
    /// Adds one sample.
    pub fn record(&mut self, units: u32) {
        let ns = u64::from(units) * UNIT_NS;
        self.count += 1;
        self.sum_ns += ns;
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.buckets[bucket(units)] += 1;
    }

    /// Estimates the sample of rank ceil(`q` × count) in ns; returns `None` without samples.
    pub fn quantile_ns(&self, q: f64) -> Option<f64> {
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let holds_rank = |&n: &u64| {
            seen += n;
            seen >= rank
        };
        let bucket = self.buckets.iter().position(holds_rank)?;
        let estimate = middle(bucket) * UNIT_NS as f64;
        Some(estimate.clamp(self.min_ns as f64, self.max_ns as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_are_those_of_the_text() {
        assert!((lower_edge(1) * 8.0 / 1e3 - 194.77).abs() < 0.01, "195 µs");
        assert_eq!(lower_edge(LAST) * 8.0, 2f64.powi(32));
        assert_eq!(bucket(1 << 29), LAST);
        assert_eq!(bucket((1 << 29) - 1), LAST - 1);
        assert_eq!(bucket(u32::MAX), LAST);
        assert_eq!(bucket(0), 0);
    }

    #[test]
    fn seven_buckets_make_an_octave() {
        for b in 1..LAST - 7 {
            let ratio = lower_edge(b + 7) / lower_edge(b);
            assert!((ratio - 2.0).abs() < 1e-12, "{b}: {ratio}");
        }
    }

    #[test]
    fn a_value_lies_between_its_buckets_edges() {
        for b in 1..BUCKETS {
            let first = lower_edge(b).ceil() as u32;
            assert_eq!(bucket(first), b);
            assert_eq!(bucket(first - 1), b - 1);
        }
    }

    #[test]
    fn the_middle_is_within_five_percent_of_everything_in_the_bucket() {
        for b in 1..LAST {
            for value in [lower_edge(b), lower_edge(b + 1)] {
                assert!((middle(b) / value - 1.0).abs() < 0.0495, "bucket {b}");
            }
        }
    }

    #[test]
    fn sum_and_extremes_are_exact() {
        let mut histogram = ReferenceHistogram::default();
        for ms in [20u32, 5, 10] {
            histogram.record(ms * 125_000);
        }
        assert_eq!(histogram.count, 3);
        assert_eq!(histogram.sum_ns, 35_000_000);
        assert_eq!((histogram.min_ns, histogram.max_ns), (5_000_000, 20_000_000));
        let median = histogram.quantile_ns(0.5).unwrap();
        assert!((median / 1e7 - 1.0).abs() < 0.05, "{median}");
    }

    #[test]
    fn an_estimate_stays_within_the_extremes() {
        let mut one = ReferenceHistogram::default();
        assert_eq!(one.quantile_ns(0.5), None);
        one.record(1);
        assert_eq!(one.quantile_ns(0.0), Some(8.0));
        assert_eq!(one.quantile_ns(1.0), Some(8.0));
        let mut above = ReferenceHistogram::default();
        above.record(700_000_000);
        assert_eq!(above.quantile_ns(0.5), Some(5.6e9));
    }
}
