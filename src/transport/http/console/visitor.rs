//! Somebody who is signed in, for one request: known anew each time by the secret of the session.

use std::future::Future;
use std::sync::Arc;

use tracing::Instrument;

use crate::authority::Authority;
use crate::authority::access::{Right, Session};
use crate::authority::act::Act;
use crate::authority::error::Error;
use crate::domain::caller::{Permission, Reach};
use crate::domain::name::Namespace;
use crate::transport::gate::Pass;

use super::assets;
use super::page::{Frame, Link};
use super::sessions::Visit;

/// Who asks, and what keeps the request in hand.
pub(super) struct Visitor {
    pub(super) authority: Arc<Authority>,
    pub(super) session: Session,
    pub(super) visit: Visit,
    pub(super) pass: Arc<Pass>,
    pub(super) path: String,
}

/// Every page, and what it takes to see something there.
const PAGES: [(&str, &str, Option<Permission>); 9] = [
    ("/", "Overview", Some(Permission::Read)),
    ("/tokens", "Tokens", Some(Permission::Read)),
    ("/tokens/new", "New token", Some(Permission::Create)),
    ("/pools", "Pools", Some(Permission::Read)),
    ("/expiring", "Expiring soon", Some(Permission::Read)),
    ("/refusals", "Refusals", Some(Permission::Read)),
    ("/namespaces", "Namespaces", Some(Permission::Read)),
    ("/health", "Health", Some(Permission::Read)),
    ("/me", "You", None),
];

impl Visitor {
    pub(super) fn permit<A: Act>(&self) -> Result<Right<A>, Error> {
        self.authority.permit::<A>(&self.session)
    }

    fn reach(&self, permission: Permission) -> Option<&Arc<Reach>> {
        self.session.caller.grants.reach(permission)
    }

    /// Whether it holds the permission anywhere.
    pub(super) fn may(&self, permission: Permission) -> bool {
        self.reach(permission).is_some()
    }

    /// Refuses a page to whoever could do nothing with it there, or, without a namespace, anywhere.
    pub(super) fn needs(
        &self,
        permission: Permission,
        namespace: Option<&str>,
    ) -> Result<(), Error> {
        let held = match namespace {
            Some(namespace) => self.may_in(permission, namespace),
            None => self.may(permission),
        };
        let namespace = namespace.and_then(|namespace| Namespace::parse(namespace).ok());
        held.then_some(()).ok_or(Error::PermissionMissing {
            permission,
            namespace,
        })
    }

    /// Whether it holds the permission in that namespace.
    pub(super) fn may_in(&self, permission: Permission, namespace: &str) -> bool {
        let reach = self.reach(permission);
        reach.is_some_and(|reach| reach.covers_named(namespace))
    }

    /// What a page is about where nothing else is asked for: all that may be read, where that is
    /// everything, else the own namespace, or another.
    pub(super) fn home(&self, permission: Permission) -> String {
        let own = self.session.caller.identity.home();
        match self.reach(permission).map(Arc::as_ref) {
            Some(Reach::All) => "-".to_owned(),
            Some(Reach::Only(named)) if !named.contains(&own) => {
                named.first().map(Namespace::to_string).unwrap_or_default()
            }
            _ => own.to_string(),
        }
    }

    /// The namespaces that one may choose from where they are few; none where they are all.
    pub(super) fn places(&self, permission: Permission) -> Vec<String> {
        match self.reach(permission).map(Arc::as_ref) {
            Some(Reach::Only(named)) => named.iter().map(Namespace::to_string).collect(),
            Some(Reach::All) | None => Vec::new(),
        }
    }

    pub(super) fn frame(&self, title: &str) -> Frame {
        let seen = |needed: Option<Permission>| needed.is_none_or(|needed| self.may(needed));
        let links = PAGES.into_iter().filter(|(_, _, needed)| seen(*needed));
        Frame {
            title: title.to_owned(),
            caller: self.session.caller.identity.to_string(),
            csrf: self.visit.csrf.to_string(),
            links: links
                .map(|(href, text, _)| Link {
                    href,
                    text,
                    here: href == self.path,
                })
                .collect(),
            style: assets::STYLE.as_str(),
            script: assets::SCRIPT.as_str(),
        }
    }

    /// Runs a change to its end whatever becomes of the request, which is in hand until then.
    pub(super) async fn see_through<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let pass = self.pass.clone();
        let change = async move {
            let result = change.await;
            drop(pass);
            result
        };
        tokio::spawn(change.in_current_span())
            .await
            .unwrap_or_else(|panic| Err(Error::Internal(panic.to_string())))
    }
}
