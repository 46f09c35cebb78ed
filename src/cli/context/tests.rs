//! Which context is in force, and what it says beside flags and variables.

use clap::Parser;

use super::super::args::Cli;
use super::*;

const FILE: &str = r#"
current = "home"
[contexts.home]
server = "https://home:1"
token_file = "/home-token"
namespace = "mine"
ca_file = "/home.pem"
[contexts.work]
server = "https://work:1"
token_file = "/work-token"
cert_file = "/work.pem"
key_file = "/work.key"
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("contexts.toml"), text).unwrap();
        Self(folder)
    }

    fn found(&self, flags: &str, variables: &[(&str, &str)]) -> Result<InForce, String> {
        let words = ["token-authority", "whoami"].into_iter();
        let cli = Cli::try_parse_from(words.chain(flags.split_whitespace())).unwrap();
        let file = self.0.path().join("contexts.toml");
        let file = ("TOKEN_AUTHORITY_CONTEXTS", file.to_str().unwrap());
        let pairs = variables.iter().chain([&file]);
        let environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        in_force(&cli.client, &environment).map_err(|failure| failure.lines().join("\n"))
    }

    fn server(&self, flags: &str, variables: &[(&str, &str)]) -> Option<String> {
        let found = self.found(flags, variables).unwrap();
        found.environment.get("TOKEN_AUTHORITY_SERVER").cloned()
    }
}

#[test]
fn a_flag_names_the_context_before_a_variable_and_that_before_the_current_one() {
    let place = Place::new(FILE);
    let variable = |name| [(VARIABLE, name)];
    let home = Some("https://home:1".to_owned());
    let work = Some("https://work:1".to_owned());
    assert_eq!(place.server("", &[]), home);
    assert_eq!(place.server("", &variable("work")), work);
    assert_eq!(place.server("", &variable("")), home);
    assert_eq!(place.server("--context home", &variable("work")), home);
    assert_eq!(place.server("--context work", &[]), work);
    assert_eq!(Place::new("").server("", &[]), None);
}

#[test]
fn flags_and_variables_count_before_what_a_context_says() {
    let place = Place::new(FILE);
    let by_context = place.found("", &[]).unwrap();
    let said = |found: &InForce, name: &str| found.environment.get(name).cloned();
    let file = "TOKEN_AUTHORITY_TOKEN_FILE";
    let authorities = "TOKEN_AUTHORITY_CA_FILE";
    assert_eq!(said(&by_context, file).as_deref(), Some("/home-token"));
    assert_eq!(said(&by_context, authorities).as_deref(), Some("/home.pem"));
    assert_eq!(by_context.namespace.as_deref(), Some("mine"));
    let by_variable = place
        .found("", &[(authorities, "/other.pem"), (file, "/other")])
        .unwrap();
    assert_eq!(said(&by_variable, file).as_deref(), Some("/other"));
    assert_eq!(
        said(&by_variable, authorities).as_deref(),
        Some("/other.pem")
    );
    // Both variables of a secret together would be refused.
    let secret = place.found("", &[("TOKEN_AUTHORITY_TOKEN", "s")]).unwrap();
    assert_eq!((said(&secret, file), secret.token_file), (None, None));
    for flag in ["--token s", "--token-file /other"] {
        let by_flag = place.found(flag, &[]).unwrap();
        assert_eq!((said(&by_flag, file), by_flag.token_file), (None, None));
    }
    let own = "TOKEN_AUTHORITY_CERT_FILE";
    let pair = place.found("--context work", &[]).unwrap();
    assert_eq!(said(&pair, own).as_deref(), Some("/work.pem"));
    let mixed = place
        .found("--context work", &[("TOKEN_AUTHORITY_KEY_FILE", "/k")])
        .unwrap();
    assert_eq!(
        said(&mixed, own),
        None,
        "a certificate of one beside a key of another"
    );
}

#[test]
fn what_a_context_holds_goes_to_no_other_server() {
    let place = Place::new(FILE);
    let variable = [("TOKEN_AUTHORITY_SERVER", "http://there:1")];
    for (flags, variables, told) in [
        ("--server http://there:1", &[][..], false),
        ("", &variable[..], false),
        ("--server http://there:1 --context work", &[], true),
        ("--context work", &variable, true),
    ] {
        let found = place.found(flags, variables).unwrap();
        assert_eq!(
            found.environment.get("TOKEN_AUTHORITY_TOKEN_FILE"),
            None,
            "{flags}"
        );
        assert_eq!(found.token_file, None, "{flags}");
        assert_eq!(found.namespace, None, "{flags}");
        assert_eq!(found.note.is_some(), told, "{flags}");
    }
}

#[test]
fn a_context_that_is_not_there_is_an_error_which_names_those_that_are() {
    let place = Place::new(FILE);
    let why = place.found("--context wrok", &[]).unwrap_err();
    assert!(
        why.contains("contexts.toml: --context: there is no context \"wrok\""),
        "{why}"
    );
    assert!(why.contains("there are home, work"), "{why}");
    let why = place.found("", &[(VARIABLE, "wrok")]).unwrap_err();
    assert!(
        why.contains("TOKEN_AUTHORITY_CONTEXT: there is no"),
        "{why}"
    );
}

#[test]
fn a_file_of_a_secret_is_looked_at_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let text = format!(
        "current = \"a\"\n[contexts.a]\nserver = \"https://a:1\"\ntoken_file = \"{}\"\n",
        secret.display()
    );
    let place = Place::new(&text);
    let look = || place.found("", &[]).unwrap().look_at_token_file();
    let why = look().unwrap_err().lines().join("\n");
    assert!(why.contains("contexts.a.token_file: "), "{why}");
    fs::write(&secret, "s").unwrap();
    for (mode, warned) in [(0o600, false), (0o644, true), (0o620, true), (0o400, false)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(look().unwrap().is_some(), warned, "{mode:o}");
    }
}
