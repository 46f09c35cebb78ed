//! Gains of use for tests of a store.

use token_authority::domain::time::Timestamp;
use token_authority::domain::token::TokenId;
use token_authority::domain::usage::{Gain, Hour, Judged, Mark, Recent, Subject, Use};
use token_authority::domain::verdict::Verdict;

/// The mark of a flush of the process 1.
pub(crate) fn mark(sequence: u64) -> Mark {
    let process = 1;
    Mark { process, sequence }
}

/// A request that passed.
pub(crate) fn judged(at: Timestamp) -> Judged<'static> {
    Judged {
        at,
        verdict: Verdict::Valid,
        cost: 1,
        secret_version: 1,
        validation_id: "0123456789ABCDEFGHIJKL",
        method: "GET",
        path: "/orders/{id}",
        client: "192.0.2.7".parse().ok(),
        user_agent: "curl/8.5.0",
    }
}

/// One request in each of some hours.
pub(crate) fn gain(hours: &[Hour]) -> Gain {
    let mut gain = Gain::default();
    for hour in hours {
        let mut used = Use::default();
        used.note(&judged(hour.begin()));
        let hours = [(*hour, used)].into();
        gain.add(Gain {
            hours,
            ..Gain::default()
        });
    }
    gain
}

pub(crate) fn gain_of(id: TokenId, hours: &[Hour]) -> (Subject, Gain) {
    (Subject::Token(id), gain(hours))
}

/// The same request in full.
pub(crate) fn recent(at: Timestamp) -> Recent {
    Recent::of(&judged(at), None)
}
