//! Which permission each RPC needs: the one table.

use crate::domain::caller::Permission;

/// What an RPC needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A credential that carries this permission.
    Permission(Permission),
    /// The same; or, where the call names a token by its secret, no credential at all.
    PermissionOrSecret(Permission),
    /// Any valid credential.
    Credential,
}

/// An act that needs a permission; the type of the [`super::access::Right`] to do it.
pub trait Act: Send + Sync + 'static {
    /// The method of `TokenService`.
    const RPC: &'static str;
    const PERMISSION: Permission;
    /// Whether each call is written to the audit log; refusals always are.
    const AUDITED: bool;
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident: $permission:ident, audited $audited:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl Act for $name {
                const RPC: &'static str = stringify!($name);
                const PERMISSION: Permission = Permission::$permission;
                const AUDITED: bool = $audited;
            }
        )*
    };
}

acts! {
    /// Judging secrets; counted as usage, not audited.
    Validate: Validate, audited false;
    /// Issuing tokens.
    Create: Create, audited true;
    /// Reading one token.
    Get: Read, audited true;
    /// Listing tokens.
    List: Read, audited true;
    /// Listing namespaces.
    ListNamespaces: Read, audited true;
    /// Revoking a token by its id.
    Revoke: Revoke, audited true;
    /// Deleting a token.
    Delete: Manage, audited true;
    /// Changing what is said about a token.
    Update: Manage, audited true;
    /// Replacing a token's secret.
    Rotate: Manage, audited true;
    /// Forgetting what was spent of a token's limits.
    ResetLimits: Manage, audited true;
}

/// Every RPC of `TokenService` and what it needs.
pub const TABLE: [(&str, Needs); 11] = [
    (Validate::RPC, Needs::Permission(Validate::PERMISSION)),
    (Create::RPC, Needs::Permission(Create::PERMISSION)),
    (Get::RPC, Needs::Permission(Get::PERMISSION)),
    (List::RPC, Needs::Permission(List::PERMISSION)),
    (
        ListNamespaces::RPC,
        Needs::Permission(ListNamespaces::PERMISSION),
    ),
    (Revoke::RPC, Needs::PermissionOrSecret(Revoke::PERMISSION)),
    (Delete::RPC, Needs::Permission(Delete::PERMISSION)),
    (Update::RPC, Needs::Permission(Update::PERMISSION)),
    (Rotate::RPC, Needs::Permission(Rotate::PERMISSION)),
    (ResetLimits::RPC, Needs::Permission(ResetLimits::PERMISSION)),
    ("WhoAmI", Needs::Credential),
];
