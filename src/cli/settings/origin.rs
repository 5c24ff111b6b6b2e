//! Where the values that count are from.

use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::layers::Values;
use super::options;

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The option's own default.
    Default,
    /// `--profile`, by its name.
    Profile(String),
    /// A line of a file, from 1.
    File(PathBuf, usize),
    /// A variable of the environment.
    Variable(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// The value of one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    /// None if the option is not set; several if it is repeatable.
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
    pub(super) form: Form,
}

/// How a value is written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `true` or `false`.
    Switch,
    /// A list of texts.
    List,
    /// A text.
    Text,
    /// A text that may hold a secret.
    Secret,
}

/// The values of all options of the command that was typed, and where they are from.
#[derive(Debug, Default)]
pub(in crate::cli) struct Settings(Vec<Setting>);

impl Settings {
    pub(super) fn new(command: &Command, matches: &ArgMatches, values: &Values) -> Self {
        let settings = command.get_arguments().filter_map(|argument| {
            let key = options::key(argument)?;
            let id = argument.get_id().as_str();
            let raw = matches.get_raw(id).into_iter().flatten();
            let origin = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                Some(ValueSource::EnvVariable) => Origin::Variable(variable(argument)),
                _ => values
                    .get(id)
                    .map_or(Origin::Default, |value| value.origin.clone()),
            };
            Some(Setting {
                key: key.to_owned(),
                values: raw.map(|raw| raw.to_string_lossy().into_owned()).collect(),
                origin,
                form: form(argument),
            })
        });
        Self(settings.collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// A message about an option, `--memory much: not a size`, as one about the place where its value stands: the line of the file,
    /// or the variable.
    pub(in crate::cli) fn named(&self, message: &str) -> String {
        let end = message.find([' ', ':', ',']).unwrap_or(message.len());
        let (name, rest) = message.split_at(end);
        let key = match name.strip_prefix("--") {
            None if name == "bucket" && rest.starts_with(':') => name,
            Some(key) => key,
            None => return message.to_owned(),
        };
        let origin = self
            .iter()
            .find(|setting| setting.key == key)
            .map(|setting| &setting.origin);
        match origin {
            Some(Origin::File(path, line)) => format!("{}:{line}: {key}{rest}", path.display()),
            Some(Origin::Variable(variable)) => format!("{variable}{rest}"),
            Some(Origin::Default | Origin::Profile(_) | Origin::Flag) | None => message.to_owned(),
        }
    }
}

/// The name of an option's variable.
pub(super) fn variable(argument: &Arg) -> String {
    let name = argument.get_env().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn form(argument: &Arg) -> Form {
    if options::is_switch(argument) {
        Form::Switch
    } else if options::is_repeatable(argument) {
        Form::List
    } else if argument.is_hide_env_values_set() {
        Form::Secret
    } else {
        Form::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: Origin) -> Settings {
        Settings(vec![Setting {
            key: "memory".to_owned(),
            values: vec!["much".to_owned()],
            origin,
            form: Form::Text,
        }])
    }

    #[test]
    fn a_message_names_the_place_of_the_value() {
        let message = "--memory much: not a size";
        let file = from(Origin::File(PathBuf::from("/c.toml"), 3));
        assert_eq!(file.named(message), "/c.toml:3: memory much: not a size");
        let variable = from(Origin::Variable("ROLEFS_MEMORY".to_owned()));
        assert_eq!(variable.named(message), "ROLEFS_MEMORY much: not a size");
        assert_eq!(from(Origin::Flag).named(message), message);
        for other in [
            "--cache-size 1: too little",
            "memory is full",
            "--memory-map",
            "",
        ] {
            assert_eq!(file.named(other), other);
        }
    }
}
