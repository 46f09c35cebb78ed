//! What `--help` teaches by: a few lines for each command that do something real.

use clap::Command as Syntax;
use clap::builder::StyledStr;

/// Each command's examples: what for, and the line to write.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "serve",
        &[
            (
                "On loopback, in an SQLite database of this folder",
                "token-authority serve --store sqlite:tokens.db",
            ),
            (
                "On all addresses, in Redis, as the configuration says else",
                "token-authority serve --config /etc/token-authority.toml --listen 0.0.0.0:50051 --store redis://redis:6379",
            ),
            (
                "Any key of the configuration can be set",
                "token-authority serve --set limits.call_deadline=5s",
            ),
        ],
    ),
    (
        "init",
        &[
            (
                "Once, before the first server of a Redis store",
                "token-authority init --store redis://redis:6379",
            ),
            (
                "With an identity that is known beforehand",
                "token-authority init --store redis://redis:6379 --store-id 0123456789abcdef0123456789abcdef",
            ),
        ],
    ),
    (
        "config",
        &[
            (
                "What a server with this file would do",
                "token-authority config --config /etc/token-authority.toml",
            ),
            ("What defaults there are", "token-authority config | less"),
        ],
    ),
    (
        "doctor",
        &[
            (
                "Everything, before serve is started for the first time",
                "token-authority doctor --config /etc/token-authority.toml",
            ),
            (
                "For a script: what fails",
                "token-authority doctor --json | jq '.findings[] | select(.level == \"FAIL\")'",
            ),
            (
                "Read the whole database, and take the time",
                "token-authority doctor --deep --timeout 5m",
            ),
        ],
    ),
    (
        "healthcheck",
        &[
            (
                "The server of this configuration, in a container's health check",
                "token-authority healthcheck --config /etc/token-authority.toml",
            ),
            (
                "Another one, within a second",
                "token-authority healthcheck --server https://tokens.example.org:50051 --timeout 1s",
            ),
        ],
    ),
    (
        "token create",
        &[
            (
                "A token that may read orders, for a day",
                "token-authority token create --name shop --owner team-b --scope orders:read --ttl 24h",
            ),
            (
                "Only its secret, into a file",
                "token-authority token create --name job --secret-only > secret",
            ),
            (
                "With limits: 100 a minute, 10000 a month",
                "token-authority token create --name partner --rate-limit 100/1m --quota 10000/30d",
            ),
        ],
    ),
    (
        "token get",
        &[
            (
                "What is known of a token",
                "token-authority token get 7fUe0Vn3cK2rQhJx5mTzWa",
            ),
            (
                "Its state alone",
                "token-authority token get 7fUe0Vn3cK2rQhJx5mTzWa --json | jq -r .token.state",
            ),
        ],
    ),
    (
        "token list",
        &[
            (
                "The newest tokens of an owner",
                "token-authority token list --owner team-b",
            ),
            (
                "All that were revoked, in every namespace",
                "token-authority token list --namespace - --state revoked --all",
            ),
            (
                "How much each is used",
                "token-authority token list --usage --label env=test",
            ),
        ],
    ),
    (
        "token update",
        &[
            (
                "Other limits; the rest stays",
                "token-authority token update 7fUe0Vn3cK2rQhJx5mTzWa --rate-limit 60/1h --quota 1000/30d",
            ),
            (
                "Switch it off, unless somebody else changed it meanwhile",
                "token-authority token update 7fUe0Vn3cK2rQhJx5mTzWa --disable --revision 12",
            ),
            (
                "Add to what is left of its quota",
                "token-authority token update 7fUe0Vn3cK2rQhJx5mTzWa --quota-limit 2000",
            ),
        ],
    ),
    (
        "token rotate",
        &[
            (
                "A new secret; the present one stays in force for an hour",
                "token-authority token rotate 7fUe0Vn3cK2rQhJx5mTzWa --grace 1h",
            ),
            (
                "At once, after a leak, the new one into a file",
                "token-authority token rotate 7fUe0Vn3cK2rQhJx5mTzWa --secret-only > secret",
            ),
        ],
    ),
    (
        "token reset-limits",
        &[
            (
                "All of its limits and its quota are left again",
                "token-authority token reset-limits 7fUe0Vn3cK2rQhJx5mTzWa",
            ),
            (
                "What there is then, as JSON",
                "token-authority token reset-limits 7fUe0Vn3cK2rQhJx5mTzWa --json",
            ),
        ],
    ),
    (
        "token revoke",
        &[
            (
                "By id",
                "token-authority token revoke 7fUe0Vn3cK2rQhJx5mTzWa --reason \"job ended\"",
            ),
            (
                "A secret that was found somewhere; this needs no other credential",
                "token-authority token revoke --secret - < found",
            ),
        ],
    ),
    (
        "token delete",
        &[
            (
                "Record, usage and all; prefer revoke",
                "token-authority token delete 7fUe0Vn3cK2rQhJx5mTzWa",
            ),
            (
                "Where another context leads",
                "token-authority token delete 7fUe0Vn3cK2rQhJx5mTzWa --context staging",
            ),
        ],
    ),
    (
        "token validate",
        &[
            (
                "May this secret read orders? Exit code 0 says yes",
                "token-authority token validate --scope orders:read < secret",
            ),
            (
                "Judge a call as a gateway would",
                "token-authority token validate --method GET --path /products/1 --client-ip 10.0.0.7 < secret",
            ),
            (
                "What would happen, without using anything up",
                "token-authority token validate --cost 50 --dry-run < secret",
            ),
        ],
    ),
    (
        "namespace list",
        &[
            (
                "Which there are, and how many tokens they hold",
                "token-authority namespace list",
            ),
            (
                "All, as JSON",
                "token-authority namespace list --all --json",
            ),
        ],
    ),
    (
        "pool list",
        &[
            (
                "How many tokens are free, leased and waited for",
                "token-authority pool list",
            ),
            (
                "In every namespace",
                "token-authority pool list --namespace - --all",
            ),
        ],
    ),
    (
        "pool fill",
        &[
            (
                "Four tokens for four accelerators",
                "token-authority pool fill gpu --count 4 --keep-alive-ttl 0",
            ),
            (
                "Their secrets alone, into a file",
                "token-authority pool fill gpu --count 100 --scope render:* --secret-only > secrets",
            ),
        ],
    ),
    (
        "lease acquire",
        &[
            (
                "Wait up to ten minutes for a token of the pool",
                "token-authority lease acquire gpu --wait 10m --holder worker-1",
            ),
            (
                "For a minute, as JSON",
                "token-authority lease acquire gpu --duration 1m --json",
            ),
        ],
    ),
    (
        "lease release",
        &[
            (
                "Your own lease, its name from a file",
                "token-authority lease release - < lease-id",
            ),
            (
                "Take it from whoever holds it",
                "token-authority lease release --token-id 7fUe0Vn3cK2rQhJx5mTzWa --force",
            ),
        ],
    ),
    (
        "lease keep-alive",
        &[
            (
                "A minute more",
                "token-authority lease keep-alive - --duration 1m < lease-id",
            ),
            (
                "Keep a pooled token that nobody holds",
                "token-authority lease keep-alive --token-id 7fUe0Vn3cK2rQhJx5mTzWa",
            ),
        ],
    ),
    (
        "lease run",
        &[
            (
                "Render while a token of the pool is held",
                "token-authority lease run --pool gpu --wait 10m -- render scene.blend",
            ),
            (
                "Give the command half a minute to end when the lease is lost",
                "token-authority lease run --pool db-migration --grace 30s -- ./migrate",
            ),
        ],
    ),
    (
        "usage",
        &[
            (
                "How a token was used within a day",
                "token-authority usage 7fUe0Vn3cK2rQhJx5mTzWa",
            ),
            (
                "Within a week, as JSON",
                "token-authority usage 7fUe0Vn3cK2rQhJx5mTzWa --window 7d --json",
            ),
        ],
    ),
    (
        "overview",
        &[
            ("Your namespace within a day", "token-authority overview"),
            (
                "All namespaces within a week",
                "token-authority overview --namespace - --window 7d",
            ),
        ],
    ),
    (
        "watch",
        &[
            (
                "What happens to tokens, from now on",
                "token-authority watch",
            ),
            (
                "What ends, for a script, line by line",
                "token-authority watch --type revoked --type expired --json",
            ),
        ],
    ),
    (
        "whoami",
        &[
            (
                "Who am I here, and what may I do?",
                "token-authority whoami",
            ),
            (
                "With the secret in a file, at another server",
                "token-authority whoami --server https://tokens.example.org:50051 --token-file secret",
            ),
        ],
    ),
    (
        "context list",
        &[
            (
                "Which contexts there are; the current one has a *",
                "token-authority context list",
            ),
            ("As JSON", "token-authority context list --json"),
        ],
    ),
    (
        "context use",
        &[
            ("From now on", "token-authority context use production"),
            (
                "For one command only",
                "token-authority whoami --context production",
            ),
        ],
    ),
    (
        "context show",
        &[
            ("The one in force", "token-authority context show"),
            ("Another one", "token-authority context show production"),
        ],
    ),
    (
        "context set",
        &[
            (
                "A server, and who calls it",
                "token-authority context set production --server https://tokens.example.org:50051 --token-file /home/me/.config/production-token",
            ),
            (
                "One that has its own authority; the rest stays",
                "token-authority context set production --ca-file /etc/ssl/ours.pem --namespace shop",
            ),
            (
                "Without a namespace again",
                "token-authority context set production --unset namespace",
            ),
        ],
    ),
    (
        "context delete",
        &[
            (
                "What it names stays",
                "token-authority context delete staging",
            ),
            (
                "In another file",
                "TOKEN_AUTHORITY_CONTEXTS=./contexts.toml token-authority context delete staging",
            ),
        ],
    ),
    (
        "completions",
        &[
            (
                "bash",
                "token-authority completions bash > ~/.local/share/bash-completion/completions/token-authority",
            ),
            (
                "zsh, in a folder of $fpath",
                "token-authority completions zsh > ~/.zfunc/_token-authority",
            ),
            (
                "fish",
                "token-authority completions fish > ~/.config/fish/completions/token-authority.fish",
            ),
        ],
    ),
];

/// The same tree, in which the long help of each command ends in its examples.
pub(super) fn taught(syntax: Syntax) -> Syntax {
    below(syntax, "")
}

fn below(mut command: Syntax, path: &str) -> Syntax {
    let names = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned());
    for name in names.collect::<Vec<_>>() {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(name, |command| below(command, path.trim_start()));
    }
    let Some((_, examples)) = EXAMPLES.iter().find(|(known, _)| *known == path) else {
        return command;
    };
    let lines = examples.iter();
    let lines = lines.map(|(what, line)| format!("  # {what}\n  {line}\n"));
    let mut text = format!("Examples:\n{}", lines.collect::<String>());
    if let Some(after) = command.get_after_help().map(StyledStr::to_string) {
        text = format!("{text}\n{after}");
    }
    command.after_long_help(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests;
