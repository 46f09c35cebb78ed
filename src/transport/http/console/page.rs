//! What every page has: its title, who is signed in, and the ways to the other pages.

use askama::Template;

use super::assets;
use super::problem::Problem;
use super::reply::Reply;

/// A way to another page.
pub(super) struct Link {
    pub(super) href: &'static str,
    pub(super) text: &'static str,
    pub(super) here: bool,
}

/// What stands around a page.
pub(super) struct Frame {
    pub(super) title: String,
    /// Who is signed in; empty for nobody.
    pub(super) caller: String,
    /// The session's mark, for forms.
    pub(super) csrf: String,
    pub(super) links: Vec<Link>,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
}

impl Frame {
    /// For somebody who is not signed in.
    pub(super) fn bare(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            caller: String::new(),
            csrf: String::new(),
            links: Vec::new(),
            style: assets::STYLE.as_str(),
            script: assets::SCRIPT.as_str(),
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    problem: Problem,
}

/// A page that says why there is no other.
pub(super) fn trouble(frame: Frame, problem: Problem) -> Reply {
    let (status, after) = (problem.status, problem.retry_after);
    let reply = Reply::page_with(status, &ProblemPage { frame, problem });
    match after {
        Some(seconds) => reply.after_seconds(seconds),
        None => reply,
    }
}
