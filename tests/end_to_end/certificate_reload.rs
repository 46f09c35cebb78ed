//! Certificates, authorities and lists exchanged under a running server: no call fails, and what is
//! not accepted any more is gone.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use token_authority::transport::grpc::pb::WhoAmIRequest;
use tokio::task::JoinSet;

use crate::encrypted::{AT_ONCE, Encrypted, Visitor, ended, greeted, server_certificate};
use crate::harness::{Client, PATIENCE, ROOT_TOKEN, create, named, presenting, until};
use crate::support::certificates::{HOUR, Issued, TestAuthority, Wanted};

const IN_USE: &str = "the certificates that were read are in use";
const NOT_EXCHANGED: &str = "the certificates are not exchanged";
const CALLERS: &str = r#"access.certificate_callers=[
  { name = "gateway", dns = "gateway.example.org", permissions = ["validate@*"] },
]"#;
const EXCHANGES: usize = 10;

fn gateway(clients: &TestAuthority) -> Issued {
    clients.issue(Wanted::client().dns("gateway.example.org"))
}

/// Callers over connections that stand, and over new ones all the time.
struct Load {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Callers that show `visitor`'s certificate, or else the root token.
    async fn begin(encrypted: &Encrypted, visitor: &Visitor, secret: &str) -> Self {
        let mut load = Self {
            over: Arc::default(),
            calls: Arc::default(),
            tasks: JoinSet::new(),
        };
        let credential = (!visitor.shows_something()).then_some(ROOT_TOKEN);
        for _ in 0..4 {
            let client = encrypted.client(visitor, credential).await;
            for _ in 0..4 {
                load.call(client.clone(), secret, |client| client.clone());
            }
        }
        for _ in 0..2 {
            let client = encrypted.client(visitor, credential).await;
            let (visitor, address) = (visitor.clone(), encrypted.authority.address.clone());
            load.call(client, secret, move |_| {
                visitor.client(&address, credential)
            });
        }
        load
    }

    fn call(
        &mut self,
        first: Client,
        secret: &str,
        next: impl Fn(&Client) -> Client + Send + 'static,
    ) {
        let (over, calls) = (self.over.clone(), self.calls.clone());
        let secret = secret.to_owned();
        self.tasks.spawn(async move {
            let mut client = first;
            while !over.load(Ordering::Relaxed) {
                let answer = client.validate(presenting(&secret)).await;
                assert!(answer.expect("no call fails").into_inner().valid);
                calls.fetch_add(1, Ordering::Relaxed);
                client = next(&client);
            }
        });
    }

    /// Waits until so many more calls were answered.
    async fn answered(&self, more: usize) {
        let before = self.calls.load(Ordering::Relaxed);
        until(|| (self.calls.load(Ordering::Relaxed) >= before + more).then_some(())).await;
    }

    /// Ends all callers; a call that failed ends the test.
    async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Waits until a new connection is shown this certificate.
async fn shown(encrypted: &Encrypted, issued: &Issued) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let stream = encrypted.connect(&encrypted.stranger()).await.unwrap();
        if server_certificate(&stream) == issued.der {
            return;
        }
        assert!(Instant::now() < patience, "{}", encrypted.authority.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_exchanged_ten_times_under_load_and_no_call_fails() {
    let encrypted = Encrypted::start(&["--set", "tls.reload_every=500ms"]);
    let (_, secret) = create(&mut encrypted.root().await, named("t")).await;
    let load = Load::begin(&encrypted, &encrypted.stranger(), &secret).await;
    for exchange in 0..EXCHANGES {
        let issued = encrypted.servers.server();
        match exchange % 3 {
            // One file after the other, whole, in both orders.
            0 => encrypted.put(&issued),
            1 => {
                encrypted.exchange("server.pem", &issued.chain);
                encrypted.exchange("server.key", &issued.key);
            }
            // Written over.
            _ => {
                fs::write(encrypted.file("server.pem"), &issued.chain).unwrap();
                fs::write(encrypted.file("server.key"), &issued.key).unwrap();
            }
        }
        // Else it is found by itself.
        if exchange % 2 == 0 {
            encrypted.authority.signal("HUP");
        }
        shown(&encrypted, &issued).await;
        load.answered(20).await;
    }
    load.end().await;
    let exchanged = encrypted.authority.log().matches(IN_USE).count();
    assert_eq!(exchanged, EXCHANGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_of_clients_is_exchanged_and_no_call_of_the_new_ones_fails() {
    let encrypted = Encrypted::mutual(&[&["--set", CALLERS], &AT_ONCE[..]].concat());
    let (_, secret) = create(&mut encrypted.root().await, named("t")).await;
    let next = TestAuthority::new("the next authority of clients");
    let (old, new) = (gateway(&encrypted.clients), gateway(&next));
    let (old, new) = (encrypted.visitor(&old), encrypted.visitor(&new));
    encrypted.refuses(&new, "UnknownCA").await;
    let of_the_old = Load::begin(&encrypted, &old, &secret).await;
    let both = encrypted.clients.pem() + &next.pem();
    encrypted.exchange("clients.pem", &both);
    encrypted.look(IN_USE).await;
    let of_the_new = Load::begin(&encrypted, &new, &secret).await;
    of_the_old.answered(50).await;
    of_the_old.end().await;

    let mut standing = encrypted.client(&old, None).await;
    let idle = greeted(encrypted.connect(&old).await).await.unwrap();
    encrypted.exchange("clients.pem", &next.pem());
    encrypted.look(IN_USE).await;
    let refused = standing.validate(presenting(&secret)).await;
    refused.expect_err("the authority is not known any more");
    encrypted.refuses(&old, "UnknownCA").await;
    // A connection that asks nothing goes, too.
    ended(idle).await;
    of_the_new.answered(50).await;
    of_the_new.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_loses_the_connection_that_stands() {
    let required = "tls.client_certificate_required=true";
    let mut encrypted = Encrypted::before_mutual_start(&["--set", CALLERS, "--set", required]);
    encrypted.write("revoked.pem", &encrypted.clients.revoking(&[], HOUR));
    let path = format!(
        "tls.client_crl_file={}",
        encrypted.file("revoked.pem").display()
    );
    encrypted.authority = encrypted.authority.with(&["--set", &path]).with(&AT_ONCE);
    encrypted.authority.start();
    let (kept, lost) = (gateway(&encrypted.clients), gateway(&encrypted.clients));
    let serial = lost.serial;
    let (kept, lost) = (encrypted.visitor(&kept), encrypted.visitor(&lost));
    let mut stays = encrypted.client(&kept, None).await;
    let mut goes = encrypted.client(&lost, None).await;
    let idle = greeted(encrypted.connect(&lost).await).await.unwrap();
    goes.who_am_i(WhoAmIRequest {}).await.unwrap();

    let list = encrypted.clients.revoking(&[serial], HOUR);
    encrypted.exchange("revoked.pem", &list);
    encrypted.look(IN_USE).await;
    goes.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    encrypted.refuses(&lost, "CertificateRevoked").await;
    ended(idle).await;
    stays.who_am_i(WhoAmIRequest {}).await.unwrap();

    // A list that has ended still counts, and is told.
    let ended = encrypted.clients.revoking(&[serial], -HOUR);
    encrypted.exchange("revoked.pem", &ended);
    encrypted
        .look("a list of revoked certificates has ended")
        .await;
    encrypted.refuses(&lost, "CertificateRevoked").await;
    encrypted.who(&kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_counted_and_told_and_changes_nothing() {
    let encrypted = Encrypted::start(&[]);
    let first = encrypted.servers.server();
    encrypted.put(&first);
    encrypted.look(IN_USE).await;
    let second = encrypted.servers.server();
    let expired = encrypted
        .servers
        .issue(Wanted::server().holding(-2 * HOUR, -HOUR));
    let early = encrypted
        .servers
        .issue(Wanted::server().holding(HOUR, 2 * HOUR));
    let mut failed = 0.0;
    for (chain, key, why) in [
        (
            &second.chain,
            &first.key,
            "does not go with the private key",
        ),
        (
            &first.chain,
            &second.key,
            "does not go with the private key",
        ),
        (&String::new(), &first.key, "holds no certificate"),
        (&first.chain, &first.chain, "holds no private key"),
        (&expired.chain, &expired.key, "the certificate ended at"),
        (&early.chain, &early.key, "the certificate holds only from"),
    ] {
        encrypted.exchange("server.pem", chain);
        encrypted.exchange("server.key", key);
        encrypted.look(NOT_EXCHANGED).await;
        let log = encrypted.authority.log();
        let told = log
            .lines()
            .rfind(|line| line.contains(NOT_EXCHANGED))
            .unwrap();
        assert!(told.contains("ERROR") && told.contains(why), "{told}");
        failed += 1.0;
        let count = encrypted
            .metrics()
            .value("certificate_reloads_failed_total");
        assert_eq!(count, failed, "{why}");
        shown(&encrypted, &first).await;
        encrypted.put(&first);
        encrypted
            .look("nothing is wrong with the certificates any more")
            .await;
    }
    encrypted.put(&second);
    encrypted.look(IN_USE).await;
    shown(&encrypted, &second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_near_is_told_and_can_be_read_from_the_metrics() {
    let encrypted = Encrypted::start(&[]);
    let end = || {
        encrypted
            .metrics()
            .value("certificate_end_timestamp_seconds")
    };
    until(|| (end() > 0.0).then_some(())).await;
    let before = end();
    let soon = Wanted::server().holding(-HOUR, 15 * 60);
    encrypted.put(&encrypted.servers.issue(soon));
    encrypted.look("the certificate ends soon").await;
    assert!(end() < before);
    let very_soon = Wanted::server().holding(-HOUR, 4 * 60);
    encrypted.put(&encrypted.servers.issue(very_soon));
    encrypted.look("the certificate ends very soon").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hangup_looks_at_the_audit_file_and_at_the_certificates() {
    let mut encrypted = Encrypted::before_start(&[]);
    let audit = encrypted.file("audit");
    let setting = format!("audit.to=file:{}", audit.display());
    encrypted.authority = encrypted.authority.with(&["--set", &setting]);
    encrypted.authority.start();
    create(&mut encrypted.root().await, named("t")).await;
    fs::rename(&audit, audit.with_extension("1")).unwrap();
    let issued = encrypted.servers.server();
    encrypted.put(&issued);
    encrypted.look(IN_USE).await;
    shown(&encrypted, &issued).await;
    until(|| audit.exists().then_some(())).await;
}
