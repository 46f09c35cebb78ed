//! Omissions: the protocol with one step left out, each in a scenario that is sound with it.

/// What is left out, or done otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Omission {
    // Of a replica.
    AnswerAcknowledges,
    LeaseCountsBeforeNewsAreApplied,
    LeaseCountsFromTheReply,
    LeaseClockStandsStillInSleep,
    RecordIsNotDropped,
    DropAllForgetsFlights,
    RecordIsClearedBeforeFlightsArePoisoned,
    NudgeMayLeaveAGap,
    NudgeRenews,
    RenewingOutlivesTheLease,
    ResignsWithALease,

    // Of an answer.
    LeaseIsSeenAfterTheRecord,
    JoinsWithoutALease,
    FlightsAreNotPoisoned,
    PoisonedIsJoinedAndAnswered,
    PoisonedResultIsRemembered,
    RecordsDoNotAge,
    RenewalBringsBackWhatWasDropped,
    WhateverIsReadRenews,

    // Of a change.
    AnnouncedBeforeItIsWritten,
    OwnRecordIsNotDropped,
    RepeatsReturnAtOnce,
    MembersAreNotWaitedFor,
    PatienceIsOnlyALease,
    PatienceIsHalfALease,
    PatienceCountsFromBeforeTheAnnouncement,
    LookFromBeforeTheAnnouncement,
    AttendanceOfAnyEpochCounts,

    // Of the registry.
    NewcomerIsToldNothing,
    NewEpochIsToldNothing,
    WhoWasStruckIsToldNothing,
    TrimmedIsToldNothing,
    TrimmedIsAcknowledgedAtOnce,
    UnsettledIsNotWaitedFor,
    SettledAtFirstSight,
    RegistryOfAnotherRunIsKept,
    StrikesWhoeverItWaitedFor,
    StrikesInAnyEpoch,
    RenewalsAreCountedPerMembership,

    // Of the bound of the store's time.
    OwnTimeIsNotCounted,
    OwnTimeCountsFromTheAnswer,
    ClocksGoAlike,
    BoundServesWithoutALease,
    DeadlineIsNotCompared,

    // Nobody misses these.
    PoisonedResultIsAnswered,
    NewcomerAcknowledgesAtOnce,
    WhoWasStruckIsToldWhatItLacks,
    NobodyIsStruckOff,
}

impl Omission {
    /// Whether it makes use of what poisoned flights found.
    pub(crate) fn uses_poisoned(self) -> bool {
        matches!(
            self,
            Self::PoisonedIsJoinedAndAnswered
                | Self::PoisonedResultIsAnswered
                | Self::PoisonedResultIsRemembered
        )
    }
}
