//! Between wire and domain: requests are parsed whole, so that one answer names every violation.
//!
//! Messages are taken apart without `..`, so that a new field breaks the build until somebody has
//! decided what it means.

mod access_logs;
mod change;
mod create;
mod events;
mod inspect;
mod leases;
mod limits;
mod namespaces;
mod pools;
mod reports;
mod time;
mod token;
mod usage;
mod validate;

use crate::authority::error::Error;
use crate::domain::caller::Namespaces;
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::name::{Owner, PoolName};

pub(super) use access_logs::{NoEnd, logged};
pub(in crate::transport) use change::{limits_reset, patch, rotate_order, rotated};
pub(in crate::transport) use create::{batch, issued, order};
pub(in crate::transport) use events::{watch_query, watched};
pub(in crate::transport) use inspect::{
    got, list_query, listed, revoke_order, surrender_order, token_id,
};
pub(in crate::transport) use leases::{
    acquire_order, acquired, beat_order, forced_release_order, kept, release_order, released,
    token_beat_order, wire_end,
};
pub(in crate::transport) use limits::limits_as_they_stand;
pub(in crate::transport) use namespaces::{namespaces_listed, namespaces_query};
pub(in crate::transport) use pools::{pools_listed, pools_query};
pub(in crate::transport) use reports::told;
pub(in crate::transport) use time::timestamp;
pub(in crate::transport) use token::{whole_token, wire_state};
pub(in crate::transport) use usage::{overview_query, overview_told, usage_query, usage_told};
pub(in crate::transport) use validate::{Asked, question, validation, wire_verdict};

/// The parsed request, if nothing was wrong with it.
fn sound<T>(parsed: Option<T>, violations: Violations) -> Result<T, Error> {
    match parsed {
        Some(parsed) if violations.is_empty() => Ok(parsed),
        _ => Err(Error::Invalid(violations)),
    }
}

/// Parses text where empty means that nothing was given.
fn given<T>(
    violations: &mut Violations,
    field: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, Flaw>,
) -> Option<T> {
    if text.is_empty() {
        None
    } else {
        violations.take(field, parse(text))
    }
}

/// Parses each item of a list of at most `count_max`; flaws are named `field[index]`.
fn items<T: PartialEq>(
    violations: &mut Violations,
    field: &str,
    items: &[String],
    count_max: usize,
    parse: impl Fn(&str) -> Result<T, Flaw>,
) -> Vec<T> {
    if items.len() > count_max {
        let flaw = format!(
            "has {} entries; at most {count_max} are allowed",
            items.len()
        );
        violations.add(field, Flaw::new(flaw));
        return Vec::new();
    }
    let mut parsed = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match parse(item) {
            Ok(item) if parsed.contains(&item) => {}
            Ok(item) => parsed.push(item),
            Err(flaw) => violations.add(format!("{field}[{index}]"), flaw),
        }
    }
    parsed
}

fn namespaces(violations: &mut Violations, text: &str) -> Option<Namespaces> {
    violations.take("namespace", Namespaces::parse(text))
}

fn owner(violations: &mut Violations, text: &str) -> Option<Owner> {
    given(violations, "owner", text, Owner::parse)
}

fn pool(violations: &mut Violations, text: &str) -> Option<PoolName> {
    given(violations, "pool", text, PoolName::parse)
}
