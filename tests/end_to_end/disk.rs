//! A disk whose flushes fail: the process ends, and what was acknowledged is there again after.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, DeleteRequest, Quota, ResetLimitsRequest, RevokeRequest, Verdict,
};
use tonic::{Code, Status};

use crate::harness::{Authority, Client, change, create, named, presenting, rotation, verdict};

/// What the process ends with, so that a supervisor starts it again.
const FLUSH_FAILED: Option<i32> = Some(70);

/// An authority under which the flushes of one file can be broken.
struct Broken {
    authority: Authority,
}

impl Broken {
    /// `end` is how the path of the file ends.
    fn flushes_of(end: &str) -> Self {
        let mut authority = Authority::on_sqlite();
        // It was only there to make the database; how it ends does not matter.
        authority.stop("KILL");
        let library = authority.folder.path().join("broken_flush.so");
        build(&library);
        let trigger = authority.folder.path().join("broken");
        let mut authority = authority
            .with_variable("LD_PRELOAD", &library)
            .with_variable("BROKEN_FLUSH_OF", Path::new(end))
            .with_variable("BROKEN_FLUSH_WHEN", &trigger);
        authority.start();
        Self { authority }
    }

    fn trigger(&self) -> PathBuf {
        self.authority.folder.path().join("broken")
    }

    fn break_down(&self) {
        std::fs::write(self.trigger(), "").unwrap();
    }

    /// Starts again on a sound disk.
    async fn starts_again(&mut self) -> Client {
        let log = self.authority.log();
        assert!(log.contains("a flush of the database failed"), "{log}");
        std::fs::remove_file(self.trigger()).unwrap();
        self.authority.start();
        self.authority.root().await
    }

    /// Starts again on a sound disk, and looks for what was acknowledged before.
    async fn recovers(mut self, secrets: &[String]) {
        let mut root = self.starts_again().await;
        for secret in secrets {
            assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
        }
    }
}

/// Compiles the library; a C compiler is there, since the bundled SQLite needs one.
fn build(library: &Path) {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/end_to_end/disk/broken_flush.c"
    );
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(library);
    let built = compiler.arg(source).status().expect("cc runs");
    assert!(built.success(), "{built}");
}

/// Creates tokens until the authority is gone; answers the secrets of those acknowledged.
async fn create_until_it_ends(mut client: Client) -> Vec<String> {
    let mut secrets = Vec::new();
    loop {
        match client.create(named("t")).await {
            Ok(created) => secrets.push(created.into_inner().secret),
            Err(status) => {
                assert!(
                    matches!(
                        status.code(),
                        Code::Unavailable | Code::Unknown | Code::Cancelled
                    ),
                    "{status:?}"
                );
                return secrets;
            }
        }
        assert!(secrets.len() < 1_000, "the log is never folded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_cannot_be_flushed_ends_the_process_unanswered() {
    let mut broken = Broken::flushes_of("token-authority.db-wal");
    let mut root = broken.authority.root().await;
    let (_, secret) = create(&mut root, named("kept")).await;
    broken.break_down();
    let lost = root.create(named("lost")).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(broken.authority.exited(), FLUSH_FAILED);
    broken.recovers(&[secret]).await;
}

/// Everything that is on disk before it is answered.
const KEPT: [&str; 7] = [
    "Create",
    "Update",
    "Rotate",
    "ResetLimits",
    "Revoke",
    "Delete",
    "Validate",
];

/// Calls `rpc`, which is one of [`KEPT`], about a token with a quota.
async fn call(client: &mut Client, rpc: &str, id: &str, secret: &str) -> Result<(), Status> {
    let token_id = id.to_owned();
    match rpc {
        "Create" => client.create(named("lost")).await.map(drop),
        "Update" => {
            let token = pb::Token {
                token_id,
                ..pb::Token::default()
            };
            client.update(change(&token, &["name"])).await.map(drop)
        }
        "Rotate" => {
            let request = rotation(id, Duration::ZERO);
            client.rotate(request).await.map(drop)
        }
        "ResetLimits" => {
            let request = ResetLimitsRequest { token_id };
            client.reset_limits(request).await.map(drop)
        }
        "Revoke" => {
            let request = RevokeRequest {
                target: Some(Target::TokenId(token_id)),
                ..RevokeRequest::default()
            };
            client.revoke(request).await.map(drop)
        }
        "Delete" => client.delete(DeleteRequest { token_id }).await.map(drop),
        _ => client.validate(presenting(secret)).await.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_kept_is_answered_before_it_is_flushed() {
    let mut broken = Broken::flushes_of("token-authority.db-wal");
    let mut root = broken.authority.root().await;
    for rpc in KEPT {
        let quota = Quota {
            limit: 10,
            ..Quota::default()
        };
        let request = CreateRequest {
            quota: Some(quota),
            ..named("t")
        };
        let (token, secret) = create(&mut root, request).await;
        assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
        broken.break_down();
        let answer = call(&mut root, rpc, &token.token_id, &secret).await;
        assert!(answer.is_err(), "{rpc} was answered");
        assert_eq!(broken.authority.exited(), FLUSH_FAILED, "{rpc}");
        root = broken.starts_again().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_flushed_ends_the_process_and_nothing_is_lost() {
    let mut broken = Broken::flushes_of("token-authority.db");
    let root = broken.authority.root().await;
    broken.break_down();
    let tasks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(create_until_it_ends(root.clone())))
        .collect();
    let mut secrets = Vec::new();
    for task in tasks {
        secrets.extend(task.await.unwrap());
    }
    assert_eq!(broken.authority.exited(), FLUSH_FAILED);
    assert!(!secrets.is_empty());
    broken.recovers(&secrets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_flushed_at_the_end_is_no_clean_exit() {
    let mut broken = Broken::flushes_of("token-authority.db");
    let mut root = broken.authority.root().await;
    let (_, secret) = create(&mut root, named("kept")).await;
    broken.break_down();
    assert_eq!(broken.authority.stop("TERM").0, FLUSH_FAILED);
    broken.recovers(&[secret]).await;
}
