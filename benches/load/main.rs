//! The load driver: how fast Validate is, and a lease taken and given back, as a ratio to what the
//! gRPC stack alone can do here.
//!
//! `cargo bench --bench load -- --help` lists the options. Measured in turn, round by round, so that a
//! machine whose speed drifts is as fast for one as for the other: the *ceiling*, which is a tonic
//! server that authenticates nobody and returns a prebuilt answer, and the real program on each
//! store. Each is a process of its own on loopback, and each answer is checked; one that is not the
//! expected VERDICT_VALID, or the end of the very lease, fails the run. Of leases, at most 64 workers
//! take some at once, and what counts as a call is both, Acquire and Release. The load generator shares the machine with the servers and
//! makes their calls/s look more alike than they are; the CPU per call is the server's alone.
//!
//! With `--flood` it measures something else: how long one client waits while another one floods.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measured"
)]

mod asking;
mod ceiling;
mod figures;
mod flooding;
mod leasing;
mod machine;
mod options;
mod rows;
mod servers;
mod table;
mod window;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use options::Options;
use rows::Rows;

/// Why a run failed, for people.
type Fault = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|word| word == ceiling::COMMAND)
    {
        let answer = arguments.next().expect("the file of the answer");
        return ended(ceiling::serve(answer.as_ref()));
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
    if options.flood {
        println!("\n{}", flooding::run(options).await?);
        return Ok(());
    }
    let rows = Rows::prepare(options).await?;
    let rounds = rows.measure(options).await?;
    println!("\n{}", table::of(rows.names(), &rounds));
    println!("{}", table::notes(&rounds));
    Ok(())
}
