//! Who calls the authority, and which permissions stand behind a call.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::flaw::{Flaw, quoted};
use super::name::Namespace;
use super::permission::{AUTHORITY_PREFIX, Grant, Place};
use super::scope::Scope;
use super::token::Token;
use super::token_id::TokenId;

pub use super::permission::Permission;

/// The namespaces that something holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    Only(BTreeSet<Namespace>),
}

impl Reach {
    pub fn only(namespace: Namespace) -> Self {
        Self::Only(BTreeSet::from([namespace]))
    }

    /// Whether it is this namespace and no other.
    pub fn is_only(&self, namespace: &Namespace) -> bool {
        match self {
            Self::All => false,
            Self::Only(namespaces) => namespaces.len() == 1 && namespaces.contains(namespace),
        }
    }

    pub fn covers(&self, namespace: &Namespace) -> bool {
        self.covers_named(namespace.as_str())
    }

    /// The same of a namespace of that name.
    pub fn covers_named(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// The namespaces that a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// None named: the caller's own.
    Own,
    Named(Namespace),
    All,
}

impl Namespaces {
    /// Reads a request's `namespace`: empty, a name, or `-` for all.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        match text {
            "" => Ok(Self::Own),
            "-" => Ok(Self::All),
            name => Namespace::parse(name).map(Self::Named),
        }
    }
}

/// What a caller may do, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    held: Vec<(Permission, Option<Namespace>)>,
    /// Where each permission is held, by its number: asked with each call, and worked out once.
    reaches: [Option<Arc<Reach>>; Permission::ALL.len()],
}

impl Grants {
    /// Everything, everywhere: the grants of a root caller.
    pub fn root() -> Self {
        Self::holding(vec![(Permission::Admin, None)])
    }

    fn holding(held: Vec<(Permission, Option<Namespace>)>) -> Self {
        let reaches = Permission::ALL.map(|permission| reach(&held, permission).map(Arc::new));
        Self { held, reaches }
    }

    /// The grants that a token of `namespace` carries in its scopes.
    pub fn of<'a>(scopes: impl IntoIterator<Item = &'a Scope>, namespace: &Namespace) -> Self {
        let placed = |grant: Grant| match grant.place {
            Place::Own => (grant.permission, Some(namespace.clone())),
            Place::Named(named) => (grant.permission, Some(named)),
            Place::Everywhere => (grant.permission, None),
        };
        let grants = scopes.into_iter().filter_map(Scope::grant);
        Self::holding(grants.map(placed).collect())
    }

    /// Grants that a configuration gives as `permission@namespace`, `permission@*`, or `permission`
    /// alone, which holds in the default namespace.
    pub fn of_configuration(texts: &[String]) -> Result<Self, Flaw> {
        let scopes = texts.iter().map(|text| {
            let scope = Scope::parse(&format!("{AUTHORITY_PREFIX}{text}"));
            scope.map_err(|_| {
                let names = Permission::ALL.map(Permission::as_str).join(", ");
                Flaw::new(format!(
                    "must be one of {names}, then nothing, \"@<namespace>\" or \"@*\"; got {}",
                    quoted(text)
                ))
            })
        });
        let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(&scopes, &Namespace::fallback()))
    }

    /// Where `permission` is held; `None` when nowhere.
    pub fn reach(&self, permission: Permission) -> Option<&Arc<Reach>> {
        self.reaches[permission as usize].as_ref()
    }

    /// The first of `scopes` that would give a token of `namespace` a permission, somewhere, that
    /// these grants do not hold there.
    pub fn exceeded_by<'a>(&self, scopes: &'a [Scope], namespace: &Namespace) -> Option<&'a Scope> {
        scopes.iter().find(|scope| {
            let granted = Self::of([*scope], namespace);
            granted.held.iter().any(
                |(permission, place)| match (self.reach(*permission), place) {
                    (Some(reach), Some(place)) => !reach.covers(place),
                    (reach, None) => reach.is_none_or(|reach| **reach != Reach::All),
                    (None, Some(_)) => true,
                },
            )
        })
    }

    /// Each grant as `permission@namespace`, or `permission@*`.
    pub fn names(&self) -> Vec<String> {
        let name = |(permission, place): &(Permission, Option<Namespace>)| {
            let place = place.as_ref().map_or("*", Namespace::as_str);
            format!("{}@{place}", permission.as_str())
        };
        self.held.iter().map(name).collect()
    }
}

fn reach(grants: &[(Permission, Option<Namespace>)], permission: Permission) -> Option<Reach> {
    let mut namespaces = BTreeSet::new();
    for (held, place) in grants {
        match place {
            _ if !held.includes(permission) => {}
            None => return Some(Reach::All),
            Some(namespace) => {
                namespaces.insert(namespace.clone());
            }
        }
    }
    (!namespaces.is_empty()).then_some(Reach::Only(namespaces))
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub identity: Identity,
    pub grants: Grants,
}

/// How a caller is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// By a root token of the configuration, under its name there.
    Root { name: String },
    /// By the certificate of its connection, under its name in the configuration.
    Certificate { name: String },
    /// By its address, under a name for all that the configuration trusts there.
    Peer { name: String },
    /// By a token of this authority.
    Token { id: TokenId, namespace: Namespace },
}

impl Identity {
    pub fn of(token: &Token) -> Self {
        Self::Token {
            id: token.id,
            namespace: token.namespace.clone(),
        }
    }

    /// The namespace of the caller's token; `None` for callers that are none.
    pub fn own_namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Root { .. } | Self::Certificate { .. } | Self::Peer { .. } => None,
            Self::Token { namespace, .. } => Some(namespace),
        }
    }

    /// The namespace that calls naming none are about.
    pub fn home(&self) -> Namespace {
        let own = self.own_namespace().cloned();
        own.unwrap_or_else(Namespace::fallback)
    }
}

/// The caller's name in audit lines and derived ids; callers of different kinds never share one.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { name } => write!(f, "root:{name}"),
            Self::Certificate { name } => write!(f, "certificate:{name}"),
            Self::Peer { name } => write!(f, "peer:{name}"),
            Self::Token { id, .. } => write!(f, "token:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(scopes: &[&str]) -> Grants {
        let scopes: Vec<Scope> = scopes
            .iter()
            .map(|scope| Scope::parse(scope).unwrap())
            .collect();
        Grants::of(&scopes, &Namespace::parse("home").unwrap())
    }

    fn held(grants: &Grants, permission: Permission) -> Option<Reach> {
        grants.reach(permission).map(|reach| (**reach).clone())
    }

    fn only(names: &[&str]) -> Option<Reach> {
        let names = names
            .iter()
            .map(|name| Namespace::parse(name).unwrap())
            .collect();
        Some(Reach::Only(names))
    }

    #[test]
    fn a_bare_permission_holds_in_the_own_namespace_only() {
        assert_eq!(
            held(&grants(&["authority:read"]), Permission::Read),
            only(&["home"])
        );
        assert_eq!(held(&grants(&["authority:read"]), Permission::Create), None);
    }

    #[test]
    fn manage_includes_reading_creating_and_revoking_but_not_validating() {
        let manager = grants(&["authority:manage@a", "authority:read@b", "orders:*"]);
        assert_eq!(held(&manager, Permission::Read), only(&["a", "b"]));
        assert_eq!(held(&manager, Permission::Revoke), only(&["a"]));
        assert_eq!(held(&manager, Permission::Validate), None);
        assert_eq!(held(&manager, Permission::Admin), None);
    }

    #[test]
    fn nobody_grants_more_than_they_hold() {
        let scope = |text| vec![Scope::parse(text).unwrap()];
        let home = Namespace::parse("home").unwrap();
        let manager = grants(&["authority:manage", "authority:validate@b"]);
        for held in [
            "authority:read",
            "authority:create@home",
            "authority:validate@b",
            "orders:*",
        ] {
            assert_eq!(manager.exceeded_by(&scope(held), &home), None, "{held}");
        }
        for beyond in [
            "authority:admin",
            "authority:validate",
            "authority:read@b",
            "authority:manage@*",
            "authority:validate@*",
        ] {
            assert!(
                manager.exceeded_by(&scope(beyond), &home).is_some(),
                "{beyond}"
            );
        }
        let elsewhere = Namespace::parse("b").unwrap();
        assert!(
            manager
                .exceeded_by(&scope("authority:read"), &elsewhere)
                .is_some()
        );
    }

    #[test]
    fn admin_everywhere_reaches_everything() {
        for permission in Permission::ALL {
            assert_eq!(
                held(&grants(&["authority:admin@*"]), permission),
                Some(Reach::All)
            );
            assert_eq!(held(&Grants::root(), permission), Some(Reach::All));
        }
    }
}
