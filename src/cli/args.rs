//! The tree of commands and their flags.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::args::ServeArgs;

use super::secret::SecretArg;
use super::token_args::TokenCommand;

/// What `--help` says after the flags.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done; for validate: VALID
  1  validate: any other verdict
  2  wrong usage or configuration
  3  not found
  4  no valid credential, or permission denied
  5  invalid argument, failed precondition, or already exists
  6  server unavailable or unreachable, or deadline exceeded
  7  anything else
serve and init answer with codes of the same meaning.

Secrets: wherever a secret is taken, - reads it from standard input. Without --token, --token-file
and their variables, calls to this machine use the root token that the server generated, if its
file exists.";

/// Issues opaque API tokens and answers whether a token may do something now.
#[derive(Parser, Debug)]
#[command(name = "token-authority", version, after_help = EXIT_CODES)]
#[command(arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub client: ClientArgs,

    #[command(subcommand)]
    pub command: Command,
}

/// Where and as whom calls are made; used by `token` and `whoami`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Client options")]
pub(super) struct ClientArgs {
    /// Server to call: http://HOST:PORT, HOST:PORT or unix:PATH
    /// [env: TOKEN_AUTHORITY_SERVER] [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "SERVER", global = true)]
    pub server: Option<String>,

    /// Secret to call with, or - for standard input; other processes can see arguments
    /// [env: TOKEN_AUTHORITY_TOKEN]
    #[arg(long, value_name = "SECRET", global = true)]
    pub token: Option<SecretArg>,

    /// File that holds the secret to call with [env: TOKEN_AUTHORITY_TOKEN_FILE]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// How long each call may take, such as 500ms or 1m
    #[arg(long, value_name = "SPAN", global = true, default_value = "10s", value_parser = timeout)]
    pub timeout: Duration,

    /// Print the answer as canonical protobuf JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Serve gRPC until told to stop
    Serve(ServeCommand),
    /// Write the identity of a new Redis store, once, and print it
    Init(ServerArgs),
    /// Print the effective configuration of a server as TOML, secrets redacted
    Config(ServerArgs),
    /// Create, inspect, judge and end tokens
    #[command(subcommand, after_help = EXIT_CODES)]
    Token(TokenCommand),
    /// Print who the caller is and what it may do
    Whoami,
}

#[derive(Args, Debug)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    pub server: ServerArgs,

    /// Write the identity of a new Redis store first, as `init` does
    #[arg(long)]
    pub init_store: bool,
}

/// The flags of a server. `Debug` keeps them to itself: a store's URL may hold a password.
#[derive(Args)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    pub args: ServeArgs,
}

impl fmt::Debug for ServerArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerArgs").finish_non_exhaustive()
    }
}

/// Longest deadline of a call.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if (Duration::from_millis(1)..=TIMEOUT_MAX).contains(&span) => Ok(span),
        _ => Err("must be a span of 1ms to 24h, such as 500ms or 1m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("token-authority").chain(line.split_whitespace()))
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn client_flags_stand_before_or_after_the_command() {
        for line in [
            "--server there:1 --json --timeout 2s token list",
            "token --server there:1 list --json --timeout 2s",
        ] {
            let client = parse(line).unwrap().client;
            assert_eq!(client.server.as_deref(), Some("there:1"), "{line}");
            assert_eq!(client.timeout, Duration::from_secs(2), "{line}");
            assert!(client.json, "{line}");
        }
    }

    #[test]
    fn a_call_takes_ten_seconds_unless_told_otherwise() {
        assert_eq!(
            parse("whoami").unwrap().client.timeout,
            Duration::from_secs(10)
        );
        for wrong in ["0s", "25h", "soon"] {
            assert!(
                parse(&format!("whoami --timeout {wrong}")).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_callers_secret_comes_from_one_place() {
        assert!(parse("whoami --token a --token-file b").is_err());
    }

    #[test]
    fn serve_takes_the_flags_of_a_server() {
        let cli = parse("serve --listen 127.0.0.1:0 --store sqlite:x.db --init-store").unwrap();
        let Command::Serve(serve) = cli.command else {
            panic!()
        };
        assert!(serve.init_store);
        assert_eq!(serve.server.args.store.as_deref(), Some("sqlite:x.db"));
    }

    #[test]
    fn parsed_arguments_print_no_secret() {
        for line in [
            "--token canary whoami",
            "token validate canary",
            "token revoke --secret canary",
            "serve --store redis://user:canary@host",
            "init --set access.root_tokens=canary",
        ] {
            let printed = format!("{:?}", parse(line).unwrap());
            assert!(!printed.contains("canary"), "{printed}");
        }
    }
}
