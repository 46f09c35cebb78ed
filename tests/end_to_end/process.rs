//! What the running process lets out of its memory, and how many files it may open.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{BINARY, ROOT_TOKEN, files_below, until};
use crate::support::child::OwnedChild;

/// A server that a shell starts after `limits`, in a folder of its own, once it listens.
fn after(limits: &str) -> (OwnedChild, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{limits} && exec \"$0\" serve --listen 127.0.0.1:0");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, BINARY])
        .current_dir(&folder)
        .env("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN)
        .stdout(Stdio::piped())
        .stderr(File::create(folder.path().join("log")).unwrap());
    let mut child = OwnedChild::spawn(&mut command).unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line:?}");
    (child, folder)
}

/// The soft and the hard limit of a running process, as the kernel writes them.
#[cfg(target_os = "linux")]
fn limit(child: &OwnedChild, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.0.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.unwrap().split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

fn log(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("log")).unwrap()
}

#[tokio::test]
async fn an_aborted_server_leaves_no_core() {
    let (mut child, folder) = after("ulimit -S -c \"$(ulimit -H -c)\"");
    #[cfg(target_os = "linux")]
    assert_eq!(
        limit(&child, "Max core file size"),
        ("0".to_owned(), "0".to_owned())
    );
    child.signal("ABRT");
    let status = until(|| child.0.try_wait().unwrap()).await;
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped(), "not even to a crash handler");
    let core = |name: &str| name.contains("core");
    let left = files_below(folder.path());
    let names = left.iter().filter_map(|path| path.file_name()?.to_str());
    assert!(!names.clone().any(core), "{:?}", names.collect::<Vec<_>>());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let (child, folder) = after("ulimit -S -n 64 && ulimit -H -n 4300");
    let raised = "4300".to_owned();
    assert_eq!(limit(&child, "Max open files"), (raised.clone(), raised));
    assert!(!log(&folder).contains("limits.connections"));
}

#[tokio::test]
async fn connections_that_do_not_fit_into_the_limit_of_open_files_are_told() {
    let (_child, folder) = after("ulimit -n 300");
    let log = log(&folder);
    assert!(log.contains("limits.connections does not fit"), "{log}");
    assert!(
        log.contains("limit=300") && log.contains("wanted=4224"),
        "{log}"
    );
}
