//! Lines that are written, that wait, and that are lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::clock::ManualClock;
use crate::domain::time::Timestamp;

/// An outlet that a test can break.
#[derive(Clone, Default)]
struct Paper {
    text: Arc<Mutex<String>>,
    full: Arc<AtomicBool>,
}

impl Outlet for Paper {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text
            .lock()
            .unwrap()
            .push_str(std::str::from_utf8(line).unwrap());
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Fixture {
    trail: Trail,
    paper: Paper,
    metrics: Arc<Metrics>,
}

fn fixture() -> Fixture {
    let (paper, metrics) = (Paper::default(), Arc::new(Metrics::new([])));
    let clock = ManualClock::at(Timestamp::from_micros(1_763_774_232_000_042));
    let trail = Trail::to(paper.clone(), Arc::new(clock), metrics.clone()).unwrap();
    Fixture {
        trail,
        paper,
        metrics,
    }
}

impl Fixture {
    fn record(&self, weight: Weight, request_id: &str) {
        let line = Line {
            request_id: &request_id,
            rpc: "Create",
            caller: &"root:ops",
            token_id: "",
            namespace: "default",
            peer: "127.0.0.1".parse().ok(),
            outcome: "done",
        };
        self.trail.record(weight, &line);
    }

    fn full(&self, full: bool) {
        self.paper.full.store(full, Ordering::SeqCst);
    }

    fn text(&self) -> String {
        self.paper.text.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_settled_line_is_written_with_all_that_is_known() {
    let fixture = fixture();
    fixture.record(Weight::Act, "a\"b");
    fixture.trail.settled().await;
    assert_eq!(
        fixture.text(),
        "{\"time\":\"2025-11-22T01:17:12.000042Z\",\"request_id\":\"a\\\"b\",\"rpc\":\"Create\",\
         \"caller\":\"root:ops\",\"namespace\":\"default\",\"peer\":\"127.0.0.1\",\"outcome\":\"done\"}\n"
    );
    assert_eq!(fixture.metrics.audit_pending.get(), 0);
}

#[tokio::test]
async fn a_line_that_cannot_be_written_waits_and_closes_the_trail_until_it_is() {
    let fixture = fixture();
    fixture.full(true);
    fixture.record(Weight::Act, "first");
    fixture.trail.settled().await;
    assert!(!fixture.trail.available());
    fixture.record(Weight::Act, "second");
    fixture.trail.settled().await;
    assert_eq!(
        (fixture.text().as_str(), 2),
        ("", fixture.metrics.audit_pending.get())
    );
    fixture.full(false);
    fixture.trail.reopen();
    while !fixture.trail.available() {
        tokio::task::yield_now().await;
    }
    let text = fixture.text();
    let (first, second) = text.split_once('\n').unwrap();
    assert!(
        first.contains("first") && second.contains("second"),
        "{text}"
    );
    assert_eq!(fixture.metrics.audit_pending.get(), 0);
}

/// An outlet that takes nothing and says nothing, as a pipe that nobody reads, until it is let go.
struct Hanging(std::sync::mpsc::Receiver<()>);

impl Outlet for Hanging {
    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hanging() -> (std::sync::mpsc::Sender<()>, Fixture) {
    let (let_go, hanging) = std::sync::mpsc::channel();
    let (clock, metrics) = (ManualClock::at(Timestamp::MAX), Arc::new(Metrics::new([])));
    let fixture = Fixture {
        trail: Trail::to(Hanging(hanging), Arc::new(clock), metrics.clone()).unwrap(),
        paper: Paper::default(),
        metrics,
    };
    (let_go, fixture)
}

#[tokio::test(start_paused = true)]
async fn what_an_outlet_that_hangs_does_not_take_is_left_to_the_log() {
    let (_let_go, fixture) = hanging();
    fixture.record(Weight::Act, "first");
    fixture.trail.close().await;
    assert_eq!(fixture.metrics.audit_pending.get(), 0);
    fixture.record(Weight::Act, "late");
    assert_eq!(fixture.metrics.audit_pending.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outlet_that_hangs_is_waited_for_a_while_and_closes_the_trail() {
    let (let_go, fixture) = hanging();
    fixture.record(Weight::Act, "first");
    assert!(fixture.trail.available());
    fixture.trail.settled().await;
    assert!(!fixture.trail.available());
    drop(let_go);
    while !fixture.trail.available() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.metrics.audit_pending.get(), 0);
}

#[tokio::test]
async fn refusals_without_room_are_counted_and_acts_are_kept() {
    let fixture = fixture();
    fixture.full(true);
    for _ in 0..2000 {
        fixture.record(Weight::Refusal, "refused");
    }
    fixture.record(Weight::Act, "acted");
    assert_eq!(fixture.metrics.audit_pending.get(), 1025);
    assert_eq!(fixture.metrics.audit_lost.get(), 976);
    fixture.full(false);
    fixture.trail.close().await;
    assert_eq!(fixture.text().lines().count(), 1025);
    assert!(fixture.text().lines().last().unwrap().contains("acted"));
}

#[test]
fn a_file_that_ends_within_a_line_is_continued_on_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    for (before, after) in [("", "x\n"), ("a\n", "a\nx\n"), ("a\ntor", "a\ntor\nx\n")] {
        std::fs::write(&path, before).unwrap();
        FileOutlet::open(&path).unwrap().write(b"x\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }
}

#[test]
fn a_file_is_private_and_needs_its_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    FileOutlet::open(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(FileOutlet::open(&folder.path().join("no/audit")).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_not_a_loss() {
    let mut full = FileOutlet::open(Path::new("/dev/full")).unwrap();
    let error = full.write(b"x\n").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
