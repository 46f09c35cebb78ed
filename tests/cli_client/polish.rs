//! Contexts, completions, colours: what the program does for people beside its calls.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::canned::{CALLER, ID};
use super::program::{Fixture, program};

#[test]
fn a_context_says_where_to_call_and_as_whom_until_a_variable_does() {
    let fixture = Fixture::new();
    let home = fixture.home.path();
    let run = |line: &str, variables: &[(&str, &str)]| program(line, "", variables, home);
    let secret = home.join("secret");
    std::fs::write(&secret, CALLER).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (address, path) = (fixture.address, secret.to_str().unwrap());
    let line =
        format!("context set here --server http://{address} --token-file {path} --namespace shop");
    let ran = run(&line, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "context here is set, and in force\n");
    let ran = run("whoami", &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let ran = run("token list", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (_, _, asked) = fixture.asked().pop().unwrap();
    assert!(asked.contains("namespace: \"shop\""), "{asked}");
    assert_eq!(
        run("context set gone --server http://127.0.0.1:1", &[]).code,
        0
    );
    assert_eq!(run("whoami --context gone", &[]).code, 6);
    assert_eq!(
        run("whoami", &[("TOKEN_AUTHORITY_CONTEXT", "gone")]).code,
        6
    );
    let shown = run("context list", &[]);
    assert!(
        shown.out.contains("\n*        here  http://"),
        "{}",
        shown.out
    );
    assert_eq!(run("context use gone", &[]).code, 0);
    assert_eq!(run("whoami", &[]).code, 6);
    let back = [
        ("TOKEN_AUTHORITY_SERVER", &*address.to_string()),
        ("TOKEN_AUTHORITY_TOKEN", CALLER),
    ];
    assert_eq!(run("whoami", &back).code, 0);
    assert_eq!(run("context delete gone", &[]).code, 0);
    let none = run("context show", &[]);
    assert!(
        none.code == 2 && none.err.contains("no context is in force"),
        "{}",
        none.err
    );
    // A secret that others can read is used, but not in silence.
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = run("whoami --context here", &[]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains("open to others (mode 0644)"),
        "{}",
        ran.err
    );
    let refused = run("context set here --token hush-hush-hush", &[]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("holds no secret") && !refused.err.contains("hush"),
        "{}",
        refused.err
    );
}

#[test]
fn bash_understands_its_completions_and_every_shell_gets_commands() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = program(&format!("completions {shell}"), "", &[], home.path());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{shell}");
        for word in [
            "validate",
            "keep-alive",
            "completions",
            "token-file",
            "context",
        ] {
            assert!(ran.out.contains(word), "{shell} lacks {word}");
        }
        let file = home.path().join(shell);
        std::fs::write(&file, ran.out).unwrap();
    }
    let parsed = Command::new("bash")
        .arg("-n")
        .arg(home.path().join("bash"))
        .output()
        .unwrap();
    assert!(
        parsed.status.success(),
        "{}",
        String::from_utf8_lossy(&parsed.stderr)
    );
    // What bash offers after the first letters.
    for (words, offered) in [
        ("token val", "validate"),
        ("tok", "token"),
        ("lease keep", "keep-alive"),
        ("context list --jso", "--json"),
    ] {
        let last = words.rsplit(' ').next().unwrap();
        let count = words.split(' ').count();
        let ask = format!(
            "source ./bash; f=$(complete -p token-authority | grep -oE '_[a-z_]+'); \
             COMP_WORDS=(token-authority {words}); COMP_CWORD={count}; \
             $f token-authority {last} before; echo ${{COMPREPLY[@]}}"
        );
        let mut bash = Command::new("bash");
        let asked = bash.args(["-c", &ask]).current_dir(home.path()).output();
        let out = asked.unwrap().stdout;
        assert_eq!(
            String::from_utf8_lossy(&out),
            format!("{offered}\n"),
            "{words}"
        );
    }
}

#[test]
fn colours_are_for_people_only() {
    let fixture = Fixture::new();
    let run = |line: &str, variable: (&str, &str)| {
        let caller = ("TOKEN_AUTHORITY_TOKEN", CALLER);
        fixture.program(line, "", &[caller, variable])
    };
    let none = ("NO_COLOR", "");
    let get = format!("token get {ID}");
    let plain = run(&get, none);
    assert!(!plain.out.contains('\x1b'), "{}", plain.out);
    let judged = "token validate wrong";
    assert!(!run(judged, none).out.contains('\x1b'));
    let always = run(&format!("{judged} --color always"), none);
    assert!(
        always.out.starts_with("\x1b[31mMALFORMED\x1b[0m\n"),
        "{}",
        always.out
    );
    assert!(run(judged, ("CLICOLOR_FORCE", "1")).out.contains('\x1b'));
    let never = format!("{judged} --color never");
    assert!(!run(&never, ("CLICOLOR_FORCE", "1")).out.contains('\x1b'));
    let json = run(&format!("{judged} --json --color always"), none);
    assert!(!json.out.contains('\x1b'), "{}", json.out);
    assert!(run("--help --color always", none).out.contains('\x1b'));
    assert!(!run("--help", none).out.contains('\x1b'));
    let wrong = run("token get absent --color=always", none);
    assert!(
        wrong.err.starts_with("\x1b[1m\x1b[31merror:\x1b[0m"),
        "{:?}",
        wrong.err
    );
}
