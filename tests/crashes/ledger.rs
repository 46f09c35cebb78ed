//! What callers know of the tokens that they made: what was acknowledged, and what they asked last
//! without being answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use token_authority::domain::permits::QUOTA_PART;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, Quota, RateLimit, State, UpdateRequest, Verdict,
};
use tonic::Status;

use crate::harness::{Client, PATIENCE, create, presenting};
use crate::kit::found;

/// What is said about a token by one call. All but the owner follows from the mark, so that halves
/// of two calls would be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) mark: String,
    pub(crate) owner: String,
}

impl Facts {
    pub(crate) fn new(mark: String, owner: &str) -> Self {
        let owner = owner.to_owned();
        Self { mark, owner }
    }

    /// What a token says; fails where it is put together from two calls.
    pub(crate) fn of(token: &pb::Token) -> Self {
        let facts = Self::new(token.name.clone(), &token.owner);
        let whole = facts.told();
        assert_eq!(
            (&token.description, &token.scopes, &token.labels),
            (&whole.description, &whole.scopes, &whole.labels),
            "half of {facts:?}"
        );
        facts
    }

    fn told(&self) -> pb::Token {
        let Self { mark, owner } = self;
        pb::Token {
            name: mark.clone(),
            description: format!("about {mark}"),
            owner: owner.clone(),
            scopes: vec![format!("use:{mark}")],
            labels: [("mark".to_owned(), mark.clone())].into(),
            ..pb::Token::default()
        }
    }

    /// A Create that can be repeated.
    pub(crate) fn creation(&self) -> CreateRequest {
        let told = self.told();
        CreateRequest {
            name: told.name,
            description: told.description,
            owner: told.owner,
            scopes: told.scopes,
            labels: told.labels,
            request_id: format!("create {}", self.mark),
            ..CreateRequest::default()
        }
    }

    pub(crate) fn update(&self, token_id: &str) -> UpdateRequest {
        let paths = ["name", "description", "owner", "scopes", "labels"];
        let paths = paths.map(str::to_owned).into();
        UpdateRequest {
            token: Some(pb::Token {
                token_id: token_id.to_owned(),
                ..self.told()
            }),
            update_mask: Some(prost_types::FieldMask { paths }),
            revision: None,
        }
    }
}

/// A change that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Update(Facts),
    /// By the name of its request.
    Rotate(String),
    /// With its reason.
    Revoke(String),
    Delete,
}

/// How far a token's life is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    InForce,
    Revoked(String),
    Deleted,
}

/// One token, as its caller knows it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) token_id: String,
    pub(crate) facts: Facts,
    pub(crate) secret: String,
    pub(crate) version: u32,
    /// The secret that the last rotation replaced.
    pub(crate) cut: Option<String>,
    pub(crate) fate: Fate,
    /// What was asked and not yet answered: it is done or not done.
    pub(crate) asked: Option<Change>,
}

impl Entry {
    pub(crate) fn created(token: &pb::Token, secret: String) -> Self {
        Self {
            token_id: token.token_id.clone(),
            facts: Facts::of(token),
            secret,
            version: token.secret_version,
            cut: None,
            fate: Fate::InForce,
            asked: None,
        }
    }

    /// Notes that what was asked is done. A rotation is noted by [`Self::rotated`].
    pub(crate) fn done(&mut self) {
        match self.asked.take() {
            Some(Change::Update(facts)) => self.facts = facts,
            Some(Change::Revoke(reason)) => self.fate = Fate::Revoked(reason),
            Some(Change::Delete) => self.fate = Fate::Deleted,
            Some(Change::Rotate(_)) | None => {}
        }
    }

    /// Notes the secret that a rotation put in force.
    pub(crate) fn rotated(&mut self, token: &pb::Token, secret: String) {
        assert_eq!(token.secret_version, self.version + 1, "one rotation");
        self.version += 1;
        self.cut = Some(std::mem::replace(&mut self.secret, secret));
        self.asked = None;
    }

    /// What Validate says of the secret in force, and of the one that was cut.
    pub(crate) fn verdicts(&self) -> (Verdict, Verdict) {
        match self.fate {
            Fate::InForce => (Verdict::Valid, Verdict::Superseded),
            Fate::Revoked(_) => (Verdict::Revoked, Verdict::Revoked),
            Fate::Deleted => (Verdict::NotFound, Verdict::NotFound),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.fate {
            Fate::Revoked(_) => State::Revoked,
            Fate::InForce | Fate::Deleted => State::Active,
        }
    }
}

/// A token with a quota, which many callers spend together.
pub(crate) struct Purse {
    pub(crate) token_id: String,
    secret: String,
    asked: AtomicU64,
    acknowledged: AtomicU64,
}

impl Purse {
    const LIMIT: u64 = 10_000_000;

    /// One with `rate_limits` beside its quota; they are wide enough for any load.
    pub(crate) async fn new(client: &mut Client, mark: &str, rate_limits: bool) -> Self {
        let wide = RateLimit {
            requests: Self::LIMIT,
            ..RateLimit::default()
        };
        let request = CreateRequest {
            rate_limits: Vec::from_iter(rate_limits.then_some(wide)),
            quota: Some(Quota {
                limit: Self::LIMIT,
                ..Quota::default()
            }),
            ..Facts::new(mark.to_owned(), "").creation()
        };
        let (token, secret) = create(client, request).await;
        Self {
            token_id: token.token_id,
            secret,
            asked: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        }
    }

    /// Uses the token once.
    pub(crate) async fn spend(&self, client: &mut Client) -> Result<(), Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = client.validate(presenting(&self.secret)).await?;
        let answer = answer.into_inner();
        assert_eq!(answer.verdict(), Verdict::Valid);
        assert!(answer.quota_remaining.is_some());
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Compares what is left with what was used, after so many times that somebody was killed; nobody
    /// may use it meanwhile. No use was given twice; and each kill cost a batch at most, while all
    /// others came back.
    pub(crate) async fn is_true(&self, client: &mut Client, kills: u64) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let asked = self.asked.load(Ordering::SeqCst);
        let lost = kills * (Self::LIMIT / QUOTA_PART);
        let begun = Instant::now();
        loop {
            let answer = found(client, &self.token_id).await.expect("it is there");
            let left = answer.quota_remaining.expect("what is left");
            let told = format!("{left} are left after {acknowledged} acknowledged of {asked} uses");
            assert!(left <= Self::LIMIT - acknowledged, "{told}");
            if left + lost >= Self::LIMIT - asked {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{told}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
