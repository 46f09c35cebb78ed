//! Everything that is wrong with a configuration, where reading it for a server stops at the first.

use toml::{Table, Value};

use super::args::ServeArgs;
use super::layers::{self, DEFAULTS, Layers};
use super::sources::Sources;
use super::{Config, ConfigError, Environment, roots};

impl Config {
    /// Reads the configuration of a server as [`Config::load`] does, and where it comes from; or
    /// all that is wrong with it, as far as one mistake does not hide another.
    pub fn examine(
        args: &ServeArgs,
        environment: &Environment,
    ) -> Result<(Self, Sources), Vec<ConfigError>> {
        let layers = layers::gathered(args, environment);
        let sources = Sources::of(&layers, args, environment);
        let Layers {
            table,
            mut problems,
            ..
        } = layers;
        let mut attempt = Attempt {
            table,
            environment: environment.clone(),
        };
        loop {
            let problem = match attempt.parse() {
                Ok(config) if problems.is_empty() => return Ok((config, sources)),
                Ok(_) => return Err(problems),
                Err(problem) => problem,
            };
            let next = attempt.without_cause(&problem);
            problems.push(problem);
            match next {
                Some(next) => attempt = next,
                None => return Err(problems),
            }
        }
    }
}

/// A configuration of which ever more is put back to its default.
#[derive(Clone)]
struct Attempt {
    table: Table,
    environment: Environment,
}

impl Attempt {
    fn parse(&self) -> Result<Config, ConfigError> {
        Config::parse(self.table.clone(), &self.environment)
    }

    /// The same without the one setting that `problem` comes from; `None` where no single one does.
    fn without_cause(&self, problem: &ConfigError) -> Option<Self> {
        let told = problem.to_string();
        let mut simpler = self.simpler().into_iter();
        simpler.find(|attempt| !matches!(attempt.parse(), Err(other) if other.to_string() == told))
    }

    /// All that have one setting less.
    fn simpler(&self) -> Vec<Self> {
        let defaults: Table = DEFAULTS.parse().unwrap_or_default();
        let mut all = Vec::new();
        for (section, entries) in &self.table {
            let keys = entries.as_table().into_iter().flat_map(Table::iter);
            let usual = defaults.get(section).and_then(Value::as_table);
            for (key, value) in keys {
                let default = usual.and_then(|usual| usual.get(key));
                if default == Some(value) {
                    continue;
                }
                let mut attempt = self.clone();
                let place = attempt.table.get_mut(section);
                let Some(place) = place.and_then(Value::as_table_mut) else {
                    continue;
                };
                match default {
                    Some(default) => drop(place.insert(key.clone(), default.clone())),
                    // Only namespaces are not among the defaults.
                    None => drop(place.remove(key)),
                }
                all.push(attempt);
            }
        }
        for variable in roots::VARIABLES {
            let mut attempt = self.clone();
            if attempt.environment.remove(variable).is_some() {
                all.push(attempt);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(settings: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let args = ServeArgs {
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            ..ServeArgs::default()
        };
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = variables.iter().map(pair).collect();
        match Config::examine(&args, &environment) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_sound_configuration_has_no_problems() {
        assert!(problems(&[], &[]).is_empty());
    }

    #[test]
    fn every_mistake_is_told_and_none_twice() {
        let mut told = problems(
            &[
                "no.such=1",
                "limits.streams=0",
                "limits.connections=many",
                "limits.message_bytes=1",
                "log.format=xml",
                "namespaces.shop.max_tokens=-1",
                "tls.key_file=/k",
            ],
            &[("TOKEN_AUTHORITY_ROOT_TOKEN", "short-canary")],
        );
        told.sort();
        let begins: Vec<&str> = told
            .iter()
            .map(|problem| problem.split([':', ';']).next().unwrap_or_default())
            .collect();
        assert_eq!(
            begins,
            [
                "limits.connections",
                "limits.message_bytes",
                "limits.streams",
                "log.format",
                "namespaces.shop.max_tokens",
                "root token of TOKEN_AUTHORITY_ROOT_TOKEN",
                "tls.key_file",
                "unknown key no.such",
            ]
        );
        assert!(!told.concat().contains("canary"), "{told:?}");
    }

    #[test]
    fn metrics_have_an_address_of_their_own() {
        for (listen, metrics) in [
            ("127.0.0.1:5001", "127.0.0.1:5001"),
            ("127.0.0.1:5001", "0.0.0.0:5001"),
            ("[::]:5001", "[::1]:5001"),
            ("unix:/s,127.0.0.1:5001", "127.0.0.1:5001"),
        ] {
            let settings = [
                format!("server.listen={listen}"),
                format!("server.metrics_listen={metrics}"),
                "server.allow_plaintext=true".to_owned(),
            ];
            let told = problems(&settings.each_ref().map(String::as_str), &[]).concat();
            assert!(
                told.contains("is taken by server.listen"),
                "{metrics}: {told}"
            );
        }
        for metrics in ["127.0.0.1:5002", "127.0.0.2:5001", "[::1]:5001"] {
            let metrics = format!("server.metrics_listen={metrics}");
            let told = problems(&["server.listen=127.0.0.1:5001", &metrics], &[]);
            assert!(told.is_empty(), "{metrics}: {told:?}");
        }
        let free = [
            "server.listen=127.0.0.1:0",
            "server.metrics_listen=127.0.0.1:0",
        ];
        assert!(problems(&free, &[]).is_empty());
    }
}
