//! Gauges that name tokens: few at a time, and none for longer than it is one of them.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;

/// Tokens that stand out. Ids of tokens are made here, not sent by callers, and those of the busiest and
/// of the next to end are all that is shown.
#[derive(Debug, Default)]
pub struct NamedTokens {
    busiest: Family<Busy, Gauge<f64, AtomicU64>>,
    in_force: Gauge,
    expiring: Family<Within, Gauge>,
    ends: Family<Named, Gauge>,
}

/// By what a token is one of the busiest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busyness {
    /// All requests.
    Requests,
    /// Those that were refused by rate limits and quotas.
    Limited,
    /// Those that were refused otherwise.
    Refused,
}

impl Busyness {
    pub const ALL: [Self; 3] = [Self::Requests, Self::Limited, Self::Refused];

    fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limited => "limited",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Busy {
    token_id: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Within {
    within: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    token_id: String,
}

impl NamedTokens {
    /// Shows these as the busiest, with requests a second, instead of those before.
    pub fn show_busiest(&self, busiest: impl IntoIterator<Item = (TokenId, Busyness, f64)>) {
        self.busiest.clear();
        for (id, kind, rate) in busiest {
            let labels = Busy {
                token_id: id.as_str().to_owned(),
                kind: kind.word(),
            };
            self.busiest.get_or_create(&labels).set(rate);
        }
    }

    /// Shows how many tokens are in force, and of them how many end within a day and within a week.
    pub fn show_in_force(&self, in_force: u64, within_a_day: usize, within_a_week: usize) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.in_force.set(number(in_force));
        for (within, tokens) in [("1d", within_a_day), ("7d", within_a_week)] {
            let gauge = self.expiring.get_or_create(&Within { within });
            gauge.set(number(tokens as u64));
        }
    }

    /// Shows when these end, instead of those before.
    pub fn show_ends(&self, ends: impl IntoIterator<Item = (TokenId, Timestamp)>) {
        self.ends.clear();
        for (id, end) in ends {
            let token_id = id.as_str().to_owned();
            let seconds = i64::try_from(end.micros() / 1_000_000).unwrap_or(i64::MAX);
            self.ends.get_or_create(&Named { token_id }).set(seconds);
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests a second of the busiest tokens";
        registry.register("busiest_tokens", help, self.busiest.clone());
        let help = "Tokens in force, of all namespaces";
        registry.register("tokens_in_force", help, self.in_force.clone());
        let help = "Tokens in force that end within a day, and within a week";
        registry.register("tokens_expiring", help, self.expiring.clone());
        registry.register_with_unit(
            "token_end_timestamp",
            "When the tokens end that end next, since 1970",
            Unit::Seconds,
            self.ends.clone(),
        );
    }
}
