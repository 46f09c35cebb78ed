//! What one Validate costs, counted and not timed: instructions and allocations of a whole server for
//! each call that is answered from memory, beside those of the ceiling (see the load driver).
//!
//! `cargo bench --bench validate_path -- 4000` asks so many times over one connection, 16 at once, on
//! SQLite. Needs valgrind. Profiles by function stay in target/validate_path for `callgrind_annotate`;
//! they name what was inlined where the build has `CARGO_PROFILE_BENCH_DEBUG=1
//! CARGO_PROFILE_BENCH_STRIP=none`. What the server does by itself meanwhile is counted, too. valgrind
//! knows no SHA instructions, so that SHA-256 counts for much more here than it costs: it is told apart,
//! and no part of the ratio.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{CreateRequest, ValidateResponse};
use tonic::transport::{Channel, Endpoint};

use asking::{Caller, Subject, gateway_token, question, shop_token};
use support::child::OwnedChild;

#[path = "load/asking.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod asking;
#[path = "load/ceiling.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod ceiling;
#[path = "../tests/support/mod.rs"]
mod support;

/// That of the program, which the ceiling has to be like.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a run failed, for people.
type Fault = Box<dyn Error + Send + Sync>;

const ROOT_TOKEN: &str = "root-of-the-counting-bench-0123456789-0123456789";
/// Few, since each is read anew every 5 seconds, which are soon over under valgrind.
const SUBJECTS: usize = 16;
const AT_ONCE: usize = 16;
/// Every program is some fifty times slower under valgrind.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each call took, on average.
struct Cost {
    instructions: u64,
    /// Those of SHA-256, which are none of the above.
    hashing: u64,
    allocations: f64,
}

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, answer] = arguments.as_slice()
        && command == ceiling::COMMAND
    {
        return ceiling::serve(ceiling::Shape::PerCore, answer.as_ref());
    }
    // Cargo adds flags of its own, such as --bench.
    let calls = arguments.iter().find_map(|argument| argument.parse().ok());
    tokio::runtime::Runtime::new()?.block_on(run(calls.unwrap_or(4000)))
}

async fn run(calls: usize) -> Result<(), Fault> {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../validate_path");
    // What is found there later is of this run.
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)?;
    let folder = tempfile::tempdir()?;
    let profile = place.join("authority");
    let authority = Counted::start(authority(&profile, folder.path()), profile).await?;
    let root = Caller::bearing(ROOT_TOKEN);
    let connection = std::slice::from_ref(&authority.connection);
    let made = asking::create(connection, &root, AT_ONCE, SUBJECTS, shop_token).await?;
    let subjects = Arc::new(made);
    let gateway = asking::create(connection, &root, 1, 1, |_: usize| -> CreateRequest {
        gateway_token()
    });
    let gateway = Caller::bearing(&gateway.await?[0].secret);
    let answer = answer(&authority.connection, &gateway, &subjects[0]).await?;
    let by_token = authority.cost(&gateway, &subjects, calls).await?;
    let by_root = authority.cost(&root, &subjects, calls).await?;
    drop(authority);
    let file = folder.path().join("answer");
    fs::write(&file, answer.encode_to_vec())?;
    let profile = place.join("ceiling");
    let mut command = under_valgrind(&profile);
    command.arg(std::env::current_exe()?);
    command.arg(ceiling::COMMAND).arg(file);
    let ceiling = Counted::start(command, profile).await?;
    let one = Arc::new(vec![subjects[0].clone()]);
    let ceiling = ceiling.cost(&gateway, &one, calls).await?;
    println!(
        "{:<20}{:>14}{:>8}{:>14}{:>14}",
        "", "instructions", "x", "SHA-256", "allocations"
    );
    for (name, cost) in [
        ("the ceiling", &ceiling),
        ("a root token asks", &by_root),
        ("a token asks", &by_token),
    ] {
        let Cost {
            instructions,
            hashing,
            allocations,
        } = cost;
        let ratio = *instructions as f64 / ceiling.instructions as f64;
        println!("{name:<20}{instructions:>14}{ratio:>8.2}{hashing:>14}{allocations:>14.1}");
    }
    Ok(())
}

/// callgrind, which leaves its profiles in files whose names begin with `profile`.
fn under_valgrind(profile: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", profile.display()));
    command
}

fn authority(profile: &Path, folder: &Path) -> Command {
    let store = format!("sqlite:{}", folder.join("counted.db").display());
    let mut command = under_valgrind(profile);
    command
        .arg(env!("CARGO_BIN_EXE_token-authority"))
        .args(["serve", "--listen", "127.0.0.1:0", "--store", &store])
        .env_remove("TOKEN_AUTHORITY_CONFIG")
        .env("HOME", folder)
        .env("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN);
    command
}

async fn answer(
    connection: &Channel,
    caller: &Caller,
    subject: &Subject,
) -> Result<ValidateResponse, Fault> {
    let mut client = TokenServiceClient::new(connection.clone());
    let asked = caller.request(question(&subject.secret));
    let answer = client.validate(asked).await?.into_inner();
    asking::check(&answer, subject)?;
    Ok(answer)
}

/// A server under callgrind.
struct Counted {
    child: OwnedChild,
    connection: Channel,
    profile: PathBuf,
}

impl Counted {
    async fn start(mut command: Command, profile: PathBuf) -> Result<Self, Fault> {
        let log = File::create(profile.with_extension("log"))?;
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = OwnedChild::spawn(&mut command)?;
        let stdout = child.0.stdout.take().ok_or("no pipe to standard output")?;
        let first_line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, first_line).await???;
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.ok_or("a server did not start; see its log")?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let connection = endpoint.connect().await?;
        Ok(Self {
            child,
            connection,
            profile,
        })
    }

    /// Has the caller ask `calls` times, and before that a while for nothing.
    async fn cost(
        &self,
        caller: &Caller,
        subjects: &Arc<Vec<Subject>>,
        calls: usize,
    ) -> Result<Cost, Fault> {
        self.ask(caller, subjects, calls / 4).await?;
        self.tell("zero")?;
        self.ask(caller, subjects, calls).await?;
        let before: HashSet<PathBuf> = self.dumps()?;
        self.tell("dump")?;
        let mut dumps = self.dumps()?;
        dumps.retain(|dump| !before.contains(dump));
        let dump = dumps
            .into_iter()
            .next()
            .ok_or("callgrind wrote no profile")?;
        let profile = Profile::read(&fs::read_to_string(dump)?);
        let calls = calls as u64;
        Ok(Cost {
            instructions: (profile.instructions - profile.hashing) / calls,
            hashing: profile.hashing / calls,
            allocations: profile.allocations as f64 / calls as f64,
        })
    }

    async fn ask(
        &self,
        caller: &Caller,
        subjects: &Arc<Vec<Subject>>,
        calls: usize,
    ) -> Result<(), Fault> {
        let mut asking = tokio::task::JoinSet::new();
        for first in 0..AT_ONCE {
            let (connection, caller) = (self.connection.clone(), caller.clone());
            let subjects = subjects.clone();
            asking.spawn(async move {
                for at in (first..calls).step_by(AT_ONCE) {
                    answer(&connection, &caller, &subjects[at % subjects.len()]).await?;
                }
                Ok::<_, Fault>(())
            });
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        Ok(())
    }

    fn tell(&self, what: &str) -> Result<(), Fault> {
        let process = format!("--pid={}", self.child.0.id());
        let told = Command::new("vgdb").args([&process, what]).output()?;
        match told.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&told.stderr).into()),
        }
    }

    fn dumps(&self) -> Result<HashSet<PathBuf>, Fault> {
        let folder = self.profile.parent().ok_or("no folder")?;
        let entries = fs::read_dir(folder)?;
        Ok(entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect())
    }
}

/// Sums of a profile (the format is in valgrind's manual, "Callgrind Format Specification").
#[derive(Default)]
struct Profile {
    instructions: u64,
    hashing: u64,
    allocations: u64,
}

/// Where the allocator is asked for memory. Rust's own names for it are inlined.
const ALLOCATES: [&str; 3] = [
    "mi_malloc_aligned",
    "mi_zalloc_aligned",
    "mi_realloc_aligned",
];
/// SHA-256 where the processor cannot do it.
const HASHES: &str = "sha2::sha256::soft";

impl Profile {
    fn read(text: &str) -> Self {
        let mut profile = Self::default();
        let mut names = HashMap::new();
        let (mut within, mut called) = ("", "");
        let mut of_callee = false;
        for line in text.lines() {
            if let Some(function) = line.strip_prefix("fn=") {
                within = named(&mut names, function);
            } else if let Some(function) = line.strip_prefix("cfn=") {
                called = named(&mut names, function);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let count = calls.split(' ').next().and_then(|count| count.parse().ok());
                if ALLOCATES.iter().any(|name| called.ends_with(name)) {
                    profile.allocations += count.unwrap_or(0u64);
                }
                // What the callee cost stands on the next line, and again where it is shown itself.
                of_callee = true;
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
                && !std::mem::take(&mut of_callee)
            {
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
                let cost = cost.unwrap_or(0u64);
                profile.instructions += cost;
                if within.contains(HASHES) {
                    profile.hashing += cost;
                }
            }
        }
        profile
    }
}

/// The name of a function, which is written out only where it comes first: `(12) name`, then `(12)`.
fn named<'a>(names: &mut HashMap<&'a str, &'a str>, function: &'a str) -> &'a str {
    match function.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(function).copied().unwrap_or_default(),
    }
}
