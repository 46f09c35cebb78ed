//! From the address of a page to what shows it, or does what it asks for.

use std::time::Instant;

use axum::http::{Method, StatusCode};
use tonic::body::Body;

use crate::authority::access::Proof;
use crate::authority::error::Error;
use crate::transport::http::form::{Bounds, Form, Unreadable};

use super::page::{Frame, trouble};
use super::problem::Problem;
use super::reply::Reply;
use super::sign_in::signed_out;
use super::visitor::Visitor;
use super::{Asked, Desk, actions, assets, bulk, create, edit, guard, lists, overview, pools};
use super::{token, tokens};

/// Longest form, and longest query.
const FORM: Bounds = Bounds {
    bytes: 128 << 10,
    fields: 256,
};
/// What a request says that a page makes by itself, to be fresh.
const BY_ITSELF: &str = "x-console-live";
/// How callers who are not known any more are named in audit lines.
const PAGE: &str = "Console";

impl Desk {
    pub(super) async fn routed(&self, asked: Asked, body: Body) -> Reply {
        let path = asked.head.uri.path().to_owned();
        let posted = match asked.head.method {
            Method::GET | Method::HEAD => false,
            Method::POST => true,
            _ => {
                return Reply::plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Only GET and POST are known.\n",
                );
            }
        };
        match (posted, path.as_str()) {
            (false, "/sign-in") => return Self::sign_in_page(),
            (true, "/sign-in") => return self.sign_in(asked, body).await,
            (false, path) if path.starts_with("/assets/") => return assets::at(path),
            _ => {}
        }
        let visitor = match self.visitor(&asked, &path).await {
            Ok(visitor) => visitor,
            Err(reply) => return *reply,
        };
        let shown = self.answered(&visitor, asked, posted, &path, body).await;
        shown.unwrap_or_else(|problem| trouble(visitor.frame(problem.title), problem))
    }

    /// Who is signed in, if they are still who they were; else what to answer.
    async fn visitor(&self, asked: &Asked, path: &str) -> Result<Visitor, Box<Reply>> {
        let by_itself = asked.head.headers.contains_key(BY_ITSELF);
        let id = guard::session_id(&asked.head, asked.secure);
        let visit = id.and_then(|id| self.sessions.find(id, Instant::now(), by_itself));
        let Some(visit) = visit else {
            return Err(Box::new(signed_out(asked.secure)));
        };
        let proof = Proof {
            secret: Some(visit.secret.as_str()),
            certificate: None,
        };
        let authority = &self.setup.authority;
        match authority
            .authenticate(PAGE, proof, asked.call.clone())
            .await
        {
            Ok(session) => Ok(Visitor {
                authority: authority.clone(),
                session,
                visit,
                pass: asked.pass.clone(),
                path: path.to_owned(),
            }),
            Err(Error::Unauthenticated(_)) => {
                self.sessions.end(&visit);
                Err(Box::new(signed_out(asked.secure)))
            }
            Err(error) => {
                let problem = Problem::from(error);
                Err(Box::new(trouble(Frame::bare(problem.title), problem)))
            }
        }
    }

    async fn answered(
        &self,
        visitor: &Visitor,
        asked: Asked,
        posted: bool,
        path: &str,
        body: Body,
    ) -> Result<Reply, Problem> {
        let places: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let unreadable = |Unreadable(why): Unreadable| Problem::unreadable(&why);
        if !posted {
            let query = asked.head.uri.query().unwrap_or_default();
            let query = Form::parse(query.as_bytes(), FORM).map_err(unreadable)?;
            return self.shown(visitor, &places, &query).await;
        }
        if !guard::is_from_here(&asked.head) {
            return Err(Problem::foreign());
        }
        let form = Form::within(FORM, &asked.head.headers, body);
        let form = form.await.map_err(unreadable)?;
        if !guard::is_marked(&visitor.visit, &form) {
            return Err(Problem::foreign());
        }
        match places[..] {
            ["sign-out"] => Ok(self.sign_out(visitor, asked.secure)),
            _ => self.done(visitor, &places, &form).await,
        }
    }

    async fn shown(
        &self,
        visitor: &Visitor,
        places: &[&str],
        query: &Form,
    ) -> Result<Reply, Problem> {
        match places[..] {
            [""] => overview::page(visitor, query).await,
            ["tokens"] => tokens::page(visitor, query).await,
            ["tokens", "new"] => create::page(visitor),
            ["tokens", id] => token::page(visitor, id, query).await,
            ["tokens", id, "edit"] => edit::page(visitor, id).await,
            ["tokens", id, act @ ("rotate" | "revoke" | "delete")] => {
                actions::page(visitor, id, act).await
            }
            ["pools"] => pools::page(visitor, query).await,
            ["pools", namespace, pool] => pools::one(visitor, namespace, pool, query).await,
            ["expiring"] => lists::expiring(visitor, query).await,
            ["refusals"] => lists::refusals(visitor, query).await,
            ["namespaces"] => lists::namespaces(visitor, query).await,
            ["health"] => self.health(visitor).await,
            ["me"] => Ok(lists::me(visitor)),
            _ => Err(Problem::no_page()),
        }
    }

    async fn done(
        &self,
        visitor: &Visitor,
        places: &[&str],
        form: &Form,
    ) -> Result<Reply, Problem> {
        match places[..] {
            ["search"] => tokens::search(visitor, form),
            ["tokens", "new"] => create::create(self, visitor, form).await,
            ["tokens", "revoke"] => bulk::revoke(visitor, form).await,
            ["tokens", id, "edit"] => edit::edit(visitor, id, form).await,
            ["tokens", id, "rotate"] => actions::rotate(self, visitor, id, form).await,
            ["tokens", id, "revoke"] => actions::revoke(visitor, id, form).await,
            ["tokens", id, "delete"] => actions::delete(visitor, id, form).await,
            ["tokens", id, "disable"] => edit::switch(visitor, id, true).await,
            ["tokens", id, "enable"] => edit::switch(visitor, id, false).await,
            ["tokens", id, "reset-limits"] => actions::reset_limits(visitor, id).await,
            ["tokens", id, "release"] => actions::release(visitor, id).await,
            _ => Err(Problem::no_page()),
        }
    }
}
