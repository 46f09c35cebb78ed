//! Callers that are known by the certificate of their connection: who is one, what it may do, and
//! which certificates are not accepted.

use token_authority::transport::grpc::pb::{
    CreateRequest, ListRequest, ValidateRequest, WhoAmIRequest,
};
use tonic::{Code, Status};

use crate::encrypted::{AT_ONCE, Encrypted, TLS12, TLS13, ended, greeted};
use crate::harness::{ROOT_TOKEN, create, named, presenting, told, until};
use crate::support::certificates::{HOUR, Issued, TestAuthority, Wanted};

const CALLERS: &str = r#"access.certificate_callers=[
  { name = "gateway", uri = "spiffe://example.org/gateway", permissions = ["validate@shop"] },
  { name = "billing", dns = "billing.example.org", permissions = ["manage@shop", "read@*"] },
  { name = "environment", dns = "root.example.org", permissions = ["manage"] },
]"#;

const GATEWAY: &str = "spiffe://example.org/gateway";

fn known(flags: &[&str]) -> Encrypted {
    Encrypted::mutual(&[&["--set", CALLERS], flags].concat())
}

fn gateway(clients: &TestAuthority) -> Issued {
    clients.issue(Wanted::client().uri(GATEWAY))
}

/// Asserts that somebody is nobody, and answers what was said.
fn nobody<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    let expected = (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned());
    assert_eq!(told(&status), expected, "{status:?}");
    status.message().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_its_caller_by_a_uri_or_a_dns_name() {
    let encrypted = known(&[]);
    let between = encrypted.clients.below("between");
    for (wanted, caller, permissions) in [
        (
            Wanted::client().uri(GATEWAY),
            "certificate:gateway",
            &["validate@shop"][..],
        ),
        (
            Wanted::client()
                .dns("Billing.Example.ORG")
                .dns("other.example"),
            "certificate:billing",
            &["manage@shop", "read@*"],
        ),
        (
            Wanted::client().uri(GATEWAY).dns("nobody.example.org"),
            "certificate:gateway",
            &["validate@shop"],
        ),
    ] {
        let visitor = encrypted.visitor(&between.issue(wanted));
        let who = encrypted.who(&visitor).await.unwrap();
        assert_eq!(
            (who.caller.as_str(), &who.permissions[..]),
            (
                caller,
                &permissions
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>()[..],
            )
        );
        assert_eq!(who.token, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_nobody_is_told_which_name_it_has() {
    let encrypted = known(&[]);
    // Otherwise a name of 4000 characters would come back.
    let long = format!("spiffe://example.org/{}", "a-".repeat(1000));
    for (wanted, said) in [
        (Wanted::client(), "no URI and no DNS name"),
        (
            Wanted::client().common_name("billing.example.org"),
            "no URI and no DNS name",
        ),
        (
            Wanted::client().common_name(GATEWAY),
            "no URI and no DNS name",
        ),
        (
            Wanted::client().dns("*.example.org"),
            "no URI and no DNS name",
        ),
        (
            Wanted::client().dns("shop.billing.example.org"),
            "\"shop.billing.example.org\"",
        ),
        (
            Wanted::client().uri("spiffe://example.org/gateway/"),
            "\"spiffe://example.org/gateway/\"",
        ),
        (
            Wanted::client().uri("spiffe://example.org/Gateway"),
            "\"spiffe://example.org/Gateway\"",
        ),
        (
            Wanted::client().uri("https://example.org/\"quoted\"\\n"),
            r#"\"quoted\""#,
        ),
        (Wanted::client().uri(&long), "(cut)"),
        (
            Wanted::client()
                .uri(GATEWAY)
                .uri("spiffe://example.org/other"),
            "no URI and no DNS name",
        ),
        (
            Wanted::client().uri(GATEWAY).uri("https://other.example"),
            "\"https://other.example\"",
        ),
        (
            Wanted::client().dns("a.example").dns("b.example"),
            "\"a.example\" or its 1 other names",
        ),
        (
            Wanted::client().uri(GATEWAY).dns("billing.example.org"),
            "two callers",
        ),
    ] {
        let visitor = encrypted.visitor(&encrypted.clients.issue(wanted));
        let why = nobody(encrypted.who(&visitor).await);
        assert!(why.contains(said), "{said}: {why}");
        assert!(why.len() < 400, "{why}");
        // It may call with a secret all the same.
        let mut root = encrypted.client(&visitor, Some(ROOT_TOKEN)).await;
        let who = root.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
        assert_eq!(who.caller, "root:environment");
    }
    let why = nobody(encrypted.who(&encrypted.stranger()).await);
    assert!(!why.contains("certificate"), "{why}");
}

/// A URI that is no text leaves all of a certificate's URIs in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uri_that_cannot_be_read_leaves_none_certain() {
    let encrypted = known(&[]);
    let uri = GATEWAY.as_bytes();
    let mut names = vec![0x86, u8::try_from(uri.len()).unwrap()];
    names.extend(uri);
    let exactly = |rest: &[u8]| {
        let names = [&names[..], rest].concat();
        let mut whole = vec![0x30, u8::try_from(names.len()).unwrap()];
        whole.extend(names);
        encrypted
            .clients
            .issue(Wanted::client().extended(&[2, 5, 29, 17], whole))
    };
    let sound = encrypted.visitor(&exactly(&[]));
    assert_eq!(
        encrypted.who(&sound).await.unwrap().caller,
        "certificate:gateway"
    );
    for odd in [
        &[0x86, 2, 0xff, 0xfe][..],
        &[0x86, 3, b'a', b' ', b'b'],
        &[0x86, 0],
    ] {
        let visitor = encrypted.visitor(&exactly(odd));
        nobody(encrypted.who(&visitor).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_may_what_the_configuration_says_and_no_more() {
    let encrypted = known(&[]);
    let mut root = encrypted.root().await;
    let within = |namespace: &str, scopes: &[&str]| CreateRequest {
        namespace: namespace.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..named("t")
    };
    let (_, secret) = create(&mut root, within("shop", &[])).await;
    let visitor = encrypted.visitor(&gateway(&encrypted.clients));
    let mut caller = encrypted.client(&visitor, None).await;
    let ask = |namespace: &str| ValidateRequest {
        namespace: namespace.to_owned(),
        ..presenting(&secret)
    };
    assert!(
        caller
            .validate(ask("shop"))
            .await
            .unwrap()
            .into_inner()
            .valid
    );
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    let error = caller.validate(ask("elsewhere")).await.unwrap_err();
    assert_eq!(told(&error), denied);
    let error = caller.list(ListRequest::default()).await.unwrap_err();
    assert_eq!(told(&error), denied);

    let billing = encrypted
        .clients
        .issue(Wanted::client().dns("billing.example.org"));
    let mut manager = encrypted.client(&encrypted.visitor(&billing), None).await;
    create(
        &mut manager,
        within("shop", &["authority:manage@shop", "orders:*"]),
    )
    .await;
    for (namespace, scopes) in [
        ("shop", &["authority:validate"][..]),
        ("shop", &["authority:admin@shop"]),
        ("shop", &["authority:manage@*"]),
    ] {
        let error = manager.create(within(namespace, scopes)).await.unwrap_err();
        let exceeds = (Code::PermissionDenied, "GRANT_EXCEEDS_CALLER".to_owned());
        assert_eq!(told(&error), exceeds, "{scopes:?}");
    }
    let error = manager.create(within("elsewhere", &[])).await.unwrap_err();
    assert_eq!(told(&error), denied);

    // Audit lines name both kinds of callers by what they are.
    let log = encrypted.authority.log();
    for line in [
        "rpc=Create caller=certificate:billing",
        "rpc=List caller=certificate:gateway",
        "rpc=Create caller=root:environment",
    ] {
        assert!(log.contains(line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_counts_before_a_certificate_and_a_wrong_one_is_not_made_good() {
    let encrypted = known(&[]);
    let visitor = encrypted.visitor(&gateway(&encrypted.clients));
    let mut root = encrypted.client(&visitor, Some(ROOT_TOKEN)).await;
    let who = root.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!(who.caller, "root:environment");
    for wrong in ["wrong", "ta_wrong", &format!("{ROOT_TOKEN}x")] {
        let mut caller = encrypted.client(&visitor, Some(wrong)).await;
        nobody(caller.who_am_i(WhoAmIRequest {}).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_id_of_callers_with_one_name_makes_a_token_for_each() {
    let encrypted = known(&[]);
    let same = encrypted
        .clients
        .issue(Wanted::client().dns("root.example.org"));
    let mut certified = encrypted.client(&encrypted.visitor(&same), None).await;
    let mut root = encrypted.root().await;
    let request = || CreateRequest {
        request_id: "once".to_owned(),
        ..named("t")
    };
    let (of_root, _) = create(&mut root, request()).await;
    let (of_certificate, _) = create(&mut certified, request()).await;
    assert_ne!(of_root.token_id, of_certificate.token_id);
    let (again, _) = create(&mut certified, request()).await;
    assert_eq!(again.token_id, of_certificate.token_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_not_accepted_make_no_connection() {
    for required in ["true", "false"] {
        let setting = format!("tls.client_certificate_required={required}");
        let mut encrypted = Encrypted::before_mutual_start(&["--set", CALLERS, "--set", &setting]);
        let revoked = encrypted.clients.issue(Wanted::client().uri(GATEWAY));
        let list = encrypted.clients.revoking(&[revoked.serial], HOUR);
        encrypted.write("revoked.pem", &list);
        let path = format!(
            "tls.client_crl_file={}",
            encrypted.file("revoked.pem").display()
        );
        encrypted.authority = encrypted.authority.with(&["--set", &path]);
        encrypted.authority.start();
        let issue = |wanted: Wanted| encrypted.clients.issue(wanted.uri(GATEWAY));
        let same_name = TestAuthority::new("authority of clients");
        for (issued, why) in [
            (
                issue(Wanted::client().holding(-2 * HOUR, -HOUR)),
                "CertificateExpired",
            ),
            (
                issue(Wanted::client().holding(HOUR, 2 * HOUR)),
                "CertificateExpired",
            ),
            (gateway(&TestAuthority::new("others")), "UnknownCA"),
            (gateway(&same_name), "DecryptError"),
            (gateway(&encrypted.servers), "UnknownCA"),
            (issue(Wanted::server().nameless()), "UnsupportedCertificate"),
            (revoked, "CertificateRevoked"),
            // No list speaks of those that this one issues.
            (gateway(&encrypted.clients.below("between")), "UnknownCA"),
        ] {
            for versions in [TLS13, TLS12] {
                let visitor = encrypted.visitor(&issued).speaking(versions);
                encrypted.refuses(&visitor, why).await;
            }
        }
        let stranger = encrypted.stranger();
        match required {
            "true" => encrypted.refuses(&stranger, "CertificateRequired").await,
            _ => nobody(encrypted.who(&stranger).await).truncate(0),
        }
        let sound = encrypted.visitor(&issue(Wanted::client()));
        let who = encrypted.who(&sound).await.unwrap();
        assert_eq!(who.caller, "certificate:gateway");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_the_certificate_that_it_began_with() {
    let encrypted = known(&AT_ONCE);
    let brief = encrypted
        .clients
        .issue(Wanted::client().uri(GATEWAY).holding(-HOUR, 8));
    let visitor = encrypted.visitor(&brief);
    let mut caller = encrypted.client(&visitor, None).await;
    caller.who_am_i(WhoAmIRequest {}).await.unwrap();
    let stream = greeted(encrypted.connect(&visitor).await).await.unwrap();
    // Both connections are told to go, and the one that is idle goes.
    until(|| {
        let ended = encrypted
            .metrics()
            .value("connections_ended_total{reason=\"aged\"}");
        (ended >= 2.0).then_some(())
    })
    .await;
    ended(stream).await;
    // Whatever connection the next call takes, nobody stands behind it any more.
    caller.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    encrypted.refuses(&visitor, "CertificateExpired").await;
}
