//! What the tree of commands takes, refuses and shows.

use std::time::Duration;

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

#[test]
fn colours_are_known_before_the_command_line_is_understood() {
    let of = |line: &str| colour(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
    assert_eq!(of("a --color never --help"), ColourChoice::Never);
    assert_eq!(of("a --color=always token"), ColourChoice::Always);
    assert_eq!(of("a --color purple"), ColourChoice::Auto);
    assert_eq!(
        of("a lease run --pool p -- ls --color always"),
        ColourChoice::Auto
    );
}
