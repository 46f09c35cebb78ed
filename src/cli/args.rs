//! The tree of commands and their flags.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{
    Arg, ArgMatches, Args, Command as Syntax, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueEnum,
};

use clap_complete::Shell;

use crate::config::args::ServeArgs;

pub(super) use super::client_args::{ClientArgs, timeout};
use super::client_args::{OUTPUT, SERVER};
use super::colour::ColourChoice;
use super::context_args::ContextCommand;
use super::doctor::DoctorCommand;
use super::examples;
use super::lease_args::LeaseCommand;
use super::namespace::NamespaceCommand;
use super::pool::PoolCommand;
use super::token_args::TokenCommand;
use super::topics;
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

    /// Whether to colour words for people; auto: on a terminal, unless NO_COLOR is set, and where
    /// CLICOLOR_FORCE is
    #[arg(long = "color", id = "color", value_name = "WHEN", global = true, help_heading = OUTPUT)]
    #[arg(value_enum, default_value_t, hide_default_value = true)]
    pub colour: ColourChoice,

    #[command(subcommand)]
    pub command: Command,
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
    /// Name servers and callers once, and choose between them
    #[command(subcommand, after_help = ContextCommand::ABOUT)]
    Context(ContextCommand),
    /// Print what makes a shell complete commands and flags
    Completions {
        /// Shell to print it for
        #[arg(value_enum)]
        shell: Shell,
    },
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
const CLIENT_FLAGS: [(&str, &str); 10] = [
    ("context", "context"),
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

const COMPLETIONS: &str = "completions";

/// The flags of a client that `doctor` has, too, with a meaning of its own.
const OF_DOCTOR: [&str; 2] = ["timeout", "json"];

const HEALTHCHECK: &str = "healthcheck";

/// Those of a client's flags that `healthcheck` has no use for: it is nobody's call.
const NOT_FOR_HEALTHCHECK: [(&str, &str); 4] = [
    ("context", "context"),
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
        name if name == COMPLETIONS || SERVER_COMMANDS.contains(&name) => &CLIENT_FLAGS,
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
    let mut syntax = topics::by_topic(syntax());
    let matches = syntax.try_get_matches_from_mut(arguments)?;
    refuse_client_flags(&mut syntax, &matches)?;
    Cli::from_arg_matches(&matches)
}

/// What the command line says about colours, as far as that can be told before it is understood.
pub(super) fn colour(arguments: &[OsString]) -> ColourChoice {
    let words = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default());
    let words: Vec<&str> = words.take_while(|word| *word != "--").collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "--color");
    let joined = words
        .iter()
        .filter_map(|word| word.strip_prefix("--color="));
    let given = pairs.map(|pair| pair[1]).chain(joined).last();
    given
        .and_then(|text| ColourChoice::from_str(text, false).ok())
        .unwrap_or_default()
}

/// The tree of commands, where each one's help shows what that command uses.
pub(super) fn syntax() -> Syntax {
    let mut syntax = examples::taught(Cli::command());
    for name in SERVER_COMMANDS
        .into_iter()
        .chain([HEALTHCHECK, COMPLETIONS])
    {
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
        let server = server.help_heading(SERVER).help(
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

#[cfg(test)]
mod tests;
