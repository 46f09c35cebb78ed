//! The style sheet and the script, under addresses that change with them.

use std::sync::LazyLock;

use axum::http::StatusCode;
use sha2::{Digest, Sha256};

use super::reply::Reply;

const STYLE_TEXT: &str = include_str!("console.css");
const SCRIPT_TEXT: &str = include_str!("console.js");

pub(super) static STYLE: LazyLock<String> = LazyLock::new(|| address(STYLE_TEXT, "css"));
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| address(SCRIPT_TEXT, "js"));

fn address(text: &str, ending: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digest: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/assets/console-{digest}.{ending}")
}

pub(super) fn at(path: &str) -> Reply {
    match path {
        _ if path == STYLE.as_str() => Reply::asset("text/css; charset=utf-8", STYLE_TEXT),
        _ if path == SCRIPT.as_str() => Reply::asset("text/javascript; charset=utf-8", SCRIPT_TEXT),
        _ => Reply::plain(StatusCode::NOT_FOUND, "There is no such file.\n"),
    }
}
