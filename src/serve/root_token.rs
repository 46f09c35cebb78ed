//! The root token that a fresh SQLite authority makes for itself, so that it can be used at once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, RootToken};
use crate::store::StoreError;
use crate::store::sqlite::{GeneratedRoot, SqliteStore};

use super::ServeError;
use super::token_file::{self, NAME, Staged};

/// Who is root.
pub(super) struct Roots {
    pub(super) tokens: Vec<RootToken>,
    /// The file that holds the generated one, if that is in force.
    pub(super) file: Option<PathBuf>,
}

impl Roots {
    pub(super) fn configured(config: &Config) -> Self {
        Self {
            tokens: config.root_tokens.clone(),
            file: None,
        }
    }
}

/// A root token for a database that has none.
pub(super) struct Candidate {
    path: PathBuf,
    source: Source,
}

enum Source {
    Found(RootToken),
    New(Staged),
}

impl Candidate {
    /// The token that lies in the file already, or a new one that is to be written there.
    fn find(config: &Config) -> Result<Self, ServeError> {
        let path = config.root_token_file.clone().ok_or_else(|| {
            ServeError::Config(
                "no root token is configured, and without a home directory there is no place for a \
                 generated one: set access.root_token_file or TOKEN_AUTHORITY_ROOT_TOKEN"
                    .to_owned(),
            )
        })?;
        let source = match token_file::read(&path)? {
            Some(root) => Source::Found(root),
            None => Source::New(Staged::new(&path)?),
        };
        Ok(Self { path, source })
    }

    /// Makes sure that the file is there, and answers the token in it.
    fn publish(self) -> Result<(RootToken, PathBuf), ServeError> {
        let Self { path, source } = self;
        let found = match source {
            Source::New(staged) if staged.publish(&path)? => {
                tracing::info!(file = %path.display(), "a root token was generated; keep it safe");
                return Ok((staged.root.clone(), path));
            }
            // Somebody was faster.
            Source::New(_) => token_file::read(&path)?,
            Source::Found(root) => Some(root),
        };
        let root = found.ok_or_else(|| {
            let why = "went away while it was read; start again";
            ServeError::Config(format!("root token file {}: {why}", path.display()))
        })?;
        tracing::info!(file = %path.display(), "this database takes over the root token in the file");
        Ok((root, path))
    }
}

/// Finds a root token for a database that is still to be made, so that none is made in vain.
pub(super) fn prepare(config: &Config, database: &Path) -> Result<Option<Candidate>, ServeError> {
    let fresh = !database.exists() && !config.store.require_existing;
    if !fresh || !config.root_tokens.is_empty() {
        return Ok(None);
    }
    Candidate::find(config).map(Some)
}

/// Answers the root tokens in force.
///
/// Configured ones replace a generated one for good. Without any, the digest that the database
/// keeps decides; a database that keeps none takes over the token that already lies in the file, or
/// has one generated and written there, readable by its owner only. The file is never beside the
/// database by default, because databases are copied.
pub(super) async fn settle(
    config: &Config,
    store: &SqliteStore,
    prepared: Option<Candidate>,
) -> Result<Roots, ServeError> {
    let failed = |error: StoreError| ServeError::Store(error.to_string());
    let kept = store.generated_root().map_err(failed)?;
    if !config.root_tokens.is_empty() {
        let configured = |digest| config.root_tokens.iter().any(|root| root.digest == digest);
        match kept {
            GeneratedRoot::None => {}
            GeneratedRoot::InForce(digest) if configured(digest) => {}
            GeneratedRoot::InForce(_) => {
                let act = store.keep_generated_root(GeneratedRoot::Replaced);
                act.await.map_err(failed)?;
                warn_of_leftover(config);
            }
            GeneratedRoot::Replaced => warn_of_leftover(config),
        }
        return Ok(Roots::configured(config));
    }
    let candidate = match (kept, prepared) {
        (GeneratedRoot::InForce(digest), _) => return Ok(kept_root(config, digest)),
        (GeneratedRoot::Replaced, _) => {
            refuse_leftover(config)?;
            Candidate::find(config)?
        }
        (GeneratedRoot::None, Some(candidate)) => candidate,
        (GeneratedRoot::None, None) => Candidate::find(config)?,
    };
    let (root, file) = candidate.publish()?;
    store
        .keep_generated_root(GeneratedRoot::InForce(root.digest))
        .await
        .map_err(failed)?;
    Ok(Roots {
        tokens: vec![root],
        file: Some(file),
    })
}

/// The generated root token that the database keeps; warns where the file does not hold it.
fn kept_root(config: &Config, digest: [u8; 32]) -> Roots {
    let ways = "the generated root token stays in force; if nobody has it, start once with \
                TOKEN_AUTHORITY_ROOT_TOKEN set, remove the file, and start without";
    let file = config.root_token_file.as_ref().filter(|path| {
        let file = path.display();
        match token_file::read(path) {
            Ok(Some(root)) if root.digest == digest => return true,
            Ok(Some(_)) => {
                tracing::warn!(%file, "the file holds another token than this database's; {ways}");
            }
            Ok(None) => tracing::warn!(%file, "the file of the root token is not there; {ways}"),
            Err(error) => tracing::warn!(%file, %error, "the root token cannot be read; {ways}"),
        }
        false
    });
    Roots {
        tokens: vec![RootToken {
            name: NAME.to_owned(),
            digest,
        }],
        file: file.cloned(),
    }
}

fn leftover(config: &Config) -> Option<&Path> {
    let path = config.root_token_file.as_deref()?;
    fs::symlink_metadata(path).is_ok().then_some(path)
}

/// Warns while a file lies where the replaced token was written, unless it is a configured one's.
fn warn_of_leftover(config: &Config) {
    let Some(path) = leftover(config) else { return };
    let held = token_file::read(path).ok().flatten();
    let configured = |root: RootToken| config.root_tokens.iter().any(|r| r.digest == root.digest);
    if !held.is_some_and(configured) {
        tracing::warn!(
            file = %path.display(),
            "a configured root token replaced the generated one for good; remove its file, which \
             the command line goes on sending to servers on this machine"
        );
    }
}

fn refuse_leftover(config: &Config) -> Result<(), ServeError> {
    let Some(path) = leftover(config) else {
        return Ok(());
    };
    Err(ServeError::Config(format!(
        "root token file {}: may hold the generated root token that a configured one replaced, so \
         it is not taken over; remove it and start again, and a new one is written, or configure a \
         root token",
        path.display()
    )))
}
