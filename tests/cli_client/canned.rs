//! A server whose answers are known.

mod leases;
mod watching;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost_types::Timestamp;
use token_authority::transport::grpc::pb;
use token_authority::transport::grpc::pb::token_service_server::TokenService;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

pub(crate) use leases::{LEASE_SECRET, Leases, lease_id};

pub(crate) const SECRET: &str =
    "ta_7fUe0Vn3cK2rQhJx5mTzWa1234567890123456789012345678901234567890123abcdef";
pub(crate) const CALLER: &str = "the-callers-own-secret-0123456789";
pub(crate) const REVISION: u64 = 1_700_000_000_123_456;
pub(crate) const ID: &str = "7fUe0Vn3cK2rQhJx5mTzWa";

/// What the server was asked last: `authorization`, `grpc-timeout` and the message.
pub(crate) type Asked = Arc<Mutex<Vec<(Option<String>, Option<String>, String)>>>;

/// A server with canned answers.
#[derive(Clone, Default)]
pub(crate) struct Canned {
    pub(crate) asked: Asked,
    pub(crate) leases: Arc<Leases>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Canned {
    /// Notes the call, and refuses callers without credential.
    fn note<T: std::fmt::Debug>(&self, request: Request<T>) -> Result<T, Status> {
        let text = |key: &str| {
            let value = request.metadata().get(key);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let (authorization, timeout) = (text("authorization"), text("grpc-timeout"));
        let known = authorization.as_deref() == Some(&format!("Bearer {CALLER}"));
        let message = request.into_inner();
        let said = format!("{message:?}");
        self.asked
            .lock()
            .unwrap()
            .push((authorization, timeout, said));
        if !known {
            let mut details = ErrorDetails::new();
            details.set_error_info("ERROR_REASON_CREDENTIAL_INVALID", "tokenauthority", []);
            let why = "no valid credential";
            return Err(Status::with_error_details(
                Code::Unauthenticated,
                why,
                details,
            ));
        }
        Ok(message)
    }
}

fn totals(requests: u64) -> pb::UsageTotals {
    pb::UsageTotals {
        requests,
        successful: requests,
        ..pb::UsageTotals::default()
    }
}

fn hour(number: i64, requests: u64) -> pb::HourlyUsage {
    pb::HourlyUsage {
        hour: Some(Timestamp {
            seconds: number * 3600,
            nanos: 0,
        }),
        totals: Some(totals(requests)),
    }
}

fn token(name: &str) -> pb::Token {
    pb::Token {
        token_id: ID.to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        owner: "ann".to_owned(),
        scopes: vec!["orders:read".to_owned()],
        state: pb::State::Active.into(),
        create_time: Some(Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_000,
        }),
        secret_version: 1,
        revision: REVISION,
        ..pb::Token::default()
    }
}

/// The limit `api` of 5 at once and 5 a minute, with `spent` of it spent.
fn standing(spent: u64, refused: bool) -> pb::RateLimitStatus {
    let span = |seconds: u64| prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap(),
        nanos: 0,
    };
    pb::RateLimitStatus {
        name: "api".to_owned(),
        limit: 5,
        remaining: 5 - spent,
        reset_after: Some(span(12 * spent)),
        retry_after: refused.then(|| span(12)),
    }
}

/// The token with the limits of [`standing`] and a quota.
fn limited(name: &str) -> pb::Token {
    pb::Token {
        rate_limits: vec![pb::RateLimit {
            name: "api".to_owned(),
            requests: 5,
            period: None,
            burst: 5,
        }],
        quota: Some(pb::Quota {
            limit: 100,
            remaining: 95,
            period: None,
        }),
        ..token(name)
    }
}

fn refused(code: Code, reason: &str, why: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "tokenauthority", []);
    Status::with_error_details(code, why, details)
}

fn unavailable() -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(500)));
    Status::with_error_details(Code::Unavailable, "the store cannot answer now", details)
}

#[tonic::async_trait]
impl TokenService for Canned {
    async fn validate(
        &self,
        request: Request<pb::ValidateRequest>,
    ) -> Answer<pb::ValidateResponse> {
        let secret = request.get_ref().secret.clone();
        let cost = self.note(request)?.cost;
        let known = secret == SECRET;
        let verdict = match (known, cost) {
            (false, _) => pb::Verdict::Malformed,
            (true, Some(6..)) => pb::Verdict::RateLimited,
            (true, _) => pb::Verdict::Valid,
        };
        let limited = known && cost.is_some();
        let passed = verdict == pb::Verdict::Valid;
        Ok(Response::new(pb::ValidateResponse {
            valid: passed,
            verdict: verdict.into(),
            token: known.then(|| pb::Token {
                state: 0,
                ..token("ci")
            }),
            rate_limits: limited
                .then(|| standing(if passed { 2 } else { 5 }, !passed))
                .into_iter()
                .collect(),
            quota_remaining: limited.then_some(98),
            credential: i32::from(known),
            validation_id: "v-1".to_owned(),
            ..pb::ValidateResponse::default()
        }))
    }

    async fn create(&self, request: Request<pb::CreateRequest>) -> Answer<pb::CreateResponse> {
        let asked = self.note(request)?;
        if asked.name == "bad" {
            let mut details = ErrorDetails::with_bad_request_violation("name", "is bad");
            details.add_bad_request_violation("scopes[0]", "is worse");
            let message = "invalid request: name: is bad; scopes[0]: is worse";
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                message,
                details,
            ));
        }
        Ok(Response::new(pb::CreateResponse {
            token: Some(token(&asked.name)),
            secret: SECRET.to_owned(),
        }))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Answer<pb::GetResponse> {
        match self.note(request)?.token_id.as_str() {
            ID => Ok(Response::new(pb::GetResponse {
                token: Some(token("ci")),
                ..pb::GetResponse::default()
            })),
            "limited" => Ok(Response::new(pb::GetResponse {
                token: Some(limited("ci")),
                rate_limits: vec![standing(5, true)],
                quota_remaining: Some(95),
            })),
            "down" => Err(unavailable()),
            "denied" => Err(Status::permission_denied("no")),
            "slow" => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Err(Status::internal("too late"))
            }
            id => {
                let mut details = ErrorDetails::new();
                details.set_error_info("ERROR_REASON_TOKEN_NOT_FOUND", "tokenauthority", []);
                let why = format!("there is no token {id}");
                Err(Status::with_error_details(Code::NotFound, why, details))
            }
        }
    }

    /// Seven tokens, `t0` to `t6`, never more than two on a page.
    async fn list(&self, request: Request<pb::ListRequest>) -> Answer<pb::ListResponse> {
        let asked = self.note(request)?;
        let from: u32 = asked.page_token.parse().unwrap_or(0);
        let to = 7.min(from + asked.page_size.clamp(1, 2));
        Ok(Response::new(pb::ListResponse {
            tokens: (from..to).map(|n| token(&format!("t{n}"))).collect(),
            next_page_token: match to {
                7 => String::new(),
                to => to.to_string(),
            },
        }))
    }

    /// Five namespaces, `n0` to `n4`, never more than two on a page, and an empty page before them.
    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> Answer<pb::ListNamespacesResponse> {
        let asked = self.note(request)?;
        let Ok(from) = asked.page_token.parse::<u32>() else {
            return Ok(Response::new(pb::ListNamespacesResponse {
                namespaces: Vec::new(),
                next_page_token: "0".to_owned(),
            }));
        };
        let to = 5.min(from + asked.page_size.clamp(1, 2));
        let summary = |n| pb::NamespaceSummary {
            namespace: format!("n{n}"),
            tokens: 1u64 << (10 * n),
        };
        Ok(Response::new(pb::ListNamespacesResponse {
            namespaces: (from..to).map(summary).collect(),
            next_page_token: match to {
                5 => String::new(),
                to => to.to_string(),
            },
        }))
    }

    async fn update(&self, request: Request<pb::UpdateRequest>) -> Answer<pb::UpdateResponse> {
        let asked = self.note(request)?;
        if asked.revision.is_some_and(|asked| asked != REVISION) {
            let why = "the token has another revision";
            let reason = "ERROR_REASON_REVISION_MOVED";
            return Err(refused(Code::Aborted, reason, why));
        }
        Ok(Response::new(pb::UpdateResponse { token: asked.token }))
    }

    async fn rotate(&self, request: Request<pb::RotateRequest>) -> Answer<pb::RotateResponse> {
        let (code, reason, why) = match self.note(request)?.token_id.as_str() {
            "revoked" => (
                Code::FailedPrecondition,
                "ERROR_REASON_TOKEN_OVER",
                "the token is revoked; that is final",
            ),
            "in-grace" => (
                Code::FailedPrecondition,
                "ERROR_REASON_STILL_IN_GRACE",
                "a replaced secret is in its grace",
            ),
            _ => {
                return Ok(Response::new(pb::RotateResponse {
                    token: Some(pb::Token {
                        secret_version: 2,
                        ..token("ci")
                    }),
                    secret: SECRET.to_owned(),
                }));
            }
        };
        Err(refused(code, reason, why))
    }

    async fn reset_limits(
        &self,
        request: Request<pb::ResetLimitsRequest>,
    ) -> Answer<pb::ResetLimitsResponse> {
        let limited = self.note(request)?.token_id == "limited";
        Ok(Response::new(pb::ResetLimitsResponse {
            rate_limits: limited.then(|| standing(0, false)).into_iter().collect(),
            quota_remaining: limited.then_some(100),
        }))
    }

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Answer<pb::RevokeResponse> {
        let by_id = match &request.get_ref().target {
            Some(pb::revoke_request::Target::TokenId(_)) => true,
            Some(pb::revoke_request::Target::Secret(secret)) => {
                assert_eq!(secret, SECRET);
                false
            }
            None => panic!("no target"),
        };
        let noted = self.note(request);
        if by_id {
            noted?;
        }
        Ok(Response::new(pb::RevokeResponse {
            revoke_time: by_id.then_some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
        }))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Answer<pb::DeleteResponse> {
        self.note(request)?;
        Ok(Response::new(pb::DeleteResponse {}))
    }

    async fn batch_create(
        &self,
        request: Request<pb::BatchCreateRequest>,
    ) -> Answer<pb::BatchCreateResponse> {
        let asked = self.note(request)?;
        let template = asked.template.unwrap_or_default();
        let created = |n| pb::CreateResponse {
            token: Some(pb::Token {
                pool: template.pool.clone(),
                ..token(&format!("{}{n}", template.name))
            }),
            secret: format!("{SECRET}{n}"),
        };
        Ok(Response::new(pb::BatchCreateResponse {
            created: (0..asked.count).map(created).collect(),
        }))
    }

    async fn acquire(&self, request: Request<pb::AcquireRequest>) -> Answer<pb::AcquireResponse> {
        let asked = self.note(request)?;
        self.leases.acquire(&asked)
    }

    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Answer<pb::ReleaseResponse> {
        let asked = self.note(request)?;
        self.leases.release(asked)
    }

    async fn keep_alive(
        &self,
        request: Request<pb::KeepAliveRequest>,
    ) -> Answer<pb::KeepAliveResponse> {
        let asked = self.note(request)?;
        self.leases.keep_alive(&asked).map(Response::new)
    }

    /// The command line asks one question at a time.
    async fn batch_validate(
        &self,
        request: Request<pb::BatchValidateRequest>,
    ) -> Answer<pb::BatchValidateResponse> {
        self.note(request)?;
        Err(Status::unimplemented("not canned"))
    }

    type ValidateStreamStream = tokio_stream::Empty<Result<pb::ValidateStreamResponse, Status>>;

    async fn validate_stream(
        &self,
        request: Request<Streaming<pb::ValidateStreamRequest>>,
    ) -> Answer<Self::ValidateStreamStream> {
        self.note(request)?;
        Err(Status::unimplemented("not canned"))
    }

    type KeepAliveStreamStream = leases::Answers;

    async fn keep_alive_stream(
        &self,
        request: Request<Streaming<pb::KeepAliveStreamRequest>>,
    ) -> Answer<Self::KeepAliveStreamStream> {
        let beats = self.note(request)?;
        Ok(Response::new(self.leases.clone().stream(beats)))
    }

    /// Three pools, `p0` to `p2`, one on a page.
    async fn list_pools(
        &self,
        request: Request<pb::ListPoolsRequest>,
    ) -> Answer<pb::ListPoolsResponse> {
        let asked = self.note(request)?;
        let at: u64 = asked.page_token.parse().unwrap_or(0);
        Ok(Response::new(pb::ListPoolsResponse {
            pools: vec![pb::PoolStanding {
                namespace: "default".to_owned(),
                pool: format!("p{at}"),
                available: 10 - at,
                leased: at,
                unavailable: 1,
                waiting: 0,
            }],
            next_page_token: match at {
                2 => String::new(),
                at => (at + 1).to_string(),
            },
        }))
    }

    type WatchStream = watching::Events;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Answer<Self::WatchStream> {
        let asked = self.note(request)?;
        watching::watch(&asked)
    }

    async fn usage(&self, request: Request<pb::UsageRequest>) -> Answer<pb::UsageResponse> {
        self.note(request)?;
        Ok(Response::new(pb::UsageResponse {
            totals: Some(totals(3)),
            hourly: vec![hour(0, 1), hour(1, 2)],
            endpoints: vec![pb::EndpointUsage {
                endpoint: "/orders/*".to_owned(),
                method: "GET".to_owned(),
                totals: Some(totals(3)),
            }],
            ..pb::UsageResponse::default()
        }))
    }

    async fn overview(
        &self,
        request: Request<pb::OverviewRequest>,
    ) -> Answer<pb::OverviewResponse> {
        self.note(request)?;
        Ok(Response::new(pb::OverviewResponse {
            active_tokens: 7,
            totals: Some(totals(5)),
            partial: true,
            ..pb::OverviewResponse::default()
        }))
    }

    /// The command line reports nothing.
    async fn report(
        &self,
        request: Request<Streaming<pb::ReportRequest>>,
    ) -> Answer<pb::ReportResponse> {
        self.note(request)?;
        Err(Status::unimplemented("not canned"))
    }

    async fn who_am_i(&self, request: Request<pb::WhoAmIRequest>) -> Answer<pb::WhoAmIResponse> {
        self.note(request)?;
        Ok(Response::new(pb::WhoAmIResponse {
            token: None,
            permissions: vec!["admin@*".to_owned()],
            ..pb::WhoAmIResponse::default()
        }))
    }
}
