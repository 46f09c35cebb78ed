//! The flags of the `lease` commands.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::secret::SecretArg;
use super::span;

/// What `lease run --help` says after the flags.
pub(super) const ABOUT_RUN: &str = "\
The command gets these variables, and neither TOKEN_AUTHORITY_TOKEN nor TOKEN_AUTHORITY_TOKEN_FILE:
  TOKEN_AUTHORITY_LEASE_SECRET       valid for this lease alone
  TOKEN_AUTHORITY_LEASE_TOKEN_ID     public id of the leased token
  TOKEN_AUTHORITY_LEASE_FENCE        number of the lease, greater than that of every one before
  TOKEN_AUTHORITY_LEASE_EXPIRE_TIME  until when it was acquired; it is kept alive meanwhile

SIGTERM, SIGINT, SIGHUP and SIGQUIT are passed on. When the lease is lost the command gets SIGTERM,
and SIGKILL after --grace. When it could not be kept alive the command gets SIGTERM before its end,
and SIGKILL at its end.

Exit codes:
  N    the command's own; 128+N where signal N ended it
  2    wrong usage
  124  the lease was lost, and the command ended for it
  125  no lease was acquired; the error says why
  126  the command cannot be executed
  127  there is no such command";

#[derive(Subcommand, Debug)]
pub(super) enum LeaseCommand {
    /// Lease a token of a pool; the secret of the lease is printed this one time
    Acquire(AcquireArgs),
    /// End a lease
    Release(ReleaseArgs),
    /// Extend a lease, or the life of a pooled token
    KeepAlive(KeepAliveArgs),
    /// Hold a lease while a command runs, and end the command when the lease is lost
    #[command(after_help = ABOUT_RUN)]
    Run(RunArgs),
}

/// Which lease to ask for.
#[derive(Args, Clone, Debug)]
pub(super) struct Wanted {
    /// Tenant of the pool, if not the caller's own
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    /// Who holds the lease, for people
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    pub holder: String,

    /// How long the lease lasts unless it is kept alive, such as 60s
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub duration: Option<prost_types::Duration>,

    /// How long to wait where no token is available, such as 10m
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub wait: Option<prost_types::Duration>,
}

#[derive(Args, Debug)]
pub(super) struct AcquireArgs {
    /// Pool to lease a token of
    #[arg(required_unless_present = "named")]
    pub pool: Option<String>,

    /// The same
    #[arg(
        long = "pool",
        id = "named",
        value_name = "POOL",
        conflicts_with = "pool"
    )]
    pub named: Option<String>,

    #[command(flatten)]
    pub wanted: Wanted,

    /// Name of this request; repeating it within 10 minutes answers the same lease and one more
    /// secret
    #[arg(long, value_name = "ID", default_value_t, hide_default_value = true)]
    pub request_id: String,
}

/// A lease or the token that it holds; exactly one of them is given.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct LeaseTarget {
    /// Name of the lease, or - for standard input; whoever knows it may release the lease
    pub lease_id: Option<SecretArg>,

    /// Public id of a pooled token
    #[arg(long, value_name = "ID")]
    pub token_id: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    pub target: LeaseTarget,

    /// Take the lease from whoever holds it; with --token-id
    #[arg(long, conflicts_with = "lease_id")]
    pub force: bool,
}

#[derive(Args, Debug)]
pub(super) struct KeepAliveArgs {
    #[command(flatten)]
    pub target: LeaseTarget,

    /// How long the lease shall last from now on, such as 60s; without it as it was acquired
    #[arg(long, value_name = "SPAN", value_parser = span::parse, conflicts_with = "token_id")]
    pub duration: Option<prost_types::Duration>,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Pool to lease a token of
    #[arg(long)]
    pub pool: String,

    #[command(flatten)]
    pub wanted: Wanted,

    /// How long the command may take to end after SIGTERM, such as 10s
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = humantime::parse_duration)]
    pub grace: Duration,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn parse(line: &str) -> Result<LeaseCommand, clap::Error> {
        let words = ["token-authority", "lease"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace()))?;
        match cli.command {
            Command::Lease(command) => Ok(command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pool_is_named_once() {
        assert!(parse("acquire gpu --wait 1m --holder w1").is_ok());
        assert!(parse("acquire --pool gpu").is_ok());
        assert!(parse("acquire").is_err());
        assert!(parse("acquire gpu --pool gpu").is_err());
    }

    #[test]
    fn a_lease_is_named_by_itself_or_by_its_token() {
        for command in ["release", "keep-alive"] {
            assert!(parse(&format!("{command} -")).is_ok());
            assert!(parse(&format!("{command} --token-id 7f")).is_ok());
            assert!(parse(command).is_err());
            assert!(parse(&format!("{command} canary --token-id 7f")).is_err());
        }
        assert!(parse("release --token-id 7f --force").is_ok());
        assert!(parse("release canary --force").is_err());
        assert!(parse("keep-alive --token-id 7f --duration 1m").is_err());
        let printed = format!("{:?}", parse("release canary").unwrap());
        assert!(!printed.contains("canary"), "{printed}");
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let LeaseCommand::Run(args) = parse("run --pool gpu -- sh -c true --json").unwrap() else {
            panic!()
        };
        assert_eq!(args.command, ["sh", "-c", "true", "--json"]);
        assert_eq!(args.grace, Duration::from_secs(10));
        assert!(parse("run --pool gpu").is_err());
        assert!(parse("run --pool gpu sh").is_err());
        assert!(parse("run -- sh").is_err());
    }
}
