//! The busiest tokens of this server, for its metrics: so that an alert can say whose requests they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::token::TokenId;
use crate::domain::usage::{Add, Gain, Rows, Subject, Use};
use crate::domain::verdict::Verdict;
use crate::metrics::{Busyness, Metrics};

/// For how long requests are counted before the busiest are shown.
const STRETCH: Duration = Duration::from_secs(30);
/// Tokens of each kind that are shown, and that are told apart meanwhile.
const SHOWN: usize = 10;
const TOLD_APART: usize = 64;
/// A token with less than this part of what came together is none of the busiest, and not looked at.
const LEAST_PART: u64 = 1000;

/// What came since the busiest were shown last.
#[derive(Debug)]
pub(super) struct Busiest {
    begun: Instant,
    /// In the order of [`Busyness::ALL`].
    rows: [Rows<TokenId, u64, TOLD_APART>; Busyness::ALL.len()],
    metrics: Arc<Metrics>,
}

impl Busiest {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            begun: Instant::now(),
            rows: Default::default(),
            metrics,
        }
    }

    /// Counts what came together.
    pub(super) fn note(&mut self, gains: &[(Subject, Gain)]) {
        let counted = || {
            gains.iter().filter_map(|(subject, gain)| match subject {
                Subject::Token(id) => Some((*id, requests_of(gain))),
                Subject::Namespace(_) => None,
            })
        };
        let mut sums = [0_u64; Busyness::ALL.len()];
        for (_, requests) in counted() {
            sums.iter_mut()
                .zip(requests)
                .for_each(|(sum, more)| sum.add(more));
        }
        for (id, requests) in counted() {
            for ((rows, requests), sum) in self.rows.iter_mut().zip(requests).zip(sums) {
                if requests > sum / LEAST_PART {
                    rows.of(&id, || id).add(requests);
                }
            }
        }
    }

    /// Shows the busiest, where it is time to.
    pub(super) fn show(&mut self) {
        let elapsed = self.begun.elapsed();
        if elapsed < STRETCH {
            return;
        }
        self.begun = Instant::now();
        let rows = std::mem::take(&mut self.rows).map(Rows::into_parts);
        let shown = Busyness::ALL
            .into_iter()
            .zip(rows)
            .flat_map(|(kind, (mut rows, _))| {
                rows.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
                rows.truncate(SHOWN);
                let rate = |requests: u64| requests as f64 / elapsed.as_secs_f64();
                rows.into_iter()
                    .map(move |(id, requests)| (id, kind, rate(requests)))
            });
        self.metrics.tokens.show_busiest(shown);
    }
}

/// Requests of each kind.
fn requests_of(gain: &Gain) -> [u64; Busyness::ALL.len()] {
    let of =
        |count: &dyn Fn(&Use) -> u64| gain.hours.iter().map(|(_, used)| count(used)).sum::<u64>();
    let all = of(&|used| used.counts.requests());
    let limited =
        of(&|used| used.counts.of(Verdict::RateLimited) + used.counts.of(Verdict::QuotaExhausted));
    let passed = of(&|used| used.counts.of(Verdict::Valid));
    [all, limited, all - limited - passed]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Counts, Hour};
    use crate::entropy;
    use crate::metrics::{About, Exposition, Format, Now};

    fn gain(verdicts: &[(Verdict, u64)]) -> Gain {
        let counts = Counts::of_parts(verdicts.iter().copied(), 0, None);
        let used = Use {
            counts,
            ..Use::default()
        };
        Gain {
            hours: vec![(Hour::from_number(1), used)],
            ..Gain::default()
        }
    }

    #[test]
    fn the_busiest_of_each_kind_are_shown_once_and_go_when_others_are() {
        let metrics = Arc::new(Metrics::new([]));
        let about = About {
            version: "0",
            store: "none",
        };
        let exposition = Exposition::new(&metrics, about, Now::default);
        let text = || exposition.text(Format::OpenMetrics).unwrap();
        let mut busiest = Busiest::new(metrics);
        let [hot, refused] = [(); 2].map(|()| entropy::token_id().unwrap());
        let mut gains: Vec<_> = (0..100)
            .map(|_| {
                let id = entropy::token_id().unwrap();
                (Subject::Token(id), gain(&[(Verdict::Valid, 1)]))
            })
            .collect();
        let hot_gain = gain(&[(Verdict::Valid, 3000), (Verdict::RateLimited, 600)]);
        gains.push((Subject::Token(hot), hot_gain));
        gains.push((Subject::Token(refused), gain(&[(Verdict::Superseded, 300)])));
        busiest.note(&gains);
        busiest.show();
        assert!(!text().contains("busiest_tokens{"), "too soon");
        busiest.begun -= STRETCH;
        busiest.show();
        let shown = text();
        let rate = |id: TokenId, kind: &str| {
            let begin = format!(
                "busiest_tokens{{token_id=\"{}\",kind=\"{kind}\"}} ",
                id.as_str()
            );
            let rest = shown.split(&begin).nth(1)?;
            rest.lines().next()?.parse::<f64>().ok()
        };
        let close = |rate: Option<f64>, expected: f64| {
            rate.is_some_and(|rate| (rate - expected).abs() < expected / 10.0)
        };
        assert!(close(rate(hot, "requests"), 120.0), "{shown}");
        assert!(close(rate(hot, "limited"), 20.0) && rate(hot, "refused").is_none());
        assert!(close(rate(refused, "refused"), 10.0));
        assert_eq!(shown.matches("kind=\"requests\"").count(), 2, "{shown}");
        busiest.begun -= STRETCH;
        busiest.show();
        assert!(
            !text().contains("busiest_tokens{"),
            "they are not busy any more"
        );
    }
}
