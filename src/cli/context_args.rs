//! The flags of the `context` commands.

use clap::{Args, Subcommand};

use super::contexts::Key;

#[derive(Subcommand, Debug)]
pub(super) enum ContextCommand {
    /// Print the contexts there are
    List,
    /// Choose the context that counts from now on
    Use {
        /// Context to choose
        name: String,
    },
    /// Print what a context says
    Show {
        /// Context to print, if not the one in force
        name: Option<String>,
    },
    /// Make a context of the flags --server, --token-file and so on, or change what they name
    Set(SetArgs),
    /// Delete a context; the files that it names stay
    Delete {
        /// Context to delete
        name: String,
    },
}

impl ContextCommand {
    /// What `--help` says after the flags.
    pub(super) const ABOUT: &'static str = "\
Contexts stand in contexts.toml, in the folder token-authority below $XDG_CONFIG_HOME or ~/.config;
TOKEN_AUTHORITY_CONTEXTS names another file. Which one is in force, first match: --context,
TOKEN_AUTHORITY_CONTEXT, the one chosen by context use.

For each value flags count first, then variables, then the context, then the default. Where --server or
TOKEN_AUTHORITY_SERVER names a server, nothing of a context is used: a secret goes to no other server
than the one it is kept for. A context holds no secret, only the name of a file that does.";
}

#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// Context to make or change: letters, digits, dots, dashes and underscores
    pub name: String,

    /// Tenant that commands mean where none is given
    #[arg(long)]
    pub namespace: Option<String>,

    /// What the context shall not say any more; may be repeated
    #[arg(long, value_name = "KEY", value_enum)]
    pub unset: Vec<Key>,
}
