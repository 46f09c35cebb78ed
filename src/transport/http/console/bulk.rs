//! Revoking several tokens that were selected in a list.

use askama::Template;

use crate::transport::http::form::Form;

use super::actions::revoked;
use super::flaws::Flaws;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::visitor::Visitor;

/// Most tokens at once: as many as two pages of a list.
const SELECTED_MAX: usize = 100;

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    frame: Frame,
    /// Those to be revoked, before it is confirmed.
    selected: Vec<String>,
    /// What became of each, afterwards.
    done: Vec<(String, String)>,
}

/// Asks once more, and then revokes each by itself: one that cannot be revoked keeps no other from it.
pub(super) async fn revoke(visitor: &Visitor, form: &Form) -> Result<Reply, Problem> {
    let selected: Vec<String> = form.all("id").map(str::to_owned).collect();
    if selected.is_empty() || selected.len() > SELECTED_MAX {
        let mut flaws = Flaws::default();
        flaws.add("id", format!("must be selected 1 to {SELECTED_MAX} times"));
        return Err(Problem::invalid(flaws));
    }
    let mut page = BulkPage {
        frame: visitor.frame("Revoke several tokens"),
        selected,
        done: Vec::new(),
    };
    if form.text("confirm").is_empty() {
        return Ok(Reply::page(&page));
    }
    for id in std::mem::take(&mut page.selected) {
        let reason = form.text("reason").trim();
        let outcome = match revoked(visitor, &id, reason).await {
            Ok(()) => "revoked".to_owned(),
            Err(error) => {
                let problem = Problem::from(error);
                let flaws: Vec<String> = problem.flaws.all().map(|(_, why)| why).collect();
                format!("{} {}", problem.text, flaws.join("; "))
            }
        };
        page.done.push((id, outcome));
    }
    Ok(Reply::page(&page))
}
