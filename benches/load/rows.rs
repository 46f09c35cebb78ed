//! The rows of the table: who does what with which server, and what that is compared with.

use std::sync::Arc;
use std::time::Duration;

use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{CreateRequest, ValidateRequest, ValidateResponse};

use crate::asking::{self, Caller, Subject};
use crate::ceiling::Shape;
use crate::figures::Figures;
use crate::options::Options;
use crate::revoking::Stock;
use crate::servers::{ROOT_TOKEN, Server};
use crate::validating::{Asked, Mix, Subjects};
use crate::window::{self, Work};
use crate::{Fault, Progress};
use crate::{creating, leasing, revoking};

pub(crate) const CEILING: &str = "ceiling, a runtime per core";
pub(crate) const DEFAULT_CEILING: &str = "ceiling, tonic's default";
pub(crate) const STREAM_CEILING: &str = "stream ceiling, a runtime per core";
/// Of rows whose answers come from memory, or from SQLite.
pub(crate) const CACHED: [&str; 6] = [
    "Validate, SQLite, uniform",
    "Validate, SQLite, uniform, root calls",
    "Validate, SQLite, Zipf",
    "Validate, Redis, uniform",
    "Validate, Redis, uniform, root calls",
    "Validate, Redis, Zipf",
];
pub(crate) const BUSY: [&str; 2] = [
    "Validate, SQLite, one limited token",
    "Validate, Redis, one limited token",
];
/// Rows, and the same of a server that does not count use.
pub(crate) const UNCOUNTED: [(&str, &str); 6] = [
    (CACHED[0], "Validate, SQLite, uniform, use not counted"),
    (CACHED[2], "Validate, SQLite, Zipf, use not counted"),
    (
        BUSY[0],
        "Validate, SQLite, one limited token, use not counted",
    ),
    (CACHED[3], "Validate, Redis, uniform, use not counted"),
    (CACHED[5], "Validate, Redis, Zipf, use not counted"),
    (
        BUSY[1],
        "Validate, Redis, one limited token, use not counted",
    ),
];
pub(crate) const STRONG: &str = "Validate, Redis, STRONG";
pub(crate) const STREAMS: [&str; 2] = ["ValidateStream, SQLite", "ValidateStream, Redis"];
/// Of each: Create, Revoke, Acquire+Release.
pub(crate) const CHANGES: [[&str; 3]; 3] = [
    [
        "Create, SQLite",
        "Revoke, SQLite",
        "Acquire+Release, SQLite",
    ],
    [
        "Create, Redis, 1 server",
        "Revoke, Redis, 1 server",
        "Acquire+Release, Redis, 1 server",
    ],
    [
        "Create, Redis, 4 servers",
        "Revoke, Redis, 4 servers",
        "Acquire+Release, Redis, 4 servers",
    ],
];
pub(crate) const FEW_REVOKE: &str = "Revoke, Redis, 4 servers, 4 callers";

/// What is said to a server that shall not count use.
const USE_NOT_COUNTED: [&str; 2] = ["--set", "usage.enabled=false"];
/// Clients that make changes at once.
pub(crate) const CLIENTS: usize = 64;
/// Processes over one Redis in the rows of several.
pub(crate) const REPLICAS: usize = 4;
/// Tokens of the pool that is leased from.
const SEATS: usize = 1000;
/// Questions without an answer on each stream.
const STREAM_IN_FLIGHT: usize = 128;
/// Tokens that are there to be revoked, for each second of it.
const REVOCATIONS: f64 = 12_000.0;
/// How long a store may take to fill, and each token of it to be asked about.
const PREPARATION_MAX: Duration = Duration::from_secs(600);
/// After so long what is remembered is read again. Before tokens are asked about in the first row of them
/// that long has to pass, or that row would show how it is to begin.
const SETTLING: Duration = Duration::from_secs(5);

/// How much is asked at once.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) server: Arc<Server>,
    /// What stands in `authorization`.
    pub(crate) caller: String,
    pub(crate) work: Work,
    pub(crate) load: Load,
    /// The row of its ceiling.
    pub(crate) ceiling: &'static str,
    settles: bool,
}

impl Row {
    pub(crate) fn new(
        name: &'static str,
        server: &Arc<Server>,
        work: Work,
        options: &Options,
    ) -> Self {
        let clients = Load {
            connections: options.connections,
            in_flight: CLIENTS.div_ceil(options.connections),
        };
        let (load, ceiling) = match &work {
            Work::Validate(_) => (options.load(), CEILING),
            Work::Stream(_) => {
                let in_flight = STREAM_IN_FLIGHT;
                (
                    Load {
                        in_flight,
                        ..clients
                    },
                    STREAM_CEILING,
                )
            }
            Work::Create | Work::Revoke(_) | Work::Lease => (clients, CEILING),
        };
        Self {
            name,
            server: server.clone(),
            caller: bearer(ROOT_TOKEN),
            work,
            load,
            ceiling,
            settles: false,
        }
    }

    fn by(self, secret: &str) -> Self {
        let caller = bearer(secret);
        Self { caller, ..self }
    }

    fn by_caller_of(self, other: &Self) -> Self {
        let caller = other.caller.clone();
        Self { caller, ..self }
    }

    /// The same row of a server that does not count use, if the two are compared.
    fn uncounted(self) -> Option<Self> {
        let mut pairs = UNCOUNTED.iter();
        let (_, name) = pairs.find(|(counted, _)| *counted == self.name)?;
        Some(Self { name, ..self })
    }

    /// Makes ready what is used up, measures, and answers the figures.
    pub(crate) async fn measure(&self, options: &Options) -> Result<Figures, Fault> {
        let (mut warm_up, measured) = (options.warm_up(), options.measured());
        if self.settles && !options.smoke {
            warm_up = warm_up.max(SETTLING);
        }
        if let Work::Revoke(stock) = &self.work {
            let seconds = (warm_up + measured).as_secs_f64();
            let count = (REVOCATIONS * seconds) as usize;
            stock.fill(&self.server, count).await?;
        }
        let figures = window::measure(self, warm_up, measured).await;
        figures.map_err(|fault| format!("{}: {fault}", self.name).into())
    }

    /// Asks once.
    async fn ask(&self, question: ValidateRequest) -> Result<ValidateResponse, Fault> {
        let mut client = TokenServiceClient::new(self.server.connections[0].clone());
        let mut request = tonic::Request::new(question);
        let caller = self.caller.parse()?;
        request.metadata_mut().insert("authorization", caller);
        Ok(client.validate(request).await?.into_inner())
    }

    /// An error unless the check of answers passes what is right and notices what is not: without
    /// it the run would show how fast something else is.
    async fn sees_a_wrong_answer(&self) -> Result<(), Fault> {
        let root = Caller::bearing(ROOT_TOKEN);
        let asked = match &self.work {
            Work::Validate(asked) | Work::Stream(asked) => asked,
            Work::Create => return Ok(()),
            Work::Lease => {
                let connection = self.server.connections[0].clone();
                let mut client = TokenServiceClient::new(connection);
                return leasing::sees_a_wrong_lease(&mut client, &root).await;
            }
            Work::Revoke(_) => return revoking::are_seen(&self.server, &root).await,
        };
        let subject = &asked.subjects.all[0];
        let mut question = asking::question(&subject.secret);
        let right = self.ask(question.clone()).await?;
        asked.check(0, &prost::Message::encode_to_vec(&right))?;
        question.required_scopes.push("refunds:pay".to_owned());
        let refused = self.ask(question).await?;
        let other = asked.subjects.answered_for("0000000000000000000000");
        let other = Asked::of(&other, &asked.mix);
        let unnoticed = |asked: &Asked, answer: &ValidateResponse| {
            asked
                .check(0, &prost::Message::encode_to_vec(answer))
                .is_ok()
        };
        if unnoticed(asked, &refused) || unnoticed(&other, &right) {
            return Err(format!("{}: a wrong answer goes unnoticed", self.name).into());
        }
        Ok(())
    }
}

/// All rows, the ceilings first; and what was measured while they were made ready.
pub(crate) struct Rows {
    pub(crate) all: Vec<Row>,
    /// Bytes that the server of each store has in memory, SQLite's first, after it was asked about all tokens.
    pub(crate) resident: [Option<u64>; 2],
}

impl Rows {
    /// Starts the servers and fills their stores, within bounded time.
    pub(crate) async fn prepare(options: &Options, progress: &Progress) -> Result<Self, Fault> {
        tokio::time::timeout(PREPARATION_MAX, Self::filled(options, progress))
            .await
            .map_err(|_| format!("the stores are not filled after {PREPARATION_MAX:?}"))?
    }

    async fn filled(options: &Options, progress: &Progress) -> Result<Self, Fault> {
        let of_mixes = [Mix::uniform(options.tokens), Mix::zipf(options.tokens)];
        let mut rows = Vec::new();
        let sqlite = Arc::new(Server::on_sqlite(options.connections, &[]).await?);
        let redis = Arc::new(Server::on_redis(1, options.connections, &[]).await?);
        let replicas = Arc::new(Server::on_redis(REPLICAS, options.connections, &[]).await?);
        let mut resident = [None, None];
        for (place, server) in [&sqlite, &redis].into_iter().enumerate() {
            let store = ["SQLite", "Redis"][place];
            progress.note(&format!("filling {store} with {} tokens", options.tokens));
            let own = validations(server, place, &of_mixes, options).await?;
            acquaint(&own[0], options).await?;
            resident[place] = server.resident();
            rows.extend(own);
        }
        let sqlite_alone = Server::on_sqlite(options.connections, &USE_NOT_COUNTED).await?;
        let redis_alone = Server::on_redis(1, options.connections, &USE_NOT_COUNTED).await?;
        for (place, server) in [sqlite_alone, redis_alone].into_iter().enumerate() {
            progress.note("filling a store whose use is not counted");
            let own = validations(&Arc::new(server), place, &of_mixes, options).await?;
            acquaint(&own[0], options).await?;
            rows.extend(own.into_iter().filter_map(Row::uncounted));
        }
        for (server, names) in [&sqlite, &redis, &replicas].into_iter().zip(CHANGES) {
            creating::batches(server, SEATS, leasing::pooled_token).await?;
            let stock = Stock::default();
            let works = [Work::Create, Work::Revoke(stock.clone()), Work::Lease];
            let works = names.into_iter().zip(works);
            rows.extend(works.map(|(name, work)| Row::new(name, server, work, options)));
            if names[1] == CHANGES[2][1] {
                let few = Row::new(FEW_REVOKE, server, Work::Revoke(stock), options);
                let load = Load {
                    connections: REPLICAS,
                    in_flight: 1,
                };
                rows.push(Row { load, ..few });
            }
        }
        rows.retain(|row| options.names(row.name));
        settle(&mut rows);
        for row in &rows {
            row.sees_a_wrong_answer().await?;
        }
        let mut all = ceilings(&sqlite, options).await?;
        all.extend(rows);
        Ok(Self { all, resident })
    }
}

/// Asks about each token of a row once.
async fn acquaint(row: &Row, options: &Options) -> Result<(), Fault> {
    let Work::Validate(asked) = &row.work else {
        return Err("only rows about tokens know any".into());
    };
    let once = Work::Validate(Asked::once(&asked.subjects));
    let once = Row::new("each token once", &row.server, once, options).by_caller_of(row);
    window::exhaust(&once, PREPARATION_MAX).await
}

/// Lets the first row of each server that asks about tokens wait until what is remembered is as old as
/// it becomes, and rows of streams, before which little was remembered; the others find it so.
fn settle(rows: &mut [Row]) {
    let mut known: Vec<Arc<Server>> = Vec::new();
    for row in rows {
        let is_known = known.iter().any(|server| Arc::ptr_eq(server, &row.server));
        row.settles = match row.work {
            Work::Validate(_) => !is_known,
            Work::Stream(_) => true,
            Work::Create | Work::Revoke(_) | Work::Lease => continue,
        };
        known.push(row.server.clone());
    }
}

/// The rows about tokens of a store; those that draw from all of them come first.
async fn validations(
    server: &Arc<Server>,
    place: usize,
    mixes: &[Arc<Mix>; 2],
    options: &Options,
) -> Result<Vec<Row>, Fault> {
    let shop = creating::batches(server, options.tokens, asking::shop_token).await?;
    let shop = Subjects::new(shop);
    let limited = Subjects::new(creating::batches(server, 1, asking::limited_token).await?);
    let made = creating::batches(server, 1, |_| asking::gateway_token()).await?;
    let Subject {
        secret: gateway, ..
    } = &made[0];
    let [uniform, zipf] = mixes.each_ref().map(|mix| Asked::of(&shop, mix));
    let [by_token, by_root, of_zipf] = [0, 1, 2].map(|offset| CACHED[3 * place + offset]);
    let row = |name, asked| Row::new(name, server, Work::Validate(asked), options).by(gateway);
    let mut rows = vec![
        row(by_token, uniform.clone()),
        row(by_root, uniform.clone()).by(ROOT_TOKEN),
        row(of_zipf, zipf),
        row(BUSY[place], Asked::of(&limited, &Mix::in_turn(1))),
    ];
    if place == 1 {
        rows.push(row(STRONG, uniform.clone().strongly()));
    }
    let streamed = Work::Stream(uniform);
    rows.push(Row::new(STREAMS[place], server, streamed, options).by(gateway));
    Ok(rows)
}

/// The ceilings for questions of such a mix: their answer is one that was given by a real server.
async fn ceilings(server: &Arc<Server>, options: &Options) -> Result<Vec<Row>, Fault> {
    let real = creating::batches(server, options.tokens.min(1000), asking::shop_token).await?;
    let Subject { secret, token_id } = &real[0];
    let (question, token_id) = (asking::question(secret), token_id.clone());
    let mix = Mix::uniform(real.len());
    let questions = Subjects::new(real).answered_for(&token_id);
    let asked = Asked::of(&questions, &mix);
    let row = Row::new("a question", server, Work::Validate(asked.clone()), options);
    let answer = row.ask(question).await?;
    let mut rows = Vec::new();
    for (name, shape) in [(CEILING, Shape::PerCore), (DEFAULT_CEILING, Shape::Shared)] {
        let server = Arc::new(Server::ceiling(shape, &answer, options.connections).await?);
        let work = Work::Validate(asked.clone());
        rows.push(Row::new(name, &server, work, options));
        if shape == Shape::PerCore {
            let work = Work::Stream(asked.clone());
            rows.push(Row::new(STREAM_CEILING, &server, work, options));
        }
    }
    Ok(rows)
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

/// A token with nothing that has to be kept beside it.
pub(crate) fn plain_token(_: usize) -> CreateRequest {
    CreateRequest::default()
}
