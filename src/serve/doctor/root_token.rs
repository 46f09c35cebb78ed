//! The file of a generated root token: whoever reads it may do everything, and the command line
//! sends what is in it.

use std::path::Path;

use rustix::fs::Access;

use crate::config::{Config, StoreUrl};
use crate::store::sqlite::GeneratedRoot;

use super::super::token_file;
use super::{Case, Finding, Findings};

const SUBJECT: &str = "root token file";

pub(super) fn check(case: &Case) -> Findings {
    vec![file(&case.config)]
}

fn file(config: &Config) -> Finding {
    let configured = !config.root_tokens.is_empty();
    let Some(path) = config.root_token_file.as_deref() else {
        return match configured {
            true => Finding::ok(SUBJECT, "there is no place for one, and none is needed"),
            false => Finding::warn(
                SUBJECT,
                "there is no home directory, and so no place for a generated root token",
                "set access.root_token_file, or configure a root token",
            ),
        };
    };
    let shown = path.display();
    let leftover = "remove it: the command line goes on sending it to servers on this machine";
    match token_file::read(path) {
        Ok(None) if !configured && is_first_start(config) => place(path),
        Ok(None) => Finding::ok(SUBJECT, format!("{shown} is not there")),
        Ok(Some(root)) if is_configured(config, root.digest) => {
            Finding::ok(SUBJECT, format!("{shown} holds a configured root token"))
        }
        Ok(Some(_)) if configured => Finding::warn(
            SUBJECT,
            format!("{shown} is left over: it holds none of the configured root tokens"),
            leftover,
        ),
        Ok(Some(_)) => Finding::warn(
            SUBJECT,
            format!("{shown} holds a generated root token, which may do everything"),
            "for production configure one from where you keep secrets (access.root_tokens), start \
             with it, and remove this file",
        ),
        Err(error) if configured => Finding::warn(SUBJECT, error.to_string(), leftover),
        Err(error) => Finding::fail(
            SUBJECT,
            error.to_string(),
            "do as it says; if others could read the file, exchange the root token",
        ),
    }
}

/// Whether a start would make the database, and so a root token.
fn is_first_start(config: &Config) -> bool {
    match &config.store.url {
        StoreUrl::Sqlite(database) => !database.exists() && !config.store.require_existing,
        StoreUrl::Redis(_) => false,
    }
}

/// Judges whether the file can be made, with the folders that it is in.
fn place(path: &Path) -> Finding {
    let shown = path.display();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let present = absolute.ancestors().skip(1).find(|folder| folder.exists());
    let folder = present.unwrap_or(Path::new("/"));
    let writable = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if folder.is_dir() && writable {
        return Finding::ok(SUBJECT, format!("{shown} is made at the first start"));
    }
    Finding::fail(
        SUBJECT,
        format!(
            "a root token is generated at the first start, and {shown} cannot be made: nothing can \
             be written in {}",
            folder.display()
        ),
        "name another place with --root-token-file (access.root_token_file), or configure a root \
         token",
    )
}

/// Judges what a database keeps of the root token that was generated for it.
pub(super) fn kept(config: &Config, kept: GeneratedRoot) -> Finding {
    const SUBJECT: &str = "generated root token";
    let configured = !config.root_tokens.is_empty();
    let path = config.root_token_file.as_deref();
    let ways = "if nobody has it, start once with TOKEN_AUTHORITY_ROOT_TOKEN set, remove the file, \
                and start without";
    match kept {
        GeneratedRoot::None => Finding::ok(SUBJECT, "none was ever needed"),
        GeneratedRoot::InForce(_) if configured => Finding::ok(
            SUBJECT,
            "a start with the configured one replaces it for good",
        ),
        GeneratedRoot::InForce(digest) => match path.map(token_file::read) {
            Some(Ok(Some(root))) if root.digest == digest => {
                Finding::ok(SUBJECT, "in force, and in its file")
            }
            // What is wrong with the file is told where the file is looked at.
            Some(Err(_)) => Finding::ok(SUBJECT, "in force; its file cannot be used as it is"),
            _ => Finding::warn(SUBJECT, "in force, but its file does not hold it", ways),
        },
        GeneratedRoot::Replaced if configured => {
            Finding::ok(SUBJECT, "replaced by a configured one")
        }
        GeneratedRoot::Replaced if path.is_some_and(|path| path.symlink_metadata().is_ok()) => {
            Finding::fail(
                SUBJECT,
                "it was replaced by a configured one; none is configured now, and its file is \
                 still there, so that no server starts",
                "configure a root token; or remove the file, and a new one is generated",
            )
        }
        GeneratedRoot::Replaced => Finding::warn(
            SUBJECT,
            "it was replaced by a configured one, and none is configured now",
            "configure a root token, or a new one is generated at the next start",
        ),
    }
}

fn is_configured(config: &Config, digest: [u8; 32]) -> bool {
    config.root_tokens.iter().any(|root| root.digest == digest)
}

#[cfg(test)]
mod tests {
    use super::super::Judgement;
    use super::*;

    #[test]
    fn a_place_where_no_file_can_be_made_is_told_before_the_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let judged = |path: &str| place(&folder.path().join(path)).judgement;
        assert_eq!(judged("root-token"), Judgement::Ok);
        assert_eq!(judged("deep/within/root-token"), Judgement::Ok);
        std::fs::write(folder.path().join("file"), "").unwrap();
        let told = judged("file/root-token");
        assert!(matches!(told, Judgement::Fail { advice } if advice.contains("--root-token-file")));
    }
}
