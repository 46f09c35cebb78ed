//! Acquiring, releasing and keeping leases; holding one while a command runs has a file of its own.

use crate::transport::grpc::pb;
use pb::{keep_alive_request, release_request};

use super::Session;
use super::colour::Palette;
use super::facts::{facts, lease_facts, moment};
use super::failure::{Exit, Failure};
use super::json;
use super::lease_args::{
    AcquireArgs, KeepAliveArgs, LeaseCommand, LeaseTarget, ReleaseArgs, Wanted,
};
use super::lease_run;
use super::span;
use super::table;

pub(super) async fn run(session: &mut Session<'_>, command: LeaseCommand) -> Result<Exit, Failure> {
    match command {
        LeaseCommand::Acquire(args) => acquire(session, args).await?,
        LeaseCommand::Release(args) => release(session, args).await?,
        LeaseCommand::KeepAlive(args) => keep_alive(session, args).await?,
        LeaseCommand::Run(args) => return Ok(lease_run::run(session, args).await),
    }
    Ok(Exit::Done)
}

/// The request for a lease of a token of that pool.
pub(super) fn acquire_request(
    session: &Session<'_>,
    pool: String,
    wanted: Wanted,
    request_id: String,
) -> pb::AcquireRequest {
    let Wanted {
        namespace,
        holder,
        duration,
        wait,
    } = wanted;
    pb::AcquireRequest {
        namespace: session.namespace(namespace),
        pool,
        holder,
        lease_duration: duration,
        wait,
        request_id,
    }
}

async fn acquire(session: &mut Session<'_>, args: AcquireArgs) -> Result<(), Failure> {
    let AcquireArgs {
        pool,
        named,
        wanted,
        request_id,
    } = args;
    let pool = pool.or(named).unwrap_or_default();
    let doing = format!("waiting for a token of pool {}", table::printable(&pool));
    let request = acquire_request(session, pool, wanted, request_id);
    let mut client = session.client().await?;
    let acquired = session.meanwhile(&doing, client.acquire(request)).await?;
    let printed = if session.json {
        let text = json::canonical(&acquired)? + "\n";
        session.output.answer(&text)
    } else {
        let palette = session.output.palette();
        let once = "The secret of the lease, shown this one time; nobody can look it up again:";
        let remarked = session.output.remark(once);
        remarked.and_then(|()| session.output.answer(&words_of_lease(&acquired, palette)))
    };
    let lost = |why| {
        let why = format!(
            "a lease was acquired that could not be written ({why}); it ends by itself, or by \
             release --token-id {} --force",
            token_of(&acquired).token_id
        );
        Failure::Broken(why)
    };
    printed.map_err(lost)
}

fn token_of(acquired: &pb::AcquireResponse) -> pb::Token {
    acquired.token.clone().unwrap_or_default()
}

/// The secret on a line of its own, then the lease and its token.
fn words_of_lease(acquired: &pb::AcquireResponse, palette: Palette) -> String {
    let pb::AcquireResponse {
        token,
        lease,
        secret,
    } = acquired;
    let mut rows = lease.as_ref().map(lease_facts).unwrap_or_default();
    let token = token.as_ref().map(facts).unwrap_or_default();
    // Said already.
    rows.extend(token.into_iter().filter(|(name, _)| *name != "lease"));
    format!("{secret}\n\n{}", table::pairs_in(palette, &rows))
}

async fn release(session: &mut Session<'_>, args: ReleaseArgs) -> Result<(), Failure> {
    let ReleaseArgs { target, force } = args;
    let target = match target {
        LeaseTarget {
            token_id: Some(token_id),
            ..
        } => release_request::Target::TokenId(token_id),
        LeaseTarget { lease_id, .. } => {
            let lease_id = session.input.secret(lease_id.as_ref())?;
            release_request::Target::LeaseId(lease_id.to_string())
        }
    };
    let request = pb::ReleaseRequest {
        target: Some(target),
        force,
    };
    let released = session.client().await?.release(request).await?;
    session.answer(&released, |released| {
        let rows = released.lease.as_ref().map(lease_facts);
        table::pairs(&rows.unwrap_or_default())
    })
}

async fn keep_alive(session: &mut Session<'_>, args: KeepAliveArgs) -> Result<(), Failure> {
    let KeepAliveArgs { target, duration } = args;
    let target = match target {
        LeaseTarget {
            token_id: Some(token_id),
            ..
        } => keep_alive_request::Target::TokenId(token_id),
        LeaseTarget { lease_id, .. } => {
            let lease_id = session.input.secret(lease_id.as_ref())?;
            keep_alive_request::Target::LeaseId(lease_id.to_string())
        }
    };
    let request = pb::KeepAliveRequest {
        target: Some(target),
        lease_duration: duration,
    };
    let kept = session.client().await?.keep_alive(request).await?;
    session.answer(&kept, words_of_beat)
}

/// What a beat led to; the lease's name, which its caller knows, is left out.
fn words_of_beat(kept: &pb::KeepAliveResponse) -> String {
    let pb::KeepAliveResponse {
        lease,
        keep_alive_deadline,
        next_beat_after,
    } = kept;
    let mut rows = lease.as_ref().map(lease_facts).unwrap_or_default();
    rows.retain(|(name, _)| *name != "lease_id");
    let next = next_beat_after.and_then(|span| std::time::Duration::try_from(span).ok());
    rows.extend([
        ("alive_until", moment(keep_alive_deadline.as_ref())),
        ("next_beat_after", next.map(span::wait).unwrap_or_default()),
    ]);
    match rows.iter().all(|(_, value)| value.is_empty()) {
        true => "kept alive; nothing ends\n".to_owned(),
        false => table::pairs(&rows),
    }
}
