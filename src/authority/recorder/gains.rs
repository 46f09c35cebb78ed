//! From what was counted to what is added to the store: a gain of each token, and of each namespace.

use std::collections::hash_map::{Entry, IntoIter};
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

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
    namespaces: HashMap<(Namespace, Hour), Sum, RandomState>,
    /// Where among the gains those of a token are; only known where they are of several hours.
    places: Option<HashMap<TokenId, usize, RandomState>>,
    made: Made,
}

/// All gains of what was counted.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) gains: Vec<(Subject, Gain)>,
    /// How many requests, and ends of requests, were counted in them.
    pub(super) requests: u64,
}

/// What the tokens of a namespace add up to.
#[derive(Debug, Default)]
struct Sum {
    counts: Counts,
    /// Hashed with care, since callers choose them.
    endpoints: HashMap<Endpoint, Counts>,
    other: Counts,
    /// The busiest, and some others.
    tokens: Vec<(TokenId, Counts)>,
    /// The tokens that are in no row.
    rest: Counts,
}

/// Tokens among which the busiest are looked for at once.
const TOKENS_HELD: usize = 8 * TOKENS_MAX;

impl Making {
    pub(super) fn of(batch: Batch) -> Self {
        let Batch {
            tokens,
            ended,
            unknown,
            begun: _,
            room: _,
        } = batch;
        let mut made = Made {
            gains: Vec::with_capacity(tokens.len() + 1),
            requests: 0,
        };
        let mut hours = tokens.keys().map(|(_, hour)| hour);
        let first = hours.next();
        let several = hours.any(|hour| Some(hour) != first);
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
            places: several.then(HashMap::default),
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
            let ended = match self.ended.is_empty() {
                true => None,
                false => self.ended.remove(&id),
            };
            let gain = Gain {
                hours: vec![(hour, used)],
                recent,
                ended: ended.unwrap_or_default(),
            };
            let gains = &mut self.made.gains;
            match self.places.as_mut().map(|places| places.entry(id)) {
                Some(Entry::Occupied(known)) => gains[*known.get()].1.add(gain),
                new => {
                    if let Some(Entry::Vacant(place)) = new {
                        place.insert(gains.len());
                    }
                    gains.push((Subject::Token(id), gain));
                }
            }
        }
        self.tokens.len() > 0
    }

    /// All of them, once there are no more tokens.
    pub(super) fn finish(self) -> Made {
        let Self {
            namespaces,
            mut made,
            ..
        } = self;
        let mut gains: HashMap<Namespace, Gain> = HashMap::new();
        for ((namespace, hour), sum) in namespaces {
            let own = gains.entry(namespace).or_default();
            own.add_hour(hour, sum.used());
        }
        let gains = gains.into_iter();
        let gains = gains.map(|(namespace, gain)| (Subject::Namespace(namespace), gain));
        made.gains.extend(gains);
        made
    }
}

impl Sum {
    fn add(&mut self, id: TokenId, used: &Use) {
        self.counts.add(used.counts.clone());
        if self.tokens.len() == TOKENS_HELD {
            // A token comes once, so one that is lighter than so many others stays so.
            drop_lightest(&mut self.tokens, TOKENS_MAX, &mut self.rest);
        }
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
            rest,
        } = self;
        let tokens = busiest::<_, TOKENS_MAX>(tokens, rest);
        Use {
            counts,
            endpoints: busiest::<_, ENDPOINTS_MAX>(endpoints.into_iter().collect(), other),
            tokens: (!tokens.is_empty()).then(|| Box::new(tokens)),
            ..Use::default()
        }
    }
}

/// The busiest of many rows, and all others as one.
fn busiest<K: PartialEq, const MOST: usize>(
    mut rows: Vec<(K, Counts)>,
    mut other: Counts,
) -> Rows<K, Counts, MOST> {
    drop_lightest(&mut rows, MOST, &mut other);
    Rows::of_parts(rows, other)
}

/// Leaves the heaviest rows.
fn drop_lightest<K>(rows: &mut Vec<(K, Counts)>, most: usize, other: &mut Counts) {
    if rows.len() > most {
        let weight = |(_, counts): &(K, Counts)| std::cmp::Reverse(counts.weight());
        rows.select_nth_unstable_by_key(most, weight);
        rows.drain(most..).for_each(|(_, counts)| other.add(counts));
    }
}
