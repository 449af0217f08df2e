//! Causes of a floor deny and of a floor revoke: two sets of numbers, in which the same number can
//! mean different things.
//!
//! Only the standard's causes that can occur in this server are listed. A request costs no memory
//! beyond its place in the queue, and a talker is decoded with or without the floor, so no request
//! is denied and no floor revoked for want of resources (cause 6) or because of a failure (deny
//! cause 2).

/// Why a floor request is refused: the cause of a Floor Deny (TS 24.380, 8.2.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DenyCause {
    /// Another participant holds the floor, and the request was not to be queued.
    AnotherClientHasPermission = 1,
    /// The requesting participant is alone, so nobody would hear it.
    OnlyOneParticipant = 3,
    /// The participant was revoked, and its grace is not over.
    RetryAfterNotExpired = 4,
    /// The participant is listen-only, or the room lets only its originator talk.
    ReceiveOnly = 5,
    /// The floor queue is full.
    QueueFull = 7,
    /// The participant is muted, so nobody would hear it. The standard has no number for this
    /// cause: on the wire it is [`DenyCause::Other`].
    Muted = 254,
    /// Any other cause: the room's floor is free, but only a moderator can grant it.
    Other = 255,
}

/// Why the floor is taken back: the cause of a Floor Revoke (TS 24.380, 8.2.10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RevokeCause {
    /// All other participants have left.
    OnlyOneClient = 1,
    /// The talk limit T2 has expired.
    MediaBurstTooLong = 2,
    /// The participant sends audio without having requested the floor, or after its burst has
    /// ended.
    NoPermissionToSend = 3,
    /// A request of higher precedence pre-empted the holder.
    MediaBurstPreempted = 4,
    /// A moderator granted the floor to another participant.
    ByAnotherClient = 7,
    /// Any other cause: the room's mode changed, or the holder was muted.
    Other = 255,
}

impl DenyCause {
    /// Returns the number of the deny cause on the wire.
    pub const fn number(self) -> u8 {
        match self {
            DenyCause::Muted => DenyCause::Other as u8,
            cause => cause as u8,
        }
    }

    /// Returns the deny cause in words.
    pub const fn reason(self) -> &'static str {
        match self {
            DenyCause::AnotherClientHasPermission => "another client has permission",
            DenyCause::OnlyOneParticipant => "only one participant",
            DenyCause::RetryAfterNotExpired => "retry-after has not expired",
            DenyCause::ReceiveOnly => "receive only",
            DenyCause::QueueFull => "queue full",
            DenyCause::Muted => "muted",
            DenyCause::Other => "other reason",
        }
    }
}

impl RevokeCause {
    /// All revoke causes.
    pub const ALL: [RevokeCause; 6] = [
        RevokeCause::OnlyOneClient,
        RevokeCause::MediaBurstTooLong,
        RevokeCause::NoPermissionToSend,
        RevokeCause::MediaBurstPreempted,
        RevokeCause::ByAnotherClient,
        RevokeCause::Other,
    ];

    /// Returns the number of the revoke cause on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the revoke cause in words.
    pub const fn reason(self) -> &'static str {
        match self {
            RevokeCause::OnlyOneClient => "only one client",
            RevokeCause::MediaBurstTooLong => "media burst too long",
            RevokeCause::NoPermissionToSend => "no permission to send a media burst",
            RevokeCause::MediaBurstPreempted => "media burst pre-empted",
            RevokeCause::ByAnotherClient => "revoked by another client",
            RevokeCause::Other => "other reason",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_deny_and_revoke_causes_have_separate_numbers() {
        assert_eq!(DenyCause::ReceiveOnly.number(), 5);
        assert_eq!(DenyCause::QueueFull.number(), 7);
        assert_eq!(RevokeCause::ByAnotherClient.number(), 7);
        assert_eq!(RevokeCause::MediaBurstPreempted.number(), 4);
        assert_eq!(DenyCause::RetryAfterNotExpired.number(), 4);
        assert_eq!(DenyCause::Other.number(), RevokeCause::Other.number());
        assert_eq!(DenyCause::Muted.number(), 255);
    }
}
