//! Signing in and out.

use std::time::Instant;

use askama::Template;
use axum::http::StatusCode;
use tonic::body::Body;
use zeroize::Zeroizing;

use crate::authority::error::Error;
use crate::domain::secret::PRESENTED_BYTES_MAX;
use crate::transport::http::form::{Form, Unreadable};

use super::page::{Frame, trouble};
use super::problem::Problem;
use super::reply::Reply;
use super::visitor::Visitor;
use super::{Asked, Desk, guard};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    /// Why the last attempt failed; empty where there was none.
    why: String,
}

fn page(status: StatusCode, why: String) -> Reply {
    let frame = Frame::bare("Sign in");
    Reply::page_with(status, &SignInPage { frame, why })
}

impl Desk {
    pub(super) fn sign_in_page() -> Reply {
        page(StatusCode::OK, String::new())
    }

    /// Signs in by a secret, which stays here until the session ends.
    pub(super) async fn sign_in(&self, asked: Asked, body: Body) -> Reply {
        let bare = || Frame::bare("Sign in");
        if !guard::is_from_here(&asked.head) {
            return trouble(bare(), Problem::foreign());
        }
        let form = match Form::of(&asked.head.headers, body).await {
            Ok(form) => form,
            Err(Unreadable(why)) => return trouble(bare(), Problem::unreadable(&why)),
        };
        let secret = Zeroizing::new(form.text("secret").trim().to_owned());
        if secret.is_empty() || secret.len() > PRESENTED_BYTES_MAX {
            let why = format!("Enter a secret of at most {PRESENTED_BYTES_MAX} bytes.");
            return page(StatusCode::BAD_REQUEST, why);
        }
        let authority = &self.setup.authority;
        if let Err(error) = authority.sign_in(&secret, asked.call.clone()).await {
            return refusal(error);
        }
        match self.sessions.begin(secret, Instant::now()) {
            Ok(id) => Reply::see("/").with_cookie(guard::cookie(&id, asked.secure)),
            Err(error) => trouble(bare(), Error::from(error).into()),
        }
    }

    pub(super) fn sign_out(&self, visitor: &Visitor, secure: bool) -> Reply {
        self.sessions.end(&visitor.visit);
        signed_out(secure)
    }
}

/// Leads to where one signs in, without a session.
pub(super) fn signed_out(secure: bool) -> Reply {
    Reply::see("/sign-in").with_cookie(guard::cookie("", secure))
}

fn refusal(error: Error) -> Reply {
    match error {
        Error::Unauthenticated(_) => page(
            StatusCode::UNAUTHORIZED,
            "This secret is not in force here.".to_owned(),
        ),
        Error::PermissionMissing { .. } => page(
            StatusCode::FORBIDDEN,
            "This token is in force, but has no permission on the authority itself: it carries no \
             \"authority:\" scope."
                .to_owned(),
        ),
        Error::PeerLimited { .. } | Error::FailuresLimited { .. } => {
            let problem = Problem::from(error);
            let why = format!("Too many attempts came from your address. {}", problem.text);
            let reply = page(problem.status, why);
            reply.after_seconds(problem.retry_after.unwrap_or(1))
        }
        error => {
            let problem = Problem::from(error);
            page(problem.status, problem.text)
        }
    }
}
