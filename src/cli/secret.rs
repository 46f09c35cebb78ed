//! Secrets on their way in: from arguments, variables, files and standard input, never out.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{Environment, default_root_token_file};

use super::args::ClientArgs;
use super::failure::Failure;

/// Longest text that is read as a secret, in bytes; the server's own limit is far below.
const BYTES_MAX: u64 = 64 * 1024;

const VARIABLE: &str = "TOKEN_AUTHORITY_TOKEN";
const FILE_VARIABLE: &str = "TOKEN_AUTHORITY_TOKEN_FILE";

/// A secret as it was given, or `-` for the one on standard input. Never printed.
#[derive(Clone)]
pub(super) struct SecretArg(Zeroizing<String>);

impl From<String> for SecretArg {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for SecretArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretArg(redacted)")
    }
}

/// Standard input, which can give one secret.
pub(super) struct Input {
    reader: Box<dyn Read>,
    terminal: bool,
    taken: bool,
}

impl Input {
    pub(super) fn new(reader: Box<dyn Read>, terminal: bool) -> Self {
        Self {
            reader,
            terminal,
            taken: false,
        }
    }

    /// The given secret, or the one on standard input when `-` or, unless a person would have to
    /// type it, nothing was given.
    pub(super) fn secret(
        &mut self,
        given: Option<&SecretArg>,
    ) -> Result<Zeroizing<String>, Failure> {
        match given {
            Some(SecretArg(text)) if text.as_str() != "-" => Ok(text.clone()),
            None if self.terminal => Err(Failure::Usage(
                "give a secret, or - and the secret on standard input".to_owned(),
            )),
            _ => self.read(),
        }
    }

    fn read(&mut self) -> Result<Zeroizing<String>, Failure> {
        if std::mem::replace(&mut self.taken, true) {
            let why = "standard input can give one secret, not two";
            return Err(Failure::Usage(why.to_owned()));
        }
        bounded(&mut self.reader).map_err(|why| Failure::Usage(format!("standard input: {why}")))
    }
}

/// As whom a call is made.
pub(super) enum Credential {
    Given {
        secret: Zeroizing<String>,
        /// The file that it was read from.
        file: Option<PathBuf>,
    },
    /// No secret is known; the text says where one was looked for.
    Absent(String),
}

/// Finds the caller's secret: flags, then variables, then the file of a root token, which is for
/// nobody but a server on this machine, and only where nothing else says who calls: `no_root` says
/// why it is not looked for.
pub(super) fn credential(
    args: &ClientArgs,
    environment: &Environment,
    input: &mut Input,
    no_root: Option<&'static str>,
) -> Result<Credential, Failure> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let text = variable(VARIABLE);
    let named = variable(FILE_VARIABLE).map(PathBuf::from);
    let (secret, file) = match (&args.token, &args.token_file, text, named) {
        (Some(secret), ..) => (input.secret(Some(secret))?, None),
        (None, Some(path), ..) => (from_file(path, input)?, Some(path.clone())),
        (None, None, Some(_), Some(_)) => {
            let why = format!("{VARIABLE} and {FILE_VARIABLE} are both set; set one");
            return Err(Failure::Usage(why));
        }
        (None, None, Some(text), None) => (input.secret(Some(&text.clone().into()))?, None),
        (None, None, None, Some(path)) => (from_file(&path, input)?, Some(path)),
        (None, None, None, None) => return Ok(root_token(environment, no_root)),
    };
    if secret.is_empty() {
        return Err(Failure::Usage("the caller's secret is empty".to_owned()));
    }
    let file = file.filter(|path| path.as_os_str() != "-");
    Ok(Credential::Given { secret, file })
}

fn from_file(path: &Path, input: &mut Input) -> Result<Zeroizing<String>, Failure> {
    if path.as_os_str() == "-" {
        return input.read();
    }
    read_file(path).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

/// Variables of a server that name the file of its root token: the configured one first, because it
/// replaces a generated one.
const SERVER_VARIABLES: [&str; 2] = [
    "TOKEN_AUTHORITY_ROOT_TOKEN_FILE",
    "TOKEN_AUTHORITY_ACCESS_ROOT_TOKEN_FILE",
];

/// The root token of a server on this machine, from the first of its files that this user can read.
fn root_token(environment: &Environment, no_root: Option<&'static str>) -> Credential {
    let how = "give --token-file FILE, or --token - and the secret on standard input";
    if let Some(why) = no_root {
        return Credential::Absent(format!("{how}; {why}"));
    }
    let variables = SERVER_VARIABLES
        .iter()
        .filter_map(|name| environment.get(*name));
    let named = variables.filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut whys = vec![how.to_owned()];
    for path in named.chain(default_root_token_file(environment)) {
        let why = match read_file(&path) {
            // A server takes a digest there, and nobody can call with one.
            Ok(text) if text.starts_with("sha256:") => "holds a digest".to_owned(),
            Ok(text) if text.is_empty() => "is empty".to_owned(),
            Ok(secret) => {
                let file = Some(path);
                return Credential::Given { secret, file };
            }
            Err(why) => why,
        };
        whys.push(format!("{}: {why}", path.display()));
    }
    Credential::Absent(whys.join("; "))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut file = fs::File::open(path).map_err(|error| error.to_string())?;
    bounded(&mut file)
}

/// Reads a secret without its line's end.
fn bounded(reader: &mut dyn Read) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    reader
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("longer than {BYTES_MAX} bytes, so not a secret"));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
    use super::*;
    use clap::Parser;

    fn input(text: &'static str) -> Input {
        Input::new(Box::new(text.as_bytes()), false)
    }

    /// The secret that `flags` and `variables` lead to, with "piped" on standard input.
    fn found(flags: &str, variables: &[(&str, &str)], local: bool) -> Result<String, String> {
        let words = ["token-authority", "whoami"].into_iter();
        let cli = Cli::try_parse_from(words.chain(flags.split_whitespace())).unwrap();
        let pairs = variables.iter();
        let environment: Environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let no_root = (!local).then_some("elsewhere");
        match credential(&cli.client, &environment, &mut input("piped\n"), no_root) {
            Ok(Credential::Given { secret, .. }) => Ok(secret.to_string()),
            Ok(Credential::Absent(why)) => Err(why),
            Err(failure) => Err(failure.lines().join("\n")),
        }
    }

    #[test]
    fn a_dash_reads_standard_input_without_the_line_end() {
        let dash = SecretArg::from("-".to_owned());
        assert_eq!(
            *input("s3cret\r\n").secret(Some(&dash)).unwrap(),
            "s3cret".to_owned()
        );
        assert_eq!(*input(" a b ").secret(None).unwrap(), " a b ".to_owned());
    }

    #[test]
    fn standard_input_gives_one_secret() {
        let mut once = input("s3cret\n");
        assert!(once.secret(None).is_ok());
        assert!(once.secret(None).is_err());
    }

    #[test]
    fn nobody_is_kept_waiting_at_a_terminal() {
        let mut terminal = Input::new(Box::new("typed".as_bytes()), true);
        assert!(terminal.secret(None).is_err());
        let dash = SecretArg::from("-".to_owned());
        assert!(terminal.secret(Some(&dash)).is_ok());
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_generated_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("token-authority").join("root-token");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "generated\n").unwrap();
        let config = ("XDG_CONFIG_HOME", home.path().to_str().unwrap());
        let path = file.to_str().unwrap();
        let text = (VARIABLE, "variable");
        let by_file = format!("--token-file {path}");
        assert_eq!(
            found("--token flag", &[text, config], true).unwrap(),
            "flag"
        );
        assert_eq!(found(&by_file, &[text], true).unwrap(), "generated");
        assert_eq!(found("", &[text, config], true).unwrap(), "variable");
        let named = [(FILE_VARIABLE, path)];
        assert_eq!(found("", &named, false).unwrap(), "generated");
        assert_eq!(found("", &[config], true).unwrap(), "generated");
        assert_eq!(found("--token -", &[config], true).unwrap(), "piped");
        assert_eq!(found("--token-file -", &[], true).unwrap(), "piped");
        let both = [text, (FILE_VARIABLE, path)];
        assert!(found("", &both, true).unwrap_err().contains("both set"));
    }

    #[test]
    fn the_generated_root_token_never_leaves_this_machine() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("token-authority")).unwrap();
        fs::write(home.path().join("token-authority/root-token"), "r").unwrap();
        let config = [("XDG_CONFIG_HOME", home.path().to_str().unwrap())];
        assert!(found("", &config, true).is_ok());
        assert!(found("", &config, false).is_err());
    }

    #[test]
    fn a_root_token_is_looked_for_where_the_server_was_told_to() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        write("token-authority/root-token", "default");
        let (configured, generated) = (write("c", "configured\n"), write("g", "generated\n"));
        let digest = write("d", "sha256:00");
        let home = ("XDG_CONFIG_HOME", home.path().to_str().unwrap());
        let [read, written] = SERVER_VARIABLES;
        for (variables, expected) in [
            (vec![home, (written, &generated)], "generated"),
            (
                vec![home, (written, &generated), (read, &configured)],
                "configured",
            ),
            (
                vec![home, (written, &generated), (read, &digest)],
                "generated",
            ),
            (vec![home, (written, "/no/such"), (read, "")], "default"),
        ] {
            assert_eq!(found("", &variables, true).unwrap(), expected);
        }
        assert!(found("", &[(read, &configured)], false).is_err());
        let why = found("", &[(read, &digest)], true).unwrap_err();
        assert!(
            why.contains("holds a digest") && why.contains(&digest),
            "{why}"
        );
    }

    #[test]
    fn a_secret_is_never_printed() {
        let printed = format!("{:?}", SecretArg::from("canary".to_owned()));
        assert!(!printed.contains("canary"));
    }
}
