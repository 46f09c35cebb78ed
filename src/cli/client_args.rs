//! The flags of all that calls a server: which one, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::secret::SecretArg;

/// The headings under which `--help` shows what every command takes.
pub(super) const SERVER: &str = "Server options";
pub(super) const CALLER: &str = "Caller options";
pub(super) const OUTPUT: &str = "Output options";

/// Where and as whom calls are made; used by `token`, `namespace`, `pool`, `lease`, `watch`, `whoami` and, as far as no
/// credential is meant, by `healthcheck`.
#[derive(Args, Clone, Debug)]
pub(super) struct ClientArgs {
    /// Context to take the server and the caller from where neither flags nor variables name them;
    /// see context --help [env: TOKEN_AUTHORITY_CONTEXT] [default: the current one of the file]
    #[arg(long, value_name = "NAME", global = true, help_heading = SERVER)]
    pub context: Option<String>,

    /// Server to call: https://HOST:PORT, http://HOST:PORT (plaintext), unix:PATH, or HOST:PORT,
    /// which is plaintext on loopback and TLS elsewhere
    /// [env: TOKEN_AUTHORITY_SERVER] [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "SERVER", global = true, help_heading = SERVER)]
    pub server: Option<String>,

    /// Authorities (PEM) that may vouch for the server, instead of those of the system
    /// [env: TOKEN_AUTHORITY_CA_FILE]
    #[arg(long, value_name = "FILE", global = true, help_heading = SERVER)]
    pub ca_file: Option<PathBuf>,

    /// Certificate (PEM) to show to the server, with --key-file [env: TOKEN_AUTHORITY_CERT_FILE]
    #[arg(long, value_name = "FILE", global = true, help_heading = CALLER)]
    pub cert_file: Option<PathBuf>,

    /// Private key (PEM) of that certificate [env: TOKEN_AUTHORITY_KEY_FILE]
    #[arg(long, value_name = "FILE", global = true, help_heading = CALLER)]
    pub key_file: Option<PathBuf>,

    /// Name that the server's certificate must have, instead of HOST
    /// [env: TOKEN_AUTHORITY_SERVER_NAME]
    #[arg(long, value_name = "NAME", global = true, help_heading = SERVER)]
    pub server_name: Option<String>,

    /// Secret to call with, or - for standard input; other processes can see arguments
    /// [env: TOKEN_AUTHORITY_TOKEN]
    #[arg(long, value_name = "SECRET", global = true, help_heading = CALLER)]
    pub token: Option<SecretArg>,

    /// File that holds the secret to call with [env: TOKEN_AUTHORITY_TOKEN_FILE]
    #[arg(long, value_name = "FILE", global = true, help_heading = CALLER, conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// How long each call may take, such as 500ms or 1m [default: 10s; of healthcheck: 3s]
    #[arg(long, value_name = "SPAN", global = true, help_heading = SERVER, value_parser = timeout)]
    pub timeout: Option<Duration>,

    /// Print the answer as canonical protobuf JSON
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,
}

impl ClientArgs {
    /// How long a call may take where healthcheck's shorter time does not count.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }
}

/// Longest deadline of a call.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if (Duration::from_millis(1)..=TIMEOUT_MAX).contains(&span) => Ok(span),
        _ => Err("must be a span of 1ms to 24h, such as 500ms or 1m".to_owned()),
    }
}
