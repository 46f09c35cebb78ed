//! Leases as workers see them: one holder at a time, a secret for exactly one lease, ends that are final.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    AcquireRequest, Credential, LeaseEnd, RateLimit, ReleaseRequest, RevokeRequest, Verdict,
    WhoAmIRequest, release_request,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{
    Authority, Client, ask, create, fields, get, named, presenting, set, span, told, until, update,
    verdict,
};
use crate::leasing::{
    Held, POOL, acquire, any, beat_of, caller, fill, forced, keep_alive, lease_for, micros, pooled,
    release, release_of, standing, token_beat,
};

const SECOND: Duration = Duration::from_secs(1);
/// A name that no lease has.
const NO_LEASE: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

fn expected(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

/// Waits until the secret of a lease is refused, since the lease has ended.
async fn ended(client: &mut Client, held: &Held) {
    while verdict(client, &held.secret).await == Verdict::Valid {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(verdict(client, &held.secret).await, Verdict::LeaseEnded);
}

pub(crate) async fn a_token_has_one_holder_at_a_time(authority: Authority) {
    let mut root = authority.root().await;
    let tokens = fill(&mut root, 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(acquire(&mut root, any()).await);
    }
    let leased: BTreeSet<&str> = held.iter().map(|held| &*held.token.token_id).collect();
    let all: BTreeSet<&str> = tokens.iter().map(|(token, _)| &*token.token_id).collect();
    assert_eq!(leased, all);
    assert_eq!(standing(&mut root).await, [0, 3, 0, 0]);
    let full = root.acquire(any()).await.unwrap_err();
    assert_eq!(
        told(&full),
        expected(Code::ResourceExhausted, "POOL_EXHAUSTED")
    );
    let info = full.get_details_error_info().unwrap();
    assert_eq!(info.metadata["namespace"], "default");
    assert_eq!(info.metadata["pool"], POOL);
    let retry = full.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(retry > SECOND && retry <= 60 * SECOND, "{retry:?}");
    let quota = full.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "pool:default/gpu");
    let first = &held[0];
    let (lease, token) = (&first.lease, &first.token);
    assert_eq!(
        (lease.lease_id.len(), lease.holder.as_str()),
        (44, "worker")
    );
    assert_eq!(lease.end_reason(), LeaseEnd::Unspecified);
    assert_eq!(lease.end_time, None);
    let lasts = micros(&lease.expire_time) - micros(&lease.acquire_time);
    assert_eq!(lasts, 60_000_000);
    let shown = token.lease.clone().unwrap();
    assert_eq!((shown.lease_id.as_str(), shown.fence), ("", lease.fence));
    release(&mut root, first.release()).await.unwrap();
    let next = acquire(&mut root, any()).await;
    assert_eq!(next.token.token_id, token.token_id);
    assert!(next.lease.fence > lease.fence);
    assert_ne!(next.lease.lease_id, lease.lease_id);
    let got = get(&mut root, &token.token_id).await.token.unwrap();
    assert_eq!(got.lease.unwrap().fence, next.lease.fence);
    let last = got.last_lease.unwrap();
    assert_eq!(
        (last.fence, last.end_reason()),
        (lease.fence, LeaseEnd::Released)
    );
    assert_eq!(last.lease_id, "");
    assert_eq!(got.revision, token.revision, "leasing is no change");
}

pub(crate) async fn the_secret_of_a_lease_is_valid_for_exactly_that_lease(authority: Authority) {
    let mut root = authority.root().await;
    let (_, own) = fill(&mut root, 1).await.remove(0);
    let held = acquire(&mut root, any()).await;
    let valid = ask(&mut root, presenting(&held.secret)).await;
    assert_eq!(valid.verdict(), Verdict::Valid);
    assert_eq!(valid.credential(), Credential::Lease);
    assert_eq!(valid.secret_version, 0);
    let shown = valid.token.unwrap().lease.unwrap();
    assert_eq!(
        (shown.fence, shown.lease_id.as_str()),
        (held.lease.fence, "")
    );
    release(&mut root, held.release()).await.unwrap();
    let next = acquire(&mut root, any()).await;
    let over = ask(&mut root, presenting(&held.secret)).await;
    assert_eq!(over.verdict(), Verdict::LeaseEnded);
    assert!(!over.valid);
    let shown = over.token.unwrap().lease.unwrap();
    assert_eq!(shown.fence, held.lease.fence, "that of the secret");
    assert_eq!(shown.end_reason(), LeaseEnd::Released);
    assert_eq!(verdict(&mut root, &next.secret).await, Verdict::Valid);
    let owner = ask(&mut root, presenting(&own)).await;
    assert_eq!(owner.verdict(), Verdict::Valid);
    assert_eq!(owner.credential(), Credential::Current);
    assert_eq!(owner.token.unwrap().lease.unwrap().fence, next.lease.fence);
    // It speaks to services, and never to the authority.
    let mut holder = authority.client(Some(&next.secret));
    let error = holder.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(
        told(&error),
        expected(Code::Unauthenticated, "CREDENTIAL_INVALID")
    );
}

pub(crate) async fn a_lease_ends_by_itself_at_its_time(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, lease_for(SECOND)).await;
    ended(&mut root, &held).await;
    assert_eq!(standing(&mut root).await, [1, 0, 0, 0]);
    let late = keep_alive(&mut root, held.beat()).await.unwrap_err();
    assert_eq!(
        told(&late),
        expected(Code::FailedPrecondition, "LEASE_OVER")
    );
    let info = late.get_details_error_info().unwrap();
    assert_eq!(info.metadata["end_reason"], "LEASE_END_EXPIRED");
    let released = release(&mut root, held.release()).await.unwrap();
    assert_eq!(released.end_reason(), LeaseEnd::Expired);
    assert_eq!(released.end_time, held.lease.expire_time);
    let next = acquire(&mut root, any()).await;
    assert!(next.lease.fence > held.lease.fence);
    release(&mut root, held.release()).await.unwrap();
    assert_eq!(
        verdict(&mut root, &next.secret).await,
        Verdict::Valid,
        "another's"
    );
}

pub(crate) async fn a_released_lease_is_released_once(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = fill(&mut root, 1).await.remove(0);
    let idle = release(&mut root, forced(&token.token_id))
        .await
        .unwrap_err();
    assert_eq!(
        told(&idle),
        expected(Code::FailedPrecondition, "NOT_LEASED")
    );
    let held = acquire(&mut root, any()).await;
    let first = release(&mut root, held.release()).await.unwrap();
    assert_eq!(first.end_reason(), LeaseEnd::Released);
    assert_eq!(first.lease_id, "");
    assert_eq!(release(&mut root, held.release()).await.unwrap(), first);
    let taken = acquire(&mut root, any()).await;
    let by_force = release(&mut root, forced(&token.token_id)).await.unwrap();
    assert_eq!(by_force.end_reason(), LeaseEnd::Forced);
    assert_eq!(by_force.fence, taken.lease.fence);
    assert_eq!(
        release(&mut root, forced(&token.token_id)).await.unwrap(),
        by_force
    );
    assert_eq!(release(&mut root, taken.release()).await.unwrap(), by_force);
    assert_eq!(release(&mut root, held.release()).await.unwrap(), first);
    let (plain, _) = create(&mut root, named("in no pool")).await;
    let unpooled = release(&mut root, forced(&plain.token_id))
        .await
        .unwrap_err();
    assert_eq!(
        told(&unpooled),
        expected(Code::FailedPrecondition, "NOT_POOLED")
    );
    for unknown in [NO_LEASE, &format!("{}{}", token.token_id, "x".repeat(22))] {
        let error = release(&mut root, release_of(unknown)).await.unwrap_err();
        assert_eq!(told(&error), expected(Code::NotFound, "LEASE_NOT_FOUND"));
        let told = format!("{error:?}");
        assert!(!told.contains(unknown), "{told}");
        let error = keep_alive(&mut root, beat_of(unknown)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
    }
}

pub(crate) async fn what_names_no_lease_or_both_is_refused_by_its_field(authority: Authority) {
    let mut root = authority.root().await;
    let target = |target| ReleaseRequest {
        target,
        force: false,
    };
    let id = || "z".repeat(22);
    let by_token = Some(release_request::Target::TokenId(id()));
    let forced = ReleaseRequest {
        force: true,
        ..release_of(NO_LEASE)
    };
    for (request, field) in [
        (target(None), "target"),
        (target(by_token), "force"),
        (forced, "force"),
        (release_of("short"), "lease_id"),
        (release_of(&"-".repeat(44)), "lease_id"),
    ] {
        let error = root.release(request.clone()).await.unwrap_err();
        assert_eq!(fields(&error), set(&[field]), "{request:?}");
    }
    let wrong = AcquireRequest {
        namespace: "A".to_owned(),
        pool: String::new(),
        holder: "h".repeat(129),
        lease_duration: Some(span(Duration::from_millis(999))),
        wait: Some(span(Duration::from_secs(3601))),
        request_id: "r".repeat(129),
    };
    let error = root.acquire(wrong).await.unwrap_err();
    let all = [
        "namespace",
        "pool",
        "holder",
        "lease_duration",
        "wait",
        "request_id",
    ];
    assert_eq!(fields(&error), set(&all));
    let error = root.acquire(any()).await.unwrap_err();
    assert_eq!(told(&error), expected(Code::NotFound, "POOL_NOT_FOUND"));
}

pub(crate) async fn a_replayed_acquire_answers_one_more_secret_of_its_lease(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 3).await;
    let request = AcquireRequest {
        request_id: "one".to_owned(),
        ..any()
    };
    let mut secrets = BTreeSet::new();
    let first = acquire(&mut root, request.clone()).await;
    secrets.insert(first.secret.clone());
    for _ in 0..2 {
        // How long it waits is no part of what it asks for.
        let again = AcquireRequest {
            wait: Some(span(SECOND)),
            ..request.clone()
        };
        let again = acquire(&mut root, again).await;
        assert_eq!(again.lease, first.lease);
        assert_eq!(again.token.token_id, first.token.token_id);
        secrets.insert(again.secret);
    }
    assert_eq!(secrets.len(), 3);
    for secret in &secrets {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
    }
    let used = root.acquire(request.clone()).await.unwrap_err();
    assert_eq!(
        told(&used),
        expected(Code::AlreadyExists, "REQUEST_ID_USED")
    );
    let other = AcquireRequest {
        holder: "another".to_owned(),
        ..request.clone()
    };
    let error = root.acquire(other).await.unwrap_err();
    assert_eq!(fields(&error), set(&["request_id"]));
    release(&mut root, first.release()).await.unwrap();
    for secret in &secrets {
        assert_eq!(verdict(&mut root, secret).await, Verdict::LeaseEnded);
    }
    let used = root.acquire(request).await.unwrap_err();
    assert_eq!(
        told(&used),
        expected(Code::AlreadyExists, "REQUEST_ID_USED")
    );
    assert_eq!(standing(&mut root).await, [3, 0, 0, 0]);
}

pub(crate) async fn a_lease_ends_with_its_token(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let mut token = held.token.clone();
    token.disabled = true;
    update(&mut root, &token, &["disabled"]).await;
    assert_eq!(verdict(&mut root, &held.secret).await, Verdict::Disabled);
    assert_eq!(standing(&mut root).await, [0, 0, 1, 0]);
    let error = root.acquire(any()).await.unwrap_err();
    assert_eq!(
        told(&error),
        expected(Code::ResourceExhausted, "POOL_EXHAUSTED")
    );
    token.disabled = false;
    let on = update(&mut root, &token, &["disabled"]).await;
    assert_eq!(on.last_lease.unwrap().end_reason(), LeaseEnd::Revoked);
    assert_eq!(on.lease, None);
    assert_eq!(verdict(&mut root, &held.secret).await, Verdict::LeaseEnded);
    let again = acquire(&mut root, any()).await;
    let target = Some(Target::TokenId(token.token_id.clone()));
    let reason = String::new();
    let revoke = RevokeRequest { target, reason };
    root.revoke(revoke).await.unwrap();
    assert_eq!(verdict(&mut root, &again.secret).await, Verdict::Revoked);
    let over = keep_alive(&mut root, again.beat()).await.unwrap_err();
    assert_eq!(
        told(&over),
        expected(Code::FailedPrecondition, "LEASE_OVER")
    );
    let released = release(&mut root, again.release()).await.unwrap();
    assert_eq!(released.end_reason(), LeaseEnd::Revoked);
}

pub(crate) async fn whoever_shows_the_secret_of_a_lease_gives_up_that_lease_alone(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (_, own) = fill(&mut root, 1).await.remove(0);
    let held = acquire(&mut root, any()).await;
    let surrender = |secret: &str| RevokeRequest {
        target: Some(Target::Secret(secret.to_owned())),
        reason: String::new(),
    };
    let mut stranger = authority.client(None);
    let answer = stranger.revoke(surrender(&held.secret)).await.unwrap();
    assert_eq!(answer.into_inner().revoke_time, None);
    assert_eq!(verdict(&mut root, &held.secret).await, Verdict::LeaseEnded);
    assert_eq!(verdict(&mut root, &own).await, Verdict::Valid);
    let next = acquire(&mut root, any()).await;
    stranger.revoke(surrender(&held.secret)).await.unwrap();
    assert_eq!(verdict(&mut root, &next.secret).await, Verdict::Valid);
}

pub(crate) async fn limits_are_of_the_token_whoever_holds_it(authority: Authority) {
    let mut root = authority.root().await;
    let limited = token_authority::transport::grpc::pb::CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 2,
            period: Some(span(Duration::from_secs(86_400))),
            ..RateLimit::default()
        }],
        ..pooled()
    };
    let (_, own) = create(&mut root, limited).await;
    let first = acquire(&mut root, any()).await;
    assert_eq!(verdict(&mut root, &first.secret).await, Verdict::Valid);
    assert_eq!(verdict(&mut root, &own).await, Verdict::Valid);
    assert_eq!(
        verdict(&mut root, &first.secret).await,
        Verdict::RateLimited
    );
    release(&mut root, first.release()).await.unwrap();
    assert_eq!(verdict(&mut root, &first.secret).await, Verdict::LeaseEnded);
    let second = acquire(&mut root, any()).await;
    assert_eq!(
        verdict(&mut root, &second.secret).await,
        Verdict::RateLimited
    );
}

pub(crate) async fn a_limited_token_is_shown_with_the_lease_that_it_has_now(authority: Authority) {
    let mut root = authority.root().await;
    let limited = token_authority::transport::grpc::pb::CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 1000,
            ..RateLimit::default()
        }],
        keep_alive_ttl: Some(span(Duration::from_secs(1))),
        ..pooled()
    };
    let (token, own) = create(&mut root, limited).await;
    let mut beats = root.clone();
    let mut shown = async || {
        let beat = token_beat(&token.token_id);
        keep_alive(&mut beats, beat).await.unwrap();
        let answer = ask(&mut beats, presenting(&own)).await;
        assert_eq!(answer.verdict(), Verdict::Valid);
        answer.token.unwrap().lease.map(|lease| lease.fence)
    };
    assert_eq!(shown().await, None);
    let first = acquire(&mut root, any()).await;
    assert_eq!(shown().await, Some(first.lease.fence));
    release(&mut root, first.release()).await.unwrap();
    assert_eq!(shown().await, None);
    let second = acquire(&mut root, any()).await;
    assert_eq!(shown().await, Some(second.lease.fence));
    // It lives on for a second from here, and not from the end of the lease that might have been.
    release(&mut root, second.release()).await.unwrap();
    let released = tokio::time::Instant::now();
    while verdict(&mut root, &own).await == Verdict::Valid {
        assert!(released.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(verdict(&mut root, &own).await, Verdict::NotFound);
}

pub(crate) async fn a_worker_leases_and_whoever_manages_takes_back(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = fill(&mut root, 1).await.remove(0);
    let mut worker = caller(&authority, "", &["authority:lease"]).await;
    let held = acquire(&mut worker, any()).await;
    keep_alive(&mut worker, held.beat()).await.unwrap();
    let denied = release(&mut worker, forced(&token.token_id))
        .await
        .unwrap_err();
    assert_eq!(
        told(&denied),
        expected(Code::PermissionDenied, "PERMISSION_MISSING")
    );
    let info = denied.get_details_error_info().unwrap();
    assert_eq!(info.metadata["permission"], "manage");
    let mut manager = caller(&authority, "", &["authority:manage"]).await;
    for denied in [
        manager.acquire(any()).await.err(),
        manager.release(held.release()).await.err(),
        manager.keep_alive(held.beat()).await.err(),
    ] {
        let info = denied.unwrap().get_details_error_info().unwrap();
        assert_eq!(info.metadata["permission"], "lease");
    }
    // To those of another namespace a lease is as one that never was.
    let mut foreign = caller(&authority, "b", &["authority:lease"]).await;
    for id in [held.lease.lease_id.as_str(), NO_LEASE] {
        let error = release(&mut foreign, release_of(id)).await.unwrap_err();
        assert_eq!(told(&error), expected(Code::NotFound, "LEASE_NOT_FOUND"));
        let error = keep_alive(&mut foreign, beat_of(id)).await.unwrap_err();
        assert_eq!(told(&error), expected(Code::NotFound, "LEASE_NOT_FOUND"));
    }
    let error = foreign
        .acquire(AcquireRequest {
            namespace: "default".to_owned(),
            ..any()
        })
        .await
        .unwrap_err();
    assert_eq!(
        told(&error),
        expected(Code::PermissionDenied, "PERMISSION_MISSING")
    );
    assert_eq!(verdict(&mut root, &held.secret).await, Verdict::Valid);
    let taken = release(&mut manager, forced(&token.token_id))
        .await
        .unwrap();
    assert_eq!(taken.end_reason(), LeaseEnd::Forced);
    let log = until(|| {
        let log = authority.log();
        let forced = log
            .lines()
            .any(|line| line.contains("rpc=Release") && line.contains("outcome=done"));
        forced.then_some(log)
    })
    .await;
    assert!(
        !log.contains(&held.lease.lease_id),
        "a lease's name is logged"
    );
}

pub(crate) async fn leases_and_fences_survive_a_restart(mut authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    authority.kill();
    authority.start();
    let mut root = authority.root().await;
    assert_eq!(verdict(&mut root, &held.secret).await, Verdict::Valid);
    let kept = keep_alive(&mut root, held.beat()).await.unwrap();
    assert_eq!(kept.lease.unwrap().fence, held.lease.fence);
    release(&mut root, held.release()).await.unwrap();
    let next = acquire(&mut root, any()).await;
    assert!(next.lease.fence > held.lease.fence);
}
