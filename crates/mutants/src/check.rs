//! The checks that can be switched off.

macro_rules! checks {
    ($($(#[$doc:meta])* $check:ident,)+) => {
        /// A check that protects an invariant, with the rule of the protocol that it implements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check {
            $($(#[$doc])* $check,)+
        }

        impl Check {
            /// All checks.
            pub const ALL: &[Self] = &[$(Self::$check,)+];

            /// The name of the check in the environment variable `TURNPIKE_MUTANT` and in the table
            /// of `chaos-tests/README.md`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$check => stringify!($check),)+
                }
            }
        }
    };
}

checks! {
    // The database (in memory).
    /// P1: the fence of an append compares epoch and claim.
    FenceOwner,
    /// P1: the fence compares the epoch, even if the claim is right.
    FenceEpoch,
    /// P18: the fence compares the claim, even if the epoch is right.
    FenceClaim,
    /// P18: the fence compares the hash of the previous segment.
    FenceHash,
    /// P1: a claim is a compare-and-set on the epoch that the claimant read.
    ClaimSeen,
    /// P20: a call of many claims reports a partition whose row is locked as busy, and does not
    /// claim it.
    BusyRow,
    /// P17: a barrier succeeds for the owner only.
    BarrierOwner,
    /// P18: a barrier succeeds only if the log ends at the position that the owner knows.
    BarrierPosition,
    /// P23: only the owner publishes a checkpoint. With the check off, a superseded owner publishes
    /// one late.
    CheckpointFence,
    /// P22, P23: a checkpoint is published only if it is newer. With the check off, a late one
    /// becomes the newest.
    CheckpointForward,
    /// P22: a checkpoint is published only if all its parts exist.
    CheckpointParts,
    /// P11: a process is refused once another process has taken its node name.
    Superseded,
    /// P14: a claim on a partition that its owner did not release is counted as a flap.
    Flaps,
    /// P28: an identity is bound to one account at a time.
    BindingsDisjoint,
    /// P28: the part of a binding that a move or a release withdraws stays in the database. With
    /// the check off, a record that was rated for the former holder and is sent again is also rated
    /// for the next holder.
    TakenRemembered,
    /// P28: a change of bindings is not recorded earlier than the instant that fronts state with
    /// records whose accounts they looked up. With the check off, after the clock was set back, a
    /// record that was rated before the change is rated again.
    RecordedAtMark,
    /// P38: an acknowledgement is a compare-and-set on the cursor.
    CursorCompared,

    // The owner of a partition.
    /// P17: an answer that needs no append waits for a barrier, a write that only the owner can
    /// commit.
    Barrier,
    /// P18: a checkpoint of another history is ignored.
    CheckpointHistory,
    /// P6: a checkpoint holds only committed state.
    CommittedState,
    /// I2, P22: a run of deduplication keys counts as published only when its checkpoint is
    /// published. With the check off, it also counts as published when its checkpoint failed.
    RunPublished,
    /// I2, P22: an owner writes no checkpoint before it has read which runs of deduplication keys
    /// the retained checkpoints name.
    ListedFirst,
    /// P27: the same key with other content is a conflict.
    Content,
    /// P27: a duplicate is recognised by its content too, without a look into the log. With the check
    /// off, by its key alone.
    ProvenContent,
    /// P30: after a refusal a stream ends. With the check off, later batches on it are accepted.
    StreamStops,
    /// P30: a refusal by the owner ends the stream. With the check off, sub-batches queued after it
    /// are accepted.
    OwnerEndsStream,
    /// P32: accounts of another partition are refused.
    Range,
    /// P33: the segment that logs received postings also logs the cursor after them.
    PostingCursor,
    /// P33: if a single segment fills a page of postings, the next page is read too. With the check
    /// off, later segments with postings count as absent.
    SegmentAlone,
    /// P33: a cursor of postings never goes back.
    CursorForward,
    /// P18, P33: a cursor of postings follows one history.
    CursorHistory,
    /// docs/plan-semantics.md section 5: charges that are due are booked before a record that
    /// starts later.
    DueBefore,
    /// P35: recycling is logged as an entry, and the record keeps its deduplication key. With the
    /// check off, the record is logged as a new one.
    RecycledEntry,
    /// P35: recycling is a compare-and-set on the revision, the number of earlier attempts.
    Revision,
    /// P35: the key of a suspended record never expires.
    WaitingKeys,
    /// P35: the horizon check of a recycled record uses the time of the first arrival.
    FirstArrival,
    /// P35, I2: once deduplication keys were forgotten, the horizon check applies to recycled
    /// records too.
    CompleteKeys,
    /// P28: a node refuses records whose identities were looked up too long ago. With the check
    /// off, a front that was stopped for a while can send records to an account that lost the
    /// identity meanwhile.
    GuidedRecently,
    /// P28: a record that was reassigned keeps its account. With the check off, the record follows
    /// the identity, even after it was rated.
    DecisionStays,
    /// P36: an owner whose catalogue may be outdated does not rate.
    FreshCatalogue,
    /// P36: after a change of the catalogue each account is checked again for charges that fall
    /// due.
    SweptAnew,
    /// I3: a replay rejects a segment out of order.
    ReplayGap,
    /// I3: a replay rejects a segment that does not continue the previous one.
    ReplayChain,

    // Membership.
    /// P9: a heartbeat names a partition only if the owner task of the partition has run recently.
    Tick,
    /// P9: an owner task whose append is overdue does not count as running.
    OverdueAppend,
    /// P9: a heartbeat proves that an owner is alive only if it names the owner's claim. With the
    /// check off, any heartbeat of the node is enough.
    NamedClaim,
    /// P9: a commit proves that the owner is alive.
    CommitIsSign,
    /// P10: between two of its reads of the database, an observer counts at most a fixed time as
    /// silence of a node. With the check off, a time in which the database was frozen counts in
    /// full.
    ReadGaps,
    /// P11: a new process under a node's name proves that the old process has ended.
    NewProcess,
    /// P11: a starting process ends if the heartbeat counter of its predecessor advances. With the
    /// check off, it supersedes the live process.
    LivePredecessor,
    /// P11: a member without a warm replica lets a member with one claim first.
    WarmFirst,
    /// P12: a member lets another member claim first only if that member is live.
    DefersToLive,
    /// P13: the member for which an owner released the partition may claim it first.
    TargetFirst,
    /// P13: a pin overrides all priorities.
    PinAbove,
    /// P13: before a release the owner finishes the requests that it accepted.
    ReleaseDrains,
    /// P14: a returning member gets the partition only after it has been live for a while.
    Stability,
    /// P15: after a closed connection has led to a false suspicion, closed connections to that node
    /// are ignored for a while.
    Distrust,
    /// P16: a member relays requests that a front can't send to the owner.
    Relay,
    /// P16: the complaint of a front that it can't reach the owner can lead to a takeover.
    Complaint,
    /// P16: a front's complaint alone is not enough to replace an owner. With the check off, a
    /// complaint counts without a check whether a standby can reach the owner.
    SecondWitness,
    /// P16: an owner does not hand a partition back to a member that fronts can't reach.
    ReturnInReach,

    // The front.
    /// P16: a front that can't reach the owner sends to a member that may take over.
    StandIn,
    /// P17: an answer with an epoch below the highest seen is dropped.
    EpochFloor,
    /// P28: an identity is looked up again if the cached history has no binding at the start of a
    /// record.
    UnboundAskedAgain,
    /// P28: the partition of the account that look-ups found first decides about a record whose
    /// identity changed hands. With the check off, the record is sent to the present holder at
    /// once.
    FirstDecides,
    /// P28: with records whose accounts it looked up, a front states an instant before the look-up.
    /// With the check off, a node takes such records however old the look-up is.
    MarkStated,
    /// P28: a front looks identities up only if the mark of look-ups is recent. With the check off,
    /// it also does so with an old mark.
    RecentMark,
    /// P28: after a gap in reading the version of the bindings, the bindings count as changed. With
    /// the check off, they count as changed only if the version differs.
    GapIsChange,
    /// P28: identities are bound only when their command is durable. With the check off, they are
    /// bound even if the command is refused.
    BoundWhenDurable,
    /// P30: while a batch must be retried, later ones are refused.
    Turn,
    /// P30: a front accepts the answers on a stream only in the order of its sub-batches.
    AnswersInOrder,
    /// I1: an answer that does not cover every record is refused.
    WholeAnswer,
    /// P33: a suspended posting is not sent as usage to the partition of its account.
    PostingStays,
    /// P35: a record leaves its home partition only when it is durable in the account's partition.
    /// With the check off, it also leaves when the account's partition asks for a retry.
    MovedWhenDurable,
    /// P35: a record that the account's partition refuses stays suspended.
    RefusedStays,
}
