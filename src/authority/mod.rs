//! The use cases: every transport enters here, and nothing here knows of any wire format.

pub mod access;
pub mod act;
pub mod audit;
pub mod changes;
mod decide;
pub mod error;
mod known;
pub mod mint;
mod missing_peppers;
pub mod readiness;
mod refusal;
pub mod seen;
mod surrender;
pub mod tokens;
pub mod validate;

use std::sync::Arc;

use crate::entropy::EntropyError;
use crate::store::Store;

use access::Root;
use known::Known;
use mint::Mint;
use surrender::PeerBudgets;
use validate::ValidationIds;

/// The authority: a store, and who may do what with it.
pub struct Authority {
    store: Arc<dyn Store>,
    roots: Vec<Root>,
    mint: Mint,
    known: Known,
    validation_ids: ValidationIds,
    surrenders: PeerBudgets,
}

impl Authority {
    pub fn new(store: Arc<dyn Store>, roots: Vec<Root>, mint: Mint) -> Result<Self, EntropyError> {
        Ok(Self {
            store,
            roots,
            mint,
            known: Known::default(),
            validation_ids: ValidationIds::new()?,
            surrenders: PeerBudgets::default(),
        })
    }
}
