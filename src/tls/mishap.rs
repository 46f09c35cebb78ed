//! Why no TLS connection came about, as a client sees it.

use std::io;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

/// What went wrong between a client and a server; whose fault it is, and what can be done about it,
/// is for whoever knows the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The server answered something that is no TLS.
    NotTls,
    /// The server's certificate comes from an authority that the client does not know.
    UnknownAuthority,
    /// The server's certificate is for other names: these, or none.
    OtherNames(Vec<String>),
    /// The server's certificate has ended, or does not hold yet; the text says since or from when.
    Ended(String),
    NotYet(String),
    /// Anything else that is wrong with the server's certificate.
    Unsound(String),
    /// The server wants a certificate of the client, and was shown none.
    CertificateWanted,
    /// The server does not take the certificate of the client; its word for why.
    CertificateRefused(String),
    /// Both sides have no version of TLS, no cipher or no protocol in common.
    NothingInCommon(String),
    Other(String),
}

impl Mishap {
    /// What an error of a connection means, if it is one of TLS.
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::InvalidCertificate(wrong) => Self::of_certificate(wrong),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::PeerIncompatible(why) => Self::NothingInCommon(format!("{why:?}")),
            other => Self::Other(other.to_string()),
        })
    }

    fn of_certificate(wrong: &CertificateError) -> Self {
        match wrong {
            // Signed by another key than that of the authority of the same name: a former one, say.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherNames(presented.iter().map(|name| bare(name)).collect())
            }
            CertificateError::NotValidForName => Self::OtherNames(Vec::new()),
            CertificateError::ExpiredContext { not_after, .. } => Self::Ended(instant(*not_after)),
            CertificateError::Expired => Self::Ended("an instant that is past".to_owned()),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYet(instant(*not_before))
            }
            CertificateError::NotValidYet => Self::NotYet("an instant to come".to_owned()),
            other => Self::Unsound(other.to_string()),
        }
    }

    /// Reads an alert (RFC 8446, section 6.2).
    fn of_alert(alert: AlertDescription) -> Self {
        use AlertDescription as Alert;
        match alert {
            Alert::CertificateRequired | Alert::NoCertificate => Self::CertificateWanted,
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError => Self::CertificateRefused(format!("{alert:?}")),
            Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::NoApplicationProtocol => Self::NothingInCommon(format!("{alert:?}")),
            other => Self::Other(format!("the server broke off: {other:?}")),
        }
    }
}

/// The name in what rustls writes as `DnsName("localhost")`.
fn bare(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

fn instant(time: UnixTime) -> String {
    let since_1970 = Duration::from_secs(time.as_secs());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_1970).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: Error) -> Option<Mishap> {
        Mishap::of(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn an_error_that_is_none_of_tls_means_nothing_here() {
        assert_eq!(Mishap::of(&io::ErrorKind::ConnectionReset.into()), None);
        assert_eq!(Mishap::of(&io::Error::other("reset")), None);
    }

    #[test]
    fn alerts_tell_a_missing_certificate_from_a_refused_one() {
        let wanted = of(Error::AlertReceived(AlertDescription::CertificateRequired));
        assert_eq!(wanted, Some(Mishap::CertificateWanted));
        let refused = of(Error::AlertReceived(AlertDescription::UnknownCA));
        let why = "UnknownCA".to_owned();
        assert_eq!(refused, Some(Mishap::CertificateRefused(why)));
    }

    #[test]
    fn the_names_of_a_certificate_are_told_bare() {
        let wrong = CertificateError::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("there").unwrap(),
            presented: vec![r#"DnsName("localhost")"#.to_owned(), "odd".to_owned()],
        };
        let names = vec!["localhost".to_owned(), "odd".to_owned()];
        let told = of(Error::InvalidCertificate(wrong));
        assert_eq!(told, Some(Mishap::OtherNames(names)));
    }
}
