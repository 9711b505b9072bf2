//! The table of roles: each method with the roles that may call it.
//!
//! A method without a row is refused. `docs/security.md` has the same table for readers; a test
//! compares them, and another compares this table with the methods in `proto/`.

use super::role::AccessRole;
use AccessRole::{Admin, Auditor, Collector, Consumer, Operator, Pricing, Subscriber, Support};
use Allows::{Authenticated, Everyone, Members, Roles};

/// The principals that may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allows {
    /// Every client that reaches the port, also without authentication.
    Everyone,
    /// Every authenticated principal.
    Authenticated,
    /// Nodes and fronts.
    Members,
    /// Principals with one of these roles.
    Roles(&'static [AccessRole]),
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodRule {
    /// The path of the method: `/PACKAGE.SERVICE/METHOD`.
    pub path: &'static str,
    /// The principals that may call it.
    pub allows: Allows,
}

const fn row(path: &'static str, allows: Allows) -> MethodRule {
    MethodRule { path, allows }
}

/// The table of roles.
pub const METHODS: &[MethodRule] = &[
    row("/turnpike.ingest.v1.IngestService/Ingest", Roles(&[Collector])),
    row("/turnpike.ingest.v1.IngestService/IngestOnce", Roles(&[Collector])),
    row("/turnpike.account.v1.AccountService/Apply", Roles(&[Support])),
    row("/turnpike.account.v1.AccountService/Check", Roles(&[Support])),
    row("/turnpike.account.v1.AccountService/Show", Roles(&[Support, Subscriber, Auditor])),
    row("/turnpike.account.v1.AccountService/Resolve", Roles(&[Support, Auditor])),
    row("/turnpike.suspense.v1.SuspenseService/List", Roles(&[Support, Auditor])),
    row("/turnpike.suspense.v1.SuspenseService/Recycle", Roles(&[Support])),
    row("/turnpike.plan.v1.PlanService/Publish", Roles(&[Pricing])),
    row("/turnpike.plan.v1.PlanService/List", Roles(&[Pricing, Support, Auditor])),
    row("/turnpike.plan.v1.PlanService/Get", Roles(&[Pricing, Support, Auditor])),
    row("/turnpike.plan.v1.PlanService/PublishTable", Roles(&[Pricing])),
    row("/turnpike.plan.v1.PlanService/ListTables", Roles(&[Pricing, Support, Auditor])),
    row("/turnpike.plan.v1.PlanService/GetTable", Roles(&[Pricing, Support, Auditor])),
    row("/turnpike.feed.v1.FeedService/Register", Roles(&[Consumer])),
    row("/turnpike.feed.v1.FeedService/Pull", Roles(&[Consumer])),
    row("/turnpike.feed.v1.FeedService/Acknowledge", Roles(&[Consumer])),
    row("/turnpike.feed.v1.FeedService/ListConsumers", Roles(&[Operator, Auditor])),
    row("/turnpike.feed.v1.FeedService/RemoveConsumer", Roles(&[Operator])),
    row("/turnpike.cluster.v1.ClusterService/Status", Roles(&[Operator, Support, Auditor])),
    row("/turnpike.cluster.v1.ClusterService/Handover", Roles(&[Operator])),
    row("/turnpike.cluster.v1.ClusterService/Drain", Roles(&[Operator])),
    row("/turnpike.cluster.v1.ClusterService/Forget", Roles(&[Operator])),
    row("/turnpike.audit.v1.AuditService/Read", Roles(&[Operator, Auditor, Admin])),
    row("/turnpike.access.v1.AccessService/Grant", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/Revoke", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/List", Roles(&[Admin, Auditor])),
    row("/turnpike.access.v1.AccessService/Test", Roles(&[Admin, Auditor])),
    row("/turnpike.access.v1.AccessService/AddKey", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/ListKeys", Roles(&[Admin, Auditor])),
    row("/turnpike.access.v1.AccessService/RetireKey", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/AddToken", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/ListTokens", Roles(&[Admin, Auditor])),
    row("/turnpike.access.v1.AccessService/RevokeToken", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/RevokeCertificate", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/RestoreCertificate", Roles(&[Admin])),
    row("/turnpike.access.v1.AccessService/ListRevokedCertificates", Roles(&[Admin, Auditor])),
    row("/turnpike.node.v1.NodeService/Forward", Members),
    row("/turnpike.node.v1.NodeService/Apply", Members),
    row("/turnpike.node.v1.NodeService/Show", Members),
    row("/turnpike.node.v1.NodeService/ListSuspense", Members),
    row("/turnpike.node.v1.NodeService/Recycle", Members),
    row("/turnpike.node.v1.NodeService/Reassign", Members),
    row("/turnpike.node.v1.NodeService/Confirm", Members),
    row("/turnpike.node.v1.NodeService/Watch", Members),
    row("/grpc.health.v1.Health/Check", Everyone),
    row("/grpc.health.v1.Health/List", Everyone),
    row("/grpc.health.v1.Health/Watch", Everyone),
    row("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Authenticated),
    row("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Authenticated),
];

/// The row of the method with this path.
pub(crate) fn rule_of(path: &str) -> Option<&'static MethodRule> {
    METHODS.iter().find(|rule| rule.path == path)
}

/// The method that is named `PACKAGE.SERVICE/METHOD` or `SERVICE/METHOD`, with or without a leading
/// `/`.
///
/// # Errors
/// There is no such method, or the name fits several.
pub fn method_named(name: &str) -> Result<&'static MethodRule, String> {
    let name = name.trim_start_matches('/');
    let fits = |rule: &&MethodRule| {
        let path = rule.path.trim_start_matches('/');
        path == name || path.strip_suffix(name).is_some_and(|package| package.ends_with('.'))
    };
    let found: Vec<&MethodRule> = METHODS.iter().filter(fits).collect();
    match found.as_slice() {
        [] => {
            Err(format!("{name:?} is no method; write SERVICE/METHOD, such as AccountService/Show"))
        }
        [one] => Ok(one),
        several => {
            let paths: Vec<&str> = several.iter().map(|rule| rule.path).collect();
            Err(format!("{name:?} is several methods; write one of {}", paths.join(", ")))
        }
    }
}
