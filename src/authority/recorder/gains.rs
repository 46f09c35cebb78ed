//! From what was counted to what is added to the store: a gain of each token, and of each namespace.

use std::collections::hash_map::{Entry, IntoIter};
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::domain::name::Namespace;
use crate::domain::token::TokenId;
use crate::domain::usage::{
    Add, Counts, ENDPOINTS_MAX, Ended, Endpoint, Gain, Hour, Rows, Subject, TOKENS_MAX, TokenUse,
    Use,
};

use super::Batch;

/// Gains that are being made, some tokens at a time.
#[derive(Debug)]
pub(super) struct Making {
    tokens: IntoIter<(TokenId, Hour), TokenUse>,
    ended: HashMap<TokenId, VecDeque<Ended>>,
    namespaces: HashMap<(Namespace, Hour), Sum>,
    gains: HashMap<Subject, Gain>,
    made: Made,
}

/// All gains of what was counted.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) gains: HashMap<Subject, Gain>,
    /// How many requests, and ends of requests, were counted in them.
    pub(super) requests: u64,
}

/// What the tokens of a namespace add up to.
#[derive(Debug, Default)]
struct Sum {
    counts: Counts,
    endpoints: HashMap<Endpoint, Counts>,
    other: Counts,
    tokens: Vec<(TokenId, Counts)>,
}

impl Making {
    pub(super) fn of(batch: Batch) -> Self {
        let Batch {
            tokens,
            ended,
            unknown,
            begun: _,
            room: _,
        } = batch;
        let mut made = Made::default();
        let namespaces = unknown.into_iter().map(|(place, counts)| {
            made.requests += counts.requests();
            let sum = Sum {
                counts,
                ..Sum::default()
            };
            (place, sum)
        });
        Self {
            namespaces: namespaces.collect(),
            tokens: tokens.into_iter(),
            ended,
            gains: HashMap::new(),
            made,
        }
    }

    /// Goes on with so many tokens; answers whether there are more.
    pub(super) fn go_on(&mut self, most: usize) -> bool {
        for ((id, hour), own) in self.tokens.by_ref().take(most) {
            let TokenUse {
                namespace,
                used,
                recent,
            } = own;
            let told = used.counts.completed().map_or(0, |ends| ends.requests);
            self.made.requests += used.counts.requests() + told;
            let sum = self.namespaces.entry((namespace, hour)).or_default();
            sum.add(id, &used);
            let gain = Gain {
                hours: BTreeMap::from([(hour, used)]),
                recent,
                ended: self.ended.remove(&id).unwrap_or_default(),
            };
            match self.gains.entry(Subject::Token(id)) {
                Entry::Vacant(place) => drop(place.insert(gain)),
                Entry::Occupied(mut known) => known.get_mut().add(gain),
            }
        }
        self.tokens.len() > 0
    }

    /// All of them, once there are no more tokens.
    pub(super) fn finish(self) -> Made {
        let Self {
            namespaces,
            mut gains,
            made,
            ..
        } = self;
        for ((namespace, hour), sum) in namespaces {
            let own = gains.entry(Subject::Namespace(namespace)).or_default();
            own.hours.insert(hour, sum.used());
        }
        Made { gains, ..made }
    }
}

impl Sum {
    fn add(&mut self, id: TokenId, used: &Use) {
        self.counts.add(used.counts.clone());
        self.tokens.push((id, used.counts.clone()));
        let (endpoints, other) = used.endpoints.read();
        for (endpoint, counts) in endpoints {
            match self.endpoints.get_mut(endpoint) {
                Some(own) => own.add(counts.clone()),
                None => drop(self.endpoints.insert(endpoint.clone(), counts.clone())),
            }
        }
        self.other.add(other.clone());
    }

    fn used(self) -> Use {
        let Self {
            counts,
            endpoints,
            other,
            tokens,
        } = self;
        Use {
            counts,
            endpoints: busiest::<_, ENDPOINTS_MAX>(endpoints.into_iter().collect(), other),
            tokens: busiest::<_, TOKENS_MAX>(tokens, Counts::default()),
            ..Use::default()
        }
    }
}

/// The busiest of many rows, and all others as one.
fn busiest<K: PartialEq, const MOST: usize>(
    mut rows: Vec<(K, Counts)>,
    mut other: Counts,
) -> Rows<K, Counts, MOST> {
    if rows.len() > MOST {
        let weight = |(_, counts): &(K, Counts)| std::cmp::Reverse(counts.weight());
        rows.select_nth_unstable_by_key(MOST, weight);
        rows.drain(MOST..).for_each(|(_, counts)| other.add(counts));
    }
    Rows::of_parts(rows, other)
}
