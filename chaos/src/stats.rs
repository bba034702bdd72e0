//! Percentiles of what was measured.

/// Sorted measurements.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Takes measurements in any order.
    #[must_use]
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that `percent` of all do not exceed (nearest rank); 0 when there is none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0.0)
    }

    /// The largest; 0 when there is none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let s = Samples::new((1..=20).rev().map(f64::from).collect());
        assert_eq!((s.percentile(50), s.percentile(90), s.percentile(99), s.max()), (10.0, 18.0, 20.0, 20.0));
        assert_eq!(Samples::default().percentile(50), 0.0);
    }
}
