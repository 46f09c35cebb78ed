//! The use cases: every transport enters here, and nothing here knows of any wire format.

pub mod access;
pub mod act;
pub mod audit;
pub mod error;
pub mod readiness;
pub mod seen;
mod surrender;
pub mod sweeper;
pub mod tokens;
pub mod validate;

use std::sync::Arc;

use crate::domain::secret::Brand;
use crate::entropy::EntropyError;
use crate::store::Store;

use access::Root;
use surrender::PeerBudgets;
use validate::ValidationIds;

/// The authority: a store, and who may do what with it.
pub struct Authority {
    store: Arc<dyn Store>,
    roots: Vec<Root>,
    /// The current brand first; never empty.
    brands: Vec<Brand>,
    validation_ids: ValidationIds,
    surrenders: PeerBudgets,
}

impl Authority {
    /// `brand` marks new secrets; those of `earlier` brands stay accepted.
    pub fn new(
        store: Arc<dyn Store>,
        roots: Vec<Root>,
        brand: Brand,
        earlier: impl IntoIterator<Item = Brand>,
    ) -> Result<Self, EntropyError> {
        let brands = std::iter::once(brand).chain(earlier).collect();
        let validation_ids = ValidationIds::new()?;
        Ok(Self {
            store,
            roots,
            brands,
            validation_ids,
            surrenders: PeerBudgets::default(),
        })
    }
}
