//! The flags of the commands that change a token.

use std::str::FromStr;

use clap::Args;
use prost_types::{Duration, Timestamp};

use crate::transport::grpc::pb;

use super::limit_spec::{self, QuotaSpec};
use super::span;
use super::token_args::{instant, label};

/// Only what is given is changed. Lists are replaced whole.
#[derive(Args, Debug)]
pub(super) struct UpdateArgs {
    /// Public id of the token
    pub token_id: String,

    /// Short name for people; "" for none
    #[arg(long)]
    pub name: Option<String>,

    /// Longer text for people; "" for none
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,

    /// Whose token it is
    #[arg(long)]
    pub owner: Option<String>,

    /// Leave it without an owner
    #[arg(long, conflicts_with = "owner")]
    pub no_owner: bool,

    /// Scope to grant instead of those it has; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,

    /// Grant no scopes
    #[arg(long, conflicts_with = "scopes")]
    pub no_scopes: bool,

    /// Endpoint to allow instead of those it has; may be repeated; * for all
    #[arg(long = "endpoint", value_name = "PATTERN")]
    pub endpoints: Vec<String>,

    /// Network to allow instead of those it has; may be repeated; 0.0.0.0/0 and ::/0 for all
    #[arg(long = "cidr", value_name = "CIDR")]
    pub cidrs: Vec<String>,

    /// Rate limit instead of those it has, such as 100/1m; may be repeated. What was used under a
    /// name stays used
    #[arg(long = "rate-limit", value_name = "SPEC", value_parser = limit_spec::rate_limit)]
    pub rate_limits: Vec<pb::RateLimit>,

    /// Take its rate limits away
    #[arg(long, conflicts_with = "rate_limits")]
    pub no_rate_limits: bool,

    #[command(flatten)]
    pub quota: QuotaArgs,

    /// Label instead of those it has; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Take its labels away
    #[arg(long, conflicts_with = "labels")]
    pub no_labels: bool,

    /// Switch it off
    #[arg(long)]
    pub disable: bool,

    /// Switch it on again
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,

    /// When it ends, such as 2030-01-31T00:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub expires: Option<Timestamp>,

    /// Let it never end by itself
    #[arg(long, conflicts_with = "expires")]
    pub never: bool,

    /// How long it lives in its pool without a beat, such as 5m; 0 means for ever. Its clock starts
    /// anew
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub keep_alive_ttl: Option<Duration>,

    /// Revision that it must have, so that no other change is overwritten
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
}

/// A quota as a whole, none, or parts of the one that the token has.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct QuotaArgs {
    /// Quota instead of the one it has, such as 10000/30d, or 500 in all; all of it is left
    #[arg(
        long,
        value_name = "SPEC",
        value_parser = limit_spec::quota,
        conflicts_with_all = ["quota_limit", "quota_period", "quota_remaining", "no_quota"]
    )]
    pub quota: Option<QuotaSpec>,

    /// Limit of its quota; what is left of it moves by the difference
    #[arg(long, value_name = "N", conflicts_with = "no_quota")]
    pub quota_limit: Option<u64>,

    /// Period after which its quota is full again, such as 30d, or never
    #[arg(long, value_name = "SPAN", conflicts_with = "no_quota")]
    pub quota_period: Option<PeriodArg>,

    /// What shall be left of its quota now
    #[arg(long, value_name = "N", conflicts_with = "no_quota")]
    pub quota_remaining: Option<u64>,

    /// Take its quota away
    #[arg(long)]
    pub no_quota: bool,
}

/// The period of a quota; `never` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeriodArg(pub Option<Duration>);

impl FromStr for PeriodArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self(None)),
            text => Ok(Self(Some(span::parse(text)?))),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    /// Public id of the token
    pub token_id: String,

    /// How long the present secret stays in force beside the new one, such as 1h; without it, not
    /// at all
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub grace: Option<Duration>,

    /// Revision that it must have, so that of several rotations one is carried out
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,

    /// Name of this request; repeating it within 10 minutes answers one more secret of the same
    /// version
    #[arg(long, value_name = "ID", default_value_t, hide_default_value = true)]
    pub request_id: String,

    /// Print the secret and nothing else
    #[arg(long, conflicts_with = "json")]
    pub secret_only: bool,
}
