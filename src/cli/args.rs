//! The tree of commands and their flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{
    Arg, ArgMatches, Args, Command as Syntax, CommandFactory, FromArgMatches, Parser, Subcommand,
};

use crate::config::args::ServeArgs;

use super::doctor::DoctorCommand;
use super::lease_args::LeaseCommand;
use super::namespace::NamespaceCommand;
use super::pool::PoolCommand;
use super::secret::SecretArg;
use super::token_args::TokenCommand;
use super::usage::{OverviewCommand, UsageCommand};
use super::watch::WatchCommand;

/// What `--help` says after the flags.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done; for validate: VALID
  1  validate: any other verdict; healthcheck: NOT_SERVING; doctor: something fails
  2  wrong usage or configuration
  3  not found
  4  no valid credential, or permission denied
  5  invalid argument, failed precondition, or already exists
  6  server unavailable, unreachable or not to be trusted, or deadline exceeded
  7  anything else, such as a pool of which every token is leased
  8  another change of the token came before: look at it again, and repeat
lease run has codes of its own, see there. serve and init answer with codes of the same meaning. A second SIGTERM or SIGINT while serve drains
ends it at once, with 143 or 130.

Secrets: wherever a secret is taken, - reads it from standard input. Without --token, --token-file
and their variables, calls to this machine use the root token in the file that
TOKEN_AUTHORITY_ROOT_TOKEN_FILE or TOKEN_AUTHORITY_ACCESS_ROOT_TOKEN_FILE names, or else in the
default place of the one that a server generated.";

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

/// Where and as whom calls are made; used by `token`, `namespace`, `pool`, `lease`, `watch`, `whoami` and, as far as no
/// credential is meant, by `healthcheck`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Client options")]
pub(super) struct ClientArgs {
    /// Server to call: https://HOST:PORT, http://HOST:PORT (plaintext), unix:PATH, or HOST:PORT,
    /// which is plaintext on loopback and TLS elsewhere
    /// [env: TOKEN_AUTHORITY_SERVER] [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "SERVER", global = true)]
    pub server: Option<String>,

    /// Authorities (PEM) that may vouch for the server, instead of those of the system
    /// [env: TOKEN_AUTHORITY_CA_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,

    /// Certificate (PEM) to show to the server, with --key-file [env: TOKEN_AUTHORITY_CERT_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    pub cert_file: Option<PathBuf>,

    /// Private key (PEM) of that certificate [env: TOKEN_AUTHORITY_KEY_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    pub key_file: Option<PathBuf>,

    /// Name that the server's certificate must have, instead of HOST
    /// [env: TOKEN_AUTHORITY_SERVER_NAME]
    #[arg(long, value_name = "NAME", global = true)]
    pub server_name: Option<String>,

    /// Secret to call with, or - for standard input; other processes can see arguments
    /// [env: TOKEN_AUTHORITY_TOKEN]
    #[arg(long, value_name = "SECRET", global = true)]
    pub token: Option<SecretArg>,

    /// File that holds the secret to call with [env: TOKEN_AUTHORITY_TOKEN_FILE]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// How long each call may take, such as 500ms or 1m [default: 10s; of healthcheck: 3s]
    #[arg(long, value_name = "SPAN", global = true, value_parser = timeout)]
    pub timeout: Option<Duration>,

    /// Print the answer as canonical protobuf JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl ClientArgs {
    /// How long a call may take where healthcheck's shorter time does not count.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Serve gRPC until told to stop
    Serve(ServeCommand),
    /// Write the identity of a new Redis store, once, and print it
    Init(ServeArgs),
    /// Print the effective configuration of a server as TOML, secrets redacted
    Config(ServeArgs),
    /// Look at all that a server needs, and say what to do about what is odd
    Doctor(DoctorCommand),
    /// Create, inspect, change, judge and end tokens
    #[command(subcommand, after_help = EXIT_CODES)]
    Token(TokenCommand),
    /// Look at namespaces
    #[command(subcommand, after_help = EXIT_CODES)]
    Namespace(NamespaceCommand),
    /// Look at pools of tokens, and fill them
    #[command(subcommand, after_help = EXIT_CODES)]
    Pool(PoolCommand),
    /// Hold a token of a pool for a while
    #[command(subcommand, after_help = EXIT_CODES)]
    Lease(LeaseCommand),
    /// Print how a token was used, by hour, endpoint, secret and client
    #[command(after_help = EXIT_CODES)]
    Usage(UsageCommand),
    /// Print how a namespace is used, and by which tokens
    #[command(after_help = EXIT_CODES)]
    Overview(OverviewCommand),
    /// Print what happens to tokens, line by line, until ended
    #[command(after_help = EXIT_CODES)]
    Watch(WatchCommand),
    /// Print who the caller is and what it may do
    Whoami,
    /// Ask the server of this configuration, or --server, whether it serves; sends no credential
    #[command(after_help = WHOM_HEALTHCHECK_ASKS)]
    Healthcheck(HealthcheckCommand),
}

const WHOM_HEALTHCHECK_ASKS: &str = "\
Exit codes: 0 SERVING, 1 NOT_SERVING, 2 wrong usage or configuration, 6 not reached in time.

Without --server it asks the server that is configured by the same file, variables and flags as
serve's: on its first Unix socket, else on its first address, on loopback where that is all
addresses. It then takes any certificate, since it asks this machine and sends no secret.
TOKEN_AUTHORITY_SERVER is not looked at; --ca-file and --server-name need --server.";

#[derive(Args, Debug)]
pub(super) struct HealthcheckCommand {
    /// What to ask for, such as tokenauthority.v1.TokenService.management
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub service: String,

    /// As given to `serve`; not looked at with --server.
    #[command(flatten)]
    pub configured: ServeArgs,
}

#[derive(Args, Debug)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    pub server: ServeArgs,

    /// Write the identity of a new Redis store first, as `init` does
    #[arg(long)]
    pub init_store: bool,
}

/// Ids and names of the flags of [`ClientArgs`], which are global to stand before the command, too.
const CLIENT_FLAGS: [(&str, &str); 9] = [
    ("server", "server"),
    ("ca_file", "ca-file"),
    ("cert_file", "cert-file"),
    ("key_file", "key-file"),
    ("server_name", "server-name"),
    ("token", "token"),
    ("token_file", "token-file"),
    ("timeout", "timeout"),
    ("json", "json"),
];

/// The commands that call no server.
const SERVER_COMMANDS: [&str; 4] = ["serve", "init", "config", "doctor"];

/// The flags of a client that `doctor` has, too, with a meaning of its own.
const OF_DOCTOR: [&str; 2] = ["timeout", "json"];

const HEALTHCHECK: &str = "healthcheck";

/// Those of a client's flags that `healthcheck` has no use for: it is nobody's call.
const NOT_FOR_HEALTHCHECK: [(&str, &str); 3] = [
    ("token", "token"),
    ("token_file", "token-file"),
    ("json", "json"),
];

/// The flags of a server that say nothing of where it listens.
const NOT_WHERE: [&str; 6] = [
    "store",
    "store_id",
    "min_durability",
    "redis_prefix",
    "require_existing",
    "root_token_file",
];

/// The client's flags that a command does not take.
fn not_taken(command: &str) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let unused: &'static [_] = match command {
        HEALTHCHECK => &NOT_FOR_HEALTHCHECK,
        name if SERVER_COMMANDS.contains(&name) => &CLIENT_FLAGS,
        _ => &[],
    };
    unused.iter().filter(move |(id, _)| !is_own(command, id))
}

/// The flags of a server that `init` has no use for.
const NOT_FOR_INIT: [&str; 6] = [
    "listen",
    "console",
    "min_durability",
    "require_existing",
    "allow_plaintext",
    "root_token_file",
];

/// Reads the command line.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut syntax = syntax();
    let matches = syntax.try_get_matches_from_mut(arguments)?;
    refuse_client_flags(&mut syntax, &matches)?;
    Cli::from_arg_matches(&matches)
}

/// The tree of commands, where each one's help shows what that command uses.
fn syntax() -> Syntax {
    let mut syntax = Cli::command();
    for name in SERVER_COMMANDS.into_iter().chain([HEALTHCHECK]) {
        syntax = syntax.mut_subcommand(name, |command| {
            // A command's own argument stands in the way of the global one with the same id.
            command.args(not_taken(name).map(|(id, long)| {
                let flag = Arg::new(*id).long(*long).hide(true);
                flag.num_args(0..=1)
            }))
        });
    }
    syntax = syntax.mut_subcommand(HEALTHCHECK, |mut healthcheck| {
        for id in NOT_WHERE {
            healthcheck = healthcheck.mut_arg(id, |flag| flag.hide(true));
        }
        // In words of its own: the variable of other commands may mean another server.
        let server = Arg::new("server").long("server").value_name("SERVER");
        let server = server.help_heading("Client options").help(
            "Server to ask instead of the configured one: https://HOST:PORT, http://HOST:PORT \
             (plaintext), unix:PATH, or HOST:PORT",
        );
        healthcheck.arg(server)
    });
    syntax.mut_subcommand("init", |mut init| {
        for id in NOT_FOR_INIT {
            init = init.mut_arg(id, |flag| flag.hide(true));
        }
        init
    })
}

/// Whether the command `name` has the flag `id` of its own.
fn is_own(name: &str, id: &str) -> bool {
    name == "doctor" && OF_DOCTOR.contains(&id)
}

fn refuse_client_flags(syntax: &mut Syntax, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, own)) = matches.subcommand() else {
        return Ok(());
    };
    let given =
        |matches: &ArgMatches, id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    match not_taken(name).find(|(id, _)| given(matches, id) || given(own, id)) {
        Some((_, flag)) => {
            let why = match name {
                HEALTHCHECK => "sends no credential and answers with one word",
                _ => "is no command that would call a server",
            };
            let why = format!("--{flag} is not for {name}, which {why}");
            Err(syntax.error(ErrorKind::ArgumentConflict, why))
        }
        None => Ok(()),
    }
}

/// What to write instead, where only the word `token` was forgotten.
pub(super) fn hint(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let tokens = TokenCommand::augment_subcommands(Syntax::new("token"));
    let known = tokens
        .get_subcommands()
        .any(|command| command.get_name() == word);
    known.then(|| format!("hint: write token-authority token {word}"))
}

/// Longest deadline of a call.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if (Duration::from_millis(1)..=TIMEOUT_MAX).contains(&span) => Ok(span),
        _ => Err("must be a span of 1ms to 24h, such as 500ms or 1m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = std::iter::once("token-authority").chain(line.split_whitespace());
        super::parse(words.map(OsString::from))
    }

    fn help(command: &str) -> String {
        let error = parse(&format!("{command} --help")).unwrap_err();
        error.render().to_string()
    }

    #[test]
    fn the_tree_is_consistent() {
        syntax().debug_assert();
    }

    #[test]
    fn help_shows_what_a_command_uses() {
        for name in SERVER_COMMANDS {
            let help = help(name);
            for (id, flag) in CLIENT_FLAGS {
                let shown =
                    help.contains(&format!("--{flag} ")) || help.contains(&format!("--{flag}\n"));
                assert_eq!(shown, is_own(name, id), "{name} {flag}: {help}");
            }
            assert!(help.contains("--store "), "{help}");
        }
        let init = help("init");
        for id in NOT_FOR_INIT {
            assert!(!init.contains(&id.replace('_', "-")), "{id}: {init}");
        }
        assert!(init.contains("--store-id") && init.contains("--redis-prefix"));
        assert!(help("token list").contains("--server"));
        let healthcheck = help("healthcheck");
        for (flag, shown) in [
            ("--service ", true),
            ("--server ", true),
            ("--ca-file", true),
            ("--listen", true),
            ("--config", true),
            ("--timeout", true),
            ("--store ", false),
            ("--token", false),
            ("--json", false),
        ] {
            assert_eq!(healthcheck.contains(flag), shown, "{flag}: {healthcheck}");
        }
        let variable = "[env: TOKEN_AUTHORITY_SERVER]";
        assert!(!healthcheck.contains(variable), "{healthcheck}");
        assert!(help("whoami").contains(variable));
    }

    #[test]
    fn what_calls_no_server_takes_no_flags_of_a_client() {
        for line in [
            "serve --json",
            "--json serve",
            "config --server a:1",
            "init --token x",
            "serve --ca-file a",
            "healthcheck --token x",
            "--json healthcheck",
            "doctor --server a:1",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("is not for"), "{line}: {error}");
        }
    }

    #[test]
    fn a_forgotten_token_is_pointed_out() {
        let said = |line: &str| hint(&parse(line).unwrap_err());
        let whole = "hint: write token-authority token create";
        assert_eq!(said("create --name x").as_deref(), Some(whole));
        assert_eq!(said("cretae"), None);
        assert_eq!(said("token list --no-such"), None);
    }

    #[test]
    fn client_flags_stand_before_or_after_the_command() {
        for line in [
            "--server there:1 --json --timeout 2s token list",
            "token --server there:1 list --json --timeout 2s",
        ] {
            let client = parse(line).unwrap().client;
            assert_eq!(client.server.as_deref(), Some("there:1"), "{line}");
            assert_eq!(client.timeout(), Duration::from_secs(2), "{line}");
            assert!(client.json, "{line}");
        }
    }

    #[test]
    fn healthcheck_is_told_a_server_before_or_after_its_name() {
        for line in ["healthcheck --server a:1", "--server a:1 healthcheck"] {
            let client = parse(line).unwrap().client;
            assert_eq!(client.server.as_deref(), Some("a:1"), "{line}");
        }
        assert_eq!(parse("healthcheck").unwrap().client.server, None);
    }

    #[test]
    fn a_call_takes_ten_seconds_unless_told_otherwise() {
        assert_eq!(
            parse("whoami").unwrap().client.timeout(),
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
        assert_eq!(serve.server.store.as_deref(), Some("sqlite:x.db"));
    }

    #[test]
    fn doctor_takes_three_seconds_unless_told_otherwise_before_or_after_its_name() {
        for (line, seconds) in [
            ("doctor", 3),
            ("doctor --timeout 7s", 7),
            ("--timeout 7s doctor", 7),
        ] {
            let Command::Doctor(doctor) = parse(line).unwrap().command else {
                panic!()
            };
            assert_eq!(doctor.timeout, Duration::from_secs(seconds), "{line}");
        }
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
