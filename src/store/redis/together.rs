//! Exchanges that begin together share one: what the calls of a thread have to ask goes over a link as
//! one pipeline, so that under load many share a write, an answer and the wake-ups between threads.

use std::io;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::{Effect, understand};
use super::gathering::{Gathering, Turn};
use super::line::PIPELINE_MAX;
use super::link::Request;
use crate::store::StoreError;

/// What came of an exchange; errors of single commands are still inside of the answer.
type Answer = Result<Value, (StoreError, Effect)>;

/// The exchanges of a link that wait to be sent.
#[derive(Default)]
pub(super) struct Together(Gathering<Exchange>);

struct Exchange {
    commands: Vec<Cmd>,
    /// The answer is that of its one command, and not a list.
    one: bool,
    limit: Duration,
    tell: oneshot::Sender<Answer>,
}

impl Together {
    /// Sends a request over `connection`, with those of others, and waits for as long as `limit` for
    /// the answer.
    pub(super) async fn exchange(
        &self,
        connection: &MultiplexedConnection,
        limit: Duration,
        request: Request<'_>,
    ) -> Answer {
        let (tell, told) = oneshot::channel();
        let (commands, one) = match request {
            Request::One(command) => (vec![command.clone()], true),
            Request::Many(pipeline) => (pipeline.cmd_iter().cloned().collect(), false),
        };
        let exchange = Exchange {
            commands,
            one,
            limit,
            tell,
        };
        if let Some(turn) = self.0.join(exchange) {
            let connection = connection.clone();
            tokio::spawn(async move { send_all(connection, turn).await });
        }
        let given_up = || StoreError::Unreachable("the exchange was given up".to_owned());
        match timeout(limit, told).await {
            Ok(told) => told.unwrap_or_else(|_| Err((given_up(), Effect::None))),
            Err(_) => Err(understand(&too_slow(), limit)),
        }
    }
}

/// Sends a request over a connection that nobody else uses, which ends where the call is given up.
pub(super) async fn exchange_alone(
    connection: &MultiplexedConnection,
    limit: Duration,
    request: Request<'_>,
) -> Answer {
    let mut connection = connection.clone();
    let answer = async {
        match request {
            Request::One(command) => connection.req_packed_command(command).await,
            Request::Many(pipeline) => {
                let answers = connection.req_packed_commands(pipeline, 0, pipeline.len());
                answers.await.map(Value::Array)
            }
        }
    };
    let answer = timeout(limit, answer).await;
    let answer = answer.unwrap_or_else(|_| Err(too_slow()));
    answer.map_err(|error| understand(&error, limit))
}

fn too_slow() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// Sends what waits, in pipelines that leave room for those of others.
async fn send_all(connection: MultiplexedConnection, turn: Turn<Exchange>) {
    let mut some = Vec::new();
    let mut commands = 0;
    for exchange in turn.take() {
        commands += exchange.commands.len();
        if commands > PIPELINE_MAX && !some.is_empty() {
            commands = exchange.commands.len();
            let connection = connection.clone();
            tokio::spawn(send(connection, std::mem::take(&mut some)));
        }
        some.push(exchange);
    }
    send(connection, some).await;
}

/// Sends exchanges as one pipeline, and tells those who wait.
async fn send(mut connection: MultiplexedConnection, mut exchanges: Vec<Exchange>) {
    let limits = exchanges.iter().map(|exchange| exchange.limit);
    let longest = limits.max().unwrap_or_default();
    let mut all = Pipeline::new();
    let mut counts = Vec::with_capacity(exchanges.len());
    for exchange in &mut exchanges {
        counts.push(exchange.commands.len());
        for command in exchange.commands.drain(..) {
            all.add_command(command);
        }
    }
    let answers = timeout(longest, connection.req_packed_commands(&all, 0, all.len())).await;
    let mut answers = answers
        .unwrap_or_else(|_| Err(too_slow()))
        .map(Vec::into_iter);
    for (exchange, count) in exchanges.into_iter().zip(counts) {
        let answer = match &mut answers {
            Ok(values) if exchange.one => Ok(values.next().unwrap_or_default()),
            Ok(values) => Ok(Value::Array(values.take(count).collect())),
            Err(error) => Err(understand(error, exchange.limit)),
        };
        // It fails where nobody waits any more.
        let _ = exchange.tell.send(answer);
    }
}
