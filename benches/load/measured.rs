//! What was measured: the figures of each row in each round, and their medians.

use crate::figures::Figures;

/// Which share of calls may fail: where others have the cores, a store may miss its deadline.
const FAILED_MAX: f64 = 0.001;

/// A row as it is told of.
pub(crate) struct Told {
    pub(crate) name: &'static str,
    /// The row of its ceiling.
    pub(crate) ceiling: &'static str,
    /// In each round.
    pub(crate) rounds: Vec<Figures>,
}

/// What is read off figures; `None` where it could not be told.
pub(crate) type Value = fn(&Figures) -> Option<f64>;

pub(crate) const CALLS: Value = |figures| Some(figures.calls_per_second);
pub(crate) const SERVER_CPU: Value = |figures| figures.server_cpu;
pub(crate) const P50: Value = |figures| Some(figures.p50);
pub(crate) const P99: Value = |figures| Some(figures.p99);

/// All rows.
pub(crate) struct Measured(pub(crate) Vec<Told>);

impl Measured {
    fn row(&self, name: &str) -> Option<&Told> {
        self.0.iter().find(|row| row.name == name)
    }

    /// The median over the rounds; `None` for a row that was left out.
    pub(crate) fn median(&self, name: &str, value: Value) -> Option<f64> {
        let rounds = self.row(name)?.rounds.iter();
        rounds.map(value).collect::<Option<Vec<f64>>>().map(median)
    }

    /// The median of the ratios to another row in the same round.
    pub(crate) fn ratio(&self, name: &str, to: &str, value: Value) -> Option<f64> {
        let pairs = self.row(name)?.rounds.iter().zip(&self.row(to)?.rounds);
        let ratios = pairs.map(|(own, other)| Some(value(own)? / value(other)?));
        ratios.collect::<Option<Vec<f64>>>().map(median)
    }

    /// A row of whose calls more than one in a thousand failed: its figures say nothing.
    pub(crate) fn failed(&self) -> Option<&'static str> {
        let failed = |figures: &Figures| figures.failed as f64 > FAILED_MAX * figures.calls as f64;
        let found = self.0.iter().find(|row| row.rounds.iter().any(failed));
        found.map(|row| row.name)
    }

    /// How far the rounds of a row lie apart, as a share of their median.
    pub(crate) fn spread(&self, name: &str, value: Value) -> Option<f64> {
        let rounds = self.row(name)?.rounds.iter().map(value);
        let values: Vec<f64> = rounds.collect::<Option<_>>()?;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some((most - least) / median(values))
    }
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
}
