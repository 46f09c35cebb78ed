//! The flags of the `token` commands.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;

use crate::transport::grpc::pb;

use super::args::EXIT_CODES;
use super::change_args::{RotateArgs, UpdateArgs};
use super::limit_spec::{self, QuotaSpec};
use super::pages::Extent;
use super::secret::SecretArg;
use super::span;

#[derive(Subcommand, Debug)]
pub(super) enum TokenCommand {
    /// Issue a token; its secret is printed this one time
    #[command(after_help = limit_spec::FORMS)]
    Create(Box<CreateArgs>),
    /// Print one token
    Get {
        /// Public id of the token
        token_id: String,
    },
    /// Print tokens, newest first
    List(ListArgs),
    /// Change what is said about a token, and what it is allowed; the rest stays
    #[command(after_help = limit_spec::FORMS)]
    Update(Box<UpdateArgs>),
    /// Replace a token's secret; the new one is printed this one time
    Rotate(RotateArgs),
    /// Forget what was spent of a token's rate limits and quota
    ResetLimits {
        /// Public id of the token
        token_id: String,
    },
    /// End a token for good; its record stays
    Revoke(RevokeArgs),
    /// Delete a token and everything kept about it, without asking again
    Delete {
        /// Public id of the token
        token_id: String,
    },
    /// Ask whether a secret may do something, now
    #[command(after_help = EXIT_CODES)]
    Validate(ValidateArgs),
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Pool to put it into
    #[arg(long, default_value_t, hide_default_value = true)]
    pub pool: String,

    #[command(flatten)]
    pub traits: Traits,
}

/// What tokens shall be that are created.
#[derive(Args, Debug)]
pub(super) struct Traits {
    /// Short name for people
    #[arg(long, default_value_t, hide_default_value = true)]
    pub name: String,

    /// Longer text for people
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    pub description: String,

    /// Whose token it is
    #[arg(long, default_value_t, hide_default_value = true)]
    pub owner: String,

    /// Tenant to create it in, if not the caller's own
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    /// Scope to grant, such as orders:read or orders:*; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,

    /// Endpoint to allow, such as "GET /products/**"; may be repeated; without any, all
    #[arg(long = "endpoint", value_name = "PATTERN")]
    pub endpoints: Vec<String>,

    /// Network to allow, such as 10.0.0.0/8; may be repeated; without any, all
    #[arg(long = "cidr", value_name = "CIDR")]
    pub cidrs: Vec<String>,

    /// How fast it may be used, such as 100/1m; may be repeated, all hold together
    #[arg(long = "rate-limit", value_name = "SPEC", value_parser = limit_spec::rate_limit)]
    pub rate_limits: Vec<pb::RateLimit>,

    /// How much it may be used, such as 10000/30d, or 500 in all
    #[arg(long, value_name = "SPEC", value_parser = limit_spec::quota)]
    pub quota: Option<QuotaSpec>,

    /// Label to attach; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Create it switched off
    #[arg(long)]
    pub disabled: bool,

    /// How long it lives, such as 24h or 30d; 0 means for ever
    #[arg(long, value_name = "SPAN", value_parser = ttl, conflicts_with = "expires")]
    pub ttl: Option<Duration>,

    /// When it ends, such as 2030-01-31T00:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub expires: Option<Timestamp>,

    /// How long it lives in a pool without a beat, such as 1h; 0 means for ever; without it 5m, or
    /// as the server says
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub keep_alive_ttl: Option<prost_types::Duration>,

    /// Name of this request; repeating it within 10 minutes answers the same token
    #[arg(long, value_name = "ID", default_value_t, hide_default_value = true)]
    pub request_id: String,

    /// Print the secret and nothing else
    #[arg(long, conflicts_with = "json")]
    pub secret_only: bool,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Tenant to list, if not the caller's own; - for all
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    /// Only tokens of this owner
    #[arg(long, default_value_t, hide_default_value = true)]
    pub owner: String,

    /// Only tokens of this pool
    #[arg(long, default_value_t, hide_default_value = true)]
    pub pool: String,

    /// Only tokens in this state; may be repeated; without any, active and disabled ones
    #[arg(long = "state", value_name = "STATE", value_enum)]
    pub states: Vec<StateArg>,

    /// Only tokens with this label; may be repeated, all must match
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Print when each was used last, and how often
    #[arg(long)]
    pub usage: bool,

    #[command(flatten)]
    pub extent: Extent,
}

#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    pub target: RevokeTarget,

    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    pub reason: String,
}

/// Exactly one of them is given.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct RevokeTarget {
    /// Public id of the token
    pub token_id: Option<String>,

    /// A secret of the token, or - for standard input; needs no other credential
    #[arg(long)]
    pub secret: Option<SecretArg>,
}

#[derive(Args, Debug)]
pub(super) struct ValidateArgs {
    /// Secret to judge; - or nothing reads standard input. Prefer that: arguments are visible to
    /// other processes of this machine
    pub secret: Option<SecretArg>,

    /// Tenant the token must live in, if not the caller's own; - for any
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    /// Whose token it must be
    #[arg(long, default_value_t, hide_default_value = true)]
    pub owner: String,

    /// Scope the token must grant; may be repeated, all must be granted
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,

    /// HTTP method of the judged call
    #[arg(long, default_value_t, hide_default_value = true)]
    pub method: String,

    /// Path of the judged call, such as /products/1 or /shop.Orders/Get
    #[arg(long, default_value_t, hide_default_value = true)]
    pub path: String,

    /// Address of the end client
    #[arg(long, value_name = "ADDR", default_value_t, hide_default_value = true)]
    pub client_ip: String,

    /// User agent of the end client; not judged
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    pub user_agent: String,

    /// Name of the judged call for tracing; not judged
    #[arg(long, value_name = "ID", default_value_t, hide_default_value = true)]
    pub request_id: String,

    /// What a valid use takes from the token's rate limits and quota, if not 1
    #[arg(long, value_name = "N")]
    pub cost: Option<u64>,

    /// Only ask: the verdict is the same, and nothing is taken
    #[arg(long)]
    pub dry_run: bool,

    /// Have the store itself asked, not a memory of what it said
    #[arg(long)]
    pub strong: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateArg {
    Active,
    Disabled,
    Revoked,
    Expired,
}

impl From<StateArg> for pb::State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Active => Self::Active,
            StateArg::Disabled => Self::Disabled,
            StateArg::Revoked => Self::Revoked,
            StateArg::Expired => Self::Expired,
        }
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn ttl(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 24h, 30d or 0"))
}

pub(super) fn instant(text: &str) -> Result<Timestamp, &'static str> {
    text.parse()
        .map_err(|_| "must be an instant such as 2030-01-31T00:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn parse(line: &str) -> Result<TokenCommand, clap::Error> {
        let words = ["token-authority", "token"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace()))?;
        match cli.command {
            Command::Token(command) => Ok(command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_life_is_a_span_or_an_end_and_not_both() {
        let lives = |line: &str| match parse(line).unwrap() {
            TokenCommand::Create(args) => {
                let ends = args.traits.expires.map(|end| end.seconds);
                (args.traits.ttl, ends)
            }
            other => panic!("{other:?}"),
        };
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(lives("create"), (None, None));
        assert_eq!(lives("create --ttl 24h"), (Some(day), None));
        assert_eq!(lives("create --ttl 0"), (Some(Duration::ZERO), None));
        let end = "create --expires 1970-01-02T01:00:00+01:00";
        assert_eq!(lives(end), (None, Some(24 * 3600)));
        for wrong in ["--ttl 1h --expires 2030-01-01T00:00:00Z", "--ttl soon"] {
            assert!(parse(&format!("create {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_label_is_split_at_its_first_equals_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        assert!(label("a").is_err());
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_a_secret_and_not_both() {
        assert!(parse("revoke 7f --reason leaked").is_ok());
        assert!(parse("revoke --secret - --reason leaked").is_ok());
        assert!(parse("revoke --reason leaked").is_err());
        assert!(parse("revoke 7f --secret -").is_err());
    }

    #[test]
    fn a_list_has_a_limit_or_none() {
        assert!(parse("list --limit 3 --state active --state expired").is_ok());
        assert!(parse("list --all").is_ok());
        assert!(parse("list --limit 0").is_err());
        assert!(parse("list --limit 3 --all").is_err());
        assert!(parse("list --state tired").is_err());
    }

    #[test]
    fn a_secret_alone_is_not_json() {
        assert!(parse("create --secret-only").is_ok());
        assert!(parse("create --secret-only --json").is_err());
    }
}
