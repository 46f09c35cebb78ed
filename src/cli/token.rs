//! Creating, inspecting and ending tokens; changing them has a file of its own.

use std::collections::BTreeMap;

use crate::domain::flaw::quoted;
use crate::transport::grpc::pb;
use pb::create_request::Expiration;
use pb::revoke_request::Target;

use super::Session;
use super::change;
use super::facts::{self, facts, moment};
use super::failure::{Exit, Failure};
use super::issued;
use super::limit_spec::QuotaSpec;
use super::limit_state;
use super::pages::MORE;
use super::table;
use super::token_args::{CreateArgs, ListArgs, RevokeArgs, RevokeTarget, TokenCommand, Traits};
use super::validate;

pub(super) async fn run(session: &mut Session<'_>, command: TokenCommand) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create(args) => create(session, *args).await?,
        TokenCommand::Get { token_id } => get(session, token_id).await?,
        TokenCommand::List(args) => list(session, args).await?,
        TokenCommand::Update(args) => change::update(session, *args).await?,
        TokenCommand::Rotate(args) => change::rotate(session, args).await?,
        TokenCommand::ResetLimits { token_id } => change::reset_limits(session, token_id).await?,
        TokenCommand::Revoke(args) => revoke(session, args).await?,
        TokenCommand::Delete { token_id } => delete(session, token_id).await?,
        TokenCommand::Validate(args) => return validate::validate(session, args).await,
    }
    Ok(Exit::Done)
}

async fn create(session: &mut Session<'_>, args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { pool, traits } = args;
    let secret_only = traits.secret_only;
    let request = create_request(session, pool, traits)?;
    let created = session.client().await?.create(request).await?;
    let token = created.token.clone().unwrap_or_default();
    issued::print(session, &created, &token, &created.secret, secret_only)
}

/// The request for a token of that pool, or of none, that has these traits.
pub(super) fn create_request(
    session: &Session<'_>,
    pool: String,
    traits: Traits,
) -> Result<pb::CreateRequest, Failure> {
    let Traits {
        name,
        description,
        owner,
        namespace,
        scopes,
        endpoints,
        cidrs,
        rate_limits,
        quota,
        labels,
        disabled,
        ttl,
        expires,
        keep_alive_ttl,
        request_id,
        // It is about what is printed.
        secret_only: _,
    } = traits;
    let ttl = ttl
        .map(|span| {
            let span = prost_types::Duration::try_from(span);
            span.map_err(|_| Failure::Usage("--ttl is too long".to_owned()))
        })
        .transpose()?;
    Ok(pb::CreateRequest {
        namespace: session.namespace(namespace),
        name,
        description,
        owner,
        pool,
        scopes,
        allowed_endpoints: endpoints,
        allowed_cidrs: cidrs,
        rate_limits,
        quota: quota.map(granted).transpose()?,
        labels: labelled(labels)?,
        disabled,
        request_id,
        expiration: ttl
            .map(Expiration::Ttl)
            .or(expires.map(Expiration::ExpireTime)),
        keep_alive_ttl,
    })
}

/// The quota of a new token. In a CreateRequest 0 means all of it, so nothing cannot be said.
fn granted(spec: QuotaSpec) -> Result<pb::Quota, Failure> {
    let QuotaSpec {
        limit,
        period,
        left,
    } = spec;
    if left == Some(0) {
        let why = "a quota begins with something left; say left=1 or more, and update it then";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(pb::Quota {
        limit,
        remaining: left.unwrap_or_default(),
        period,
    })
}

async fn get(session: &mut Session<'_>, token_id: String) -> Result<(), Failure> {
    let request = pb::GetRequest { token_id };
    let found = session.client().await?.get(request).await?;
    let palette = session.output.palette();
    session.answer(&found, |found| {
        let pb::GetResponse {
            token,
            rate_limits,
            // The token says it.
            quota_remaining: _,
        } = found;
        let mut rows = token.as_ref().map(facts).unwrap_or_default();
        rows.extend(limit_state::rows(rate_limits, None, 1));
        table::pairs_in(palette, &rows)
    })
}

async fn list(session: &mut Session<'_>, args: ListArgs) -> Result<(), Failure> {
    let ListArgs {
        namespace,
        owner,
        pool,
        states,
        labels,
        usage,
        extent,
    } = args;
    let mut request = pb::ListRequest {
        namespace: session.namespace(namespace),
        owner,
        pool,
        states: states
            .into_iter()
            .map(|state| pb::State::from(state).into())
            .collect(),
        labels: labelled(labels)?,
        page_size: 0,
        page_token: String::new(),
        with_usage: usage,
    };
    let mut client = session.client().await?;
    let mut tokens = Vec::new();
    loop {
        request.page_size = extent.page_size(tokens.len());
        let page = session
            .listing(tokens.len(), client.list(request.clone()))
            .await?;
        tokens.extend(page.tokens);
        if !extent.turn(&mut request.page_token, page.next_page_token, tokens.len())? {
            break;
        }
    }
    let listed = pb::ListResponse {
        tokens,
        next_page_token: request.page_token,
    };
    let palette = session.output.palette();
    session.answer(&listed, |listed| match usage {
        false => {
            let rows: Vec<_> = listed.tokens.iter().map(facts::row).collect();
            table::columns_in(palette, facts::HEAD, &rows)
        }
        true => {
            let rows: Vec<_> = listed.tokens.iter().map(facts::use_row).collect();
            table::columns_in(palette, facts::USE_HEAD, &rows)
        }
    })?;
    if !session.json && !listed.next_page_token.is_empty() {
        session.output.note(MORE);
    }
    Ok(())
}

async fn revoke(session: &mut Session<'_>, args: RevokeArgs) -> Result<(), Failure> {
    let RevokeArgs { target, reason } = args;
    let RevokeTarget { token_id, secret } = target;
    let by_id = token_id.is_some();
    let target = match token_id {
        Some(token_id) => Target::TokenId(token_id),
        None => Target::Secret(session.input.secret(secret.as_ref())?.to_string()),
    };
    let mut client = match by_id {
        true => session.client().await?,
        // The secret is the credential; no other is shown without need.
        false => session.anonymous().await?,
    };
    let request = pb::RevokeRequest {
        target: Some(target),
        reason,
    };
    let revoked = client.revoke(request).await?;
    session.answer(&revoked, |revoked| match by_id {
        true => format!("revoked at {}\n", moment(revoked.revoke_time.as_ref())),
        false => "revoked, if it was a secret of a token\n".to_owned(),
    })
}

async fn delete(session: &mut Session<'_>, token_id: String) -> Result<(), Failure> {
    let request = pb::DeleteRequest { token_id };
    let deleted = session.client().await?.delete(request.clone()).await?;
    session.answer(&deleted, |_| {
        format!("deleted {}\n", table::printable(&request.token_id))
    })
}

/// Labels by their keys, each of which is given once.
pub(super) fn labelled(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs {
        let why = format!("--label {} is given twice", quoted(&key));
        if labels.insert(key, value).is_some() {
            return Err(Failure::Usage(why));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_given_once() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert!(labelled(vec![pair("a", "1"), pair("b", "1")]).is_ok());
        assert!(labelled(vec![pair("a", "1"), pair("a", "2")]).is_err());
    }

    #[test]
    fn a_new_quota_is_whole_or_has_something_left() {
        let left = |left| {
            let spec = QuotaSpec {
                limit: 5,
                period: None,
                left,
            };
            granted(spec).map(|quota| quota.remaining).ok()
        };
        assert_eq!(left(None), Some(0));
        assert_eq!(left(Some(3)), Some(3));
        assert_eq!(left(Some(0)), None);
    }
}
