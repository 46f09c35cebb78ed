//! How many verdicts ValidateStream answers, as a ratio to what the gRPC stack alone can do here.
//!
//! Measured in turn, round by round: the *ceiling*, a tonic server that authenticates nobody and answers
//! each question of a stream with one prebuilt answer, and the real program. Each is a process of its own
//! on loopback; each answer is checked for its verdict. Whoever asks shares the machine with the servers;
//! the CPU per verdict is the server's alone.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measured"
)]

mod ceiling;
mod raw;

#[path = "../load/asking.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod asking;
#[path = "../load/machine.rs"]
mod machine;
#[path = "../load/servers.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod servers;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use http::uri::PathAndQuery;
use prost::Message;
use token_authority::transport::grpc::pb::ValidateStreamRequest;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use asking::Caller;
use raw::{Asking, Credit, Raw};
use servers::{ROOT_TOKEN, Server};

/// Why a run failed, for people.
type Fault = Box<dyn Error + Send + Sync>;

const PATH: &str = "/tokenauthority.v1.TokenService/ValidateStream";

/// Measures ValidateStream against the ceiling of the gRPC stack
#[derive(Parser, Clone, Debug)]
#[command(name = "streams")]
struct Options {
    /// Connections to a server, with one stream each
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,

    /// Questions of one stream that wait for their answers at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536))]
    in_flight: u64,

    /// Tokens that are asked about in turn
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    tokens: u64,

    /// Rounds, in each of which each server is measured once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,

    /// Seconds that a server is measured in each round; half as many go before as warm-up
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,

    /// Cargo adds it by itself
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let ended = if arguments
        .next()
        .is_some_and(|word| word == ceiling::COMMAND)
    {
        let answer = arguments.next().expect("the file of the answer");
        ceiling::serve(answer.as_ref())
    } else {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(run(&Options::parse()))
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What is asked of one server, by whom.
struct Row {
    name: &'static str,
    server: Server,
    caller: Caller,
    questions: Arc<[Bytes]>,
}

async fn run(options: &Options) -> Result<(), Fault> {
    println!("{}\n{options:?}", machine::facts());
    let connections = usize::try_from(options.connections)?;
    let server = Server::on_sqlite(connections).await?;
    let root = Caller::bearing(ROOT_TOKEN);
    let tokens = usize::try_from(options.tokens)?;
    let create = |count, order| asking::create(&server.connections, &root, 32, count, order);
    let shop = create(tokens, asking::shop_token).await?;
    let gateway = create(1, |_| asking::gateway_token()).await?;
    let gateway = Caller::bearing(&gateway[0].secret);
    let asked = shop.iter().map(|subject| ValidateStreamRequest {
        id: 1,
        request: Some(asking::question(&subject.secret)),
    });
    let questions: Arc<[Bytes]> = asked.map(|one| one.encode_to_vec().into()).collect();
    let mut client = TokenServiceClient::new(server.connections[0].clone());
    let one = client.validate(gateway.request(asking::question(&shop[0].secret)));
    let answer = one.await?.into_inner();
    asking::check(&answer, &shop[0])?;
    let row = |name, server, caller| Row {
        name,
        server,
        caller,
        questions: questions.clone(),
    };
    let ceiling = Server::ceiling(&answer, connections).await?;
    let rows = [
        row("ceiling", ceiling, gateway.clone()),
        row("ValidateStream, SQLite", server, gateway),
    ];
    println!(
        "\n{:24} {:>12} {:>7} {:>16} {:>7}",
        "", "verdicts/s", "ratio", "CPU µs/verdict", "ratio"
    );
    for _ in 0..options.rounds {
        let mut first = None;
        for row in &rows {
            let (rate, cpu) = measure(row, options).await?;
            let (of_rate, of_cpu) = *first.get_or_insert((rate, cpu));
            println!(
                "{:24} {rate:12.0} {:7.2} {cpu:16.3} {:7.2}",
                row.name,
                rate / of_rate,
                cpu / of_cpu
            );
        }
    }
    Ok(())
}

/// Verdicts a second, and the server's CPU time of each in microseconds.
async fn measure(row: &Row, options: &Options) -> Result<(f64, f64), Fault> {
    let counted = Arc::new(AtomicU64::default());
    let mut streams = JoinSet::new();
    let mut credits = Vec::new();
    for (number, connection) in row.server.connections.iter().enumerate() {
        let credit = Arc::new(Credit::default());
        credits.push(credit.clone());
        let asking = Asking {
            questions: row.questions.clone(),
            next: number * row.questions.len() / row.server.connections.len(),
            sent: 0,
            at_once: options.in_flight,
            credit,
        };
        let (connection, caller) = (connection.clone(), row.caller.clone());
        streams.spawn(ask(connection, caller, asking, counted.clone()));
    }
    let measured = Duration::from_secs(options.seconds);
    tokio::time::sleep(measured / 2).await;
    let read = || {
        (
            Instant::now(),
            row.server.cpu().0,
            counted.load(Ordering::Relaxed),
        )
    };
    let (begun, cpu_before, before) = read();
    tokio::time::sleep(measured).await;
    let (ended, cpu_after, after) = read();
    credits.iter().for_each(|credit| credit.end());
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    let verdicts = (after - before) as f64;
    let cpu = cpu_after.zip(cpu_before).ok_or("there is no /proc")?;
    let cpu = cpu.0.saturating_sub(cpu.1).as_secs_f64() * 1e6;
    Ok((verdicts / (ended - begun).as_secs_f64(), cpu / verdicts))
}

async fn ask(
    connection: Channel,
    caller: Caller,
    asking: Asking,
    counted: Arc<AtomicU64>,
) -> Result<(), Fault> {
    let credit = asking.credit.clone();
    let mut client = tonic::client::Grpc::new(connection);
    client.ready().await?;
    let path = PathAndQuery::from_static(PATH);
    let answers = client.streaming(caller.request(asking), path, Raw).await?;
    let mut answers = answers.into_inner();
    while answers.message().await?.is_some() {
        counted.fetch_add(1, Ordering::Relaxed);
        credit.give();
    }
    Ok(())
}
