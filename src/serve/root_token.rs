//! The root token that a fresh SQLite authority makes for itself, so that it can be used at once.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::{Config, RootToken};
use crate::entropy;
use crate::store::sqlite::SqliteStore;

use super::ServeError;

const NAME: &str = "generated";

/// Answers the root tokens in force.
///
/// Configured ones replace a generated one. Without any, the digest that the database keeps
/// decides; a database that keeps none takes over the token that already lies in the file, or has
/// one generated and written there, readable by its owner only. The file is never beside the
/// database by default, because databases are copied.
pub(super) async fn settle(
    config: &Config,
    store: &SqliteStore,
) -> Result<Vec<RootToken>, ServeError> {
    let kept = |error: crate::store::StoreError| ServeError::Store(error.to_string());
    if !config.root_tokens.is_empty() {
        store.keep_generated_root(None).await.map_err(kept)?;
        return Ok(config.root_tokens.clone());
    }
    if let Some(digest) = store.generated_root().map_err(kept)? {
        return Ok(vec![RootToken {
            name: NAME.to_owned(),
            digest,
        }]);
    }
    let path = config.root_token_file.as_deref().ok_or_else(|| {
        ServeError::Config(
            "no root token is configured, and without a home directory there is no place for a \
             generated one: set access.root_token_file or TOKEN_AUTHORITY_ROOT_TOKEN"
                .to_owned(),
        )
    })?;
    let secret = in_file(path)?;
    let root = RootToken::of_secret(NAME, &secret)?;
    store
        .keep_generated_root(Some(root.digest))
        .await
        .map_err(kept)?;
    Ok(vec![root])
}

/// The token in the file, which is written first if there is none.
fn in_file(path: &Path) -> Result<Zeroizing<String>, ServeError> {
    let failed = |error: std::io::Error| {
        ServeError::Config(format!("root token file {}: {error}", path.display()))
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => {
            let random =
                entropy::secret_digits().map_err(|error| ServeError::Failed(error.to_string()))?;
            let secret = Zeroizing::new(format!("ta_root_{}", random.as_str()));
            writeln!(file, "{}", secret.as_str())
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            tracing::info!(file = %path.display(), "a root token was generated; keep it safe");
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
            tracing::info!(file = %path.display(), "this database takes over the root token in the file");
            Ok(Zeroizing::new(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            ))
        }
        Err(error) => Err(failed(error)),
    }
}
