//! Real commands that run while a lease is held.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::canned::{CALLER, ID, LEASE_SECRET};
use super::program::{Fixture, Ran};

/// Longest wait for something that is about to happen.
const SOON: Duration = Duration::from_secs(20);

/// A command that says that it runs and goes on until it is told to end.
const UNTIL_TOLD: &str = "touch running; while [ ! -e over ]; do sleep 0.02; done; exit 3";

impl Fixture {
    /// Starts `sh -c script` under a lease of that pool.
    fn held(&self, pool: &str, script: &str) -> Child {
        let words = ["lease", "run", "--pool", pool, "--", "sh", "-c", script];
        self.spawn(&words)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn releases(&self) -> u64 {
        self.leases.releases.load(SeqCst)
    }
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "{what} in time");
        thread::sleep(Duration::from_millis(5));
    }
}

fn ended(mut child: Child) -> Ran {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

/// Carries connections to the server; those that it was made with stall once it is told so: they
/// stay open, and nothing comes through.
struct Way {
    address: SocketAddr,
    stalled: Arc<AtomicBool>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stalled = Arc::new(AtomicBool::new(false));
        let told = stalled.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(server).unwrap());
                // Those that come later are not concerned.
                let told = match told.load(SeqCst) {
                    true => Arc::default(),
                    false => told.clone(),
                };
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                for (from, into) in [(near, far), back] {
                    let told = told.clone();
                    thread::spawn(move || carry(from, into, &told));
                }
            }
        });
        Self { address, stalled }
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, stalled: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !stalled.load(SeqCst) && into.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn the_command_gets_the_lease_and_its_exit_code_is_answered() {
    let fixture = Fixture::new();
    let ran = ended(fixture.held("gpu", "env | sort; exit 7"));
    assert_eq!(ran.code, 7, "{}", ran.err);
    for line in [
        format!("TOKEN_AUTHORITY_LEASE_SECRET={LEASE_SECRET}\n"),
        format!("TOKEN_AUTHORITY_LEASE_TOKEN_ID={ID}\n"),
        "TOKEN_AUTHORITY_LEASE_FENCE=42\n".to_owned(),
        "TOKEN_AUTHORITY_LEASE_EXPIRE_TIME=2023-11-14T22:14:20Z\n".to_owned(),
    ] {
        assert!(ran.out.contains(&line), "{line}: {}", ran.out);
    }
    assert!(
        !ran.out.contains(CALLER),
        "the caller's own secret is not the command's"
    );
    assert_eq!(fixture.releases(), 1);
    assert_eq!(ran.err, "");
}

#[test]
fn a_command_that_a_signal_ended_is_told_as_shells_do() {
    let fixture = Fixture::new();
    assert_eq!(ended(fixture.held("gpu", "kill -9 $$")).code, 137);
    assert_eq!(fixture.releases(), 1);
}

#[test]
fn what_cannot_be_executed_gives_the_lease_back() {
    let fixture = Fixture::new();
    for (command, code) in [("/no/such/command", 127), ("/", 126)] {
        let ran = ended(fixture.spawn(&["lease", "run", "--pool", "gpu", "--", command]));
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(
            ran.err.contains(&format!("cannot execute {command}")),
            "{}",
            ran.err
        );
    }
    assert_eq!(fixture.releases(), 2);
}

#[test]
fn without_a_lease_nothing_runs() {
    let fixture = Fixture::new();
    for (pool, reason) in [("full", "POOL_EXHAUSTED"), ("absent", "POOL_NOT_FOUND")] {
        let ran = ended(fixture.held(pool, "touch ran"));
        assert_eq!(ran.code, 125);
        assert!(ran.err.contains(reason), "{}", ran.err);
    }
    assert!(!fixture.file("ran").exists());
    assert_eq!(fixture.releases(), 0);
}

#[test]
fn a_lost_lease_ends_the_command() {
    let fixture = Fixture::new();
    let ran = ended(fixture.held(
        "lost",
        "trap 'touch told; exit 0' TERM; while :; do sleep 0.02; done",
    ));
    assert_eq!(ran.code, 124, "{}", ran.err);
    assert!(
        ran.err.contains("the lease is lost: the lease has ended"),
        "{}",
        ran.err
    );
    assert!(fixture.file("told").exists());
}

#[test]
fn a_command_that_does_not_end_is_killed_with_all_that_it_started() {
    let fixture = Fixture::new();
    let script =
        "trap '' TERM; (while :; do touch alive; sleep 0.02; done) & while :; do sleep 0.02; done";
    let words = [
        "lease", "run", "--pool", "lost", "--grace", "300ms", "--", "sh", "-c", script,
    ];
    let ran = ended(fixture.spawn(&words));
    assert_eq!(ran.code, 124, "{}", ran.err);
    // Its output is closed, or `ended` would not have returned; so nobody of it is left.
    assert!(fixture.file("alive").exists());
}

#[test]
fn what_the_command_started_does_not_outlive_the_lease() {
    let fixture = Fixture::new();
    let stubborn = "trap '' TERM; while [ ! -e over ]; do touch alive; sleep 0.02; done";
    // The shell ends when it is told to, and what it started does not.
    let script = format!("({stubborn}) > log 2>&1 & while :; do sleep 0.02; done");
    let words = [
        "lease", "run", "--pool", "lost", "--grace", "300ms", "--", "sh", "-c", &script,
    ];
    let ran = ended(fixture.spawn(&words));
    assert_eq!(ran.code, 124, "{}", ran.err);
    fs::remove_file(fixture.file("alive")).unwrap();
    thread::sleep(Duration::from_millis(300));
    let alive = fixture.file("alive").exists();
    fs::write(fixture.file("over"), "").unwrap();
    assert!(!alive, "it runs on though the lease is lost");
}

#[test]
fn a_lease_that_cannot_be_kept_alive_ends_the_command_before_its_own_end() {
    let fixture = Fixture::new();
    let ran = ended(fixture.held(
        "mute",
        "trap 'date +%s%N > told; exit 0' TERM; date +%s%N > running; while :; do sleep 0.02; done",
    ));
    assert_eq!(ran.code, 124, "{}", ran.err);
    assert!(
        ran.err.contains("could not be kept alive in time"),
        "{}",
        ran.err
    );
    let at = |name: &str| {
        let text = fs::read_to_string(fixture.file(name)).unwrap();
        Duration::from_nanos(text.trim().parse().unwrap())
    };
    let lived = at("told").saturating_sub(at("running"));
    // Its lease of 2 seconds had begun before it.
    assert!(lived < Duration::from_secs(2), "{lived:?}");
    let tried = fixture.leases.streams.load(SeqCst);
    assert!(tried >= 2, "{tried} attempts");
}

#[test]
fn a_stream_that_breaks_ends_nothing() {
    let fixture = Fixture::new();
    let child = fixture.held("cut", UNTIL_TOLD);
    // Each carries one beat, and the lease outlives its first length.
    let begun = Instant::now();
    wait_for("beats", || {
        fixture.leases.streams.load(SeqCst) >= 4 && begun.elapsed() > Duration::from_secs(3)
    });
    assert!(fixture.file("running").exists());
    fs::write(fixture.file("over"), "").unwrap();
    let ran = ended(child);
    assert_eq!((ran.code, ran.err.as_str()), (3, ""));
    assert_eq!(fixture.releases(), 1);
}

#[test]
fn a_connection_that_stalls_is_exchanged_in_time() {
    let fixture = Fixture::new();
    let way = Way::to(fixture.address);
    let server = way.address.to_string();
    let words = [
        "--server", &server, "lease", "run", "--pool", "short", "--", "sh", "-c", UNTIL_TOLD,
    ];
    let child = fixture.spawn(&words);
    wait_for("a beat", || fixture.leases.beats.load(SeqCst) >= 1);
    way.stalled.store(true, SeqCst);
    wait_for("beats over another connection", || {
        fixture.leases.beats.load(SeqCst) >= 4
    });
    fs::write(fixture.file("over"), "").unwrap();
    let ran = ended(child);
    assert_eq!((ran.code, ran.err.as_str()), (3, ""));
    assert!(fixture.leases.streams.load(SeqCst) >= 2);
}

#[test]
fn one_stream_carries_all_beats() {
    let fixture = Fixture::new();
    let child = fixture.held("short", UNTIL_TOLD);
    wait_for("beats", || fixture.leases.beats.load(SeqCst) >= 4);
    fs::write(fixture.file("over"), "").unwrap();
    assert_eq!(ended(child).code, 3);
    assert_eq!(fixture.leases.streams.load(SeqCst), 1);
}

#[test]
fn after_a_wait_a_beat_says_how_much_is_left() {
    let fixture = Fixture::new();
    let words = [
        "lease", "run", "--pool", "gpu", "--wait", "1h", "--", "true",
    ];
    let ran = ended(fixture.spawn(&words));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fixture.leases.beats.load(SeqCst), 1);
}

#[test]
fn signals_are_passed_on_and_the_lease_is_given_back() {
    let fixture = Fixture::new();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let script = format!(
            "trap 'rm running; exit {number}' {name}; touch running; while :; do sleep 0.02; done"
        );
        let child = fixture.held("gpu", &script);
        wait_for("the command runs", || fixture.file("running").exists());
        signal(&child, name);
        assert_eq!(ended(child).code, number, "{name}");
        assert!(!fixture.file("running").exists());
    }
    assert_eq!(fixture.releases(), 3);
}
