//! A stolen database is useless: after a full run, no secret is in any file, key, value, log line,
//! audit line or metric.

use std::collections::BTreeSet;

use redis::Value;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    AcquireRequest, CreateRequest, DeleteRequest, GetRequest, ListRequest, RevokeRequest,
    ValidateRequest, WhoAmIRequest,
};
use tonic::Request;

use crate::harness::{
    Authority, Client, ROOT_TOKEN, ask, create, files_below, named, presenting, until,
};
use crate::leasing::{acquire, beat_of, keep_alive, release};
use crate::questions::{Questions, ask_all};
use crate::scrape::http;

/// Everything that Redis holds or remembers: keys, values, the slow log.
async fn redis_dump(authority: &Authority) -> Vec<u8> {
    let redis = authority.redis();
    redis.run("CONFIG SET slowlog-log-slower-than 0").await;
    let mut connection = redis.connection().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(keys.len() > 3, "there is something to look at");
    let mut dump = keys.concat();
    for key in keys {
        // The serialised form holds every value uncompressed below 20 bytes, and compressed above
        // only where text repeats; so values are read as such, too.
        let raw: Value = redis::cmd("DUMP")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        dump.extend(format!("{raw:?}").into_bytes());
        if let Ok(value) = redis::cmd("GET")
            .arg(&key)
            .query_async::<Vec<u8>>(&mut connection)
            .await
        {
            dump.extend(value);
        }
    }
    let slow: Value = redis::cmd("SLOWLOG")
        .arg("GET")
        .arg("-1")
        .query_async(&mut connection)
        .await
        .unwrap();
    dump.extend(format!("{slow:?}").into_bytes());
    dump
}

/// What somebody has who stole the store: all of a Redis, or the files of SQLite.
pub(crate) async fn stolen(authority: &Authority) -> Vec<u8> {
    if authority.redis.is_some() {
        return redis_dump(authority).await;
    }
    let mut files = files_below(authority.folder.path());
    files.retain(|file| file.to_string_lossy().contains(".db"));
    let contents = files.iter().map(|file| std::fs::read(file).unwrap());
    contents.collect::<Vec<_>>().concat()
}

/// Two peppers: one in a file away from all that the server writes, one in the configuration.
struct Peppers {
    _folder: tempfile::TempDir,
    setting: String,
    texts: [String; 2],
}

impl Peppers {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");
        let texts = ["file", "here"].map(|place| format!("pepper-canary-in-{place}").repeat(2));
        let [first, second] = &texts;
        std::fs::write(&path, first).unwrap();
        let setting = format!(
            "secrets.peppers=[{{ id = 2, pepper_file = {path:?} }}, {{ id = 1, pepper = {second:?} }}]"
        );
        Self {
            _folder: folder,
            setting,
            texts,
        }
    }
}

/// Calls of every kind, with secrets where they belong and where they do not; answers the secrets.
async fn calls_of_every_kind(authority: &Authority, request_id: &str) -> BTreeSet<String> {
    let mut root = authority.root().await;
    let mut secrets = BTreeSet::from([ROOT_TOKEN.to_owned()]);
    let full = CreateRequest {
        owner: "ann".to_owned(),
        request_id: request_id.to_owned(),
        scopes: vec!["authority:manage".to_owned()],
        ..named("t")
    };
    let (token, secret) = create(&mut root, full.clone()).await;
    secrets.insert(secret.clone());
    secrets.insert(create(&mut root, full).await.1);
    let (other, surrendered) = create(
        &mut root,
        CreateRequest {
            pool: "p".to_owned(),
            ..named("u")
        },
    )
    .await;
    secrets.insert(surrendered.clone());

    let from_p = AcquireRequest {
        pool: "p".to_owned(),
        ..AcquireRequest::default()
    };
    let held = acquire(&mut root, from_p).await;
    secrets.insert(held.secret.clone());
    ask(&mut root, presenting(&held.secret)).await;
    keep_alive(&mut root, held.beat()).await.unwrap();
    keep_alive(&mut root, beat_of(&held.secret))
        .await
        .unwrap_err();
    let misplaced = AcquireRequest {
        pool: held.secret.clone(),
        holder: format!("\n{}", held.secret),
        ..AcquireRequest::default()
    };
    root.acquire(misplaced).await.unwrap_err();
    release(&mut root, held.release()).await.unwrap();
    ask(&mut root, presenting(&secret)).await;
    let mut caller = authority.client(Some(&secret));
    caller.who_am_i(WhoAmIRequest {}).await.unwrap();
    caller.list(ListRequest::default()).await.unwrap();
    caller.validate(presenting(&surrendered)).await.unwrap_err();
    let mut by_key = Request::new(WhoAmIRequest {});
    by_key
        .metadata_mut()
        .insert("x-api-key", secret.parse().unwrap());
    authority.client(None).who_am_i(by_key).await.unwrap();
    // Secrets in the wrong places.
    root.get(GetRequest {
        token_id: secret.clone(),
    })
    .await
    .unwrap_err();
    many_questions(&mut root, &secret).await;
    root.validate(ValidateRequest {
        namespace: secret.clone(),
        ..presenting(&secret)
    })
    .await
    .unwrap_err();
    root.create(CreateRequest {
        namespace: secret.clone(),
        scopes: vec![format!("a {secret}")],
        ..named("")
    })
    .await
    .unwrap_err();
    root.list(ListRequest {
        page_token: secret.clone(),
        ..ListRequest::default()
    })
    .await
    .unwrap_err();
    let mut named_so = Request::new(ListRequest::default());
    named_so
        .metadata_mut()
        .insert("x-request-id", secret.parse().unwrap());
    root.list(named_so).await.unwrap();
    let credential = format!("authorization: Bearer {secret}\r\nx-api-key: {ROOT_TOKEN}\r\n");
    for path in ["/metrics".to_owned(), format!("/{secret}?{secret}")] {
        http(&authority.address, "GET", &path, &credential);
    }
    let target = Some(Target::Secret(surrendered));
    authority
        .client(None)
        .revoke(RevokeRequest {
            target,
            reason: String::new(),
        })
        .await
        .unwrap();
    let target = Some(Target::TokenId(token.token_id));
    root.revoke(RevokeRequest {
        target,
        reason: "done".to_owned(),
    })
    .await
    .unwrap();
    root.delete(DeleteRequest {
        token_id: other.token_id,
    })
    .await
    .unwrap();
    secrets
}

/// The same secret in every place of a batch's and a stream's questions.
async fn many_questions(root: &mut Client, secret: &str) {
    let misplaced = ValidateRequest {
        namespace: secret.to_owned(),
        owner: format!("\n{secret}"),
        client_ip: secret.to_owned(),
        ..presenting(secret)
    };
    let asked = vec![presenting(secret), misplaced];
    let answers = ask_all(root, asked.clone()).await.unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err());
    let mut stream = Questions::open(root).await.unwrap();
    for (question, answer) in asked.into_iter().zip(answers) {
        assert_eq!(stream.ask(question).await.is_ok(), answer.is_ok());
    }
}

/// Starts it again with its audit lines elsewhere.
fn again(mut authority: Authority, audit: &str) -> Authority {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", &format!("audit.to={audit}")]);
    authority.start();
    authority
}

/// The metrics in both their forms.
fn metrics(authority: &Authority) -> Vec<u8> {
    let forms = ["", "accept: application/openmetrics-text\r\n"];
    let texts = forms.map(|accept| http(&authority.address, "GET", "/metrics", accept).body);
    assert!(texts.iter().all(|text| text.contains("_verdicts_total")));
    texts.concat().into_bytes()
}

pub(crate) async fn no_secret_is_kept_or_logged_anywhere(mut authority: Authority) {
    let peppers = Peppers::new();
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", &peppers.setting]);
    authority.start();
    authority.serving(true).await;
    if authority.redis.is_some() {
        authority
            .redis()
            .run("CONFIG SET slowlog-log-slower-than 0")
            .await;
        authority
            .redis()
            .run("CONFIG SET slowlog-max-len 100000")
            .await;
    }
    let mut secrets = calls_of_every_kind(&authority, "log").await;
    let mut dump = metrics(&authority);
    let file = authority.folder.path().join("audit");
    let authority = again(authority, &format!("file:{}", file.display()));
    secrets.extend(calls_of_every_kind(&authority, "file").await);
    dump.extend(metrics(&authority));
    let lines = std::fs::read_to_string(file).unwrap().lines().count();
    assert!(
        lines > 10,
        "{lines} audit lines, which are read with all files below"
    );
    let mut authority = again(authority, "stdout");
    secrets.extend(calls_of_every_kind(&authority, "stdout").await);
    let config = crate::harness::command(&["config", "--set", &peppers.setting]).output();
    let printed = config.unwrap().stdout;
    assert!(!printed.is_empty(), "the configuration is printed");
    dump.extend(printed);

    if authority.redis.is_some() {
        dump.extend(redis_dump(&authority).await);
    }
    // Before the stop also for what only a running process keeps, its write-ahead log.
    for file in files_below(authority.folder.path()) {
        dump.extend(std::fs::read(file).unwrap());
    }
    authority.stop("TERM");
    // The pipe ends with the process.
    let last = "\"rpc\":\"Delete\"";
    until(|| authority.stdout().contains(last).then_some(())).await;
    dump.extend(authority.stdout().into_bytes());
    for file in files_below(authority.folder.path()) {
        dump.extend(std::fs::read(file).unwrap());
    }
    assert!(
        authority.log().contains("TRACE"),
        "the log was at its most talkative"
    );
    // The id within a secret is public; what follows it, and any good part of that, is not.
    let hidden = secrets.iter().map(|secret| match secret.as_str() {
        ROOT_TOKEN => ROOT_TOKEN,
        secret => &secret[25..],
    });
    for hidden in hidden.chain(peppers.texts.iter().map(String::as_str)) {
        let part = &hidden[4..24];
        let hex: String = part.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [
            part.to_owned(),
            hex.clone(),
            hex.to_uppercase(),
            format!("{:?}", part.as_bytes()),
        ] {
            let form = form.trim_matches(['[', ']']).as_bytes();
            let at = dump.windows(form.len()).position(|window| window == form);
            let around =
                at.map(|at| String::from_utf8_lossy(&dump[at.saturating_sub(200)..at + 60]));
            assert_eq!(around, None, "a secret is kept or logged");
        }
    }
}
