//! What templates may do with a value beside escaping it.

use std::fmt::Display;

use askama::{Result, Values};

use super::shown::encoded;

/// As a part of an address.
#[askama::filter_fn]
pub(super) fn urlencoded(text: impl Display, _: &dyn Values) -> Result<String> {
    Ok(encoded(&text.to_string()))
}
