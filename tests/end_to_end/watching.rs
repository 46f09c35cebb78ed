//! Watch: events as they happen, behind a cursor that outlives servers, for those who may read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    BatchCreateRequest, CreateRequest, DeleteRequest, EventType, RevokeRequest, Token,
    WatchRequest, WatchResponse,
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::harness::{
    Authority, Client, PATIENCE, create, fields, named, rotation, set, span, told, update,
};
use crate::leasing::{acquire, fill, lease_for, release};

const SECOND: Duration = Duration::from_secs(1);

/// A stream of events.
struct Watch {
    /// Where it began.
    cursor: String,
    events: Streaming<WatchResponse>,
}

impl Watch {
    async fn begin(client: &mut Client, request: WatchRequest) -> Result<Self, Status> {
        let answer = client.watch(request).await?;
        let cursor = answer.metadata().get("watch-cursor").expect("a cursor");
        Ok(Self {
            cursor: cursor.to_str().unwrap().to_owned(),
            events: answer.into_inner(),
        })
    }

    async fn next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.events.message()).await;
        let next = next.expect("an event in time")?;
        Ok(next.expect("it does not end by itself"))
    }

    /// The next event, which is of this type.
    async fn hear(&mut self, expected: EventType) -> WatchResponse {
        let event = self.next().await.unwrap();
        assert_eq!(event.r#type(), expected, "{event:?}");
        event
    }

    /// Code and reason of the error that it ends with, after whatever comes before.
    async fn end(mut self) -> (Code, String) {
        loop {
            if let Err(end) = self.next().await {
                return told(&end);
            }
        }
    }
}

async fn watch(client: &mut Client) -> Watch {
    Watch::begin(client, WatchRequest::default()).await.unwrap()
}

fn from(cursor: &str) -> WatchRequest {
    WatchRequest {
        cursor: cursor.to_owned(),
        ..WatchRequest::default()
    }
}

async fn revoke(root: &mut Client, token_id: &str, reason: &str) {
    let target = Some(Target::TokenId(token_id.to_owned()));
    let reason = reason.to_owned();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
}

fn id(event: &WatchResponse) -> &str {
    &event.token.as_ref().expect("a token").token_id
}

/// A client with the secret of a token of `namespace` with these scopes, and that token.
async fn caller(authority: &Authority, namespace: &str, scopes: &[&str]) -> (Client, Token) {
    let request = CreateRequest {
        namespace: namespace.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..named("caller")
    };
    let (token, secret) = create(&mut authority.root().await, request).await;
    (authority.client(Some(&secret)), token)
}

pub(crate) async fn whatever_happens_to_a_token_is_told(authority: Authority) {
    let mut root = authority.root().await;
    let mut watch = watch(&mut root).await;
    let (token, secret) = create(&mut root, named("first")).await;
    let event = watch.hear(EventType::Created).await;
    assert_eq!(event.token.as_ref(), Some(&token));
    assert_eq!(event.time, token.create_time);
    assert!(!format!("{event:?}").contains(&secret));
    let renamed = Token {
        name: "second".to_owned(),
        ..token.clone()
    };
    let renamed = update(&mut root, &renamed, &["name"]).await;
    let event = watch.hear(EventType::Updated).await;
    assert_eq!(event.token, Some(renamed));
    root.rotate(rotation(&token.token_id, SECOND))
        .await
        .unwrap();
    let event = watch.hear(EventType::Rotated).await;
    assert_eq!(event.token.unwrap().secret_version, 2);
    revoke(&mut root, &token.token_id, "lost").await;
    let event = watch.hear(EventType::Revoked).await;
    assert_eq!(event.detail, "lost");
    let token_id = token.token_id.clone();
    root.delete(DeleteRequest { token_id }).await.unwrap();
    let event = watch.hear(EventType::Deleted).await;
    assert_eq!(event.token.unwrap().revoke_reason, "lost");
}

pub(crate) async fn leases_are_told_and_their_names_are_not(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let mut watch = watch(&mut root).await;
    let held = acquire(&mut root, lease_for(60 * SECOND)).await;
    let event = watch.hear(EventType::Leased).await;
    assert!(!format!("{event:?}").contains(&held.lease.lease_id));
    let lease = event.token.unwrap().lease.expect("a lease");
    assert_eq!(
        (lease.fence, lease.lease_id),
        (held.lease.fence, String::new())
    );
    release(&mut root, held.release()).await.unwrap();
    let event = watch.hear(EventType::Released).await;
    let last = event.token.unwrap().last_lease.expect("a lease");
    assert_eq!(last.fence, held.lease.fence);
    // Nobody acts on the pool when this one is over.
    let held = acquire(&mut root, lease_for(SECOND)).await;
    watch.hear(EventType::Leased).await;
    let event = watch.hear(EventType::LeaseExpired).await;
    assert_eq!(event.time, held.lease.expire_time);
}

pub(crate) async fn an_end_is_told_before_it_comes_and_when(mut authority: Authority) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "events.expiring=[\"1s\", \"2s\"]"]);
    authority.start();
    let mut root = authority.root().await;
    let mut watch = watch(&mut root).await;
    let mortal = CreateRequest {
        expiration: Some(Expiration::Ttl(span(3 * SECOND))),
        ..named("mortal")
    };
    let (token, _) = create(&mut root, mortal).await;
    watch.hear(EventType::Created).await;
    for detail in ["2s", "1s"] {
        assert_eq!(watch.hear(EventType::Expiring).await.detail, detail);
    }
    let event = watch.hear(EventType::Expired).await;
    assert_eq!(event.time, token.expire_time);
}

pub(crate) async fn a_watcher_hears_what_it_asked_for_and_may_read(authority: Authority) {
    let mut root = authority.root().await;
    let (mut reader, own) = caller(&authority, "shop", &["authority:read"]).await;
    let mut of_shop = watch(&mut reader).await;
    let revocations = WatchRequest {
        namespace: "-".to_owned(),
        types: vec![EventType::Revoked.into(), EventType::Deleted.into()],
        ..WatchRequest::default()
    };
    let mut revocations = Watch::begin(&mut root, revocations).await.unwrap();
    let of_one = WatchRequest {
        namespace: "shop".to_owned(),
        token_id: own.token_id.clone(),
        ..WatchRequest::default()
    };
    let mut of_one = Watch::begin(&mut root, of_one).await.unwrap();
    // Somebody else's token is silent, as one that there is not.
    let (foreign, _) = create(&mut root, named("elsewhere")).await;
    let of_foreign = WatchRequest {
        token_id: foreign.token_id.clone(),
        ..WatchRequest::default()
    };
    let mut of_foreign = Watch::begin(&mut reader, of_foreign).await.unwrap();
    revoke(&mut root, &foreign.token_id, "").await;
    let in_shop = CreateRequest {
        namespace: "shop".to_owned(),
        ..named("in shop")
    };
    let (in_shop, _) = create(&mut root, in_shop).await;
    let heard = of_shop.hear(EventType::Created).await;
    assert_eq!(id(&heard), in_shop.token_id);
    revoke(&mut root, &own.token_id, "last").await;
    let heard = revocations.hear(EventType::Revoked).await;
    assert_eq!(id(&heard), foreign.token_id);
    let heard = revocations.hear(EventType::Revoked).await;
    assert_eq!(id(&heard), own.token_id);
    let heard = of_one.hear(EventType::Revoked).await;
    assert_eq!(id(&heard), own.token_id);
    // It may hear of its own end, and of nothing else, before its right is seen to be over.
    let heard = of_shop.next().await;
    assert!(heard.is_err() || id(&heard.unwrap()) == own.token_id);
    let end = of_foreign.next().await.unwrap_err();
    assert_eq!(end.code(), Code::Unauthenticated);
}

pub(crate) async fn who_may_not_read_hears_nothing(authority: Authority) {
    let denied = |error: Status| {
        let expected = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
        assert_eq!(told(&error), expected);
    };
    let (mut validator, _) = caller(&authority, "shop", &["authority:validate"]).await;
    denied(validator.watch(WatchRequest::default()).await.unwrap_err());
    let (mut reader, _) = caller(&authority, "shop", &["authority:read"]).await;
    for namespace in ["default", "-"] {
        let foreign = WatchRequest {
            namespace: namespace.to_owned(),
            ..WatchRequest::default()
        };
        denied(reader.watch(foreign).await.unwrap_err());
    }
    let wrong = WatchRequest {
        namespace: "N".to_owned(),
        types: vec![EventType::Created.into(), 0, 99],
        token_id: "x".to_owned(),
        ..WatchRequest::default()
    };
    let error = reader.watch(wrong).await.unwrap_err();
    let expected = set(&["namespace", "types[1]", "types[2]", "token_id"]);
    assert_eq!(fields(&error), expected);
    let error = reader.watch(from("x")).await.unwrap_err();
    assert_eq!(fields(&error), set(&["cursor"]));
}

pub(crate) async fn a_watcher_goes_on_where_it_was_whatever_dies(mut authority: Authority) {
    let mut root = authority.root().await;
    let mut heard = watch(&mut root).await;
    let begun = heard.cursor.clone();
    let (token, _) = create(&mut root, named("before")).await;
    let cursor = heard.hear(EventType::Created).await.cursor;
    revoke(&mut root, &token.token_id, "").await;
    authority.kill();
    authority.start();
    let mut root = authority.root().await;
    create(&mut root, named("between")).await;
    authority.stop("TERM");
    authority.start();
    let mut root = authority.root().await;
    let mut going_on = Watch::begin(&mut root, from(&cursor)).await.unwrap();
    assert_eq!(going_on.cursor, cursor);
    create(&mut root, named("after")).await;
    // What the dead have not told is told by others, some seconds after what came in between.
    let mut heard = BTreeSet::new();
    for _ in 0..3 {
        let event = going_on.next().await.unwrap();
        heard.insert((event.r#type(), event.token.unwrap().name));
    }
    let expected = [
        (EventType::Revoked, "before"),
        (EventType::Created, "between"),
        (EventType::Created, "after"),
    ];
    assert_eq!(
        heard,
        expected.map(|(kind, name)| (kind, name.to_owned())).into()
    );
    // One that heard nothing goes on by where it began.
    let mut anew = Watch::begin(&mut root, from(&begun)).await.unwrap();
    let event = anew.hear(EventType::Created).await;
    assert_eq!(id(&event), token.token_id);
}

pub(crate) async fn a_watcher_that_comes_too_late_is_told_so(mut authority: Authority) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "events.max=1000"]);
    authority.start();
    let mut root = authority.root().await;
    let cursor = watch(&mut root).await.cursor;
    for _ in 0..3 {
        let batch = BatchCreateRequest {
            template: Some(named("many")),
            count: 1000,
        };
        root.batch_create(batch).await.unwrap();
    }
    let begun = Instant::now();
    let error = loop {
        match Watch::begin(&mut root, from(&cursor)).await {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < PATIENCE, "nothing is dropped"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let expected = (Code::OutOfRange, "EVENTS_DROPPED".to_owned());
    assert_eq!(told(&error), expected);
}

pub(crate) async fn a_stream_of_events_ends_with_the_right_of_its_caller(authority: Authority) {
    let mut root = authority.root().await;
    let (mut revoked, token) = caller(&authority, "", &["authority:read"]).await;
    let quiet = WatchRequest {
        types: vec![EventType::Leased.into()],
        ..WatchRequest::default()
    };
    let ending = Watch::begin(&mut revoked, quiet.clone()).await.unwrap();
    let begun = Instant::now();
    revoke(&mut root, &token.token_id, "").await;
    let unknown = (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned());
    assert_eq!(ending.end().await, unknown);
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
    // One that may still read, but not all that it watches.
    let (mut narrowed, token) = caller(&authority, "", &["authority:read@*"]).await;
    let all = WatchRequest {
        namespace: "-".to_owned(),
        ..quiet
    };
    let ending = Watch::begin(&mut narrowed, all).await.unwrap();
    let narrow = Token {
        scopes: vec!["authority:read".to_owned()],
        ..token
    };
    update(&mut root, &narrow, &["scopes"]).await;
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    assert_eq!(ending.end().await, denied);
}

pub(crate) async fn a_stream_of_events_ends_when_the_server_leaves(mut authority: Authority) {
    let mut root = authority.root().await;
    let ending = watch(&mut root).await;
    let ended = tokio::spawn(ending.end());
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(took < 8 * SECOND, "{took:?}");
    let expected = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(ended.await.unwrap(), expected);
}

pub(crate) async fn a_watcher_that_takes_nothing_is_cut_and_goes_on_without_a_gap(
    authority: Authority,
) {
    let mut root = authority.root().await;
    // Over a connection of its own, which is not read beyond its window.
    let mut slow = authority.client_as_root();
    let mut slow = watch(&mut slow).await;
    let mut quick = watch(&mut root).await;
    let template = CreateRequest {
        description: "d".repeat(1000),
        ..named("large")
    };
    let mut made = BTreeSet::new();
    for _ in 0..5 {
        let batch = BatchCreateRequest {
            template: Some(template.clone()),
            count: 500,
        };
        let created = root.batch_create(batch).await.unwrap().into_inner().created;
        made.extend(created.into_iter().map(|one| one.token.unwrap().token_id));
    }
    // Others do not notice.
    let mut heard = BTreeSet::new();
    while heard.len() < made.len() {
        heard.insert(id(&quick.next().await.unwrap()).to_owned());
    }
    assert_eq!(heard, made);
    // Longer than a watcher may take nothing; nothing but time makes it slow.
    tokio::time::sleep(13 * SECOND).await;
    let mut heard = BTreeSet::new();
    let mut last = String::new();
    let end = loop {
        match slow.next().await {
            Ok(event) => {
                heard.insert(id(&event).to_owned());
                last = event.cursor;
            }
            Err(end) => break end,
        }
    };
    let expected = (Code::ResourceExhausted, "WATCHER_SLOW".to_owned());
    assert_eq!(told(&end), expected, "after {} events", heard.len());
    let info = end.get_details_error_info().unwrap();
    assert_eq!(info.metadata["cursor"], last);
    assert!(heard.len() < made.len(), "nothing was kept for it");
    let mut going_on = Watch::begin(&mut root, from(&last)).await.unwrap();
    while heard.len() < made.len() {
        let new = heard.insert(id(&going_on.next().await.unwrap()).to_owned());
        assert!(new, "nothing is told twice");
    }
    assert_eq!(heard, made);
}
