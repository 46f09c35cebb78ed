//! What the file of contexts may hold, and how it is written.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn load(path: &Path) -> Result<Contexts, String> {
    let pair = (FILE_VARIABLE.to_owned(), path.to_str().unwrap().to_owned());
    let environment = Environment::from([pair]);
    Contexts::load(&environment).map_err(|failure| failure.lines().join("\n"))
}

fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, text).unwrap();
    let why = load(&path).unwrap_err();
    let named = format!("error: {}: ", path.display());
    let rest = why.strip_prefix(&named);
    rest.unwrap_or_else(|| panic!("names no file: {why}"))
        .to_owned()
}

#[test]
fn errors_name_the_file_the_key_and_the_value() {
    let server = "server = 'https://a:1'\n";
    for (text, told) in [
        ("current = 3".to_owned(), "current: must be a string"),
        (
            "current = 'a'".to_owned(),
            "current: there is no context \"a\"",
        ),
        ("currant = 'a'".to_owned(), "unknown key \"currant\""),
        ("\n[contexts.a]\nserver = ".to_owned(), "line 3: "),
        (
            "contexts.a.namespace = 'n'".to_owned(),
            "contexts.a.server: is missing",
        ),
        (
            "contexts.a.server = 'ftp://x'".to_owned(),
            "contexts.a.server: the server must be",
        ),
        (
            "contexts.a.server = 7".to_owned(),
            "contexts.a.server: must be a string; got 7",
        ),
        ("contexts.'a b'.server = 'a:1'".to_owned(), "got \"a b\""),
        (
            format!("[contexts.a]\n{server}token_file = 'x'"),
            "contexts.a.token_file: must be a path that begins with /; got \"x\"",
        ),
        (
            format!("[contexts.a]\n{server}namespace = ''"),
            "contexts.a.namespace: must be visible text",
        ),
        (
            format!("[contexts.a]\n{server}tokenfile = 'x'"),
            "contexts.a.tokenfile: unknown key",
        ),
        (
            format!("[contexts.a]\n{server}cert_file = '/x'"),
            "contexts.a.cert_file: needs key_file",
        ),
        (
            "[contexts.a]\nserver = 'http://a:1'\nca_file = '/x'".to_owned(),
            "contexts.a.ca_file: is for TLS",
        ),
    ] {
        let why = refused(&text);
        assert!(why.contains(told), "{text}: {why}");
    }
}

#[test]
fn a_secret_has_no_place_in_it_and_is_not_repeated() {
    for text in [
        "[contexts.a]\nserver = 'a:1'\ntoken = 'canary'",
        "[contexts.a]\nserver = 'a:1'\ntoken = 'canary",
        "[contexts.a]\nserver = 'a:1'\npassword = 'canary'",
    ] {
        let why = refused(text);
        assert!(!why.contains("canary"), "{why}");
    }
    assert!(refused("[contexts.a]\nserver = 'a:1'\ntoken = 'x'").contains("holds no secret"));
}

#[test]
fn it_is_written_whole_for_its_owner_only_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below").join("c.toml");
    let mut contexts = load(&path).unwrap();
    let context: Context = [
        (Key::Server, "https://a:1".to_owned()),
        (Key::TokenFile, "/a \"b\"".to_owned()),
    ]
    .into();
    contexts.put("a.b", context.clone()).unwrap();
    contexts.current = Some("a.b".to_owned());
    contexts.save().unwrap();
    let read = load(&path).unwrap();
    assert_eq!(read.current.as_deref(), Some("a.b"));
    assert_eq!(read.named.get("a.b"), Some(&context));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "something is left beside the file");
    // What others could read is for its owner from then on; a link to it stays one.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    load(&link).unwrap().save().unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn it_stands_beside_the_root_token_unless_a_variable_names_it() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        place(&pairs.collect()).ok()
    };
    let expected = |path: &str| Some(PathBuf::from(path));
    let home = ("HOME", "/h");
    assert_eq!(
        of(&[home]),
        expected("/h/.config/token-authority/contexts.toml")
    );
    let config = ("XDG_CONFIG_HOME", "/c");
    assert_eq!(
        of(&[home, config]),
        expected("/c/token-authority/contexts.toml")
    );
    assert_eq!(of(&[home, config, (FILE_VARIABLE, "/f")]), expected("/f"));
    assert_eq!(of(&[]), None);
}
