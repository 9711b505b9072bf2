//! The limits of each method. A method that is not in the table has the smallest ones.

use turnpike_types::limits::{
    ACCOUNT_COMMANDS_MAX, BATCH_BYTES_MAX, DECIDED_MAX, EXAMPLES_BYTES_MAX, PLAN_XML_BYTES_MAX,
    RECORD_BYTES_MAX, SUSPENSE_PAGE_BYTES_MAX, TABLE_BYTES_MAX,
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
/// Account commands, with their identities, attributes and parameters.
const COMMAND_ELEMENTS: usize = 20 * ACCOUNT_COMMANDS_MAX;
/// Keys or records that are decided, and as many above the limit, which the service refuses.
const DECIDED_ELEMENTS: usize = 2 * DECIDED_MAX;
/// A page of records in suspense.
const SUSPENSE_PAGE: usize = SUSPENSE_PAGE_BYTES_MAX + BESIDE;
/// A request of health.
const NAME: usize = KIB;

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
    /// Whether the client sends a stream of messages. The pause between two messages has a deadline
    /// of its own.
    pub client_streams: bool,
    /// The elements of repeated fields in one message, nested ones too. They are counted before the
    /// message is decoded. `None`: the service reads the message piece by piece, and counts.
    pub elements_max: Option<usize>,
}

impl MethodLimits {
    const fn elements(self, elements_max: usize) -> Self {
        Self { elements_max: Some(elements_max), ..self }
    }
}

const fn unary(path: &'static str, request_bytes_max: usize, answer_bytes: usize) -> MethodLimits {
    let (client_streams, elements_max) = (false, None);
    MethodLimits { path, request_bytes_max, answer_bytes, client_streams, elements_max }
}

const fn stream(path: &'static str, request_bytes_max: usize) -> MethodLimits {
    let (answer_bytes, client_streams, elements_max) = (0, true, None);
    MethodLimits { path, request_bytes_max, answer_bytes, client_streams, elements_max }
}

const UNKNOWN: MethodLimits = unary("this method", SMALL, 0);

/// The limits of all methods that fronts and nodes serve.
pub const METHODS: &[MethodLimits] = &[
    stream("/turnpike.ingest.v1.IngestService/Ingest", BATCH),
    unary("/turnpike.ingest.v1.IngestService/IngestOnce", BATCH, SMALL),
    unary("/turnpike.account.v1.AccountService/Apply", COMMANDS, 2 * MIB)
        .elements(COMMAND_ELEMENTS),
    unary("/turnpike.account.v1.AccountService/Check", COMMANDS, 2 * MIB)
        .elements(COMMAND_ELEMENTS),
    unary("/turnpike.account.v1.AccountService/Show", SMALL, 256 * KIB),
    unary("/turnpike.account.v1.AccountService/Resolve", SMALL, SMALL)
        .elements(ACCOUNT_COMMANDS_MAX + 1),
    unary("/turnpike.cluster.v1.ClusterService/Status", SMALL, MIB),
    unary("/turnpike.cluster.v1.ClusterService/Handover", SMALL, SMALL),
    unary("/turnpike.cluster.v1.ClusterService/Drain", SMALL, SMALL),
    unary("/turnpike.cluster.v1.ClusterService/Forget", SMALL, SMALL),
    unary("/turnpike.feed.v1.FeedService/Register", SMALL, MIB),
    // A cursor for each partition. The pages take room in the budget one by one.
    unary("/turnpike.feed.v1.FeedService/Pull", MIB, 0).elements(10_000),
    unary("/turnpike.feed.v1.FeedService/Acknowledge", SMALL, 0),
    // At most 1,000 names of at most 128 bytes.
    unary("/turnpike.feed.v1.FeedService/ListConsumers", SMALL, 256 * KIB),
    unary("/turnpike.feed.v1.FeedService/RemoveConsumer", SMALL, SMALL),
    unary(
        "/turnpike.plan.v1.PlanService/Publish",
        PLAN_XML_BYTES_MAX + EXAMPLES_BYTES_MAX + BESIDE,
        MIB,
    )
    .elements(10_000),
    unary("/turnpike.plan.v1.PlanService/List", SMALL, 4 * MIB),
    unary(
        "/turnpike.plan.v1.PlanService/Get",
        SMALL,
        PLAN_XML_BYTES_MAX + EXAMPLES_BYTES_MAX + BESIDE,
    ),
    unary("/turnpike.plan.v1.PlanService/PublishTable", TABLE_BYTES_MAX + BESIDE, SMALL),
    unary("/turnpike.plan.v1.PlanService/ListTables", SMALL, 4 * MIB),
    unary("/turnpike.plan.v1.PlanService/GetTable", SMALL, TABLE_BYTES_MAX + BESIDE),
    // The pages take room in the budget one by one.
    unary("/turnpike.suspense.v1.SuspenseService/List", SMALL, 0),
    // A page of records, as received from a node and decoded.
    unary("/turnpike.suspense.v1.SuspenseService/Recycle", SMALL, 2 * SUSPENSE_PAGE),
    // A page of entries, of about a mebibyte.
    unary("/turnpike.audit.v1.AuditService/Read", SMALL, 2 * MIB),
    // A grant with all its sources.
    unary("/turnpike.access.v1.AccessService/Grant", SMALL, SMALL).elements(1_000),
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
    unary("/turnpike.node.v1.NodeService/Apply", COMMANDS + BESIDE, 2 * MIB)
        .elements(COMMAND_ELEMENTS),
    unary("/turnpike.node.v1.NodeService/Show", SMALL, 256 * KIB),
    unary("/turnpike.node.v1.NodeService/ListSuspense", SMALL, SUSPENSE_PAGE),
    // Keys and refusals, each without the record.
    unary("/turnpike.node.v1.NodeService/Recycle", 2 * MIB, MIB).elements(DECIDED_ELEMENTS),
    unary("/turnpike.node.v1.NodeService/Reassign", DECIDED_MAX * (RECORD_BYTES_MAX + KIB), MIB)
        .elements(DECIDED_ELEMENTS),
    unary("/turnpike.node.v1.NodeService/Confirm", DECIDED_MAX * (RECORD_BYTES_MAX + KIB), SMALL)
        .elements(DECIDED_ELEMENTS),
    unary("/turnpike.node.v1.NodeService/Watch", SMALL, 0),
    unary("/grpc.health.v1.Health/Check", NAME, 0),
    unary("/grpc.health.v1.Health/List", NAME, 0),
    unary("/grpc.health.v1.Health/Watch", NAME, 0),
    stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 4 * KIB),
    stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 4 * KIB),
];

/// The limits of the method at `path`.
pub fn method_limits(path: &str) -> &'static MethodLimits {
    METHODS.iter().find(|method| method.path == path).unwrap_or(&UNKNOWN)
}
