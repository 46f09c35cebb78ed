//! What is asked: tokens as a shop would have them, a question that every rule has to judge, and
//! what the answer must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost_types::Duration;
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    CreateRequest, RateLimit, ValidateRequest, ValidateResponse, Verdict,
};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::Fault;

/// The credential that a caller puts on each call.
#[derive(Clone)]
pub(crate) struct Caller(MetadataValue<Ascii>);

impl Caller {
    pub(crate) fn bearing(secret: &str) -> Self {
        Self(format!("Bearer {secret}").parse().expect("visible ASCII"))
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        request
    }
}

/// A token that is asked about.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) secret: String,
    pub(crate) token_id: String,
}

/// A token with something for every rule to judge.
pub(crate) fn shop_token(number: usize) -> CreateRequest {
    CreateRequest {
        name: format!("shop {number}"),
        owner: format!("team-{}", number % 100),
        scopes: ["orders:*", "products:read"].map(str::to_owned).to_vec(),
        allowed_endpoints: ["GET /orders/**", "/products/*"]
            .map(str::to_owned)
            .to_vec(),
        allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
        labels: [("env".to_owned(), "prod".to_owned())].into(),
        expiration: Some(Expiration::Ttl(Duration {
            seconds: 30 * 24 * 3600,
            nanos: 0,
        })),
        ..CreateRequest::default()
    }
}

/// The same with a rate limit that is judged and never reached.
pub(crate) fn limited_token(number: usize) -> CreateRequest {
    let most = 1_000_000_000;
    CreateRequest {
        rate_limits: vec![RateLimit {
            name: "ample".to_owned(),
            requests: most,
            period: Some(Duration {
                seconds: 1,
                nanos: 0,
            }),
            burst: most,
        }],
        ..shop_token(number)
    }
}

/// The token of a caller that may validate and nothing else.
pub(crate) fn gateway_token() -> CreateRequest {
    CreateRequest {
        name: "gateway".to_owned(),
        scopes: vec!["authority:validate".to_owned()],
        ..CreateRequest::default()
    }
}

/// What a gateway asks about a call to a shop.
pub(crate) fn question(secret: &str) -> ValidateRequest {
    ValidateRequest {
        secret: secret.to_owned(),
        required_scopes: vec!["orders:read".to_owned()],
        method: "GET".to_owned(),
        path: "/orders/1234/items".to_owned(),
        client_ip: "10.1.2.3".to_owned(),
        ..ValidateRequest::default()
    }
}

/// An error unless the answer says that this very token may do it.
pub(crate) fn check(answer: &ValidateResponse, subject: &Subject) -> Result<(), Fault> {
    let verdict = answer.verdict();
    if verdict != Verdict::Valid || !answer.valid {
        let said = verdict.as_str_name();
        return Err(format!("Validate answered {said}, valid: {}", answer.valid).into());
    }
    let told = answer.token.as_ref().map(|token| token.token_id.as_str());
    if told != Some(&subject.token_id) {
        let asked = &subject.token_id;
        return Err(format!("Validate answered for {told:?} when asked about {asked}").into());
    }
    Ok(())
}

/// Creates `count` tokens over all connections, `callers` at once, and answers them.
pub(crate) async fn create(
    connections: &[Channel],
    caller: &Caller,
    callers: usize,
    count: usize,
    order: fn(usize) -> CreateRequest,
) -> Result<Vec<Subject>, Fault> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut creators = JoinSet::new();
    for connection in connections.iter().cycle().take(callers) {
        let mut client = TokenServiceClient::new(connection.clone());
        let (caller, next) = (caller.clone(), next.clone());
        creators.spawn(async move {
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Fault>(made);
                }
                let answer = client.create(caller.request(order(number))).await?;
                let answer = answer.into_inner();
                made.push(Subject {
                    token_id: answer.token.ok_or("Create answered no token")?.token_id,
                    secret: answer.secret,
                });
            }
        });
    }
    let mut subjects = Vec::with_capacity(count);
    while let Some(made) = creators.join_next().await {
        subjects.append(&mut made??);
    }
    Ok(subjects)
}
