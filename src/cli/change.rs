//! Changing a token, its secret, and what is spent of its limits.

use prost_types::FieldMask;

use crate::transport::grpc::pb;

use super::Session;
use super::change_args::{PeriodArg, QuotaArgs, RotateArgs, UpdateArgs};
use super::facts::facts;
use super::failure::Failure;
use super::issued;
use super::limit_spec::QuotaSpec;
use super::limit_state;
use super::table;
use super::token::labelled;

pub(super) async fn update(session: &mut Session<'_>, args: UpdateArgs) -> Result<(), Failure> {
    let request = update_request(args)?;
    let updated = session.client().await?.update(request).await?;
    let palette = session.output.palette();
    session.answer(&updated, |updated| {
        let rows = updated.token.as_ref().map(facts);
        table::pairs_in(palette, &rows.unwrap_or_default())
    })
}

pub(super) async fn rotate(session: &mut Session<'_>, args: RotateArgs) -> Result<(), Failure> {
    let RotateArgs {
        token_id,
        grace,
        revision,
        request_id,
        secret_only,
    } = args;
    let request = pb::RotateRequest {
        token_id,
        grace_period: grace,
        revision,
        request_id,
    };
    let rotated = session.client().await?.rotate(request).await?;
    let token = rotated.token.clone().unwrap_or_default();
    issued::print(session, &rotated, &token, &rotated.secret, secret_only)
}

pub(super) async fn reset_limits(
    session: &mut Session<'_>,
    token_id: String,
) -> Result<(), Failure> {
    let request = pb::ResetLimitsRequest { token_id };
    let reset = session.client().await?.reset_limits(request).await?;
    session.answer(&reset, |reset| {
        let pb::ResetLimitsResponse {
            rate_limits,
            quota_remaining,
        } = reset;
        let rows = limit_state::rows(rate_limits, *quota_remaining, 1);
        match rows.is_empty() {
            true => "the token has no limits\n".to_owned(),
            false => table::pairs(&rows),
        }
    })
}

/// The request whose mask names exactly what was given.
fn update_request(args: UpdateArgs) -> Result<pb::UpdateRequest, Failure> {
    let UpdateArgs {
        token_id,
        name,
        description,
        owner,
        no_owner,
        scopes,
        no_scopes,
        endpoints,
        cidrs,
        rate_limits,
        no_rate_limits,
        quota,
        labels,
        no_labels,
        disable,
        enable,
        expires,
        never,
        keep_alive_ttl,
        revision,
    } = args;
    let (quota, quota_paths) = quota_change(quota);
    let named = [
        ("name", name.is_some()),
        ("description", description.is_some()),
        ("owner", owner.is_some() || no_owner),
        ("scopes", !scopes.is_empty() || no_scopes),
        ("allowed_endpoints", !endpoints.is_empty()),
        ("allowed_cidrs", !cidrs.is_empty()),
        ("rate_limits", !rate_limits.is_empty() || no_rate_limits),
        ("labels", !labels.is_empty() || no_labels),
        ("disabled", disable || enable),
        ("expire_time", expires.is_some() || never),
        ("keep_alive_ttl", keep_alive_ttl.is_some()),
    ];
    let given = named.iter().filter(|(_, given)| *given);
    let paths = given.map(|(path, _)| *path).chain(quota_paths);
    let paths: Vec<String> = paths.map(str::to_owned).collect();
    if paths.is_empty() {
        let why = "nothing to change; token update --help tells what can be";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(pb::UpdateRequest {
        token: Some(pb::Token {
            token_id,
            name: name.unwrap_or_default(),
            description: description.unwrap_or_default(),
            owner: owner.unwrap_or_default(),
            scopes,
            allowed_endpoints: endpoints,
            allowed_cidrs: cidrs,
            rate_limits,
            quota,
            labels: labelled(labels)?,
            disabled: disable,
            expire_time: expires,
            keep_alive_ttl,
            ..pb::Token::default()
        }),
        update_mask: Some(FieldMask { paths }),
        revision,
    })
}

/// The quota of an update, and the paths of the mask that tell how much of it is meant.
fn quota_change(args: QuotaArgs) -> (Option<pb::Quota>, Vec<&'static str>) {
    let QuotaArgs {
        quota,
        quota_limit,
        quota_period,
        quota_remaining,
        no_quota,
    } = args;
    if no_quota {
        return (None, vec!["quota"]);
    }
    let mut paths = Vec::new();
    let (limit, period, left) = match quota {
        Some(QuotaSpec {
            limit,
            period,
            left,
        }) => {
            paths.push("quota");
            (limit, period, left)
        }
        None => {
            let limit = quota_limit.inspect(|_| paths.push("quota.limit"));
            let period = quota_period.inspect(|_| paths.push("quota.period"));
            let period = period.and_then(|PeriodArg(period)| period);
            (limit.unwrap_or_default(), period, quota_remaining)
        }
    };
    // Named for itself, it is what it says, 0 too.
    let left = left.inspect(|_| paths.push("quota.remaining"));
    let quota = pb::Quota {
        limit,
        remaining: left.unwrap_or_default(),
        period,
    };
    ((!paths.is_empty()).then_some(quota), paths)
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::super::token_args::TokenCommand;
    use super::*;
    use clap::Parser;

    fn args(flags: &str) -> Result<UpdateArgs, clap::Error> {
        let words = ["token-authority", "token", "update", "7f"].into_iter();
        let cli = Cli::try_parse_from(words.chain(flags.split_whitespace()))?;
        match cli.command {
            Command::Token(TokenCommand::Update(args)) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    fn request(flags: &str) -> (pb::Token, Vec<String>) {
        let request = update_request(args(flags).unwrap()).unwrap();
        let paths = request.update_mask.unwrap().paths;
        (request.token.unwrap(), paths)
    }

    #[test]
    fn each_flag_names_its_own_path_and_no_other() {
        for (flags, paths) in [
            ("--name x", "name"),
            ("--name=", "name"),
            ("--description=", "description"),
            ("--owner ann", "owner"),
            ("--no-owner", "owner"),
            ("--scope a --scope b", "scopes"),
            ("--no-scopes", "scopes"),
            ("--endpoint *", "allowed_endpoints"),
            ("--cidr ::/0", "allowed_cidrs"),
            ("--rate-limit 5/1s --rate-limit a=9/1h", "rate_limits"),
            ("--no-rate-limits", "rate_limits"),
            ("--quota 5/1h", "quota"),
            ("--quota 5/1h,left=0", "quota quota.remaining"),
            ("--no-quota", "quota"),
            ("--quota-limit 5", "quota.limit"),
            ("--quota-period 1h", "quota.period"),
            ("--quota-period never", "quota.period"),
            ("--quota-remaining 0", "quota.remaining"),
            (
                "--quota-remaining 1 --quota-period 1h --quota-limit 5",
                "quota.limit quota.period quota.remaining",
            ),
            ("--label a=b", "labels"),
            ("--no-labels", "labels"),
            ("--disable", "disabled"),
            ("--enable", "disabled"),
            ("--expires 2030-01-31T00:00:00Z", "expire_time"),
            ("--never", "expire_time"),
            ("--keep-alive-ttl 5m", "keep_alive_ttl"),
            ("--keep-alive-ttl 0s", "keep_alive_ttl"),
            ("--enable --name x --never", "name disabled expire_time"),
        ] {
            assert_eq!(request(flags).1.join(" "), paths, "{flags}");
        }
    }

    #[test]
    fn the_token_holds_what_was_given_and_nothing_else() {
        let (token, _) = request("--name x --disable --label a=b --rate-limit 5/1s");
        assert_eq!(
            token,
            pb::Token {
                token_id: "7f".to_owned(),
                name: "x".to_owned(),
                disabled: true,
                labels: [("a".to_owned(), "b".to_owned())].into(),
                rate_limits: vec![super::super::limit_spec::rate_limit("5/1s").unwrap()],
                ..pb::Token::default()
            }
        );
        let bare = pb::Token {
            token_id: "7f".to_owned(),
            ..pb::Token::default()
        };
        for flags in ["--name=", "--no-owner", "--enable", "--never", "--no-quota"] {
            assert_eq!(request(flags).0, bare, "{flags}");
        }
    }

    #[test]
    fn parts_of_a_quota_come_with_a_quota() {
        let quota = |flags| request(flags).0.quota.unwrap();
        assert_eq!(quota("--quota-remaining 0"), pb::Quota::default());
        assert_eq!(quota("--quota-period never"), pb::Quota::default());
        assert_eq!(quota("--quota 9,left=3").remaining, 3);
        assert_eq!(quota("--quota-period 1h").period.unwrap().seconds, 3600);
    }

    #[test]
    fn a_change_of_nothing_is_wrong_usage() {
        for flags in ["", "--revision 7"] {
            let failure = update_request(args(flags).unwrap()).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{flags}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_wrong_usage() {
        for flags in [
            "--owner a --no-owner",
            "--scope a --no-scopes",
            "--rate-limit 5/1s --no-rate-limits",
            "--rate-limit 5",
            "--label a=b --no-labels",
            "--enable --disable",
            "--never --expires 2030-01-31T00:00:00Z",
            "--quota 5 --no-quota",
            "--quota 5 --quota-limit 6",
            "--quota 5 --quota-period 1h",
            "--quota 5 --quota-remaining 1",
            "--quota-limit 5 --no-quota",
            "--quota-period 1h --no-quota",
            "--quota-remaining 5 --no-quota",
            "--quota-period soon",
            "--ttl 1h",
        ] {
            assert!(args(flags).is_err(), "{flags}");
        }
    }
}
