//! The rows of the table: who asks which server about which tokens.

use std::sync::Arc;
use std::time::Duration;

use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{CreateRequest, ValidateRequest, ValidateResponse};

use crate::asking::{self, Caller, Subject};
use crate::figures::Figures;
use crate::options::Options;
use crate::servers::{ROOT_TOKEN, Server};
use crate::window::{self, Work};
use crate::{Fault, leasing, revoking};

/// How long it may take until all servers serve, and on top of that for each token.
const PREPARATION_MAX: Duration = Duration::from_secs(120);
const CREATION_MAX: Duration = Duration::from_millis(20);

/// One row.
struct Row {
    name: &'static str,
    server: Arc<Server>,
    caller: Caller,
    work: Work,
}

/// Processes over one Redis in the rows of several.
const REPLICAS: usize = 4;

/// All rows; the first is the ceiling.
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    /// Starts the servers and fills their stores, within bounded time.
    pub(crate) async fn prepare(options: &Options) -> Result<Self, Fault> {
        let limit = PREPARATION_MAX + CREATION_MAX * u32::try_from(options.tokens)?;
        tokio::time::timeout(limit, Self::filled(options))
            .await
            .map_err(|_| format!("the servers do not serve after {limit:?}"))?
    }

    /// A further variant is one more row here, about tokens that are created as it needs them.
    async fn filled(options: &Options) -> Result<Self, Fault> {
        let sqlite = Server::on_sqlite(options.connections).await?;
        let redis = Server::on_redis(1, options.connections).await?;
        let replicas = Server::on_redis(REPLICAS, options.connections).await?;
        let [sqlite, redis, replicas] = [sqlite, redis, replicas].map(Arc::new);
        let mut rows = Vec::new();
        for (server, [plain, by_root, limited, leased]) in [
            (
                sqlite,
                [
                    "Validate, SQLite",
                    "Validate, SQLite, root calls",
                    "Validate, SQLite, rate limit",
                    "Acquire+Release, SQLite",
                ],
            ),
            (
                redis.clone(),
                [
                    "Validate, Redis",
                    "Validate, Redis, root calls",
                    "Validate, Redis, rate limit",
                    "Acquire+Release, Redis",
                ],
            ),
        ] {
            let shop = created(&server, options, options.tokens, asking::shop_token).await?;
            let paced = created(&server, options, options.tokens, asking::limited_token).await?;
            let gateway = created(&server, options, 1, |_| asking::gateway_token()).await?;
            let [gateway, root] = [&gateway[0].secret, ROOT_TOKEN].map(Caller::bearing);
            for (name, caller, subjects) in [
                (plain, gateway.clone(), shop.clone()),
                (by_root, root, shop),
                (limited, gateway, paced),
            ] {
                let server = server.clone();
                rows.push(Row {
                    name,
                    server,
                    caller,
                    work: Work::Validate(subjects),
                });
            }
            rows.push(leasing_row(leased, server, options).await?);
        }
        let several = "Acquire+Release, Redis, 4 servers";
        rows.push(leasing_row(several, replicas.clone(), options).await?);
        for (name, server) in [
            ("Revoke, Redis, 1 server", redis),
            ("Revoke, Redis, 4 servers", replicas),
        ] {
            rows.push(Row {
                name,
                server,
                caller: Caller::bearing(ROOT_TOKEN),
                work: Work::Revoke,
            });
        }
        for row in &rows {
            row.sees_a_wrong_answer().await?;
        }
        rows.insert(0, ceiling_like(&rows[0], options).await?);
        Ok(Self(rows))
    }

    /// Place and name of each row that is compared with the ceiling.
    pub(crate) fn compared(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.named(|work| !matches!(work, Work::Revoke))
    }

    /// Place and name of each row of which only the latencies are told.
    pub(crate) fn revoking(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.named(|work| matches!(work, Work::Revoke))
    }

    fn named(&self, which: fn(&Work) -> bool) -> impl Iterator<Item = (usize, &'static str)> {
        let rows = self.0.iter().enumerate();
        rows.filter(move |(_, row)| which(&row.work))
            .map(|(at, row)| (at, row.name))
    }

    /// The figures of all rows, round by round.
    pub(crate) async fn measure(&self, options: &Options) -> Result<Vec<Vec<Figures>>, Fault> {
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            eprintln!("round {round} of {}", options.rounds);
            let mut figures = Vec::new();
            for row in &self.0 {
                let measured = window::measure(&row.server, &row.caller, &row.work, options).await;
                figures.push(measured.map_err(|fault| format!("{}: {fault}", row.name))?);
            }
            rounds.push(figures);
        }
        Ok(rounds)
    }
}

impl Row {
    /// Asks once.
    async fn ask(&self, question: ValidateRequest) -> Result<ValidateResponse, Fault> {
        let mut client = TokenServiceClient::new(self.server.connections[0].clone());
        let answer = client.validate(self.caller.request(question)).await?;
        Ok(answer.into_inner())
    }

    /// An error unless the check of answers passes what is right and notices what is not: without
    /// it the run would show how fast something else is.
    async fn sees_a_wrong_answer(&self) -> Result<(), Fault> {
        let connections = &self.server.connections;
        let subject = match &self.work {
            Work::Validate(subjects) => &subjects[0],
            Work::Lease => {
                let mut client = TokenServiceClient::new(connections[0].clone());
                return leasing::sees_a_wrong_lease(&mut client, &self.caller).await;
            }
            Work::Revoke => return revoking::are_seen(connections, &self.caller).await,
        };
        let mut question = asking::question(&subject.secret);
        let right = self.ask(question.clone()).await?;
        asking::check(&right, subject)?;
        question.required_scopes.push("refunds:pay".to_owned());
        let refused = self.ask(question).await?;
        let other = Subject {
            secret: String::new(),
            token_id: "another".to_owned(),
        };
        if asking::check(&refused, subject).is_ok() || asking::check(&right, &other).is_ok() {
            return Err(format!("{}: a wrong answer goes unnoticed", self.name).into());
        }
        Ok(())
    }
}

/// The ceiling for questions like those of `row`: its answer is one that was given there.
async fn ceiling_like(row: &Row, options: &Options) -> Result<Row, Fault> {
    let Work::Validate(subjects) = &row.work else {
        return Err("the ceiling answers Validate only".into());
    };
    let answer = row.ask(asking::question(&subjects[0].secret)).await?;
    let token_id = &subjects[0].token_id;
    let subjects = subjects.iter().map(|subject| Subject {
        secret: subject.secret.clone(),
        token_id: token_id.clone(),
    });
    Ok(Row {
        name: "ceiling",
        server: Arc::new(Server::ceiling(&answer, options.connections).await?),
        caller: row.caller.clone(),
        work: Work::Validate(subjects.collect()),
    })
}

/// A row of leases, from a pool of as many tokens as the options say, and one for each worker.
async fn leasing_row(
    name: &'static str,
    server: Arc<Server>,
    options: &Options,
) -> Result<Row, Fault> {
    let tokens = options.tokens.max(leasing::WORKERS_MAX);
    created(&server, options, tokens, leasing::pooled_token).await?;
    Ok(Row {
        name,
        server,
        caller: Caller::bearing(ROOT_TOKEN),
        work: Work::Lease,
    })
}

/// Creates tokens as root.
async fn created(
    server: &Server,
    options: &Options,
    count: usize,
    order: fn(usize) -> CreateRequest,
) -> Result<Arc<[Subject]>, Fault> {
    let root = Caller::bearing(ROOT_TOKEN);
    let creating = asking::create(&server.connections, &root, options.callers(), count, order);
    Ok(creating.await?.into())
}
