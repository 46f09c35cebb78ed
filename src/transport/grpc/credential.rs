//! The caller's own credential, as it stands in the metadata of a call.

use tonic::metadata::MetadataMap;

use crate::authority::error::Error;

/// Reads the credential: `authorization: Bearer <secret>` (RFC 6750, the scheme in any case) or
/// `x-api-key`. Both may be given if they are equal; two different ones are refused.
pub(super) fn read(metadata: &MetadataMap) -> Result<Option<&str>, Error> {
    let mut found = None;
    let bearers = metadata
        .get_all("authorization")
        .iter()
        .map(|value| value.to_str().ok().and_then(bearer));
    let keys = metadata
        .get_all("x-api-key")
        .iter()
        .map(|value| value.to_str().ok());
    for credential in bearers.chain(keys) {
        let credential = credential.map(str::trim).filter(|credential| !credential.is_empty()).ok_or(
            Error::Unauthenticated("the credential must be \"authorization: Bearer <secret>\" or \"x-api-key: <secret>\"".into()),
        )?;
        match found {
            Some(first) if first != credential => {
                return Err(Error::Unauthenticated(
                    "two different credentials are given; give one".into(),
                ));
            }
            _ => found = Some(credential),
        }
    }
    Ok(found)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&'static str, &str)]) -> Result<Option<String>, Error> {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.append(*key, value.parse().unwrap());
        }
        read(&metadata).map(|found| found.map(str::to_owned))
    }

    #[test]
    fn either_header_carries_the_credential() {
        assert_eq!(read_pairs(&[]), Ok(None));
        assert_eq!(
            read_pairs(&[("authorization", "Bearer s")]),
            Ok(Some("s".into()))
        );
        assert_eq!(
            read_pairs(&[("authorization", "bEARER s")]),
            Ok(Some("s".into()))
        );
        assert_eq!(read_pairs(&[("x-api-key", "s")]), Ok(Some("s".into())));
        assert_eq!(
            read_pairs(&[("x-api-key", "s"), ("authorization", "Bearer s")]),
            Ok(Some("s".into()))
        );
    }

    #[test]
    fn two_different_or_malformed_credentials_are_refused() {
        assert!(read_pairs(&[("x-api-key", "a"), ("authorization", "Bearer b")]).is_err());
        assert!(read_pairs(&[("x-api-key", "a"), ("x-api-key", "b")]).is_err());
        assert!(read_pairs(&[("authorization", "Basic s")]).is_err());
        assert!(read_pairs(&[("authorization", "s")]).is_err());
        assert!(read_pairs(&[("authorization", "Bearer ")]).is_err());
        assert!(read_pairs(&[("x-api-key", "")]).is_err());
    }
}
