//! What a refused rule means to the caller.

use std::time::{Duration, UNIX_EPOCH};

use crate::domain::flaw::{Flaw, Violations};
use crate::domain::time::Timestamp;
use crate::domain::token::{Refusal, TokenId};

use super::error::Error;

/// The answer to a refused change of the token `id`; `expire_time` is the name that the call has
/// for that field.
pub(super) fn refused(refusal: Refusal, id: TokenId, expire_time: &str) -> Error {
    let invalid = |field: &str, flaw: Flaw| Error::Invalid(Violations::one(field, flaw));
    match refusal {
        Refusal::ExpireTimePast { now } => {
            let flaw = format!("must be after the store's time, {}", text(now));
            invalid(expire_time, Flaw::new(flaw))
        }
        Refusal::Breaks { field, flaw } => invalid(&field, flaw),
        Refusal::NamespaceFull { namespace, limit } => Error::NamespaceFull { namespace, limit },
        Refusal::RequestDiffers => {
            let flaw = "was used before by this caller with other arguments";
            invalid("request_id", Flaw::new(flaw))
        }
        Refusal::RequestUsed => Error::RequestIdUsed(id),
        Refusal::RevisionMoved { asked, current } => Error::RevisionMoved { asked, current },
        Refusal::Over { state } => Error::TokenOver { id, state },
        Refusal::StillInGrace { until } => Error::StillInGrace {
            id,
            until: text(until),
        },
        Refusal::OutOfSight => Error::TokenNotFound(id),
        Refusal::Undecidable => Error::StoreUnavailable("a pepper is not configured".to_owned()),
        Refusal::ExceedsCaller { scope } => Error::GrantExceedsCaller { scope },
    }
}

fn text(at: Timestamp) -> String {
    let at = UNIX_EPOCH + Duration::from_micros(at.micros());
    humantime::format_rfc3339_millis(at).to_string()
}
