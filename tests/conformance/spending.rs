//! What a store answers about limits, against the rule that it has to follow.

use std::sync::Arc;
use std::time::Duration;

use token_authority::domain::limit::Quota;
use token_authority::domain::permits::{Ahead, Back, Batch, BatchId, Wish};
use token_authority::domain::spending::{Scope, Spending};
use token_authority::domain::token::Token;
use token_authority::domain::update::{Patch, QuotaPatch};
use token_authority::store::{Change, Rule, Take, Taken};

use crate::fixture::Bench;
use crate::limits::{adjusted, left, quota, take, with_quota};
use crate::support::drafts::{limited, rate_limits};
use crate::support::numbers::Numbers;

impl Numbers {
    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// A change of limits, with numbers up to so many times a few.
    fn patch(&mut self, scale: u64) -> Patch {
        let limit = |numbers: &mut Self, name| {
            let requests = 1 + numbers.below(9 * scale);
            let period = 1 + numbers.below(40);
            (name, requests, period, numbers.below(12 * scale))
        };
        match self.below(6) {
            0 => Patch {
                rate_limits: Some(rate_limits(&[limit(self, "a"), limit(self, "b")])),
                ..Patch::default()
            },
            1 => Patch {
                rate_limits: Some(rate_limits(&[limit(self, "b")])),
                ..Patch::default()
            },
            2 => {
                let period = Some(Duration::from_secs(1 + self.below(50)));
                let quota = Quota::new(1 + self.below(20 * scale), period).unwrap();
                with_quota(QuotaPatch::Replace(quota, None))
            }
            3 => adjusted(Some(1 + self.below(20 * scale)), None),
            4 => {
                let limit = 1 + self.below(20 * scale);
                let left = self.below(limit + 1);
                adjusted(Some(limit), Some(left))
            }
            _ => with_quota(QuotaPatch::Remove),
        }
    }

    /// One of the batches that are known may come back, or one that is not; and one more is wished for,
    /// under `id` or one that is known.
    fn ahead(&mut self, known: &[Batch], id: u64) -> Ahead {
        let some = |numbers: &mut Self| match known.len() {
            0 => BatchId(id + 1),
            length => known[numbers.below(length as u64) as usize].id,
        };
        let back = self.chance(3).then(|| Back {
            batch: some(self),
            unused: self.below(8),
        });
        let wish = self.chance(2).then(|| Wish {
            batch: if self.chance(9) {
                some(self)
            } else {
                BatchId(id)
            },
            uses: [self.below(8), u64::MAX][usize::from(self.chance(3))],
        });
        let strange = self.chance(8).then(|| Back {
            batch: BatchId(id.saturating_sub(self.below(9))),
            unused: self.below(8),
        });
        Ahead {
            back: back.or(strange),
            wish,
        }
    }

    fn use_of(&mut self, token: &Token, scale: u64, ahead: Ahead) -> Take {
        let dry_run = self.chance(6);
        Take {
            cost: self.below(4) * (1 + self.below(scale)),
            scope: [Scope::All, Scope::Rates][usize::from(self.chance(4))],
            dry_run,
            ahead,
            ..take(token)
        }
    }

    /// Mostly about as long as a batch lives, sometimes long enough for all to come back.
    fn pause(&mut self) -> Duration {
        let most = [60_000, 60_000, 200_000, 1_000_000, 30_000_000];
        let most = most[self.below(5) as usize];
        Duration::from_micros(self.below(most))
    }
}

pub(crate) async fn a_store_judges_limits_as_the_rules_do(bench: Bench) {
    let mut numbers = Numbers(7);
    let (mut granted, mut returned) = (0, 0);
    for round in 0..12 {
        let scale = [1, 40, 400][round % 3];
        let limits = rate_limits(&[("a", 5 * scale, 20, 0)]);
        let mut token = bench.create(limited(limits, quota(30 * scale))).await;
        let mut model = Spending::default();
        for step in 0..150 {
            match numbers.below(12) {
                0..3 => bench.pass(numbers.pause()),
                3 if numbers.chance(3) => {
                    let (patch, reset) = (numbers.patch(scale), numbers.chance(4));
                    let rule: Rule = Arc::new(move |token, now| {
                        if reset {
                            token.reset_limits(now)
                        } else {
                            token.update(now, &patch)
                        }
                    });
                    if let Ok(Change::Changed(changed)) = bench.store.change(token.id, rule).await {
                        token = changed;
                    }
                }
                _ => {
                    let ahead = numbers.ahead(&model.batches.list, step);
                    let asked = numbers.use_of(&token, scale, ahead);
                    let expected = model.take(&token, asked.demand(), bench.now());
                    let answer = match bench.store.take(&asked).await.unwrap() {
                        Taken::Admitted(left, granted) => (Ok(granted), left),
                        Taken::Refused(exceeded, left) => (Err(exceeded), left),
                        Taken::Moved(found) => panic!("the token moved to {found:?}"),
                    };
                    let told = expected.left.clone();
                    assert_eq!(answer, (expected.verdict, told), "{asked:?} of {model:?}");
                    granted += u64::from(expected.verdict.is_ok_and(|uses| uses > 0));
                    if let Some(kept) = expected.kept {
                        let known = |spending: &Spending, id| {
                            let mut list = spending.batches.list.iter();
                            list.any(|batch| batch.id == id)
                        };
                        let back = asked.ahead.back.filter(|back| known(&model, back.batch));
                        returned += u64::from(back.is_some_and(|back| !known(&kept, back.batch)));
                        model = kept;
                    }
                    assert_eq!(left(&bench, &token).await, expected.left);
                }
            }
        }
    }
    assert!(granted > 100, "{granted} batches were granted");
    assert!(returned > 30, "{returned} batches came back");
}
