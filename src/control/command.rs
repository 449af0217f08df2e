//! What a client may ask about its own participant.

use serde_json::Value;

use super::{Fields, Invalid, Name};

/// A command as it came in: what to do, and how to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The secret of the session it concerns; data channels need none.
    pub session: Option<String>,
    /// Comes back in the answer.
    pub id: Option<Value>,
    /// What to do.
    pub command: Command,
}

/// What a command does to its participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `mute` and `unmute`.
    Mute(bool),
    /// `gain`, -60..=12 dB.
    Gain(f32),
    /// `name`.
    Rename(Name),
}

/// What a moderator may change of a participant, each part optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Keep out of every mix.
    pub muted: Option<bool>,
    /// How loud, -60..=12 dB.
    pub gain_db: Option<f32>,
    /// Name.
    pub name: Option<Name>,
}

impl Order {
    /// Reads one message. A mistake comes with the message's `id`, if that could be read.
    ///
    /// # Errors
    /// [`Invalid`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Order, (Invalid, Option<Value>)> {
        let mut fields = Fields::parse(text.as_bytes()).map_err(|invalid| (invalid, None))?;
        let id = fields.value("id");
        Order::read(fields, id.clone()).map_err(|invalid| (invalid, id))
    }

    fn read(mut fields: Fields, id: Option<Value>) -> Result<Order, Invalid> {
        let session = fields.text("session")?;
        let word = fields
            .one_of("command", &WORDS)?
            .ok_or(Invalid::Missing { key: "command" })?;
        let command = match word {
            Word::Mute => Command::Mute(true),
            Word::Unmute => Command::Mute(false),
            Word::Gain => {
                Command::Gain(gain(&mut fields)?.ok_or(Invalid::Missing { key: "gain_db" })?)
            }
            Word::Name => {
                Command::Rename(name(&mut fields)?.ok_or(Invalid::Missing { key: "name" })?)
            }
        };
        fields.finish()?;
        Ok(Order {
            session,
            id,
            command,
        })
    }
}

impl Change {
    /// Reads a moderator's request.
    ///
    /// # Errors
    /// [`Invalid`] says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Change, Invalid> {
        let mut fields = Fields::parse(text)?;
        let change = Change {
            muted: fields.boolean("muted")?,
            gain_db: gain(&mut fields)?,
            name: name(&mut fields)?,
        };
        fields.finish()?;
        Ok(change)
    }
}

impl From<Command> for Change {
    fn from(command: Command) -> Change {
        let mut change = Change::default();
        match command {
            Command::Mute(muted) => change.muted = Some(muted),
            Command::Gain(gain_db) => change.gain_db = Some(gain_db),
            Command::Rename(name) => change.name = Some(name),
        }
        change
    }
}

#[derive(Clone, Copy)]
enum Word {
    Mute,
    Unmute,
    Gain,
    Name,
}

const WORDS: [(&str, Word); 4] = [
    ("mute", Word::Mute),
    ("unmute", Word::Unmute),
    ("gain", Word::Gain),
    ("name", Word::Name),
];

fn gain(fields: &mut Fields) -> Result<Option<f32>, Invalid> {
    fields.number("gain_db", -60.0..=12.0)
}

fn name(fields: &mut Fields) -> Result<Option<Name>, Invalid> {
    let text = fields.text("name")?;
    Ok(text.as_deref().map(Name::parse).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let order = Order::parse(r#"{"command":"gain","session":"s","gain_db":-6,"id":[1]}"#)
            .expect("good");
        assert_eq!(order.command, Command::Gain(-6.0));
        assert_eq!(order.session.as_deref(), Some("s"));
        assert_eq!(order.id, Some(serde_json::json!([1])));
        let order = Order::parse(r#"{"command":"unmute"}"#).expect("good");
        assert_eq!(order.command, Command::Mute(false));
        assert_eq!(order.session, None);
    }

    #[test]
    fn mistakes_carry_the_id_and_a_sentence() {
        let cases = [
            (
                r#"{"command":"dance","id":3}"#,
                "The field \"command\" must be one of: mute, unmute, gain, name.",
            ),
            (r#"{"id":3}"#, "The field \"command\" is missing."),
            (
                r#"{"command":"gain","id":3}"#,
                "The field \"gain_db\" is missing.",
            ),
            (
                r#"{"command":"gain","gain_db":"loud","id":3}"#,
                "The field \"gain_db\" must be a number.",
            ),
            (
                r#"{"command":"mute","gain_db":1,"id":3}"#,
                "The field \"gain_db\" is not known here.",
            ),
            (
                r#"{"command":"name","name":"","id":3}"#,
                "A name must have at least one visible character.",
            ),
            (
                r#"{"command":"mute","session":5,"id":3}"#,
                "The field \"session\" must be a string.",
            ),
        ];
        for (text, sentence) in cases {
            let (invalid, id) = Order::parse(text).expect_err(text);
            assert_eq!(invalid.to_string(), sentence);
            assert_eq!(id, Some(Value::from(3)));
        }
        assert_eq!(Order::parse("no"), Err((Invalid::NotJson, None)));
    }

    #[test]
    fn moderators_change_any_part() {
        let change = Change::parse(br#"{"muted":true,"gain_db":12,"name":" Bo "}"#).expect("good");
        assert_eq!(change.muted, Some(true));
        assert_eq!(change.gain_db, Some(12.0));
        assert_eq!(change.name.map(Name::into_string).as_deref(), Some("Bo"));
        assert_eq!(Change::parse(b"{}"), Ok(Change::default()));
        assert!(Change::parse(br#"{"role":"king"}"#).is_err());
        assert!(Change::parse(br#"{"gain_db":12.1}"#).is_err());
    }
}
