//! Who creates and updates sees it at once, on every replica.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::{CreateRequest, Quota, Token, ValidateRequest, Verdict};
use tokio::task::JoinSet;

use crate::doors::{narrowed, question, scoped, switched, widened};
use crate::harness::{Client, PATIENCE, ask, create, named, presenting, rotation, span, update};
use crate::kit::connect;
use crate::replicas::Replicas;
use crate::{draw, rounds};

/// Who does so at once, and how often in each round.
const CALLERS: usize = 4;
const TURNS: usize = 4;

/// One who calls all replicas, now this, now that.
#[derive(Clone)]
struct Caller(Vec<Client>);

impl Caller {
    /// A client of any replica.
    fn any(&mut self) -> &mut Client {
        let replica = draw(self.0.len());
        &mut self.0[replica]
    }

    /// Asks all replicas at once; each must answer so.
    async fn sees(&self, request: &ValidateRequest, expected: Verdict) {
        let mut questions = JoinSet::new();
        for (replica, client) in self.0.iter().enumerate() {
            let (mut client, request) = (client.clone(), request.clone());
            questions.spawn(async move {
                let answer = ask(&mut client, request).await;
                assert_eq!(answer.verdict(), expected, "at {replica}: {answer:?}");
            });
        }
        questions.join_all().await;
    }

    async fn updates(&mut self, token: &Token, path: &str) {
        update(self.any(), token, &[path]).await;
    }

    async fn gives_and_takes_back(mut self) {
        let (token, secret) = create(self.any(), scoped("own")).await;
        let (id, asked) = (token.token_id.as_str(), question(&secret));
        self.sees(&asked, Verdict::Valid).await;
        self.updates(&narrowed(id), "scopes").await;
        self.sees(&asked, Verdict::ScopeDenied).await;
        self.updates(&widened(id), "scopes").await;
        self.sees(&asked, Verdict::Valid).await;
        self.updates(&switched(id, true), "disabled").await;
        self.sees(&asked, Verdict::Disabled).await;
        self.updates(&switched(id, false), "disabled").await;
        self.sees(&asked, Verdict::Valid).await;
    }

    async fn rotates(mut self) {
        let (token, first) = create(self.any(), scoped("own")).await;
        self.sees(&question(&first), Verdict::Valid).await;
        let hour = rotation(&token.token_id, Duration::from_secs(3600));
        let second = self.any().rotate(hour).await.unwrap().into_inner().secret;
        for secret in [&second, &first] {
            self.sees(&question(secret), Verdict::Valid).await;
        }
        let none = rotation(&token.token_id, Duration::ZERO);
        let third = self.any().rotate(none).await.unwrap().into_inner().secret;
        self.sees(&question(&third), Verdict::Valid).await;
        self.sees(&question(&second), Verdict::Superseded).await;
    }

    async fn replays(mut self) {
        let id = token_authority::entropy::draws::<1>().unwrap()[0];
        let request = CreateRequest {
            request_id: format!("own {id}"),
            ..scoped("own")
        };
        let mut secrets = Vec::new();
        for _ in 0..3 {
            let (_, secret) = create(self.any(), request.clone()).await;
            secrets.push(secret);
            for secret in secrets.iter().rev() {
                self.sees(&question(secret), Verdict::Valid).await;
            }
        }
    }

    async fn brings_back_what_expired(mut self) {
        let request = CreateRequest {
            expiration: Some(Expiration::Ttl(span(Duration::from_millis(300)))),
            ..named("own")
        };
        let (token, secret) = create(self.any(), request).await;
        let asked = presenting(&secret);
        let patience = Instant::now() + PATIENCE;
        while ask(self.any(), asked.clone()).await.verdict() != Verdict::Expired {
            assert!(Instant::now() < patience, "it never expires");
        }
        self.sees(&asked, Verdict::Expired).await;
        let lasting = Token {
            expire_time: None,
            ..token
        };
        self.updates(&lasting, "expire_time").await;
        self.sees(&asked, Verdict::Valid).await;
    }

    async fn raises_a_quota(mut self) {
        let quota = |limit| Quota {
            limit,
            ..Quota::default()
        };
        let request = CreateRequest {
            quota: Some(quota(1)),
            ..named("own")
        };
        let (token, secret) = create(self.any(), request).await;
        let asked = presenting(&secret);
        assert_eq!(
            ask(self.any(), asked.clone()).await.verdict(),
            Verdict::Valid
        );
        self.sees(&asked, Verdict::QuotaExhausted).await;
        let raised = Token {
            quota: Some(quota(1 + self.0.len() as u64)),
            ..token
        };
        self.updates(&raised, "quota.limit").await;
        self.sees(&asked, Verdict::Valid).await;
        self.sees(&asked, Verdict::QuotaExhausted).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_creates_and_updates_sees_it_at_once_on_every_replica() {
    let replicas = Replicas::start().await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let caller = Caller(replicas.authorities.iter().map(connect).collect());
        callers.spawn(async move {
            for _ in 0..TURNS * rounds() {
                caller.clone().gives_and_takes_back().await;
                caller.clone().rotates().await;
                caller.clone().replays().await;
                caller.clone().brings_back_what_expired().await;
                caller.clone().raises_a_quota().await;
            }
        });
    }
    callers.join_all().await;
}
