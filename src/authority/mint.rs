//! The mint: makes secrets, and knows them again.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::domain::brief::Brief;
use crate::domain::caller::Reach;
use crate::domain::pepper::Keyring;
use crate::domain::secret::{Brand, Presented, Secret, SecretDigest};
use crate::domain::token::{Token, TokenId};
use crate::domain::verdict::{self, Credential};
use crate::entropy::{self, EntropyError};
use crate::metrics::Metrics;

use super::error::Error;
use super::missing_peppers::MissingPeppers;

/// Brands and peppers of a deployment.
#[derive(Clone, Debug)]
pub struct Mint {
    /// The current brand first; never empty.
    brands: Vec<Brand>,
    keyring: Keyring,
    missing: Arc<MissingPeppers>,
    metrics: Arc<Metrics>,
}

impl Mint {
    /// `brand` marks new secrets; those of `earlier` brands stay accepted.
    pub fn new(brand: Brand, earlier: impl IntoIterator<Item = Brand>, keyring: Keyring) -> Self {
        Self {
            brands: std::iter::once(brand).chain(earlier).collect(),
            keyring,
            missing: Arc::default(),
            metrics: Arc::new(Metrics::new([])),
        }
    }

    /// The same, counting in `metrics` the secrets whose pepper is missing.
    pub(super) fn counting(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// What new secrets begin with.
    pub(super) fn brand(&self) -> &Brand {
        &self.brands[0]
    }

    /// A new secret of the token, and what is kept of it.
    pub(super) fn make(&self, id: &TokenId) -> Result<(Secret, SecretDigest), EntropyError> {
        let secret = Secret::assemble(self.brand(), id, &entropy::secret_digits()?);
        let digest = self.keyring.digest(&secret);
        Ok((secret, digest))
    }

    /// The random digits of a new secret of a lease, and what is kept of it; which token is leased
    /// is not yet known.
    pub(super) fn draw(&self) -> Result<(Zeroizing<String>, SecretDigest), EntropyError> {
        let digits = entropy::secret_digits()?;
        let digest = self.keyring.lease_digest(&digits);
        Ok((digits, digest))
    }

    /// The secret of a lease of the token, out of digits that were [drawn](Self::draw) before.
    pub(super) fn assemble(&self, id: &TokenId, digits: &str) -> Secret {
        Secret::assemble(self.brand(), id, digits)
    }

    /// Reads a presented text; `None` means malformed.
    pub(super) fn read<'a>(&self, text: &'a str) -> Option<Presented<'a>> {
        Presented::read(text, &self.brands)
    }

    /// Which of the token's secrets was presented, where the token is within reach; an error, which
    /// the operator is told, if that depends on a pepper that is missing.
    pub(super) fn recognise(
        &self,
        token: &Token,
        presented: &Presented<'_>,
        reach: &Reach,
    ) -> Result<Option<Credential>, Error> {
        verdict::recognise(token, presented, &self.keyring, reach).map_err(|pepper| {
            self.metrics.missing_pepper.inc();
            self.missing.tell(pepper, token.id);
            let why = format!("token {}: pepper {} is not configured", token.id, pepper.0);
            Error::StoreUnavailable(why)
        })
    }

    /// The same of a token by its brief. Where a pepper is missing nothing is said.
    pub(super) fn recognise_briefly(
        &self,
        brief: &Brief,
        presented: &Presented<'_>,
        reach: &Reach,
    ) -> Option<Credential> {
        verdict::recognise_briefly(brief, presented, &self.keyring, reach).unwrap_or(None)
    }

    /// The same of a token as it was seen before. Where a pepper is missing nothing is said: as it
    /// is now, the token may do without.
    pub(super) fn guess(
        &self,
        token: &Token,
        presented: &Presented<'_>,
        reach: &Reach,
    ) -> Option<Credential> {
        verdict::recognise(token, presented, &self.keyring, reach).unwrap_or(None)
    }
}
