//! Which permission each RPC needs: the one table.

use crate::domain::caller::Permission;

/// What an RPC needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A credential that carries this permission.
    Permission(Permission),
    /// The same; or, where the call names a token by its secret, no credential at all.
    PermissionOrSecret(Permission),
    /// The one where the call names a lease, the other where it names a token.
    ByTarget {
        lease: Permission,
        token: Permission,
    },
    /// Any valid credential.
    Credential,
}

/// An act that needs a permission; the type of the [`super::access::Right`] to do it.
pub trait Act: Send + Sync + 'static {
    /// The method, of `TokenService` or of [`BESIDE`].
    const RPC: &'static str;
    const PERMISSION: Permission;
    /// Whether each call is written to the audit log; refusals always are.
    const AUDITED: bool;
}

macro_rules! acts {
    (@rpc $name:ident) => { stringify!($name) };
    (@rpc $name:ident $rpc:ident) => { stringify!($rpc) };
    ($($(#[$doc:meta])* $name:ident $(of $rpc:ident)?: $permission:ident, audited $audited:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl Act for $name {
                const RPC: &'static str = acts!(@rpc $name $($rpc)?);
                const PERMISSION: Permission = Permission::$permission;
                const AUDITED: bool = $audited;
            }
        )*
    };
}

acts! {
    /// Judging secrets; counted as usage, not audited.
    Validate: Validate, audited false;
    /// Judging many secrets in one call.
    BatchValidate: Validate, audited false;
    /// Judging secrets over one stream.
    ValidateStream: Validate, audited false;
    /// Judging what a request carries that a proxy holds.
    Check: Validate, audited false;
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
    /// Issuing several tokens that are alike.
    BatchCreate: Create, audited true;
    /// Leasing a token of a pool.
    Acquire: Lease, audited true;
    /// Ending a lease by its name.
    Release: Lease, audited true;
    /// Taking a token from whoever holds it.
    ForcedRelease of Release: Manage, audited true;
    /// Keeping a lease and its token alive.
    KeepAlive: Lease, audited false;
    /// Keeping a token alive, whoever holds it.
    TokenKeepAlive of KeepAlive: Manage, audited true;
    /// Keeping many leases alive over one stream.
    KeepAliveStream: Lease, audited false;
    /// Listing pools.
    ListPools: Read, audited true;
    /// Beginning to hear of events.
    Watch: Read, audited true;
    /// Going on to hear of them.
    StillWatch of Watch: Read, audited false;
    /// Reading how a token was used.
    Usage: Read, audited true;
    /// Reading how a namespace is used.
    Overview: Read, audited true;
    /// Telling how requests ended; counted as usage, not audited.
    Report: Report, audited false;
    /// The same of proxies, whose method is one of Envoy's access log service.
    AccessLogs of StreamAccessLogs: Report, audited false;
}

/// Every RPC of `TokenService` and what it needs.
pub const TABLE: [(&str, Needs); 23] = [
    (Validate::RPC, Needs::Permission(Validate::PERMISSION)),
    (
        BatchValidate::RPC,
        Needs::Permission(BatchValidate::PERMISSION),
    ),
    (
        ValidateStream::RPC,
        Needs::Permission(ValidateStream::PERMISSION),
    ),
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
    (BatchCreate::RPC, Needs::Permission(BatchCreate::PERMISSION)),
    (Acquire::RPC, Needs::Permission(Acquire::PERMISSION)),
    (
        Release::RPC,
        Needs::ByTarget {
            lease: Release::PERMISSION,
            token: ForcedRelease::PERMISSION,
        },
    ),
    (
        KeepAlive::RPC,
        Needs::ByTarget {
            lease: KeepAlive::PERMISSION,
            token: TokenKeepAlive::PERMISSION,
        },
    ),
    (
        KeepAliveStream::RPC,
        Needs::Permission(KeepAliveStream::PERMISSION),
    ),
    (ListPools::RPC, Needs::Permission(ListPools::PERMISSION)),
    (Watch::RPC, Needs::Permission(Watch::PERMISSION)),
    (Usage::RPC, Needs::Permission(Usage::PERMISSION)),
    (Overview::RPC, Needs::Permission(Overview::PERMISSION)),
    (Report::RPC, Needs::Permission(Report::PERMISSION)),
    ("WhoAmI", Needs::Credential),
];

/// Methods of other services, and what they need: names of their own among those of [`TABLE`].
pub const BESIDE: [(&str, Needs); 2] = [
    (Check::RPC, Needs::Permission(Check::PERMISSION)),
    (AccessLogs::RPC, Needs::Permission(AccessLogs::PERMISSION)),
];

/// The names of all methods that are told apart.
pub fn methods() -> impl Iterator<Item = &'static str> {
    TABLE.into_iter().chain(BESIDE).map(|(rpc, _)| rpc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_methods_go_by_one_name() {
        let mut names: Vec<&str> = methods().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len() + BESIDE.len());
    }
}
