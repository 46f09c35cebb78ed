//! What makes shells complete commands and flags, made of the tree of commands itself.

use clap_complete::Shell;

use super::args;

const NAME: &str = "token-authority";

/// The script for a shell, to be read by it when it starts.
pub(super) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::syntax(), NAME, &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap_complete 4.6 writes a program's dash in two ways for bash, so that what it recognizes has no
    // completions; either way alone will do.
    script.replace("token__subcmd__authority", "token__authority")
}
