//! Who calls the authority, and which permissions stand behind a call.

use std::collections::BTreeSet;
use std::fmt;

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

    pub fn covers(&self, namespace: &Namespace) -> bool {
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
pub struct Grants(Vec<(Permission, Option<Namespace>)>);

impl Grants {
    /// Everything, everywhere: the grants of a root caller.
    pub fn root() -> Self {
        Self(vec![(Permission::Admin, None)])
    }

    /// The grants that a token of `namespace` carries in its scopes.
    pub fn of<'a>(scopes: impl IntoIterator<Item = &'a Scope>, namespace: &Namespace) -> Self {
        let placed = |grant: Grant| match grant.place {
            Place::Own => (grant.permission, Some(namespace.clone())),
            Place::Named(named) => (grant.permission, Some(named)),
            Place::Everywhere => (grant.permission, None),
        };
        Self(
            scopes
                .into_iter()
                .filter_map(Scope::grant)
                .map(placed)
                .collect(),
        )
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
    pub fn reach(&self, permission: Permission) -> Option<Reach> {
        let mut namespaces = BTreeSet::new();
        for (held, place) in &self.0 {
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

    /// The first of `scopes` that would give a token of `namespace` a permission, somewhere, that
    /// these grants do not hold there.
    pub fn exceeded_by<'a>(&self, scopes: &'a [Scope], namespace: &Namespace) -> Option<&'a Scope> {
        scopes.iter().find(|scope| {
            let granted = Self::of([*scope], namespace);
            granted.0.iter().any(
                |(permission, place)| match (self.reach(*permission), place) {
                    (Some(reach), Some(place)) => !reach.covers(place),
                    (reach, None) => reach != Some(Reach::All),
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
        self.0.iter().map(name).collect()
    }
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

    /// The namespace that calls naming none are about.
    pub fn home(&self) -> Namespace {
        match self {
            Self::Root { .. } | Self::Certificate { .. } => Namespace::fallback(),
            Self::Token { namespace, .. } => namespace.clone(),
        }
    }
}

/// The caller's name in audit lines and derived ids; callers of different kinds never share one.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { name } => write!(f, "root:{name}"),
            Self::Certificate { name } => write!(f, "certificate:{name}"),
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
            grants(&["authority:read"]).reach(Permission::Read),
            only(&["home"])
        );
        assert_eq!(grants(&["authority:read"]).reach(Permission::Create), None);
    }

    #[test]
    fn manage_includes_reading_creating_and_revoking_but_not_validating() {
        let manager = grants(&["authority:manage@a", "authority:read@b", "orders:*"]);
        assert_eq!(manager.reach(Permission::Read), only(&["a", "b"]));
        assert_eq!(manager.reach(Permission::Revoke), only(&["a"]));
        assert_eq!(manager.reach(Permission::Validate), None);
        assert_eq!(manager.reach(Permission::Admin), None);
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
                grants(&["authority:admin@*"]).reach(permission),
                Some(Reach::All)
            );
            assert_eq!(Grants::root().reach(permission), Some(Reach::All));
        }
    }
}
