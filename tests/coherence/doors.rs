//! A door to a replica: what callers do there.

use std::time::Duration;

use async_trait::async_trait;
use token_authority::transport::grpc::pb::{
    self, AcquireRequest, CreateRequest, ReleaseRequest, Token, ValidateRequest, Verdict,
    release_request,
};
use tonic::{Code, Status};

use crate::harness::{Client, change, named, presenting, rotation};
use crate::history::Way;
use crate::kit::{by_id, deletion, is_an_answer};

/// The scope that every question asks for, and one that nobody asks for.
const ASKED: &str = "orders:read";
const SPARE: &str = "orders:write";

/// No answer came: what was asked for may have been done or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered;

/// A token with something that changes.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) way: Way,
    /// What is asked about.
    pub(crate) secret: String,
    pub(crate) token_id: String,
    /// Where its secret is one of a lease.
    pub(crate) lease_id: String,
}

#[async_trait]
pub(crate) trait Door: Send + Sync {
    /// Makes a subject whose secret is valid, and that can be changed in this way.
    async fn make(&self, way: Way) -> Result<Subject, Unanswered>;

    /// Carries out the change that the subject is for; again, if it was carried out before.
    async fn change(&self, subject: &Subject) -> Result<(), Unanswered>;

    async fn ask(&self, secret: &str) -> Result<Verdict, Unanswered>;
}

/// A running authority, by gRPC.
pub(crate) struct Wire(pub(crate) Client);

/// Tells a question that could not be answered, or whose connection ended, from what must not be
/// answered.
pub(crate) fn unanswered(status: &Status) -> Unanswered {
    let excused = matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    );
    assert!(excused || !is_an_answer(status), "{status:?}");
    Unanswered
}

fn answered<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Unanswered> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(unanswered(&status)),
    }
}

/// A request for a token that has the scope which is asked for.
pub(crate) fn scoped(name: &str) -> CreateRequest {
    CreateRequest {
        scopes: [ASKED, SPARE].map(str::to_owned).to_vec(),
        ..named(name)
    }
}

/// A question whether a secret has the scope.
pub(crate) fn question(secret: &str) -> ValidateRequest {
    ValidateRequest {
        required_scopes: vec![ASKED.to_owned()],
        ..presenting(secret)
    }
}

/// The token, known by its id only, with no more than the scope that nobody asks for.
pub(crate) fn narrowed(token_id: &str) -> Token {
    Token {
        token_id: token_id.to_owned(),
        scopes: vec![SPARE.to_owned()],
        ..Token::default()
    }
}

/// The token, known by its id only, with the scope that is asked for.
pub(crate) fn widened(token_id: &str) -> Token {
    Token {
        scopes: vec![ASKED.to_owned(), SPARE.to_owned()],
        ..narrowed(token_id)
    }
}

/// The token, known by its id only, disabled or not.
pub(crate) fn switched(token_id: &str, disabled: bool) -> Token {
    Token {
        token_id: token_id.to_owned(),
        disabled,
        ..Token::default()
    }
}

impl Wire {
    /// A lease of the only token of a pool of its own.
    async fn lease(&self) -> Result<Subject, Unanswered> {
        let mut client = self.0.clone();
        let pool = format!(
            "seat-{:x}",
            token_authority::entropy::draws::<1>().unwrap()[0]
        );
        let request = CreateRequest {
            pool: pool.clone(),
            keep_alive_ttl: Some(prost_types::Duration::default()),
            ..scoped("seat")
        };
        let _: pb::CreateResponse = answered(client.create(request).await)?;
        let request = AcquireRequest {
            pool,
            holder: "worker".to_owned(),
            lease_duration: Some(crate::harness::span(Duration::from_secs(3600))),
            ..AcquireRequest::default()
        };
        let granted = answered(client.acquire(request).await)?;
        Ok(Subject {
            way: Way::Released,
            secret: granted.secret,
            token_id: granted.token.expect("a token").token_id,
            lease_id: granted.lease.expect("a lease").lease_id,
        })
    }
}

#[async_trait]
impl Door for Wire {
    async fn make(&self, way: Way) -> Result<Subject, Unanswered> {
        if way == Way::Released {
            return self.lease().await;
        }
        let created = answered(self.0.clone().create(scoped("hot")).await)?;
        Ok(Subject {
            way,
            secret: created.secret,
            token_id: created.token.expect("a token").token_id,
            lease_id: String::new(),
        })
    }

    async fn change(&self, subject: &Subject) -> Result<(), Unanswered> {
        let mut client = self.0.clone();
        let id = subject.token_id.as_str();
        match subject.way {
            Way::Revoked => answered(client.revoke(by_id(id, "")).await).map(drop),
            Way::Narrowed => {
                let narrowed = change(&narrowed(id), &["scopes"]);
                answered(client.update(narrowed).await).map(drop)
            }
            Way::Disabled => {
                let disabled = change(&switched(id, true), &["disabled"]);
                answered(client.update(disabled).await).map(drop)
            }
            Way::Rotated => {
                let request = pb::RotateRequest {
                    request_id: format!("rotate {id}"),
                    ..rotation(id, Duration::ZERO)
                };
                answered(client.rotate(request).await).map(drop)
            }
            Way::Deleted => match client.delete(deletion(id)).await {
                Ok(_) => Ok(()),
                // As whoever repeats it is told.
                Err(status) if is_an_answer(&status) && status.code() == Code::NotFound => Ok(()),
                Err(status) => Err(unanswered(&status)),
            },
            Way::Released => {
                let lease_id = subject.lease_id.clone();
                let request = ReleaseRequest {
                    target: Some(release_request::Target::LeaseId(lease_id)),
                    force: false,
                };
                answered(client.release(request).await).map(drop)
            }
        }
    }

    async fn ask(&self, secret: &str) -> Result<Verdict, Unanswered> {
        let answer = answered(self.0.clone().validate(question(secret)).await)?;
        Ok(answer.verdict())
    }
}
