//! Where the server of a configuration listens, for whoever is beside it and may know no more.

use super::args::ServeArgs;
use super::listen::Listen;
use super::{ConfigError, Environment, File, layers};

/// What is to be known of a server to reach it from its own machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtHand {
    /// Never none.
    pub listen: Vec<Listen>,
    /// Whether TLS is spoken on TCP.
    pub tls: bool,
}

impl AtHand {
    /// The same layers as those of a server. Files of secrets are not opened, and neither are
    /// certificates: whoever asks need not be able to read them.
    pub fn load(args: &ServeArgs, environment: &Environment) -> Result<Self, ConfigError> {
        let file = File::of(layers::merged_without_files(args, environment)?)?;
        let tls = file.tls.parse()?.is_some();
        let listen = file.server.parse(tls)?.listen;
        Ok(Self { listen, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_hand(variables: &[(&str, &str)]) -> Result<AtHand, ConfigError> {
        let pairs = variables.iter();
        let environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        AtHand::load(&ServeArgs::default(), &environment)
    }

    #[test]
    fn a_server_is_known_without_what_only_it_may_read() {
        let found = at_hand(&[
            ("TOKEN_AUTHORITY_LISTEN", "unix:/run/ta.sock,127.0.0.1:7"),
            ("TOKEN_AUTHORITY_STORE_FILE", "/no/such/store"),
            ("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", "/no/such/root"),
            (
                "TOKEN_AUTHORITY_TLS_CERTIFICATE_FILE",
                "/no/such/certificate",
            ),
            ("TOKEN_AUTHORITY_TLS_KEY_FILE", "/no/such/key"),
            (
                "TOKEN_AUTHORITY_SECRETS_PEPPERS",
                r#"[{ id = 1, file = "/no/such/pepper" }]"#,
            ),
        ]);
        let found = found.unwrap();
        assert!(found.tls);
        let unix = Listen::Unix("/run/ta.sock".into());
        let tcp = Listen::Tcp(vec!["127.0.0.1:7".parse().unwrap()]);
        assert_eq!(found.listen, [unix, tcp]);
    }

    #[test]
    fn what_a_server_would_refuse_is_refused() {
        let beyond = at_hand(&[("TOKEN_AUTHORITY_LISTEN", "0.0.0.0:7")]);
        assert!(beyond.unwrap_err().to_string().contains("allow_plaintext"));
        let half = at_hand(&[("TOKEN_AUTHORITY_TLS_KEY_FILE", "key.pem")]);
        assert!(half.unwrap_err().to_string().contains("tls.key_file"));
    }
}
