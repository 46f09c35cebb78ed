//! What is done to one token beside editing it: rotate, revoke, delete, reset its limits, take it back.

use askama::Template;
use axum::http::StatusCode;

use crate::authority::act;
use crate::authority::error::Error;
use crate::domain::caller::Permission;
use crate::transport::grpc::pb::{release_request, revoke_request, span};
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::Desk;
use super::create::{IssuedPage, ONCE, once, shown_already};
use super::flaws::Flaws;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::token::whole;
use super::visitor::Visitor;

#[derive(Template)]
#[template(path = "action.html")]
struct ActionPage {
    frame: Frame,
    id: String,
    name: String,
    /// Which of the forms this is: `rotate`, `revoke` or `delete`.
    act: String,
    once: String,
    flaws: Flaws,
}

/// The form that asks once more, and for what else is needed.
pub(super) async fn page(visitor: &Visitor, id: &str, act: &str) -> Result<Reply, Problem> {
    shown(visitor, id, act, Flaws::default()).await
}

async fn shown(visitor: &Visitor, id: &str, act: &str, flaws: Flaws) -> Result<Reply, Problem> {
    let token = whole(visitor, id).await?;
    let (title, permission) = match act {
        "rotate" => ("Rotate the secret", Permission::Manage),
        "revoke" => ("Revoke the token", Permission::Revoke),
        _ => ("Delete the token", Permission::Manage),
    };
    visitor.needs(permission, Some(&token.namespace))?;
    let status = match flaws.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::BAD_REQUEST,
    };
    let page = ActionPage {
        frame: visitor.frame(title),
        id: token.token_id,
        name: token.name,
        act: act.to_owned(),
        once: once()?,
        flaws,
    };
    Ok(Reply::page_with(status, &page))
}

/// What was wrong with the form, on the form; any other error on a page of its own.
async fn again(visitor: &Visitor, id: &str, act: &str, error: Error) -> Result<Reply, Problem> {
    match error {
        Error::Invalid(violations) => shown(visitor, id, act, Flaws::of(&violations)).await,
        error => Err(error.into()),
    }
}

fn back(id: &str) -> Reply {
    Reply::see(&format!("/tokens/{id}"))
}

pub(super) async fn rotate(
    desk: &Desk,
    visitor: &Visitor,
    id: &str,
    form: &Form,
) -> Result<Reply, Problem> {
    let grace = match form.text("grace_period").trim() {
        "" => None,
        text => match span::parse(text) {
            Ok(grace) => Some(grace),
            Err(why) => {
                let mut flaws = Flaws::default();
                flaws.add("grace_period", why);
                return shown(visitor, id, "rotate", flaws).await;
            }
        },
    };
    if !desk.sessions.spend(&visitor.visit, form.text(ONCE)) {
        return Err(shown_already());
    }
    let request = pb::RotateRequest {
        token_id: id.to_owned(),
        grace_period: grace,
        revision: None,
        request_id: String::new(),
    };
    match rotated(visitor, request).await {
        Ok(rotated) => {
            let token = rotated.token.unwrap_or_default();
            let before = match grace {
                Some(grace) => format!(
                    "The secret before stays in force for {}.",
                    span::exact(&grace)
                ),
                None => "The secret before is not in force any more.".to_owned(),
            };
            Ok(Reply::page(&IssuedPage {
                frame: visitor.frame("Secret rotated"),
                id: token.token_id,
                name: token.name,
                secret: rotated.secret,
                before,
            }))
        }
        Err(error) => again(visitor, id, "rotate", error).await,
    }
}

async fn rotated(
    visitor: &Visitor,
    request: pb::RotateRequest,
) -> Result<pb::RotateResponse, Error> {
    let mut right = visitor.permit::<act::Rotate>()?;
    let authority = visitor.authority.clone();
    let rotated = visitor.see_through(async move {
        let result = match convert::rotate_order(request) {
            Ok(order) => authority.rotate(&mut right, order).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    Ok(convert::rotated(&rotated.await?))
}

pub(super) async fn revoke(visitor: &Visitor, id: &str, form: &Form) -> Result<Reply, Problem> {
    match revoked(visitor, id, form.text("reason").trim()).await {
        Ok(()) => Ok(back(id)),
        Err(error) => again(visitor, id, "revoke", error).await,
    }
}

/// Revokes one token.
pub(super) async fn revoked(visitor: &Visitor, id: &str, reason: &str) -> Result<(), Error> {
    let request = pb::RevokeRequest {
        target: Some(revoke_request::Target::TokenId(id.to_owned())),
        reason: reason.to_owned(),
    };
    let mut right = visitor.permit::<act::Revoke>()?;
    let authority = visitor.authority.clone();
    let revoked = visitor.see_through(async move {
        let result = match convert::revoke_order(request) {
            Ok((id, reason)) => authority.revoke(&mut right, id, reason).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    revoked.await.map(|_| ())
}

/// Deletes a token whose id was typed, so that none is deleted by a slip.
pub(super) async fn delete(visitor: &Visitor, id: &str, form: &Form) -> Result<Reply, Problem> {
    if form.text("confirm").trim() != id {
        let mut flaws = Flaws::default();
        flaws.add("confirm", format!("must be the id of the token, {id}"));
        return shown(visitor, id, "delete", flaws).await;
    }
    let mut right = visitor.permit::<act::Delete>()?;
    let (authority, named) = (visitor.authority.clone(), id.to_owned());
    let deleted = visitor.see_through(async move {
        let result = match convert::token_id(&named) {
            Ok(id) => authority.delete(&mut right, id).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    deleted.await?;
    Ok(Reply::see("/tokens"))
}

pub(super) async fn reset_limits(visitor: &Visitor, id: &str) -> Result<Reply, Problem> {
    let mut right = visitor.permit::<act::ResetLimits>()?;
    let (authority, named) = (visitor.authority.clone(), id.to_owned());
    let reset = visitor.see_through(async move {
        let result = match convert::token_id(&named) {
            Ok(id) => authority.reset_limits(&mut right, id).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    reset.await?;
    Ok(back(id))
}

/// Takes a token from whoever holds it.
pub(super) async fn release(visitor: &Visitor, id: &str) -> Result<Reply, Problem> {
    let request = pb::ReleaseRequest {
        target: Some(release_request::Target::TokenId(id.to_owned())),
        force: true,
    };
    let mut right = visitor.permit::<act::ForcedRelease>()?;
    let authority = visitor.authority.clone();
    let ended = visitor.see_through(async move {
        let result = match convert::forced_release_order(request) {
            Ok(id) => authority.force_release(&mut right, id).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    ended.await?;
    Ok(back(id))
}
