//! The flags that configure a server.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

/// Flags of `serve`, `init` and `config`; they win over environment, file and defaults. `Debug`
/// keeps them to itself: a store's URL may hold a password, and a setting anything.
#[derive(Args, Clone, Default)]
pub struct ServeArgs {
    /// Configuration file (TOML) [env: TOKEN_AUTHORITY_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where gRPC listens, such as 127.0.0.1:50051 [env: TOKEN_AUTHORITY_LISTEN]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Where the console listens, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub console: Option<String>,

    /// Where tokens are kept: sqlite:PATH or redis://host:port [env: TOKEN_AUTHORITY_STORE]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,

    /// Identity that a Redis store must carry, as `init` printed it
    #[arg(long, value_name = "ID")]
    pub store_id: Option<String>,

    /// Weakest durability of Redis to accept: none, 1s, strict or replicated
    #[arg(long, value_name = "CLASS")]
    pub min_durability: Option<String>,

    /// What every key in Redis begins with
    #[arg(long, value_name = "PREFIX")]
    pub redis_prefix: Option<String>,

    /// Refuse to start where there is no SQLite database
    #[arg(long)]
    pub require_existing: bool,

    /// Accept plaintext connections beyond loopback
    #[arg(long)]
    pub allow_plaintext: bool,

    /// Where a generated root token is written
    #[arg(long, value_name = "FILE")]
    pub root_token_file: Option<String>,

    /// Any other key of the configuration, such as limits.call_deadline=5s
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl fmt::Debug for ServeArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeArgs").finish_non_exhaustive()
    }
}

impl ServeArgs {
    /// The given flags as keys of the configuration, in the order in which they apply.
    pub(super) fn keys(&self) -> Vec<(&'static str, String)> {
        let Self {
            config: _,
            listen,
            console,
            store,
            store_id,
            min_durability,
            redis_prefix,
            require_existing,
            allow_plaintext,
            root_token_file,
            settings: _,
        } = self;
        let texts = [
            ("server.listen", listen),
            ("console.listen", console),
            ("store.url", store),
            ("store.id", store_id),
            ("store.min_durability", min_durability),
            ("store.redis_prefix", redis_prefix),
            ("access.root_token_file", root_token_file),
        ];
        let switches = [
            ("store.require_existing", require_existing),
            ("server.allow_plaintext", allow_plaintext),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)));
        let switches = switches
            .into_iter()
            .filter(|(_, on)| **on)
            .map(|(key, _)| (key, "true".to_owned()));
        texts.chain(switches).collect()
    }
}
