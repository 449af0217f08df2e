//! Commands that a client sends about its own participant, and changes of participants.

use serde_json::Value;

use super::floor::{read_participant, read_request};
use super::{FloorCommand, Invalid, JsonReader, MonitorEntry, Name};

/// A command message of a client: the command, and what is needed to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandMessage {
    /// The secret of the session that the command is about; not needed on data channels.
    pub session: Option<String>,
    /// A tag chosen by the client, which is copied into the answer.
    pub id: Option<Value>,
    /// The command to carry out.
    pub command: Command,
}

/// A command of a participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `mute`, `unmute`, `gain` and `name`: changes that a moderator may make too.
    Change(Change),
    /// `floor_request`, `floor_release`, `floor_position` and `floor_grant`.
    Floor(FloorCommand),
    /// `monitor`: listen to exactly these rooms besides the participant's own.
    Listen(Vec<MonitorEntry>),
}

/// A change of a participant by a moderator or by itself; all fields are optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Whether the participant is kept out of every mix.
    pub muted: Option<bool>,
    /// Gain of the participant in the mixes, -60..=12 dB.
    pub gain_db: Option<f32>,
    /// Display name.
    pub name: Option<Name>,
}

impl Change {
    /// Returns whether the change mutes and does nothing else.
    pub fn only_mutes(&self) -> bool {
        let mute = Change {
            muted: Some(true),
            ..Change::default()
        };
        *self == mute
    }
}

impl CommandMessage {
    /// Returns whether the command releases the floor. Such a command is carried out at any message
    /// rate.
    pub fn is_release(&self) -> bool {
        self.command == Command::Floor(FloorCommand::Release)
    }

    /// Parses one command message.
    ///
    /// # Errors
    /// [`Invalid`] describes the mistake; it comes with the message's `id`, if that could be read.
    pub fn parse(text: &str) -> Result<CommandMessage, (Invalid, Option<Value>)> {
        let mut fields = JsonReader::parse(text.as_bytes()).map_err(|invalid| (invalid, None))?;
        let id = fields.value("id");
        CommandMessage::read(fields, id.clone()).map_err(|invalid| (invalid, id))
    }

    fn read(mut fields: JsonReader, id: Option<Value>) -> Result<CommandMessage, Invalid> {
        let session = fields.text("session")?;
        let word = fields
            .one_of("command", &WORDS)?
            .ok_or(Invalid::Missing { key: "command" })?;
        let command = word.read(&mut fields)?;
        fields.finish()?;
        Ok(CommandMessage {
            session,
            id,
            command,
        })
    }
}

impl Change {
    /// Parses a moderator's change of a participant.
    ///
    /// # Errors
    /// [`Invalid`] describes the mistake in the message.
    pub fn parse(text: &[u8]) -> Result<Change, Invalid> {
        let mut fields = JsonReader::parse(text)?;
        let change = Change {
            muted: fields.boolean("muted")?,
            gain_db: gain(&mut fields)?,
            name: name(&mut fields)?,
        };
        fields.finish()?;
        Ok(change)
    }
}

#[derive(Clone, Copy)]
enum Word {
    Mute,
    Unmute,
    Gain,
    Name,
    FloorRequest,
    FloorRelease,
    FloorPosition,
    FloorGrant,
    Monitor,
}

const WORDS: [(&str, Word); 10] = [
    ("mute", Word::Mute),
    ("unmute", Word::Unmute),
    ("gain", Word::Gain),
    ("name", Word::Name),
    ("floor_request", Word::FloorRequest),
    ("floor_release", Word::FloorRelease),
    ("floor_position", Word::FloorPosition),
    ("floor_grant", Word::FloorGrant),
    ("monitor", Word::Monitor),
    // The former name of `monitor`.
    ("listen", Word::Monitor),
];

impl Word {
    /// Takes the fields that the command needs out of the message.
    fn read(self, fields: &mut JsonReader) -> Result<Command, Invalid> {
        let missing = |key| Invalid::Missing { key };
        let mut change = Change::default();
        match self {
            Word::Mute => change.muted = Some(true),
            Word::Unmute => change.muted = Some(false),
            Word::Gain => change.gain_db = Some(gain(fields)?.ok_or(missing("gain_db"))?),
            Word::Name => change.name = Some(name(fields)?.ok_or(missing("name"))?),
            Word::FloorRequest => {
                let request = read_request(fields)?;
                return Ok(Command::Floor(FloorCommand::Request(request)));
            }
            Word::Monitor => return Ok(Command::Listen(MonitorEntry::read(fields)?)),
            Word::FloorRelease => return Ok(Command::Floor(FloorCommand::Release)),
            Word::FloorPosition => return Ok(Command::Floor(FloorCommand::Position)),
            Word::FloorGrant => {
                let participant = read_participant(fields)?;
                return Ok(Command::Floor(FloorCommand::Grant(participant)));
            }
        }
        Ok(Command::Change(change))
    }
}

fn gain(fields: &mut JsonReader) -> Result<Option<f32>, Invalid> {
    fields.number("gain_db", -60.0..=12.0)
}

fn name(fields: &mut JsonReader) -> Result<Option<Name>, Invalid> {
    let text = fields.text("name")?;
    Ok(text.as_deref().map(Name::parse).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PublicId;

    #[test]
    fn command_messages_are_parsed() {
        let message =
            CommandMessage::parse(r#"{"command":"gain","session":"s","gain_db":-6,"id":[1]}"#)
                .expect("good");
        let quieter = Change {
            gain_db: Some(-6.0),
            ..Change::default()
        };
        assert_eq!(message.command, Command::Change(quieter));
        assert_eq!(message.session.as_deref(), Some("s"));
        assert_eq!(message.id, Some(serde_json::json!([1])));
        let message = CommandMessage::parse(r#"{"command":"unmute"}"#).expect("good");
        let unmuted = Change {
            muted: Some(false),
            ..Change::default()
        };
        assert_eq!(message.command, Command::Change(unmuted));
        assert_eq!(message.session, None);
        let message =
            CommandMessage::parse(r#"{"command":"floor_grant","participant":"00c0ffee","id":1}"#)
                .expect("good");
        let participant = PublicId::parse("00c0ffee").expect("eight digits");
        let grant = FloorCommand::Grant(participant);
        assert_eq!(message.command, Command::Floor(grant));
    }

    #[test]
    fn listen_command_is_another_word_for_monitor() {
        for rooms in [
            "[]",
            r#"["a",{"room":"b","gain_db":-6,"priority":2}]"#,
            r#"["a","a"]"#,
            r#"["a b"]"#,
            "3",
        ] {
            let parse = |word: &str| {
                let text = format!(r#"{{"command":"{word}","rooms":{rooms},"id":1}}"#);
                CommandMessage::parse(&text)
            };
            assert_eq!(parse("monitor"), parse("listen"), "{rooms}");
        }
        assert!(CommandMessage::parse(r#"{"command":"monitor","rooms":["a"]}"#).is_ok());
    }

    #[test]
    fn command_parse_errors_name_the_mistake_and_carry_the_id() {
        let cases = [
            (
                r#"{"command":"dance","id":3}"#,
                "the field \"command\" must be one of: mute, unmute, gain, name, floor_request, floor_release, floor_position, floor_grant, monitor, listen",
            ),
            (r#"{"id":3}"#, "the field \"command\" is missing"),
            (
                r#"{"command":"gain","id":3}"#,
                "the field \"gain_db\" is missing",
            ),
            (
                r#"{"command":"gain","gain_db":"loud","id":3}"#,
                "the field \"gain_db\" must be a number",
            ),
            (
                r#"{"command":"mute","gain_db":1,"id":3}"#,
                "unknown field \"gain_db\"",
            ),
            (
                r#"{"command":"floor_grant","participant":"Ann","id":3}"#,
                "the field \"participant\" must be a participant's id, eight hexadecimal digits",
            ),
            (
                r#"{"command":"name","name":"","id":3}"#,
                "a participant's name must have at least one visible character",
            ),
            (
                r#"{"command":"mute","session":5,"id":3}"#,
                "the field \"session\" must be a string",
            ),
        ];
        for (text, error) in cases {
            let (invalid, id) = CommandMessage::parse(text).expect_err(text);
            assert_eq!(invalid.to_string(), error);
            assert_eq!(id, Some(Value::from(3)));
        }
        assert_eq!(CommandMessage::parse("no"), Err((Invalid::NotJson, None)));
    }

    #[test]
    fn moderator_change_sets_any_of_mute_gain_and_name() {
        let change = Change::parse(br#"{"muted":true,"gain_db":12,"name":" Bo "}"#).expect("good");
        assert_eq!(change.muted, Some(true));
        assert_eq!(change.gain_db, Some(12.0));
        assert_eq!(change.name.map(Name::into_string).as_deref(), Some("Bo"));
        assert_eq!(Change::parse(b"{}"), Ok(Change::default()));
        assert!(Change::parse(br#"{"role":"king"}"#).is_err());
        assert!(Change::parse(br#"{"gain_db":12.1}"#).is_err());
    }
}
