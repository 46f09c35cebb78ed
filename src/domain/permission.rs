//! Permissions on the authority itself, and the scopes that grant them.

use super::flaw::{Flaw, quoted};
use super::name::Namespace;

/// Scopes that begin so are permissions on this authority itself.
pub const AUTHORITY_PREFIX: &str = "authority:";

/// A permission on the authority itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    Validate,
    Report,
    Lease,
    Read,
    Create,
    Revoke,
    /// Includes `Read`, `Create` and `Revoke`.
    Manage,
    /// Includes everything.
    Admin,
}

impl Permission {
    pub const ALL: [Permission; 8] = [
        Self::Validate,
        Self::Report,
        Self::Lease,
        Self::Read,
        Self::Create,
        Self::Revoke,
        Self::Manage,
        Self::Admin,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Report => "report",
            Self::Lease => "lease",
            Self::Read => "read",
            Self::Create => "create",
            Self::Revoke => "revoke",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }

    /// Whether whoever holds this permission also holds `other`.
    pub fn includes(self, other: Permission) -> bool {
        match self {
            Self::Admin => true,
            Self::Manage => {
                matches!(
                    other,
                    Self::Manage | Self::Read | Self::Create | Self::Revoke
                )
            }
            _ => self == other,
        }
    }
}

/// Where a grant holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The namespace of the token that carries the grant.
    Own,
    Named(Namespace),
    Everywhere,
}

/// One `authority:` scope, read: a permission and where it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(super) permission: Permission,
    pub(super) place: Place,
}

impl Grant {
    /// Reads `authority:<permission>`, `authority:<permission>@<namespace>` or `…@*`.
    pub fn parse(scope: &str) -> Result<Self, Flaw> {
        let unknown = || {
            let names = Permission::ALL.map(Permission::as_str).join(", ");
            Flaw::new(format!(
                "a scope that begins with \"{AUTHORITY_PREFIX}\" must name one of {names}, \
                 then nothing, \"@<namespace>\" or \"@*\"; got {}",
                quoted(scope)
            ))
        };
        let granted = scope.strip_prefix(AUTHORITY_PREFIX).ok_or_else(unknown)?;
        let (name, place) = match granted.split_once('@') {
            None => (granted, Place::Own),
            Some((name, "*")) => (name, Place::Everywhere),
            Some((name, namespace)) => (
                name,
                Place::Named(Namespace::parse(namespace).map_err(|_| unknown())?),
            ),
        };
        let permission = Permission::ALL
            .into_iter()
            .find(|known| known.as_str() == name);
        Ok(Self {
            permission: permission.ok_or_else(unknown)?,
            place,
        })
    }
}
