//! The kinds of values that settings take: how each is parsed, described and written.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mixer::codec::{Hangovers, Profile};
use mixer::format::TickLength;

use super::parse::{
    InvalidValue, address, boolean, hosts, ice_servers, ips, networks, number, one, origins, path,
    quoted, quoted_list, show_ice_server,
};
use super::{Config, IceServer};
use crate::floor::Mode;
use crate::protocol::{PROFILES, TICKS, ms, profile_named, talk_limit};
use crate::rate_limit::Rate;

/// The functions that read and write one field of the configuration.
pub(super) struct Place<T> {
    pub(super) of: fn(&Config) -> &T,
    pub(super) of_mut: fn(&mut Config) -> &mut T,
}

/// The kind of value that a setting takes, with the field of the configuration that holds it.
pub(super) enum Kind {
    /// An IP address with a port; the text says in messages which port is meant.
    Address(&'static str, Place<SocketAddr>),
    /// IP addresses that clients can send media to.
    Addresses(Place<Vec<IpAddr>>),
    /// The path of a PEM file.
    PemFile(Place<Option<PathBuf>>),
    /// A boolean.
    YesNo(Place<bool>),
    /// A boolean or `auto`; the text describes `auto`.
    YesNoOrAuto(&'static str, Place<Option<bool>>),
    /// A whole number.
    Number(RangeInclusive<u32>, Place<u32>),
    /// A whole number or `auto`; the text describes `auto`.
    NumberOrAuto(RangeInclusive<u32>, &'static str, Place<Option<u32>>),
    /// A whole number that fits into 16 bits.
    Count(RangeInclusive<u32>, Place<u16>),
    /// A whole number that fits into 16 bits, or 0 for no limit; the text describes 0.
    Cap(RangeInclusive<u32>, &'static str, Place<Option<u16>>),
    /// A duration in milliseconds.
    Milliseconds(RangeInclusive<u32>, Place<Duration>),
    /// A duration in seconds, or 0 for no limit; the text describes 0.
    SecondsOrZero(RangeInclusive<u32>, &'static str, Place<Option<Duration>>),
    /// A level in whole dBFS, or `off`.
    LevelOrOff(RangeInclusive<i32>, Place<Option<f32>>),
    /// The length of a tick in milliseconds.
    Tick(Place<TickLength>),
    /// The name of a profile.
    Profile(Place<Profile>),
    /// For each profile, how long encoded streams continue after the last sound, milliseconds.
    Hangovers(Place<Hangovers>),
    /// The name of a floor mode.
    Mode(Place<Mode>),
    /// The number of operations that a rate allows at once.
    Burst(Place<Rate>),
    /// The long-term number of operations per second of a rate.
    PerSecond(Place<Rate>),
    /// Origins of web pages: scheme, host and port.
    Origins(Place<Vec<String>>),
    /// Host names.
    Hosts(Place<Vec<String>>),
    /// IP addresses or networks.
    Networks(Place<Vec<IpNet>>),
    /// STUN and TURN servers, with their passwords.
    IceServers(Place<Vec<IceServer>>),
    /// A log filter in the syntax of `tracing`.
    LogFilter(Place<String>),
}

/// Allowed range of a burst.
const BURST: RangeInclusive<u32> = 1..=1_000_000;

/// Allowed range of a number of operations per second.
const PER_SECOND: RangeInclusive<u32> = 1..=10_000;

/// Allowed range of a hangover, in milliseconds.
const HANGOVER_MS: RangeInclusive<u32> = 0..=60_000;

impl Kind {
    /// Describes the allowed values, in words that follow "must be".
    pub(super) fn range(&self) -> String {
        match self {
            Kind::Address(port, at) => {
                let example = (at.of)(&Config::default()).to_string();
                format!("an IP address and {port} such as {example}")
            }
            Kind::Addresses(_) => "IP addresses that clients can reach".to_owned(),
            Kind::PemFile(_) => "the path of a PEM file".to_owned(),
            Kind::YesNo(_) => "true or false".to_owned(),
            Kind::YesNoOrAuto(auto, _) => format!("true, false or auto ({auto})"),
            Kind::Number(range, _) | Kind::Count(range, _) | Kind::Milliseconds(range, _) => {
                whole_number(range)
            }
            Kind::NumberOrAuto(range, auto, _) => {
                format!("{}, or auto ({auto})", whole_number(range))
            }
            Kind::Cap(range, zero, _) | Kind::SecondsOrZero(range, zero, _) => {
                let most = with_commas(*range.end());
                format!("a whole number from 0 ({zero}) to {most}")
            }
            Kind::LevelOrOff(range, _) => {
                let (least, most) = (range.start(), range.end());
                format!("a whole number from {least} to {most}, or off")
            }
            Kind::Tick(_) => or(&TICKS.map(|tick| tick.ms().to_string()).join(", ")),
            Kind::Profile(_) => or(PROFILES),
            Kind::Hangovers(_) => format!(
                "profiles with a number of milliseconds from {} to {}, such as voice=6000",
                HANGOVER_MS.start(),
                with_commas(*HANGOVER_MS.end())
            ),
            Kind::Mode(_) => or(Mode::NAMES),
            Kind::Burst(_) => whole_number(&BURST),
            Kind::PerSecond(_) => whole_number(&PER_SECOND),
            Kind::Origins(_) => "origins such as https://example.org, or * for all".to_owned(),
            Kind::Hosts(_) => "host names without a port such as mix.example.org or \
                               *.example.org, or * for all"
                .to_owned(),
            Kind::Networks(_) => "addresses or networks such as 10.0.0.0/8".to_owned(),
            Kind::IceServers(_) => "URLs such as stun:stun.example.org:3478 or \
                                    turn:user:password@turn.example.org:3478"
                .to_owned(),
            Kind::LogFilter(_) => "a filter such as debug or mixminus=debug".to_owned(),
        }
    }

    /// Parses `values` and stores the result in `config`.
    ///
    /// # Errors
    /// [`InvalidValue`]; `config` is then unchanged.
    pub(super) fn set(&self, config: &mut Config, values: &[&str]) -> Result<(), InvalidValue> {
        match self {
            Kind::Address(_, at) => *(at.of_mut)(config) = address(values)?,
            Kind::Addresses(at) => *(at.of_mut)(config) = ips(values)?,
            Kind::PemFile(at) => *(at.of_mut)(config) = path(values)?,
            Kind::YesNo(at) => *(at.of_mut)(config) = boolean(values)?,
            Kind::YesNoOrAuto(_, at) => *(at.of_mut)(config) = or_auto(values, boolean)?,
            Kind::Number(range, at) => *(at.of_mut)(config) = number(values, range.clone())?,
            Kind::NumberOrAuto(range, _, at) => {
                let read = |values: &[&str]| number(values, range.clone());
                *(at.of_mut)(config) = or_auto(values, read)?;
            }
            Kind::Count(range, at) => *(at.of_mut)(config) = small(values, range)?,
            Kind::Cap(range, _, at) => {
                let most = small(values, &(0..=*range.end()))?;
                *(at.of_mut)(config) = (most > 0).then_some(most);
            }
            Kind::Milliseconds(range, at) => {
                let ms = number(values, range.clone())?;
                *(at.of_mut)(config) = Duration::from_millis(ms.into());
            }
            Kind::SecondsOrZero(range, _, at) => {
                *(at.of_mut)(config) = talk_limit(number(values, range.clone())?);
            }
            Kind::LevelOrOff(range, at) => *(at.of_mut)(config) = level(values, range)?,
            Kind::Tick(at) => *(at.of_mut)(config) = tick(values)?,
            Kind::Profile(at) => {
                *(at.of_mut)(config) = profile_named(one(values)?).ok_or(InvalidValue)?;
            }
            Kind::Hangovers(at) => *(at.of_mut)(config) = hangovers(values)?,
            Kind::Mode(at) => {
                *(at.of_mut)(config) = Mode::parse(one(values)?).ok_or(InvalidValue)?;
            }
            Kind::Burst(at) => (at.of_mut)(config).burst = number(values, BURST)?,
            Kind::PerSecond(at) => {
                let rate = (at.of_mut)(config);
                *rate = Rate::new(rate.burst, number(values, PER_SECOND)?);
            }
            Kind::Origins(at) => *(at.of_mut)(config) = origins(values)?,
            Kind::Hosts(at) => *(at.of_mut)(config) = hosts(values)?,
            Kind::Networks(at) => *(at.of_mut)(config) = networks(values)?,
            Kind::IceServers(at) => *(at.of_mut)(config) = ice_servers(values)?,
            Kind::LogFilter(at) => *(at.of_mut)(config) = log_filter(values)?,
        }
        Ok(())
    }

    /// Returns the setting's value in `config` as TOML; `None` if it is not set.
    pub(super) fn show(&self, config: &Config) -> Option<String> {
        Some(match self {
            Kind::Address(_, at) => quoted((at.of)(config)),
            Kind::Addresses(at) => quoted_list((at.of)(config)),
            Kind::PemFile(at) => quoted((at.of)(config).as_ref()?.display()),
            Kind::YesNo(at) => (at.of)(config).to_string(),
            Kind::YesNoOrAuto(_, at) => show_or(*(at.of)(config), "auto"),
            Kind::Number(_, at) => (at.of)(config).to_string(),
            Kind::NumberOrAuto(_, _, at) => show_or(*(at.of)(config), "auto"),
            Kind::Count(_, at) => (at.of)(config).to_string(),
            Kind::Cap(_, _, at) => (at.of)(config).unwrap_or(0).to_string(),
            Kind::Milliseconds(_, at) => ms(*(at.of)(config)).to_string(),
            Kind::SecondsOrZero(_, _, at) => {
                let limit = (at.of)(config);
                limit.map_or(0, |limit| limit.as_secs()).to_string()
            }
            Kind::LevelOrOff(_, at) => {
                let level = (at.of)(config).map(|db| format!("{db:.0}"));
                show_or(level, "off")
            }
            Kind::Tick(at) => (at.of)(config).ms().to_string(),
            Kind::Profile(at) => quoted((at.of)(config)),
            Kind::Hangovers(at) => quoted_list(&show_hangovers((at.of)(config))),
            Kind::Mode(at) => quoted((at.of)(config)),
            Kind::Burst(at) => (at.of)(config).burst.to_string(),
            Kind::PerSecond(at) => (at.of)(config).per_second().to_string(),
            Kind::Origins(at) | Kind::Hosts(at) => quoted_list((at.of)(config)),
            Kind::Networks(at) => quoted_list((at.of)(config)),
            Kind::IceServers(at) => {
                let servers: Vec<_> = (at.of)(config).iter().map(show_ice_server).collect();
                quoted_list(&servers)
            }
            Kind::LogFilter(at) => quoted((at.of)(config)),
        })
    }

    /// Returns whether the setting takes a list of values.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            Kind::Addresses(_)
                | Kind::Hangovers(_)
                | Kind::Origins(_)
                | Kind::Hosts(_)
                | Kind::Networks(_)
                | Kind::IceServers(_)
        )
    }

    /// Returns whether the flag may be given without a value, which then is `true`.
    pub(super) fn is_switch(&self) -> bool {
        matches!(self, Kind::YesNo(_) | Kind::YesNoOrAuto(..))
    }

    /// Returns whether values may begin with a minus sign.
    pub(super) fn may_be_negative(&self) -> bool {
        matches!(self, Kind::LevelOrOff(..))
    }

    /// Returns whether values may contain passwords and so must not appear in messages.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Kind::IceServers(_))
    }

    /// Returns whether the flag may also be written without its final `s`.
    pub(super) fn has_singular(&self) -> bool {
        matches!(
            self,
            Kind::Origins(_) | Kind::Hosts(_) | Kind::IceServers(_)
        )
    }

    /// Returns the word that stands for the value in the command-line help, such as `ADDR`.
    pub(super) fn placeholder(&self) -> &'static str {
        match self {
            Kind::Address(..) => "ADDR",
            Kind::Addresses(_) => "IP",
            Kind::PemFile(_) => "FILE",
            Kind::YesNo(_) => "BOOL",
            Kind::YesNoOrAuto(..) => "BOOL|auto",
            Kind::Number(..) | Kind::NumberOrAuto(..) | Kind::Count(..) | Kind::Cap(..) => "N",
            Kind::Burst(_) | Kind::PerSecond(_) => "N",
            Kind::Milliseconds(..) | Kind::Tick(_) => "MS",
            Kind::SecondsOrZero(..) => "S",
            Kind::LevelOrOff(..) => "DB",
            Kind::Profile(_) | Kind::Hosts(_) => "NAME",
            Kind::Hangovers(_) => "PROFILE=MS",
            Kind::Mode(_) => "MODE",
            Kind::Origins(_) => "ORIGIN",
            Kind::Networks(_) => "NETWORK",
            Kind::IceServers(_) => "URL",
            Kind::LogFilter(_) => "FILTER",
        }
    }
}

/// Puts "or" before the last name of a list.
fn or(names: &str) -> String {
    match names.rsplit_once(", ") {
        Some((others, last)) => format!("{others} or {last}"),
        None => names.to_owned(),
    }
}

fn whole_number(range: &RangeInclusive<u32>) -> String {
    let (least, most) = (with_commas(*range.start()), with_commas(*range.end()));
    format!("a whole number from {least} to {most}")
}

/// Writes a number with a comma before every third digit from the right.
fn with_commas(number: u32) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", with_commas(number / 1_000), number % 1_000),
    }
}

fn show_or<T: ToString>(value: Option<T>, without: &str) -> String {
    value.map_or(quoted(without), |value| value.to_string())
}

fn or_auto<T>(
    values: &[&str],
    read: impl FnOnce(&[&str]) -> Result<T, InvalidValue>,
) -> Result<Option<T>, InvalidValue> {
    match one(values)? {
        "auto" => Ok(None),
        _ => read(values).map(Some),
    }
}

fn small(values: &[&str], range: &RangeInclusive<u32>) -> Result<u16, InvalidValue> {
    let number = number(values, range.clone())?;
    u16::try_from(number).map_err(|_| InvalidValue)
}

/// Parses hangovers such as `voice=6000`; profiles that are not named keep the default.
fn hangovers(values: &[&str]) -> Result<Hangovers, InvalidValue> {
    let mut hangovers = Hangovers::default();
    for value in values {
        let (name, ms) = value.split_once('=').ok_or(InvalidValue)?;
        let profile = profile_named(name.trim()).ok_or(InvalidValue)?;
        hangovers.set_ms(profile, number(&[ms.trim()], HANGOVER_MS)?);
    }
    Ok(hangovers)
}

fn show_hangovers(hangovers: &Hangovers) -> Vec<String> {
    let shown = |profile| format!("{profile}={}", hangovers.of_ms(profile));
    Profile::ALL.map(shown).into()
}

fn tick(values: &[&str]) -> Result<TickLength, InvalidValue> {
    let ms = one(values)?;
    let mut ticks = TICKS.into_iter();
    let tick = ticks.find(|tick| tick.ms().to_string() == ms);
    tick.ok_or(InvalidValue)
}

fn level(values: &[&str], range: &RangeInclusive<i32>) -> Result<Option<f32>, InvalidValue> {
    let value = one(values)?;
    if value == "off" {
        return Ok(None);
    }
    let db: i32 = value.parse().map_err(|_| InvalidValue)?;
    if range.contains(&db) {
        Ok(Some(db as f32))
    } else {
        Err(InvalidValue)
    }
}

fn log_filter(values: &[&str]) -> Result<String, InvalidValue> {
    let filter = one(values)?;
    match tracing_subscriber::EnvFilter::try_new(filter) {
        Ok(_) if !filter.is_empty() => Ok(filter.to_owned()),
        _ => Err(InvalidValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_setting_ranges_have_thousands_commas() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_000_050, "1,000,050"),
        ] {
            assert_eq!(with_commas(number), shown);
        }
    }
}
