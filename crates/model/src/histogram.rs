// SPDX-License-Identifier: GPL-2.0-only
//! The RTTs of one tc handle and side: count, sum, extremes and a logarithmic histogram.

/// Number of buckets: one up to 2^-12 s, 104 of an eighth of an octave each, one above 2 s.
pub const BUCKETS: usize = 106;
/// Nanoseconds of a unit in which samples are counted.
pub const UNIT_NS: u64 = 8;

const UNITS_PER_SECOND: f64 = 125e6;
const PER_OCTAVE: f64 = 8.0;
/// The bucket whose upper edge is one second.
const SECOND: f64 = 96.0;
const LAST: usize = BUCKETS - 1;

/// Returns the upper edge of a bucket in units, which belongs to the bucket. That of the last is infinite.
pub fn upper_edge(bucket: usize) -> f64 {
    match bucket {
        LAST.. => f64::INFINITY,
        _ => UNITS_PER_SECOND * ((bucket as f64 - SECOND) / PER_OCTAVE).exp2(),
    }
}

/// Returns the bucket of an RTT: the first bucket whose upper edge is not below the RTT.
pub fn bucket(units: u32) -> usize {
    (0..BUCKETS).find(|&b| f64::from(units) <= upper_edge(b)).unwrap_or(LAST)
}

/// Returns the value that represents a bucket, in units, where `max` is the largest RTT: the harmonic mean
/// 2ab / (a + b) of its edges, whose relative error is the same at both. The last bucket ends at `max`; the
/// first is represented by its edge.
pub fn middle(bucket: usize, max: f64) -> f64 {
    let Some(below) = bucket.checked_sub(1) else { return upper_edge(0) };
    let (a, b) = (upper_edge(below), upper_edge(bucket));
    let b = if b.is_infinite() { max } else { b };
    2.0 * a * b / (a + b)
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
        let max = self.max_ns as f64 / UNIT_NS as f64;
        let estimate = middle(bucket, max) * UNIT_NS as f64;
        Some(estimate.clamp(self.min_ns as f64, self.max_ns as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_are_those_of_the_text() {
        assert_eq!(upper_edge(0), 125e6 / 4096.0);
        assert_eq!((upper_edge(96), upper_edge(LAST - 1)), (125e6, 250e6));
        assert_eq!((bucket(125_000_000), bucket(125_000_001)), (96, 97));
        assert_eq!((bucket(250_000_000), bucket(250_000_001)), (LAST - 1, LAST));
        assert_eq!((bucket(0), bucket(30_517), bucket(30_518)), (0, 0, 1));
        assert_eq!(bucket(u32::MAX), LAST);
    }

    #[test]
    fn eight_buckets_make_an_octave() {
        for b in 0..LAST - 8 {
            let ratio = upper_edge(b + 8) / upper_edge(b);
            assert!((ratio - 2.0).abs() < 1e-12, "{b}: {ratio}");
        }
    }

    #[test]
    fn an_upper_edge_belongs_to_its_bucket() {
        for b in 0..LAST {
            let last = upper_edge(b).floor() as u32;
            assert_eq!((bucket(last), bucket(last + 1)), (b, b + 1));
        }
    }

    #[test]
    fn the_middle_is_within_the_bound_of_everything_in_the_bucket() {
        for b in 1..LAST {
            for value in [upper_edge(b - 1), upper_edge(b)] {
                assert!((middle(b, 1e9) / value - 1.0).abs() < 0.0434, "bucket {b}");
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
        assert!((median / 1e7 - 1.0).abs() < 0.044, "{median}");
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
