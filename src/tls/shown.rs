//! The certificate that a client showed, for as long as it is accepted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;

use crate::clock::Clock;
use crate::domain::peer_name::PeerName;

use super::loaded::{Loaded, unix_time};
use super::{Certificate, Validity};

/// A client's certificate on a connection that stands. It is judged again when the authorities or
/// the lists of what they revoked are exchanged.
pub struct Shown {
    names: Vec<PeerName>,
    validity: Validity,
    since: Instant,
    /// The client's own first; never none.
    chain: Vec<CertificateDer<'static>>,
    trust: Arc<ArcSwap<Loaded>>,
    clock: Arc<dyn Clock>,
    /// Twice the number of what it was last judged by, and one more where it was refused.
    judged: AtomicU64,
}

impl Shown {
    /// `loaded` is what it was accepted by, `trust` what it is judged by from then on.
    pub(super) fn new(
        chain: &[CertificateDer<'_>],
        loaded: &Loaded,
        trust: Arc<ArcSwap<Loaded>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let chain: Vec<_> = chain.iter().map(|der| der.clone().into_owned()).collect();
        let own = chain.first().ok_or("an empty chain of certificates")?;
        let Certificate {
            names, validity, ..
        } = Certificate::read(own)?;
        validity.holds(clock.now())?;
        Ok(Self {
            names,
            validity,
            since: Instant::now(),
            chain,
            trust,
            clock,
            judged: AtomicU64::new(loaded.number << 1),
        })
    }

    /// The names by which it may stand for a caller; `None` once it is not accepted any more.
    pub fn names(&self) -> Option<&[PeerName]> {
        self.is_accepted().then_some(&self.names)
    }

    /// Until when a connection may live that began with it, as far as is known now.
    pub fn until(&self) -> Option<Instant> {
        match self.validity.left(self.clock.now()) {
            Some(left) if self.is_accepted() => Instant::now().checked_add(left),
            _ => Some(self.since),
        }
    }

    fn is_accepted(&self) -> bool {
        let loaded = self.trust.load();
        let judged = self.judged.load(Ordering::Relaxed);
        let now = self.clock.now();
        if self.validity.holds(now).is_err() {
            return false;
        }
        if judged >> 1 == loaded.number {
            return judged & 1 == 0;
        }
        let Some((own, between)) = self.chain.split_first() else {
            return false;
        };
        let verdict = loaded
            .verifier
            .verify_client_cert(own, between, unix_time(now));
        let refused = u64::from(verdict.is_err());
        // Whoever judges at the same time comes to the same end.
        let anew = (loaded.number << 1) | refused;
        self.judged.store(anew, Ordering::Relaxed);
        refused == 0
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("names", &self.names)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}
