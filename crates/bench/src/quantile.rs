// SPDX-License-Identifier: GPL-2.0-only
//! Quantiles of a few values.

/// Returns the quantile `q` (0 to 1) of the values, interpolated between two of them; NaN without
/// values.
pub fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Returns the median of the values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_in_proportion() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile([10.0, 20.0], 0.25), 12.5);
        assert_eq!(quantile([7.0], 0.9), 7.0);
        assert_eq!((quantile([1.0, 2.0], 0.0), quantile([1.0, 2.0], 1.0)), (1.0, 2.0));
        assert!(median([]).is_nan());
    }
}
