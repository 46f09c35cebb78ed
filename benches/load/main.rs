//! The load driver: what each call costs, and each token, beside what the gRPC stack alone can do here.
//!
//! `cargo bench --bench load -- --help` lists the options. Measured in turn, round by round, so that a
//! machine whose speed drifts is as fast for one as for the other: the *ceilings*, which are tonic servers
//! that authenticate nobody and return a prebuilt answer, and the real program on each store. Each is a
//! process of its own on loopback, and each answer is looked at; one that is not the expected
//! VERDICT_VALID, or the end of the very lease, fails the run.
//!
//! One ceiling has a runtime for each core, the other is what tonic and tokio make by themselves. The driver
//! shares the cores with the servers. It writes frames that lie ready (`frames`), so that it takes a small part
//! of them; what it takes is told. The CPU per call is the server's alone.
//!
//! With `--flood` it measures something else: how long one client waits while another one floods. With `--envoy`,
//! what a check adds to a request through that Envoy.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measured"
)]

mod asking;
mod ceiling;
mod creating;
mod disk;
mod driving;
mod figures;
mod flooding;
mod frames;
mod goals;
mod growth;
mod headers;
mod leasing;
mod machine;
mod measured;
mod meshed;
mod options;
mod revoking;
mod rows;
mod servers;
mod sizes;
mod streaming;
mod table;
mod validating;
mod window;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use ceiling::Shape;
use goals::Findings;
use measured::{Measured, Told};
use options::Options;
use rows::{Row, Rows};

/// Why a run failed, for people.
type Fault = Box<dyn Error + Send + Sync>;

/// That of the program, which the ceiling has to be like.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the disk is tried in each round.
const FLUSHING: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|word| word == ceiling::COMMAND)
    {
        let shape = arguments.next().expect("a shape");
        let answer = arguments.next().expect("the file of the answer");
        let shape = Shape::of(&shape.to_string_lossy());
        return ended(shape.and_then(|shape| ceiling::serve(shape, answer.as_ref())));
    }
    let options = Options::parse().settled();
    // The flavour that the servers run on, too.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        // Whichever ends first drops the other, and with it every process that was started.
        tokio::select! {
            done = run(&options) => ended(done),
            code = interrupted() => ExitCode::from(code),
        }
    })
}

fn ended(result: Result<(), Fault>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a signal that means to stop, and answers the exit code for it.
async fn interrupted() -> u8 {
    let catch = |kind| signal(kind).expect("a signal can be caught");
    let mut interrupt = catch(SignalKind::interrupt());
    let mut terminate = catch(SignalKind::terminate());
    let mut hangup = catch(SignalKind::hangup());
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
        _ = hangup.recv() => 129,
    }
}

async fn run(options: &Options) -> Result<(), Fault> {
    println!("{}\noptions: {options}", machine::facts());
    if let Some(envoy) = &options.envoy {
        println!("\n{}", meshed::run(options, envoy).await?);
        return Ok(());
    }
    if options.flood {
        println!("\n{}", flooding::run(options).await?);
        return Ok(());
    }
    let progress = Progress::begin();
    let rows = Rows::prepare(options, &progress).await?;
    let told = |row: &Row| Told {
        name: row.name,
        ceiling: row.ceiling,
        rounds: Vec::new(),
    };
    let mut measured = Measured(rows.all.iter().map(told).collect());
    let mut flushes = Vec::new();
    for round in 1..=options.rounds {
        flushes.push(disk::flushes_per_second(FLUSHING)?);
        for (row, told) in rows.all.iter().zip(&mut measured.0) {
            progress.note(&format!(
                "round {round} of {}: {}",
                options.rounds, row.name
            ));
            told.rounds.push(row.measure(options).await?);
        }
    }
    let resident = rows.resident;
    // Whose processes would share the cores with what comes.
    drop(rows);
    let sizes = match options.sizes() {
        true => sizes::measure(options, &progress).await?.into(),
        false => Vec::new(),
    };
    let growth = match options.long {
        true => growth::measure(options, &progress).await?.into(),
        false => Vec::new(),
    };
    let findings = Findings {
        measured: &measured,
        growth: &growth,
        flushes: Some(table::median(flushes)),
        sizes: &sizes,
        resident,
        tokens: options.tokens,
    };
    println!("\n{}\n{}", goals::of(&findings), table::of(&measured));
    progress.note("done");
    match measured.failed() {
        None => Ok(()),
        Some(row) => {
            Err(format!("too many calls of {row:?} failed for its figures to count").into())
        }
    }
}

/// Says on standard error how far the run is.
struct Progress(Instant);

impl Progress {
    fn begin() -> Self {
        Self(Instant::now())
    }

    fn note(&self, what: &str) {
        eprintln!("{:>4} s  {what}", self.0.elapsed().as_secs());
    }
}
