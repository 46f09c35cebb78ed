//! How much may be counted while nobody takes it: so many tokens, and so many bytes.

use std::collections::{HashMap, VecDeque};
use std::mem::{size_of, size_of_val};
use std::net::IpAddr;

use crate::domain::token::TokenId;
use crate::domain::usage::{
    Client, Completed, Counts, Ended, Endpoint, Hour, Judged, Recent, TokenUse, Use,
};

use super::{End, Tokens};

/// Most tokens, each once for each hour, and most bytes, as far as they can be told: of what is counted,
/// and again of what is on its way to the store.
pub(super) const TOKENS_MAX: usize = 200_000;
pub(super) const BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a request may add at the most, beside its texts, which may be kept twice: a token, an endpoint, a
/// client and one of the last requests.
const REQUEST_BYTES_MAX: usize = size_of::<TokenUse>() + 1024;

/// What is left of the room.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// What was taken at the most.
    taken: usize,
    /// Nothing more finds room.
    full: bool,
}

impl Room {
    /// Takes `most` bytes; answers whether there were as many. How much was taken indeed is measured
    /// only when it may be too much, and once it is, never again.
    pub(super) fn take(&mut self, most: usize, measure: impl FnOnce() -> usize) -> bool {
        if self.full {
            return false;
        }
        self.taken += most;
        if self.taken > BYTES_MAX {
            self.taken = measure() + most;
            // Else it would be measured again too soon.
            self.full = self.taken > BYTES_MAX / 8 * 7;
        }
        !self.full
    }

    /// What a judged request takes at the most.
    pub(super) fn most_of(judged: &Judged<'_>) -> usize {
        let texts = [
            judged.validation_id,
            judged.method,
            judged.path,
            judged.user_agent,
        ];
        REQUEST_BYTES_MAX + 2 * texts.map(str::len).iter().sum::<usize>()
    }

    /// What the end of a request takes at the most.
    pub(super) fn most_of_end(end: &End) -> usize {
        REQUEST_BYTES_MAX + size_of::<Completed>() + 2 * (end.method.len() + end.path.len())
    }
}

/// What the counted takes, as far as that can be told.
pub(super) fn bytes_of(tokens: &Tokens, ended: &HashMap<TokenId, VecDeque<Ended>>) -> usize {
    let tokens: usize = tokens.values().map(of_token).sum();
    let ended: usize = ended.values().map(VecDeque::len).sum();
    tokens + ended * (size_of::<Ended>() + 64)
}

fn of_token(own: &TokenUse) -> usize {
    let recent: usize = own.recent.iter().map(of_recent).sum();
    size_of::<(TokenId, Hour)>() + size_of::<TokenUse>() + recent + of_use(&own.used)
}

fn of_recent(recent: &Recent) -> usize {
    let texts = [
        recent.validation_id(),
        recent.method(),
        recent.path(),
        recent.user_agent(),
    ];
    size_of::<Recent>() + texts.map(str::len).iter().sum::<usize>()
}

fn of_endpoint(endpoint: &Endpoint) -> usize {
    endpoint.method().len() + endpoint.path().len()
}

fn of_use(used: &Use) -> usize {
    let (endpoints, other) = used.endpoints.read();
    let endpoints: usize = endpoints
        .map(|(endpoint, counts)| size_of::<Endpoint>() + of_endpoint(endpoint) + of_counts(counts))
        .sum();
    let clients = used.clients.read().0.count() * size_of::<(IpAddr, Client)>();
    endpoints + clients + of_counts(other) + of_counts(&used.counts)
}

fn of_counts(counts: &Counts) -> usize {
    let completed = counts.completed().map_or(0, |completed| {
        size_of::<Completed>() + size_of_val(completed.latency.buckets())
    });
    // The first has its place; a list of others begins with room for four.
    let others = match counts.verdicts().count() {
        0 | 1 => 0,
        verdicts => (verdicts - 1).max(4) * 16,
    };
    size_of::<Counts>() + others + completed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_taken_is_measured_before_it_is_believed() {
        let mut room = Room::default();
        assert!(room.take(BYTES_MAX, || panic!("there is room without looking")));
        assert!(room.take(1, || 5), "little was taken indeed");
        assert!(room.take(BYTES_MAX - 100, || panic!("and now there is again")));
        assert!(!room.take(200, || BYTES_MAX));
        assert!(!room.take(0, || panic!("what is full stays full")));
    }
}
