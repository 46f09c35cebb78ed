//! What one Validate costs, counted and not timed: instructions and allocations of a whole server for
//! each call that is answered from memory, beside those of the ceiling (see the load driver).
//!
//! `cargo bench --bench validate_path -- 4000` asks so many times over one connection, 16 at once, on
//! SQLite. Needs valgrind. Profiles by function stay in target/validate_path for `callgrind_annotate`;
//! they name what was inlined where the build has `CARGO_PROFILE_BENCH_DEBUG=1
//! CARGO_PROFILE_BENCH_STRIP=none`. What the server does by itself meanwhile is counted, too. valgrind
//! knows no SHA instructions, so that hashing counts for more here than it costs.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::HashSet;
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

/// Why a run failed, for people.
type Fault = Box<dyn Error + Send + Sync>;

const ROOT_TOKEN: &str = "root-of-the-counting-bench-0123456789-0123456789";
const SUBJECTS: usize = 100;
const AT_ONCE: usize = 16;
/// Every program is some fifty times slower under valgrind.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each call took, on average.
struct Cost {
    instructions: u64,
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
        "{:<24}{:>14}{:>8}{:>14}",
        "", "instructions", "x", "allocations"
    );
    for (name, cost) in [
        ("the ceiling", &ceiling),
        ("a root token asks", &by_root),
        ("a token asks", &by_token),
    ] {
        let Cost {
            instructions,
            allocations,
        } = cost;
        let ratio = *instructions as f64 / ceiling.instructions as f64;
        println!("{name:<24}{instructions:>14}{ratio:>8.2}{allocations:>14.1}");
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

#[expect(
    clippy::disallowed_methods,
    reason = "it is handed on, and no configuration"
)]
fn authority(profile: &Path, folder: &Path) -> Command {
    let store = format!("sqlite:{}", folder.join("counted.db").display());
    let mut command = under_valgrind(profile);
    command
        .arg(env!("CARGO_BIN_EXE_token-authority"))
        .args(["serve", "--listen", "127.0.0.1:0", "--store", &store])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
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
        let text = fs::read_to_string(dump)?;
        let instructions = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let instructions: u64 = instructions.ok_or("a profile without totals")?.parse()?;
        Ok(Cost {
            instructions: instructions / calls as u64,
            allocations: allocations(&text) as f64 / calls as f64,
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

/// How often memory was asked for, by the calls of `malloc` and its like in a profile.
fn allocations(profile: &str) -> u64 {
    let mut asking = HashSet::new();
    let (mut sum, mut counts) = (0, false);
    for line in profile.lines() {
        if let Some(called) = line.strip_prefix("cfn=") {
            let (id, name) = called.split_once(' ').unwrap_or((called, ""));
            if matches!(
                name,
                "mi_malloc_aligned"
                    | "mi_zalloc_aligned"
                    | "mi_realloc_aligned"
                    | "mi_malloc"
                    | "mi_zalloc"
                    | "mi_realloc"
                    | "malloc"
                    | "calloc"
                    | "realloc"
                    | "posix_memalign"
                    | "aligned_alloc"
            ) {
                asking.insert(id);
            }
            counts = asking.contains(id);
        } else if let Some(calls) = line.strip_prefix("calls=")
            && std::mem::take(&mut counts)
        {
            let calls = calls.split(' ').next().and_then(|calls| calls.parse().ok());
            sum += calls.unwrap_or(0u64);
        } else if let Some(named) = line.strip_prefix("fn=")
            && let Some((
                id,
                "mi_malloc_aligned" | "mi_zalloc_aligned" | "mi_realloc_aligned" | "mi_malloc"
                | "mi_zalloc" | "mi_realloc" | "malloc" | "calloc" | "realloc" | "posix_memalign"
                | "aligned_alloc",
            )) = named.split_once(' ')
        {
            asking.insert(id);
        }
    }
    sum
}
