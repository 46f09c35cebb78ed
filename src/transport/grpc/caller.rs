//! What a caller shows of itself with a call, and what keeps the call in hand.

use std::future::Future;
use std::sync::Arc;

use tonic::Request;
use tracing::Instrument;
use zeroize::Zeroizing;

use crate::authority::Authority;
use crate::authority::access::{Proof, Session};
use crate::authority::call::Call;
use crate::authority::error::Error;
use crate::domain::peer_name::PeerName;
use crate::transport::connections::Connection;
use crate::transport::gate::Pass;
use crate::transport::sidecar::peers::Peers;
use crate::transport::sidecar::xfcc;

use super::{call, credential};

/// What a proxy tells of its peer's certificate.
const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

/// A call, and what its caller shows.
pub(super) struct Shown {
    pub(super) call: Call,
    secret: Option<Zeroizing<String>>,
    connection: Option<Arc<Connection>>,
    /// The names of a certificate that a believed peer saw; they count in the place of its own.
    seen: Option<Vec<PeerName>>,
}

impl Shown {
    /// An error where what is shown cannot be read.
    pub(super) fn by<T>(
        rpc: &'static str,
        request: &Request<T>,
        authority: &Authority,
    ) -> Result<Self, Error> {
        let call = call_of(request, authority);
        let proof = proof_of(rpc, request, &call, authority)?;
        Ok(Self {
            secret: proof.secret.map(|secret| secret.to_owned().into()),
            connection: request.extensions().get::<Arc<Connection>>().cloned(),
            call,
            seen: None,
        })
    }

    /// The same, as [`proof_behind`] has it.
    pub(super) fn behind<T>(
        rpc: &'static str,
        request: &Request<T>,
        authority: &Authority,
        believed: &Peers,
    ) -> Result<Self, Error> {
        let shown = Self::by(rpc, request, authority)?;
        let behind = proof_behind(rpc, request, &shown.call, authority, believed)?;
        Ok(Self {
            seen: behind.seen,
            ..shown
        })
    }

    /// Finds out who calls, as of now.
    pub(super) async fn session(
        &self,
        rpc: &'static str,
        authority: &Authority,
    ) -> Result<Session, Error> {
        let call = self.call.clone();
        authority.authenticate(rpc, self.proof(), call).await
    }

    pub(super) fn proof(&self) -> Proof<'_> {
        Proof {
            secret: self.secret.as_ref().map(|secret| secret.as_str()),
            certificate: self
                .seen
                .as_deref()
                .or_else(|| self.connection.as_ref().and_then(|own| own.names())),
        }
    }
}

/// Finds out who calls, by what the request shows.
pub(super) async fn session_of<T: Sync>(
    rpc: &'static str,
    request: &Request<T>,
    authority: &Authority,
) -> Result<Session, Error> {
    let call = call_of(request, authority);
    let proof = proof_of(rpc, request, &call, authority)?;
    authority.authenticate(rpc, proof, call).await
}

/// What the caller shows; an error where it cannot be read.
fn proof_of<'a, T>(
    rpc: &'static str,
    request: &'a Request<T>,
    call: &Call,
    authority: &Authority,
) -> Result<Proof<'a>, Error> {
    let secret = credential::read(request.metadata())
        .map_err(|error| authority.unknown_caller(rpc, call, error))?;
    let connection = request.extensions().get::<Arc<Connection>>();
    Ok(Proof {
        secret,
        certificate: connection.and_then(|own| own.names()),
    })
}

/// What a caller shows behind a proxy that may have taken its certificate.
pub(super) struct Behind<'a> {
    proof: Proof<'a>,
    seen: Option<Vec<PeerName>>,
}

impl Behind<'_> {
    pub(super) fn proof(&self) -> Proof<'_> {
        Proof {
            secret: self.proof.secret,
            certificate: self.seen.as_deref().or(self.proof.certificate),
        }
    }
}

/// What the caller shows; of a peer that is `believed`, in the place of its own certificate the one
/// that it saw, where it says so (`x-forwarded-client-cert`).
pub(super) fn proof_behind<'a, T>(
    rpc: &'static str,
    request: &'a Request<T>,
    call: &Call,
    authority: &Authority,
    believed: &Peers,
) -> Result<Behind<'a>, Error> {
    let proof = proof_of(rpc, request, call, authority)?;
    let seen = match believed.include(call.peer) {
        true => seen(request).map_err(|error| authority.unknown_caller(rpc, call, error))?,
        false => None,
    };
    Ok(Behind { proof, seen })
}

/// The names in the last certificate that proxies before the peer saw; `None` where they tell of none.
fn seen<T>(request: &Request<T>) -> Result<Option<Vec<PeerName>>, Error> {
    let unread = |why: String| Error::Unauthenticated(why.into());
    let values = request.metadata().get_all(FORWARDED_CERTIFICATE).iter();
    let values: Vec<&str> = values
        .map(|value| value.to_str())
        .collect::<Result<_, _>>()
        .map_err(|_| unread(format!("{FORWARDED_CERTIFICATE} is not text")))?;
    match values.as_slice() {
        [] => Ok(None),
        values => xfcc::names(&values.join(","))
            .map(Some)
            .map_err(|flaw| unread(flaw.to_string())),
    }
}

/// The call that a request is.
pub(super) fn call_of<T>(request: &Request<T>, authority: &Authority) -> Call {
    let connection = request.extensions().get::<Arc<Connection>>();
    Call {
        id: call::current().unwrap_or_else(|| authority.call_id(None)),
        peer: connection.and_then(|connection| connection.address),
    }
}

/// Keeps a call counted as in hand.
pub(super) struct InHand(Option<Arc<Pass>>);

impl InHand {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        Self(request.extensions().get::<Arc<Pass>>().cloned())
    }

    /// Runs a change to its end whatever becomes of the call that asked for it; until then the
    /// server counts it, and waits for it when it drains.
    pub(super) async fn see_through<T: Send + 'static>(
        self,
        change: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let change = async move {
            let result = change.await;
            drop(self.0);
            result
        };
        tokio::spawn(change.in_current_span())
            .await
            .unwrap_or_else(|panic| Err(Error::Internal(panic.to_string())))
    }
}
