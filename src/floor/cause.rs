//! Why the floor is denied and why it is revoked: two sets of numbers that overlap and mean different things.
//!
//! Those of the standard that can happen here: a request costs no memory beyond its place in the queue, and a talker is
//! decoded whether he holds the floor or not, so nobody is denied or revoked for want of resources (6) or by a failure
//! (deny 2).

/// Why a request is refused: the cause of a Floor Deny (TS 24.380, 8.2.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DenyCause {
    /// Somebody else talks, and the request was not to wait.
    AnotherClientHasPermission = 1,
    /// Nobody is there to listen.
    OnlyOneParticipant = 3,
    /// It was revoked, and its grace is not over.
    RetryAfterNotExpired = 4,
    /// It can only listen, or the room lets only its originator talk.
    ReceiveOnly = 5,
    /// As many wait as may.
    QueueFull = 7,
    /// It is muted, so nobody would hear it. The standard has no number for that: on the wire it is [`DenyCause::Other`].
    Muted = 254,
    /// Something else: a moderator gives the floor.
    Other = 255,
}

/// Why the floor is taken back: the cause of a Floor Revoke (TS 24.380, 8.2.10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RevokeCause {
    /// Everybody else has gone.
    OnlyOneClient = 1,
    /// T2 is over.
    MediaBurstTooLong = 2,
    /// It sends without having asked, or after its time.
    NoPermissionToSend = 3,
    /// Somebody more important asked.
    MediaBurstPreempted = 4,
    /// A moderator gave the floor to somebody else.
    ByAnotherClient = 7,
    /// Something else: another mode, or it was muted.
    Other = 255,
}

impl DenyCause {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            DenyCause::Muted => DenyCause::Other as u8,
            cause => cause as u8,
        }
    }

    /// The same for people.
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
    /// Every cause, to count by.
    pub const ALL: [RevokeCause; 6] = [
        RevokeCause::OnlyOneClient,
        RevokeCause::MediaBurstTooLong,
        RevokeCause::NoPermissionToSend,
        RevokeCause::MediaBurstPreempted,
        RevokeCause::ByAnotherClient,
        RevokeCause::Other,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The same for people.
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
    fn the_two_sets_of_numbers_are_apart() {
        assert_eq!(DenyCause::ReceiveOnly.number(), 5);
        assert_eq!(DenyCause::QueueFull.number(), 7);
        assert_eq!(RevokeCause::ByAnotherClient.number(), 7);
        assert_eq!(RevokeCause::MediaBurstPreempted.number(), 4);
        assert_eq!(DenyCause::RetryAfterNotExpired.number(), 4);
        assert_eq!(DenyCause::Other.number(), RevokeCause::Other.number());
        assert_eq!(DenyCause::Muted.number(), 255);
    }
}
