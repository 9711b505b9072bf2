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
    /// P1: an append locks its partition's row from the check of the fence to its commit. Off, a
    /// claim can run in between, and the append commits after it.
    RowLock,
    /// P1: the fence compares epoch and claim.
    FenceOwner,
    /// P1: the fence compares the epoch, even if the claim is right.
    FenceEpoch,
    /// P18: the fence compares the claim, even if the epoch is right.
    FenceClaim,
    /// P18: the fence compares the hash of the previous segment.
    FenceHash,
    /// P1: a claim is a compare-and-set on the epoch that the claimant read.
    ClaimSeen,
    /// P20: of many claims, one whose row is locked is skipped and retried later.
    BusyRow,
    /// P6: readers see only committed segments. Off, the feed shows an append in flight.
    ReadCommitted,
    /// P17: a barrier succeeds for the owner only.
    BarrierOwner,
    /// P18: a barrier succeeds only if the log ends at the position that the owner knows.
    BarrierPosition,
    /// P23: only the owner publishes a checkpoint. Off, a superseded owner publishes one late.
    CheckpointFence,
    /// P22, P23: a checkpoint is published only if it is newer. Off, a late one becomes the newest.
    CheckpointForward,
    /// P22: a checkpoint is published only if all its parts exist.
    CheckpointParts,
    /// P11: a process whose name another process has taken is refused.
    Superseded,
    /// P14: a claim on a partition that its owner did not release is counted.
    Flaps,
    /// P28: an identity is bound to one account at a time.
    BindingsDisjoint,
    /// P28: the part of a binding that a move or a release withdraws is remembered. Off, a record
    /// that was rated for the former holder and is sent again is also rated for the next holder.
    TakenRemembered,
    /// P28: a change of bindings is recorded at the mark of look-ups or later. Off, after a clock step
    /// back a record that was rated before the change is rated again.
    RecordedAtMark,
    /// P38: an acknowledgement is a compare-and-set on the cursor.
    CursorCompared,
    /// P38: the comparison of cursors includes the row within the segment.
    CursorRow,

    // The owner of a partition.
    /// P6, I1: an answer waits for the commit of the data in it.
    AnswerAfterCommit,
    /// P17: an answer that needs no append waits for a barrier.
    Barrier,
    /// P2: an append that failed has an unknown outcome. Off, it counts as committed.
    UnknownOutcome,
    /// P2, P4: after an unknown outcome the owner claims again, and never treats the outcome
    /// `Ahead` as a commit of its own append. Off, the owner reads the log under its old claim,
    /// continues, and treats `Ahead` as such a commit.
    OwnAppend,
    /// P1: after a claim the log is read to its end.
    ReloadAfterClaim,
    /// P2: the log is read after the claim, never before.
    ClaimBeforeReading,
    /// P18: a checkpoint of another history is ignored.
    CheckpointHistory,
    /// P5: a record whose first copy is in the open segment, or in the one in flight, is a
    /// duplicate.
    PendingKeys,
    /// P6: a checkpoint holds only committed state.
    CommittedState,
    /// P22: a checkpoint holds the keys.
    CheckpointKeys,
    /// I2, P22: a checkpoint names each sealed run of keys that is not past the horizon. Off, a
    /// checkpoint names no run after the first keys were forgotten.
    RunsKept,
    /// I2, P22: a run of keys is sealed only when its checkpoint is published. Off, it is also
    /// sealed when its checkpoint failed.
    RunPublished,
    /// I2, P22: an owner writes no checkpoint before it knows which runs of keys the retained
    /// checkpoints name.
    ListedFirst,
    /// P26: the age of records is judged by logged time. Off, by the clock of the serving node.
    OneClock,
    /// P26: logged time and the floor never go back.
    MonotoneTime,
    /// P26: deduplication comes before the horizon check.
    DedupFirst,
    /// P27: the same key with other content is a conflict.
    Content,
    /// P30: after a refusal a stream ends. Off, later batches on it are accepted.
    StreamStops,
    /// P30: a refusal by the owner ends the stream. Off, sub-batches queued after it are accepted.
    OwnerEndsStream,
    /// P31: a retry of a suspended record gets the same answer. Off, it is rated as a new record.
    Replayed,
    /// P32: accounts of another partition are refused.
    Range,
    /// P33: postings are accepted whatever their age.
    PostingsHaveNoHorizon,
    /// P33: the cursor after the received postings is logged in their segment.
    PostingCursor,
    /// P33: a partly received segment is continued at the cursor. Off, the first posting after the
    /// cursor is skipped.
    ResumedPosting,
    /// P33: after a segment that fills a page alone, the next segments are read. Off, they are
    /// taken as absent.
    SegmentAlone,
    /// P33: a cursor of postings never goes back.
    CursorForward,
    /// P18, P33: a cursor of postings follows one history.
    CursorHistory,
    /// P34: the time up to which charges are booked is logged in the segment that books them.
    DueMark,
    /// docs/plan-semantics.md section 5: charges that are due are booked before a record that
    /// starts later.
    DueBefore,
    /// P35: recycling is an entry of the log, and keeps the key. Off, the record is logged as a new
    /// one.
    RecycledEntry,
    /// P35: recycling is a compare-and-set on the revision.
    Revision,
    /// P35: the key of a suspended record never expires.
    WaitingKeys,
    /// P35: the horizon check uses the time of the first arrival.
    FirstArrival,
    /// P35, I2: if keys were forgotten, the horizon check applies to recycled records too.
    CompleteKeys,
    /// P28: a node refuses records whose identities were looked up too long ago. Off, a front that
    /// was stopped for a while can send records to an account that lost the identity meanwhile.
    GuidedRecently,
    /// P28: a record that was reassigned keeps its account. Off, the record follows the identity,
    /// even after it was rated.
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
    /// P9: a heartbeat names a partition only while its owner task ticks.
    Tick,
    /// P9: an owner task whose append is overdue does not tick.
    OverdueAppend,
    /// P9: an owner is alive only if its heartbeat names the claim. Off, the name of the node is
    /// enough.
    NamedClaim,
    /// P9: a commit proves that the owner is alive.
    CommitIsSign,
    /// P9: an owner loses a partition only after two heartbeats that did not name it, because one
    /// of them may have been in flight.
    TwoBeats,
    /// P10: silence counts only between the observer's own reads of the database.
    ReadGaps,
    /// P11: a new process proves that the old one ended.
    NewProcess,
    /// P11: a starting process ends if the heartbeat counter of its predecessor advances. Off, it
    /// supersedes the live process.
    LivePredecessor,
    /// P11: a refused connection alone does not prove that the predecessor ended. Off, the new
    /// process does not wait for the predecessor.
    RefusalProvesNothing,
    /// P11: a cold member lets a warm one claim first.
    WarmFirst,
    /// P12: a member waits only for live members.
    DefersToLive,
    /// P13: the target of a release may claim first.
    TargetFirst,
    /// P13: an owner that released takes the partition back if its target does not claim.
    TakesBack,
    /// P13: a pin overrides all priorities.
    PinAbove,
    /// P13: before a release the owner finishes the requests that it accepted.
    ReleaseDrains,
    /// P14: a returning member gets the partition only after it has been live for a while.
    Stability,
    /// P15: after a false suspicion its cause is ignored for a while.
    Distrust,
    /// P16: a member relays requests that a front can't send to the owner.
    Relay,
    /// P16: a front's complaint counts.
    Complaint,
    /// P16: a front's complaint alone is not enough to replace an owner. Off, a complaint counts
    /// without a check whether a standby can reach the owner.
    SecondWitness,
    /// P16: control does not return to an unreachable member.
    ReturnInReach,

    // The front.
    /// P16: a front that can't reach the owner sends to a member that may take over.
    StandIn,
    /// P17: an answer with an epoch below the highest seen is dropped.
    EpochFloor,
    /// P28: an identity is resolved by the start of the record. Off, by its binding when the record
    /// arrives.
    GuidedByStart,
    /// P28: an unbound identity is looked up again.
    UnboundAskedAgain,
    /// P28: a binding does not hold at its end. Off, a record that starts then belongs to the
    /// former holder.
    BindingEnds,
    /// P28: the first holder's partition decides about a record whose identity changed hands. Off,
    /// the record is sent to the present holder at once.
    FirstDecides,
    /// P28: a front states the mark of the look-up with guided records. Off, a node takes them whatever
    /// has changed since.
    MarkStated,
    /// P28: a front looks identities up only if the mark of look-ups is recent. Off, it also does so with
    /// an old mark.
    RecentMark,
    /// P28: the mark that a front states was read before the look-up. Off, the front states the mark that
    /// it knows after the look-up.
    MarkBeforeLookUp,
    /// P28: after a gap in reading the version of the bindings, they count as changed. Off, they count as
    /// changed only if the version differs.
    GapIsChange,
    /// P28: a cached history is used only if it covers every start in the request. Off, it is used
    /// if it covers one of them.
    EveryStart,
    /// P28: identities are bound only when their command is durable. Off, they are bound whatever
    /// the result of the command.
    BoundWhenDurable,
    /// P29: batch numbers are not used for deduplication. Off, a batch whose number is below the
    /// highest counts as accepted.
    BatchNumbers,
    /// P30: batches after one that expired expire too.
    ExpireBehind,
    /// P30: while a batch must be retried, later ones are refused.
    Turn,
    /// P30: the answers of a session come in the order of its sub-batches.
    AnswersInOrder,
    /// I1: an answer that does not cover every record is refused.
    WholeAnswer,
    /// P33: a suspended posting is not sent as usage to the partition of its account.
    PostingStays,
    /// P35: a record leaves its home partition only when it is durable in the account's partition.
    /// Off, also if it must be retried there.
    MovedWhenDurable,
    /// P35: a record that the account's partition refuses stays suspended.
    RefusedStays,
}
