//! The settings as command-line flags and environment variables.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{RawSetting, SETTINGS, Setting};

/// The values given by flags and environment variables: each of [`SETTINGS`] has one flag and one
/// variable.
///
/// Values are kept as text; [`Config::load`](super::Config::load) parses the values of all sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingFlags(pub Vec<RawSetting>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        SettingFlags::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        let given = SETTINGS
            .iter()
            .filter_map(|setting| given(setting, matches));
        Ok(SettingFlags(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = SettingFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Builds the flag of a setting, with its environment variable.
fn flag(setting: &'static Setting) -> Arg {
    let Setting { name, kind, .. } = setting;
    let flag = Arg::new(*name)
        .long(setting.flag())
        .env(setting.variable())
        .hide_env_values(kind.is_secret())
        .value_name(kind.placeholder())
        .allow_hyphen_values(kind.may_be_negative())
        .help(help(setting));
    if kind.is_switch() {
        return flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    if !kind.is_list() {
        return flag;
    }
    let flag = flag.action(ArgAction::Append).value_delimiter(',');
    match kind.has_singular() {
        true => flag.alias(setting.flag().trim_end_matches('s').to_owned()),
        false => flag,
    }
}

/// Returns the `--help` text of a setting.
fn help(setting: &Setting) -> String {
    let many = match setting.kind.is_list() {
        true => "; repeatable, or separated by commas",
        false => "",
    };
    let default = match setting.default().as_deref() {
        None | Some("[]") => "none".to_owned(),
        Some(default) => default.to_owned(),
    };
    let (help, range) = (setting.help, setting.kind.range());
    format!("{help} It must be {range}{many}. (default: {default})")
}

/// Returns the setting as given by its flag or its environment variable; `None` if neither is
/// given.
fn given(setting: &Setting, matches: &ArgMatches) -> Option<RawSetting> {
    let source = match matches.value_source(setting.name)? {
        ValueSource::EnvVariable => setting.variable(),
        _ => format!("--{}", setting.flag()),
    };
    let values = matches.get_many::<String>(setting.name)?;
    Some(RawSetting {
        key: setting.name.to_owned(),
        values: values.cloned().collect(),
        source,
    })
}
