//! A stolen database is useless: after a full run, no secret is in any file, key, value or log line.

use std::collections::BTreeSet;

use redis::Value;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, DeleteRequest, GetRequest, ListRequest, RevokeRequest, ValidateRequest,
    WhoAmIRequest,
};
use tonic::Request;

use crate::harness::{Authority, ROOT_TOKEN, ask, create, files_below, named, presenting};

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

pub(crate) async fn no_secret_is_kept_or_logged_anywhere(mut authority: Authority) {
    let peppers = Peppers::new();
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", &peppers.setting]);
    authority.start();
    let mut root = authority.root().await;
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
    let mut secrets = BTreeSet::from([ROOT_TOKEN.to_owned()]);
    let full = CreateRequest {
        owner: "ann".to_owned(),
        request_id: "r".to_owned(),
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

    let config = crate::harness::command(&["config", "--set", &peppers.setting]);
    let mut dump = { config }.output().unwrap().stdout;
    assert!(!dump.is_empty(), "the configuration is printed");
    if authority.redis.is_some() {
        dump.extend(redis_dump(&authority).await);
    }
    // Before the stop also for what only a running process keeps, its write-ahead log.
    for file in files_below(authority.folder.path()) {
        dump.extend(std::fs::read(file).unwrap());
    }
    authority.stop("TERM");
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
