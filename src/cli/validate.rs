//! Asking about secrets: somebody else's, or the caller's own.

use crate::transport::grpc::pb;

use super::Session;
use super::facts::{facts, number, word};
use super::failure::{Exit, Failure};
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
    } = args;
    let request = pb::ValidateRequest {
        secret: session.input.secret(secret.as_ref())?.to_string(),
        namespace,
        owner,
        required_scopes: scopes,
        method,
        path,
        client_ip,
        user_agent,
        request_id,
        ..pb::ValidateRequest::default()
    };
    let judged = session.client().await?.validate(request).await?;
    session.answer(&judged, judgement)?;
    let valid = judged.valid && judged.verdict() == pb::Verdict::Valid;
    Ok(if valid { Exit::Done } else { Exit::Refused })
}

pub(super) async fn whoami(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let myself = session.client().await?.who_am_i().await?;
    session.answer(&myself, |myself| {
        let pb::WhoAmIResponse {
            token,
            permissions,
            rate_limits: _,
            quota_remaining: _,
        } = myself;
        let mut rows = match token {
            Some(token) => facts(token),
            None => vec![("caller", "root, without a token of its own".to_owned())],
        };
        rows.push(("permissions", permissions.join(" ")));
        table::pairs(&rows)
    })?;
    Ok(Exit::Done)
}

/// The verdict on a line of its own, then what it rests on.
fn judgement(judged: &pb::ValidateResponse) -> String {
    let pb::ValidateResponse {
        valid: _,
        verdict,
        token,
        rate_limits: _,
        quota_remaining: _,
        credential,
        secret_version,
        revision,
        validation_id,
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
    let mut rows = token.as_ref().map(facts).unwrap_or_default();
    rows.retain(|(name, _)| !matches!(*name, "secret_version" | "revision"));
    rows.extend([
        ("credential", credential),
        ("secret_version", number(u64::from(*secret_version))),
        ("revision", number(*revision)),
        ("validation_id", validation_id.clone()),
    ]);
    format!("{verdict}\n{}", table::pairs(&rows))
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
            judgement(&refused),
            "SCOPE_DENIED\n\
             token_id        7f\n\
             credential      current\n\
             secret_version  1\n\
             revision        12\n\
             validation_id   v1\n"
        );
    }

    #[test]
    fn a_verdict_of_a_later_server_is_told_as_it_is() {
        let newer = pb::ValidateResponse {
            verdict: 99,
            ..pb::ValidateResponse::default()
        };
        assert_eq!(judgement(&newer), "UNKNOWN (99)\n");
    }
}
