//! Peppers: read from the configuration, never printed from then on.

use std::fs;
use std::path::PathBuf;

use toml::Value;
use zeroize::Zeroizing;

use crate::domain::flaw::quoted;
use crate::domain::pepper::{Keyring, Pepper};

use super::ConfigError;
use super::layers::shown_path;

const KEY: &str = "secrets.peppers";

/// One entry of the list.
struct Entry {
    id: u32,
    pepper: Option<Zeroizing<String>>,
    pepper_file: Option<PathBuf>,
}

impl Entry {
    /// Reads an entry, whose `place` errors name. They repeat no value: one may be a pepper.
    fn read(place: &str, value: Value) -> Result<Self, ConfigError> {
        let refuse = |why: &str| ConfigError::key(place, why);
        let Value::Table(table) = value else {
            return Err(refuse("must be a table with id, and pepper or pepper_file"));
        };
        let (mut id, mut pepper, mut pepper_file) = (None, None, None);
        for (key, value) in table {
            match (key.as_str(), value) {
                ("id", value) => id = Some(value),
                ("pepper", Value::String(text)) => pepper = Some(Zeroizing::new(text)),
                ("pepper_file", Value::String(path)) => pepper_file = Some(PathBuf::from(path)),
                ("pepper" | "pepper_file", _) => {
                    return Err(ConfigError(format!("{place}.{key}: must be a string")));
                }
                _ => {
                    let known = "there are id, pepper and pepper_file";
                    return Err(refuse(&format!("unknown key {}; {known}", quoted(&key))));
                }
            }
        }
        let id = id.as_ref().and_then(Value::as_integer);
        let id = id.and_then(|id| u32::try_from(id).ok());
        let id = id.filter(|id| *id > 0).ok_or_else(|| {
            let most = u32::MAX;
            ConfigError(format!("{place}.id: must be a whole number of 1 to {most}"))
        })?;
        Ok(Self {
            id,
            pepper,
            pepper_file,
        })
    }

    fn parse(self, place: &str) -> Result<Pepper, ConfigError> {
        let Self {
            id,
            pepper,
            pepper_file,
        } = self;
        let (place, key) = match (pepper, pepper_file) {
            (Some(text), None) => {
                let key = Zeroizing::new(text.as_bytes().to_vec());
                (format!("{place}.pepper"), key)
            }
            (None, Some(path)) => {
                let shown = shown_path(&path.to_string_lossy());
                let place = format!("{place}.pepper_file: {shown}");
                let key = fs::read(&path).map_err(|error| ConfigError::key(&place, error))?;
                (place, without_line_end(Zeroizing::new(key)))
            }
            _ => return Err(ConfigError::key(place, "give either pepper or pepper_file")),
        };
        Pepper::new(id, key).map_err(|flaw| ConfigError::key(&place, flaw))
    }
}

/// Cuts one line's end off: editors and `base64` leave one behind.
fn without_line_end(mut key: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if key.last() == Some(&b'\n') {
        key.pop();
        if key.last() == Some(&b'\r') {
            key.pop();
        }
    }
    key
}

/// The present pepper and the one before it.
pub(super) fn parse(values: Vec<Value>) -> Result<Keyring, ConfigError> {
    let peppers = values.into_iter().enumerate().map(|(at, value)| {
        let place = format!("{KEY}[{at}]");
        Entry::read(&place, value)?.parse(&place)
    });
    let peppers = peppers.collect::<Result<_, _>>()?;
    Keyring::new(peppers).map_err(|flaw| ConfigError::key(KEY, flaw))
}

/// What is printed in the place of the list.
pub(super) fn redacted(keyring: &Keyring) -> Value {
    let entry = |id: u32| {
        let id = ("id".to_owned(), Value::Integer(id.into()));
        let pepper = ("pepper".to_owned(), Value::String("redacted".to_owned()));
        Value::Table([id, pepper].into_iter().collect())
    };
    Value::Array(keyring.ids().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::ServeArgs;
    use crate::config::{Config, Environment};

    /// Of a form that a person would type, and easily found in a text.
    const PEPPER: &str = "canary+canary+canary+canary+canary";

    fn load(list: &str) -> Result<(Config, String), ConfigError> {
        let args = ServeArgs {
            settings: vec![format!("{KEY}={list}")],
            ..ServeArgs::default()
        };
        Config::load_and_print(&args, &Environment::new())
    }

    fn error(list: &str) -> String {
        let message = load(list).unwrap_err().to_string();
        assert!(!message.contains("canary"), "{message}");
        message
    }

    fn checks(list: &str) -> Vec<crate::domain::pepper::PepperCheck> {
        load(list).unwrap().0.keyring.checks()
    }

    #[test]
    fn without_peppers_there_are_none() {
        assert_eq!(checks("[]"), []);
    }

    #[test]
    fn a_pepper_is_the_same_from_a_file_with_or_without_a_line_end() {
        let direct = checks(&format!("[{{ id = 7, pepper = \"{PEPPER}\" }}]"));
        assert_eq!(direct[0].id, 7);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper-7");
        for end in ["", "\n", "\r\n"] {
            fs::write(&path, format!("{PEPPER}{end}")).unwrap();
            let list = format!("[{{ id = 7, pepper_file = {path:?} }}]");
            assert_eq!(checks(&list), direct, "{end:?}");
        }
        // One line's end only, and no more than that: a pepper may be any bytes.
        fs::write(&path, format!("{PEPPER}\n\n")).unwrap();
        assert_ne!(
            checks(&format!("[{{ id = 7, pepper_file = {path:?} }}]")),
            direct
        );
        fs::write(&path, [0xff; 32]).unwrap();
        checks(&format!("[{{ id = 7, pepper_file = {path:?} }}]"));
    }

    #[test]
    fn errors_name_the_very_key_and_never_quote_a_pepper() {
        let good = format!("{{ id = 1, pepper = \"{PEPPER}\" }}");
        let long = "canary".repeat(200);
        for (list, told) in [
            (
                "[{ id = 1, pepper = \"canar\" }]".to_owned(),
                "secrets.peppers[0].pepper: must be 32 to 1024 bytes long; got 5 bytes",
            ),
            (
                format!("[{{ id = 1, pepper = \"{long}\" }}]"),
                "secrets.peppers[0].pepper: must be 32 to 1024 bytes long; got 1200 bytes",
            ),
            (
                format!("[{good}, {{ id = 2, pepper = [\"canary\"] }}]"),
                "secrets.peppers[1].pepper: must be a string",
            ),
            (
                format!("[{{ id = 0, pepper = \"{PEPPER}\" }}]"),
                "secrets.peppers[0].id: must be a whole number of 1 to 4294967295",
            ),
            (
                format!("[{{ id = \"canary\", pepper = \"{PEPPER}\" }}]"),
                "secrets.peppers[0].id: must be",
            ),
            (
                format!("[{{ pepper = \"{PEPPER}\" }}]"),
                "secrets.peppers[0].id: must be",
            ),
            (
                "[{ id = 1 }]".to_owned(),
                "secrets.peppers[0]: give either pepper or pepper_file",
            ),
            (
                format!("[{{ id = 1, pepper = \"{PEPPER}\", pepper_file = \"x\" }}]"),
                "secrets.peppers[0]: give either pepper or pepper_file",
            ),
            (
                format!("[{{ id = 1, papper = \"{PEPPER}\" }}]"),
                "secrets.peppers[0]: unknown key \"papper\"",
            ),
            (
                format!("[\"{PEPPER}\"]"),
                "secrets.peppers[0]: must be a table",
            ),
            (
                "[{ id = 1, pepper_file = \"/no/such/file\" }]".to_owned(),
                "secrets.peppers[0].pepper_file: /no/such/file: ",
            ),
            (
                format!("[{good}, {good}]"),
                "secrets.peppers: has two entries with the id 1",
            ),
            (
                format!(
                    "[{good}, {}, {}]",
                    good.replace('1', "2"),
                    good.replace('1', "3")
                ),
                "secrets.peppers: has 3 entries",
            ),
            ("\"canary\"".to_owned(), "secrets.peppers: must be"),
        ] {
            let message = error(&list);
            assert!(message.starts_with(told), "{list}: {message}");
        }
    }

    #[test]
    fn a_pepper_in_the_place_of_its_file_is_not_repeated() {
        let pepper = "k".repeat(43);
        let message = error(&format!("[{{ id = 1, pepper_file = {pepper:?} }}]"));
        assert!(message.starts_with("secrets.peppers[0].pepper_file: "));
        assert!(!message.contains(&pepper), "{message}");
    }

    #[test]
    fn a_printed_configuration_names_peppers_by_id_only() {
        let list = format!("[{{ id = 41, pepper = \"{PEPPER}\" }}]");
        let (config, printed) = load(&list).unwrap();
        assert!(!printed.contains("canary"), "{printed}");
        assert!(printed.contains("id = 41"), "{printed}");
        assert!(!format!("{config:?}").contains("canary"));
    }
}
