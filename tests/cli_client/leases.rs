//! Pools and leases at the command line.

use std::io::copy;
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use super::canned::{CALLER, ID, LEASE_SECRET, SECRET, lease_id};
use super::json;
use super::program::Fixture;

const AS_CALLER: [(&str, &str); 1] = [("TOKEN_AUTHORITY_TOKEN", CALLER)];

#[test]
fn acquire_prints_the_secret_once_and_the_lease() {
    let fixture = Fixture::new();
    let ran = fixture.run("lease acquire gpu --holder w1 --duration 90s --request-id again");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.lines().next(), Some(LEASE_SECRET));
    assert_eq!(ran.out.matches(LEASE_SECRET).count(), 1);
    for line in [
        format!("lease_id        {}\n", lease_id("gpu")),
        "fence           42\n".to_owned(),
        "lease_expires   2023-11-14T22:14:20Z\n".to_owned(),
        format!("token_id        {ID}\n"),
    ] {
        assert!(ran.out.contains(&line), "{line}: {}", ran.out);
    }
    assert!(ran.err.contains("this one time"), "{}", ran.err);
    let (_, _, message) = fixture.asked().remove(0);
    for part in [
        r#"pool: "gpu", holder: "w1""#,
        "seconds: 90",
        "wait: None",
        r#"request_id: "again""#,
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let acquired = json(&fixture.run("lease acquire --pool gpu --json").out);
    assert_eq!(acquired["secret"], LEASE_SECRET);
    assert_eq!(acquired["lease"]["fence"], "42");
}

#[test]
fn who_waits_gives_the_call_as_much_longer() {
    let fixture = Fixture::new();
    let ran = fixture.run("lease acquire gpu --wait 1h --timeout 5s");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (_, timeout, message) = fixture.asked().remove(0);
    assert!(message.contains("seconds: 3600"), "{message}");
    let timeout = timeout.unwrap();
    let millis: u64 = timeout
        .trim_end_matches(char::is_alphabetic)
        .parse()
        .unwrap();
    let millis = match timeout.chars().last() {
        Some('u') => millis / 1000,
        Some('m') => millis,
        Some('S') => millis * 1000,
        unit => panic!("{unit:?}"),
    };
    assert_eq!(millis, 3_605_000, "{timeout}");
}

#[test]
fn a_wait_goes_on_where_its_connection_ended() {
    let fixture = Fixture::new();
    let ran = fixture.run("lease acquire busy --wait 1h");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let asked = fixture.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].2.contains("seconds: 3599"), "{}", asked[1].2);
    let impatient = Fixture::new();
    assert_eq!(impatient.run("lease acquire busy").code, 6);
}

/// Carries one connection to the server.
fn relay(near: UnixStream, server: TcpStream) {
    let (mut from, mut into) = (near.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || copy(&mut from, &mut into));
    thread::spawn(move || copy(&mut { server }, &mut { near }));
}

#[test]
fn a_wait_goes_on_once_a_server_that_stopped_is_back() {
    let fixture = Fixture::new();
    let path = fixture.home.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let carry = |listener: UnixListener| {
        let (near, _) = listener.accept().unwrap();
        relay(near, TcpStream::connect(fixture.address).unwrap());
    };
    let line = format!(
        "lease acquire busy --wait 1h --server unix:{}",
        path.display()
    );
    let ran = thread::scope(|scope| {
        let ran = scope.spawn(|| fixture.run(&line));
        carry(listener);
        std::fs::remove_file(&path).unwrap();
        while fixture.asked().is_empty() {
            thread::yield_now();
        }
        // Nobody listens for a while: who gives up then has done so when somebody does.
        thread::sleep(Duration::from_millis(300));
        if !ran.is_finished() {
            carry(UnixListener::bind(&path).unwrap());
        }
        ran.join().unwrap()
    });
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fixture.asked().len(), 2);
}

#[test]
fn a_lease_is_released_and_kept_by_its_name_from_standard_input() {
    let fixture = Fixture::new();
    let id = lease_id("gpu");
    let released = fixture.program("lease release -", &format!("{id}\n"), &AS_CALLER);
    assert_eq!(released.code, 0, "{}", released.err);
    assert!(
        released.out.contains("end_reason     released\n"),
        "{}",
        released.out
    );
    let kept = fixture.program("lease keep-alive - --duration 2m", &id, &AS_CALLER);
    assert!(kept.out.contains("next_beat_after  20s\n"), "{}", kept.out);
    assert!(!kept.out.contains(&id), "{}", kept.out);
    let messages: Vec<String> = fixture
        .asked()
        .into_iter()
        .map(|(_, _, said)| said)
        .collect();
    assert!(messages[0].contains("force: false"), "{}", messages[0]);
    assert!(messages[1].contains("seconds: 120"), "{}", messages[1]);
    assert_eq!(*fixture.leases.named.lock().unwrap(), [id.clone(), id]);
}

#[test]
fn a_manager_takes_a_lease_back_and_keeps_a_token_alive() {
    let fixture = Fixture::new();
    let taken = fixture.run(&format!("lease release --token-id {ID} --force"));
    assert_eq!(taken.code, 0, "{}", taken.err);
    assert!(
        taken.out.contains("end_reason     forced\n"),
        "{}",
        taken.out
    );
    assert_eq!(
        fixture.run(&format!("lease release --token-id {ID}")).code,
        5
    );
    let kept = fixture.run(&format!("lease keep-alive --token-id {ID}"));
    assert_eq!(kept.out, "kept alive; nothing ends\n");
}

#[test]
fn a_lease_that_cannot_be_had_is_told_with_its_reason() {
    let fixture = Fixture::new();
    let full = fixture.run("lease acquire full");
    assert_eq!(full.code, 7);
    let why = "error: no token of the pool is available\n  reason: ERROR_REASON_POOL_EXHAUSTED\n  \
               try again in 12s\n";
    assert_eq!(full.err, why);
    assert_eq!(fixture.run("lease acquire absent").code, 3);
    let lost = lease_id("lost");
    fixture.run(&format!("lease keep-alive {lost}"));
    let over = fixture.run(&format!("lease keep-alive {lost}"));
    assert_eq!(over.code, 5);
    assert!(over.err.contains("ERROR_REASON_LEASE_OVER"), "{}", over.err);
    let wrong = fixture.run(&format!("lease release {lost} --no-such"));
    assert_eq!(wrong.code, 2);
    let stray = fixture.run(&format!("lease release - {lost}"));
    assert_eq!(stray.code, 2);
    assert!(!stray.err.contains(&lost), "{}", stray.err);
}

#[test]
fn pools_are_listed_over_pages_up_to_the_limit() {
    let fixture = Fixture::new();
    let ran = fixture.run("pool list --namespace -");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let table = "\
POOL  NAMESPACE  AVAILABLE  LEASED  UNAVAILABLE  WAITING
p0    default    10         0       1            0
p1    default    9          1       1            0
p2    default    8          2       1            0
";
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (table, ""));
    assert!(fixture.asked()[0].2.contains(r#"namespace: "-""#));
    let ran = fixture.run("pool list --limit 2");
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert!(ran.err.contains("--all"), "{}", ran.err);
    let all = json(&fixture.run("pool list --all --json").out);
    assert_eq!(all["pools"][2]["available"], "8");
    assert_eq!(all.get("nextPageToken"), None);
}

#[test]
fn a_pool_is_filled_with_tokens_that_are_alike() {
    let fixture = Fixture::new();
    let ran = fixture.run("pool fill gpu --count 2 --name card --scope a --keep-alive-ttl 0s");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines[..3],
        [format!("{SECRET}0"), format!("{SECRET}1"), String::new()]
    );
    assert!(
        lines[3].starts_with("TOKEN_ID") && lines[4].contains("card0"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("this one time"), "{}", ran.err);
    let (_, _, message) = fixture.asked().remove(0);
    for part in [
        r#"pool: "gpu""#,
        "count: 2",
        "keep_alive_ttl: Some(Duration { seconds: 0",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let only = fixture.run("pool fill gpu --count 2 --secret-only");
    assert_eq!(
        (only.out, only.err),
        (format!("{SECRET}0\n{SECRET}1\n"), String::new())
    );
    let filled = json(&fixture.run("pool fill gpu --count 1 --json").out);
    assert_eq!(filled["created"][0]["token"]["pool"], "gpu");
    assert_eq!(fixture.run("pool fill gpu").code, 2);
}

#[test]
fn a_token_is_given_a_life_without_beats() {
    let fixture = Fixture::new();
    fixture.run("token create --pool gpu --keep-alive-ttl 10m");
    fixture.run(&format!("token update {ID} --keep-alive-ttl 0s"));
    let asked = fixture.asked();
    assert!(asked[0].2.contains("seconds: 600"), "{}", asked[0].2);
    assert!(
        asked[1].2.contains(r#"paths: ["keep_alive_ttl"]"#),
        "{}",
        asked[1].2
    );
}
