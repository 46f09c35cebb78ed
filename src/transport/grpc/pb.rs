//! The generated API, its descriptors, and a `Debug` for messages that carry a secret.

use std::fmt;

#[allow(
    clippy::doc_lazy_continuation,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    unreachable_pub,
    unused_qualifications
)]
mod generated {
    tonic::include_proto!("tokenauthority.v1");
}

pub(crate) mod limit_spec;
pub(crate) mod span;

pub use generated::*;

/// Every file of the API and those it imports, with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/tokenauthority.bin"));

/// Stands for a secret wherever a message is printed.
struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

impl fmt::Debug for AcquireResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            lease,
            secret: _,
        } = self;
        f.debug_struct("AcquireResponse")
            .field("token", token)
            .field("lease", lease)
            .field("secret", &Redacted)
            .finish()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lease_id: _,
            holder,
            fence,
            acquire_time,
            expire_time,
            end_time,
            end_reason,
        } = self;
        f.debug_struct("Lease")
            .field("lease_id", &Redacted)
            .field("holder", holder)
            .field("fence", fence)
            .field("acquire_time", acquire_time)
            .field("expire_time", expire_time)
            .field("end_time", end_time)
            .field("end_reason", end_reason)
            .finish()
    }
}

impl fmt::Debug for ReleaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, force } = self;
        f.debug_struct("ReleaseRequest")
            .field("target", target)
            .field("force", force)
            .finish()
    }
}

impl fmt::Debug for KeepAliveRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            lease_duration,
        } = self;
        f.debug_struct("KeepAliveRequest")
            .field("target", target)
            .field("lease_duration", lease_duration)
            .finish()
    }
}

impl fmt::Debug for release_request::Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseId(_) => f.debug_tuple("LeaseId").field(&Redacted).finish(),
            Self::TokenId(id) => f.debug_tuple("TokenId").field(id).finish(),
        }
    }
}

impl fmt::Debug for keep_alive_request::Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseId(_) => f.debug_tuple("LeaseId").field(&Redacted).finish(),
            Self::TokenId(id) => f.debug_tuple("TokenId").field(id).finish(),
        }
    }
}

impl fmt::Debug for CreateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, secret: _ } = self;
        f.debug_struct("CreateResponse")
            .field("token", token)
            .field("secret", &Redacted)
            .finish()
    }
}

impl fmt::Debug for RotateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, secret: _ } = self;
        f.debug_struct("RotateResponse")
            .field("token", token)
            .field("secret", &Redacted)
            .finish()
    }
}

impl fmt::Debug for RevokeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, reason } = self;
        f.debug_struct("RevokeRequest")
            .field("target", target)
            .field("reason", reason)
            .finish()
    }
}

impl fmt::Debug for revoke_request::Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenId(id) => f.debug_tuple("TokenId").field(id).finish(),
            Self::Secret(_) => f.debug_tuple("Secret").field(&Redacted).finish(),
        }
    }
}

impl fmt::Debug for ValidateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secret: _,
            namespace,
            owner,
            required_scopes,
            method,
            path,
            client_ip,
            user_agent,
            request_id,
            cost,
            dry_run,
            consistency,
        } = self;
        f.debug_struct("ValidateRequest")
            .field("secret", &Redacted)
            .field("namespace", namespace)
            .field("owner", owner)
            .field("required_scopes", required_scopes)
            .field("method", method)
            .field("path", path)
            .field("client_ip", client_ip)
            .field("user_agent", user_agent)
            .field("request_id", request_id)
            .field("cost", cost)
            .field("dry_run", dry_run)
            .field("consistency", consistency)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_prints_its_secret() {
        let secret = || "ta_canary".to_owned();
        let printed = [
            format!(
                "{:?}",
                CreateResponse {
                    token: None,
                    secret: secret()
                }
            ),
            format!(
                "{:?}",
                RotateResponse {
                    token: None,
                    secret: secret()
                }
            ),
            format!(
                "{:?}",
                ValidateRequest {
                    secret: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                RevokeRequest {
                    target: Some(revoke_request::Target::Secret(secret())),
                    reason: String::new()
                }
            ),
            format!(
                "{:?}",
                AcquireResponse {
                    secret: secret(),
                    lease: Some(Lease {
                        lease_id: secret(),
                        ..Default::default()
                    }),
                    token: None,
                }
            ),
            format!(
                "{:?}",
                ReleaseRequest {
                    target: Some(release_request::Target::LeaseId(secret())),
                    force: false
                }
            ),
            format!(
                "{:?}",
                KeepAliveRequest {
                    target: Some(keep_alive_request::Target::LeaseId(secret())),
                    lease_duration: None
                }
            ),
        ];
        assert!(
            printed.iter().all(|text| !text.contains("canary")),
            "{printed:?}"
        );
    }

    #[test]
    fn no_message_prints_the_secrets_of_those_within() {
        let one = || ValidateRequest {
            secret: "ta_canary".to_owned(),
            ..ValidateRequest::default()
        };
        let batch = BatchValidateRequest {
            requests: vec![one(), one()],
        };
        let streamed = ValidateStreamRequest {
            id: 1,
            request: Some(one()),
        };
        for printed in [format!("{batch:?}"), format!("{streamed:?}")] {
            assert!(!printed.contains("canary"), "{printed}");
            assert!(printed.contains("redacted"), "{printed}");
        }
    }
}
