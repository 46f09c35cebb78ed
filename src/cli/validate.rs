//! Asking about secrets: somebody else's, or the caller's own.

use crate::transport::grpc::pb;

use super::Session;
use super::colour::Palette;
use super::facts::{facts, number, word};
use super::failure::{Exit, Failure};
use super::limit_state;
use super::span;
use super::table;
use super::token_args::ValidateArgs;

pub(super) async fn validate(
    session: &mut Session<'_>,
    args: ValidateArgs,
) -> Result<Exit, Failure> {
    let ValidateArgs {
        secret,
        namespace,
        owner,
        scopes,
        method,
        path,
        client_ip,
        user_agent,
        request_id,
        cost,
        dry_run,
        strong,
    } = args;
    let consistency = match strong {
        true => pb::Consistency::Strong,
        false => pb::Consistency::Unspecified,
    };
    let request = pb::ValidateRequest {
        secret: session.input.secret(secret.as_ref())?.to_string(),
        namespace: session.namespace(namespace),
        owner,
        required_scopes: scopes,
        method,
        path,
        client_ip,
        user_agent,
        request_id,
        cost,
        dry_run,
        consistency: consistency.into(),
    };
    let judged = session.client().await?.validate(request).await?;
    let palette = session.output.palette();
    session.answer(&judged, |judged| {
        judgement(judged, cost.unwrap_or(1), palette)
    })?;
    let valid = judged.valid && judged.verdict() == pb::Verdict::Valid;
    Ok(if valid { Exit::Done } else { Exit::Refused })
}

pub(super) async fn whoami(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let myself = session.client().await?.who_am_i().await?;
    let palette = session.output.palette();
    session.answer(&myself, |myself| {
        let pb::WhoAmIResponse {
            token,
            permissions,
            rate_limits,
            // The token says it.
            quota_remaining: _,
            caller,
        } = myself;
        let mut rows = match token {
            Some(token) => facts(token),
            None => vec![("caller", without_token(caller))],
        };
        rows.push(("permissions", permissions.join(" ")));
        rows.extend(limit_state::rows(rate_limits, None, 1));
        table::pairs_in(palette, &rows)
    })?;
    Ok(Exit::Done)
}

/// A caller that is no token: root, or the holder of a certificate under its name in the server's
/// configuration.
fn without_token(caller: &str) -> String {
    let who = match caller.split_once(':') {
        Some(("certificate", name)) => format!("{name}, by its certificate"),
        _ => "root".to_owned(),
    };
    format!("{who}, without a token of its own")
}

/// The verdict on a use of `cost`, on a line of its own, then what it rests on.
fn judgement(judged: &pb::ValidateResponse, cost: u64, palette: Palette) -> String {
    let pb::ValidateResponse {
        valid: _,
        verdict,
        token,
        rate_limits,
        quota_remaining,
        credential,
        secret_version,
        revision,
        validation_id,
        cache_ttl,
        degraded,
    } = judged;
    let verdict = match pb::Verdict::try_from(*verdict) {
        Ok(verdict) => word(verdict.as_str_name(), "VERDICT_").to_owned(),
        Err(_) => format!("UNKNOWN ({verdict})"),
    };
    let credential = match pb::Credential::try_from(*credential) {
        Ok(pb::Credential::Unspecified) => String::new(),
        Ok(credential) => word(credential.as_str_name(), "CREDENTIAL_").to_lowercase(),
        Err(_) => format!("unknown ({credential})"),
    };
    let cache_ttl = cache_ttl.as_ref().map(span::exact).unwrap_or_default();
    let degraded = match degraded {
        true => "the store could not be asked",
        false => "",
    };
    let mut rows = token.as_ref().map(facts).unwrap_or_default();
    rows.retain(|(name, _)| !matches!(*name, "secret_version" | "revision"));
    rows.extend(limit_state::rows(rate_limits, *quota_remaining, cost));
    rows.extend([
        ("credential", credential),
        ("secret_version", number(u64::from(*secret_version))),
        ("revision", number(*revision)),
        ("cache_ttl", cache_ttl),
        ("degraded", degraded.to_owned()),
        ("validation_id", validation_id.clone()),
    ]);
    format!(
        "{}\n{}",
        palette.verdict(&verdict),
        table::pairs_in(palette, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_begins_with_the_verdict() {
        let refused = pb::ValidateResponse {
            verdict: pb::Verdict::ScopeDenied.into(),
            token: Some(pb::Token {
                token_id: "7f".to_owned(),
                ..pb::Token::default()
            }),
            credential: pb::Credential::Current.into(),
            secret_version: 1,
            revision: 12,
            validation_id: "v1".to_owned(),
            ..pb::ValidateResponse::default()
        };
        assert_eq!(
            judgement(&refused, 1, Palette::PLAIN),
            "SCOPE_DENIED\n\
             token_id        7f\n\
             credential      current\n\
             secret_version  1\n\
             revision        12\n\
             validation_id   v1\n"
        );
    }

    #[test]
    fn a_judgement_tells_what_is_left_of_the_limits() {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let limited = pb::ValidateResponse {
            verdict: pb::Verdict::RateLimited.into(),
            rate_limits: vec![pb::RateLimitStatus {
                name: "default".to_owned(),
                limit: 5,
                remaining: 1,
                reset_after: span(48),
                retry_after: span(12),
            }],
            quota_remaining: Some(495),
            ..pb::ValidateResponse::default()
        };
        assert_eq!(
            judgement(&limited, 2, Palette::PLAIN),
            "RATE_LIMITED\n\
             limit       default: 1 of 5 left, all again in 48s, try again in 12s\n\
             quota_left  495\n"
        );
    }

    #[test]
    fn a_judgement_tells_how_long_it_may_be_repeated_and_that_it_may_be_old() {
        let cached = pb::ValidateResponse {
            verdict: pb::Verdict::Valid.into(),
            cache_ttl: Some(prost_types::Duration {
                seconds: 4,
                nanos: 500_000_000,
            }),
            ..pb::ValidateResponse::default()
        };
        assert_eq!(
            judgement(&cached, 1, Palette::PLAIN),
            "VALID\ncache_ttl  4s500ms\n"
        );
        let degraded = pb::ValidateResponse {
            cache_ttl: None,
            degraded: true,
            ..cached
        };
        assert_eq!(
            judgement(&degraded, 1, Palette::PLAIN),
            "VALID\ndegraded  the store could not be asked\n"
        );
    }

    #[test]
    fn a_verdict_of_a_later_server_is_told_as_it_is() {
        let newer = pb::ValidateResponse {
            verdict: 99,
            ..pb::ValidateResponse::default()
        };
        assert_eq!(judgement(&newer, 1, Palette::PLAIN), "UNKNOWN (99)\n");
    }
}
