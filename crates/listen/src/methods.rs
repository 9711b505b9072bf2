//! The limits of each method. A method that is not in the table has the smallest ones.

use turnpike_types::limits::{
    BATCH_BYTES_MAX, DECIDED_MAX, EXAMPLES_BYTES_MAX, PLAN_XML_BYTES_MAX, RECORD_BYTES_MAX,
    TABLE_BYTES_MAX,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// For the fields beside the large one, and so that a message just above a documented limit reaches
/// the service, which refuses it with words of its own.
const BESIDE: usize = 64 * KIB;
/// The most bytes of a batch that reaches the service. It refuses a batch above the documented limit
/// with words of its own, and the stream goes on.
const BATCH: usize = BATCH_BYTES_MAX + MIB;
const SMALL: usize = 64 * KIB;
/// At most 10,000 account commands.
const COMMANDS: usize = 16 * MIB;

/// The limits of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodLimits {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// The size of one message that it takes, in bytes.
    pub request_bytes_max: usize,
    /// The room in the budget that is reserved once the request is complete, for its answer, in bytes; 0 if it
    /// answers with a stream, or briefly.
    pub answer_bytes: usize,
    /// Whether the client sends a stream of messages. The pause between two messages has no
    /// deadline.
    pub client_streams: bool,
}

const fn unary(path: &'static str, request_bytes_max: usize, answer_bytes: usize) -> MethodLimits {
    MethodLimits { path, request_bytes_max, answer_bytes, client_streams: false }
}

const fn stream(path: &'static str, request_bytes_max: usize) -> MethodLimits {
    MethodLimits { path, request_bytes_max, answer_bytes: 0, client_streams: true }
}

const UNKNOWN: MethodLimits = unary("this method", SMALL, 0);

/// The limits of all methods that fronts and nodes serve.
pub const METHODS: &[MethodLimits] = &[
    stream("/turnpike.ingest.v1.IngestService/Ingest", BATCH),
    unary("/turnpike.ingest.v1.IngestService/IngestOnce", BATCH, SMALL),
    unary("/turnpike.account.v1.AccountService/Apply", COMMANDS, 2 * MIB),
    unary("/turnpike.account.v1.AccountService/Check", COMMANDS, 2 * MIB),
    unary("/turnpike.account.v1.AccountService/Show", SMALL, 256 * KIB),
    unary("/turnpike.account.v1.AccountService/Resolve", SMALL, SMALL),
    unary("/turnpike.cluster.v1.ClusterService/Status", SMALL, MIB),
    unary("/turnpike.cluster.v1.ClusterService/Handover", SMALL, SMALL),
    unary("/turnpike.cluster.v1.ClusterService/Drain", SMALL, SMALL),
    unary("/turnpike.cluster.v1.ClusterService/Forget", SMALL, SMALL),
    unary("/turnpike.feed.v1.FeedService/Register", SMALL, MIB),
    // A cursor for each partition. The pages take room in the budget one by one.
    unary("/turnpike.feed.v1.FeedService/Pull", MIB, 0),
    unary("/turnpike.feed.v1.FeedService/Acknowledge", SMALL, 0),
    // At most 1,000 names of at most 128 bytes.
    unary("/turnpike.feed.v1.FeedService/ListConsumers", SMALL, 256 * KIB),
    unary("/turnpike.feed.v1.FeedService/RemoveConsumer", SMALL, SMALL),
    unary(
        "/turnpike.plan.v1.PlanService/Publish",
        PLAN_XML_BYTES_MAX + EXAMPLES_BYTES_MAX + BESIDE,
        MIB,
    ),
    unary("/turnpike.plan.v1.PlanService/List", SMALL, 4 * MIB),
    unary(
        "/turnpike.plan.v1.PlanService/Get",
        SMALL,
        PLAN_XML_BYTES_MAX + EXAMPLES_BYTES_MAX + BESIDE,
    ),
    unary("/turnpike.plan.v1.PlanService/PublishTable", TABLE_BYTES_MAX + BESIDE, SMALL),
    unary("/turnpike.plan.v1.PlanService/ListTables", SMALL, 4 * MIB),
    unary("/turnpike.plan.v1.PlanService/GetTable", SMALL, TABLE_BYTES_MAX + BESIDE),
    unary("/turnpike.suspense.v1.SuspenseService/List", SMALL, 0),
    unary("/turnpike.suspense.v1.SuspenseService/Recycle", SMALL, SMALL),
    // A page of entries, of about a mebibyte.
    unary("/turnpike.audit.v1.AuditService/Read", SMALL, 2 * MIB),
    // A grant with all its sources.
    unary("/turnpike.access.v1.AccessService/Grant", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/Revoke", SMALL, SMALL),
    // At most 10,000 grants and as many tokens.
    unary("/turnpike.access.v1.AccessService/List", SMALL, 4 * MIB),
    unary("/turnpike.access.v1.AccessService/Test", SMALL, MIB),
    unary("/turnpike.access.v1.AccessService/AddKey", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/ListKeys", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/RetireKey", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/AddToken", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/ListTokens", SMALL, 4 * MIB),
    unary("/turnpike.access.v1.AccessService/RevokeToken", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/RevokeCertificate", SMALL, SMALL),
    unary("/turnpike.access.v1.AccessService/RestoreCertificate", SMALL, SMALL),
    // At most 1,000 revocations.
    unary("/turnpike.access.v1.AccessService/ListRevokedCertificates", SMALL, MIB),
    // A front adds an account and a look-up to each record of a batch.
    stream("/turnpike.node.v1.NodeService/Forward", 2 * BATCH_BYTES_MAX),
    unary("/turnpike.node.v1.NodeService/Apply", COMMANDS + BESIDE, 2 * MIB),
    unary("/turnpike.node.v1.NodeService/Show", SMALL, 256 * KIB),
    unary("/turnpike.node.v1.NodeService/ListSuspense", SMALL, 4 * MIB),
    // Keys and refusals, each without the record.
    unary("/turnpike.node.v1.NodeService/Recycle", 2 * MIB, MIB),
    unary("/turnpike.node.v1.NodeService/Reassign", DECIDED_MAX * (RECORD_BYTES_MAX + KIB), MIB),
    unary("/turnpike.node.v1.NodeService/Confirm", DECIDED_MAX * (RECORD_BYTES_MAX + KIB), SMALL),
    unary("/turnpike.node.v1.NodeService/Watch", SMALL, 0),
    unary("/grpc.health.v1.Health/Check", SMALL, 0),
    unary("/grpc.health.v1.Health/List", SMALL, 0),
    unary("/grpc.health.v1.Health/Watch", SMALL, 0),
    stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", SMALL),
    stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", SMALL),
];

/// The limits of the method at `path`.
pub fn method_limits(path: &str) -> &'static MethodLimits {
    METHODS.iter().find(|method| method.path == path).unwrap_or(&UNKNOWN)
}
