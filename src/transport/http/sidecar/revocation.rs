//! Token revocation (RFC 7009): whoever has a token's secret may end it.

use axum::http::StatusCode;
use tonic::body::Body;
use tracing::Instrument;
use zeroize::Zeroizing;

use crate::authority::error::Error;
use crate::domain::name::Reason;
use crate::domain::secret::PRESENTED_BYTES_MAX;

use super::answer::Answer;
use super::introspection::invalid;
use super::{Asked, Desk, outage};
use crate::transport::http::form::{Form, Unreadable};

impl Desk {
    /// Revoke by `secret`, under another name: the same answer after the same wait whatever it was,
    /// and seen through whatever becomes of the connection.
    pub(super) async fn revoke(&self, asked: Asked, body: Body) -> Answer {
        let Asked {
            head,
            call,
            connection: _,
            pass,
        } = asked;
        let form = match Form::of(&head.headers, body).await {
            Ok(form) => form,
            Err(Unreadable(why)) => return invalid(&why),
        };
        let secret = match form.needed("token") {
            Ok(secret) if secret.len() > PRESENTED_BYTES_MAX => {
                let bytes = secret.len();
                return invalid(&format!(
                    "token has {bytes} bytes; at most {PRESENTED_BYTES_MAX} are judged"
                ));
            }
            Ok(secret) => Zeroizing::new(secret.to_owned()),
            Err(Unreadable(why)) => return invalid(&why),
        };
        let authority = self.setup.authority.clone();
        let change = async move {
            let result = authority
                .surrender(&call, Ok((secret, Reason::default())))
                .await;
            authority.recorded().await;
            drop(pass);
            result
        };
        let done = tokio::spawn(change.in_current_span()).await;
        match done.unwrap_or_else(|panic| Err(Error::Internal(panic.to_string()))) {
            Ok(()) => Answer::bare(StatusCode::OK),
            Err(Error::PeerLimited { retry_after }) => {
                let why = "too many secrets were presented for revocation from this address";
                let status = StatusCode::TOO_MANY_REQUESTS;
                Answer::error(status, "temporarily_unavailable", why).after(retry_after)
            }
            Err(error) => outage(&error),
        }
    }
}
