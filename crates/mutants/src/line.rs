//! The lines that can be switched off.

macro_rules! lines {
    ($($(#[$doc:meta])* $line:ident,)+) => {
        /// A line that protects an invariant, with the rule of the protocol that it stands for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Line {
            $($(#[$doc])* $line,)+
        }

        impl Line {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$line,)+];

            /// As it is named in the switch and in the table.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$line => stringify!($line),)+
                }
            }
        }
    };
}

lines! {
    // The database (in memory).
    /// P1: an append holds its partition's row from the check of the fence to its commit. Off, a
    /// claim gets in between, and the append commits behind it.
    RowLock,
    /// P1: the fence compares epoch and claim.
    FenceOwner,
    /// P1: the fence compares the epoch, whatever the claim.
    FenceEpoch,
    /// P18: the fence compares the claim, whatever the epoch.
    FenceClaim,
    /// P18: the fence compares the hash that an append builds on.
    FenceHash,
    /// P1: a claim is a compare-and-set on the epoch that was seen.
    ClaimSeen,
    /// P20: of many claims, one whose row is held is left for later.
    BusyRow,
    /// P6: readers see what is committed. Off, the feed shows an append that is under way.
    ReadCommitted,
    /// P17: a barrier holds for the owner alone.
    BarrierOwner,
    /// P18: a barrier holds where the log ends as the owner knows.
    BarrierPosition,
    /// P23: a checkpoint is published by the owner alone. Off, a superseded one publishes late.
    CheckpointFence,
    /// P22, P23: a checkpoint is published only if it is newer. Off, a late one goes in front.
    CheckpointForward,
    /// P22: a checkpoint is published only if all its parts are there.
    CheckpointParts,
    /// P11: a process whose name another one has taken is refused.
    Superseded,
    /// P14: a claim from an owner who did not give up is counted.
    Flaps,
    /// P28: an identity is bound to one account at a time.
    BindingsDisjoint,
    /// P38: an acknowledgement is a compare-and-set on the cursor.
    CursorCompared,
    /// P38: the row in a segment is compared too.
    CursorRow,

    // The owner of a partition.
    /// P6, I1: an answer waits for the commit of what it says.
    AnswerAfterCommit,
    /// P17: an answer that needs no append waits for a barrier.
    Barrier,
    /// P2: an append that failed may have been made or not. Off, it is taken as made.
    UnknownOutcome,
    /// P2, P4: after an unknown outcome comes a new claim, and "ahead" is nobody's own append. Off,
    /// the owner reads the log under its old claim, goes on, and takes "ahead" for its own.
    OwnAppend,
    /// P1: after a claim the log is read to its end.
    ReloadAfterClaim,
    /// P2: the log is read after the claim, never before.
    ClaimBeforeReading,
    /// P18: a checkpoint of another history is left alone.
    CheckpointHistory,
    /// P5: a record whose first copy is in the open segment, or in the one in flight, is a duplicate.
    PendingKeys,
    /// P6: a checkpoint holds what is committed.
    CommittedState,
    /// P22: a checkpoint holds the keys.
    CheckpointKeys,
    /// I2, P22: a checkpoint names each sealed run of keys that the horizon has not passed. Off, once
    /// keys are forgotten it names none.
    RunsKept,
    /// I2, P22: a run of keys is sealed by a checkpoint that was published. Off, also by one that
    /// failed.
    RunPublished,
    /// P26: records are judged by logged time. Off, by the clock of whoever serves.
    OneClock,
    /// P26: logged time and the floor only go forward.
    MonotoneTime,
    /// P26: dedup is asked before the horizon.
    DedupFirst,
    /// P27: the same key with other content is a conflict.
    Content,
    /// P30: after a refusal a stream ends. Off, what comes behind it is taken.
    StreamStops,
    /// P30: a refusal by the owner ends the stream. Off, what is queued behind it is taken.
    OwnerEndsStream,
    /// P31: a retry of what was suspended gets that answer. Off, it is tried as though it were new.
    Replayed,
    /// P32: accounts of another partition are refused.
    Range,
    /// P33: postings are taken whatever their age.
    PostingsHaveNoHorizon,
    /// P33: how far postings were taken is logged in their segment.
    PostingCursor,
    /// P33: a segment that was taken half way goes on at the cursor. Off, the first posting behind
    /// the cursor is skipped.
    ResumedPosting,
    /// P33: a segment that fills a page by itself is followed by the next ones. Off, there seem to be
    /// none.
    SegmentAlone,
    /// P33: a cursor of postings only goes forward.
    CursorForward,
    /// P18, P33: a cursor of postings goes along one history.
    CursorHistory,
    /// P34: how far charges were booked is logged in the segment that books them.
    DueMark,
    /// docs/plan-semantics.md section 5: what fell due is booked before a record that starts later.
    DueBefore,
    /// P35: recycling is an entry of the log, and keeps the key. Off, the record is logged as a new one.
    RecycledEntry,
    /// P35: recycling is a compare-and-set on the revision.
    Revision,
    /// P35: the key of what waits never expires.
    WaitingKeys,
    /// P35: the horizon is judged by the first arrival.
    FirstArrival,
    /// P35, I2: where keys were forgotten, the horizon is for what was recycled too.
    CompleteKeys,
    /// P36: an owner whose catalogue may be old does not rate.
    FreshCatalogue,
    /// P36: with a newer catalogue it is asked again whether anything falls due by itself.
    SweptAnew,
    /// I3: a replay takes no segment out of turn.
    ReplayGap,
    /// I3: a replay takes no segment that builds on another one.
    ReplayChain,

    // Membership.
    /// P9: a heartbeat names a partition only while its owner task ticks.
    Tick,
    /// P9: an owner task whose append is overdue does not tick.
    OverdueAppend,
    /// P9: an owner gives a sign by naming the claim. Off, its name is enough.
    NamedClaim,
    /// P9: a commit is a sign of life.
    CommitIsSign,
    /// P9: an owner loses what two beats did not name; one may have been on its way.
    TwoBeats,
    /// P10: silence counts across the observer's own reads only.
    ReadGaps,
    /// P11: a new process proves the old one dead.
    NewProcess,
    /// P11: a cold member leaves it to a warm one.
    WarmFirst,
    /// P12: only a live member is waited for.
    DefersToLive,
    /// P13: a release is its target's first.
    TargetFirst,
    /// P13: who released takes it back when nobody comes.
    TakesBack,
    /// P13: a pin is above all priorities.
    PinAbove,
    /// P13: who releases finishes first what it took.
    ReleaseDrains,
    /// P14: a member that returns has to live a while.
    Stability,
    /// P15: an alarm that was false is not believed again for a while.
    Distrust,
    /// P16: a member passes on what a front can't bring to the owner.
    Relay,
    /// P16: a front's complaint counts.
    Complaint,
    /// P16: a front's complaint alone does not count. Off, nobody asks whether the owner is out of a
    /// standby's reach too.
    SecondWitness,
    /// P16: control does not go back to a member that is out of reach.
    ReturnInReach,

    // The front.
    /// P16: a front that can't reach the owner turns to who may take over.
    StandIn,
    /// P17: an answer of a lower epoch than the highest that was seen is dropped.
    EpochFloor,
    /// P28: an identity is guided by a record's start. Off, by its binding when the record comes.
    GuidedByStart,
    /// P28: that an identity is bound to nobody is asked again.
    UnboundAskedAgain,
    /// P28: a binding does not hold at its end. Off, a record that starts then is the former holder's.
    BindingEnds,
    /// P28: a cached history answers when it covers every start that is asked for. Off, when it covers
    /// one of them.
    EveryStart,
    /// P28: identities are bound when their command is durable. Off, whatever became of it.
    BoundWhenDurable,
    /// P29: batch numbers decide nothing. Off, one below the highest counts as taken.
    BatchNumbers,
    /// P30: what is behind a batch that expired expires too.
    ExpireBehind,
    /// P30: while a batch is to be sent again, those behind it are refused.
    Turn,
    /// P30: the answers of a session come in the order of its sub-batches.
    AnswersInOrder,
    /// I1: an answer that does not speak of every record is not believed.
    WholeAnswer,
    /// P33: a posting that waits is not sent as usage where its account belongs.
    PostingStays,
    /// P35: a record leaves its home when it is durable where it belongs. Off, also when that is to be
    /// tried again.
    MovedWhenDurable,
    /// P35: a record that is refused where it belongs stays where it waits.
    RefusedStays,
}
