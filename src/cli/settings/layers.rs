//! Which values count, and how they come below clap's variables and flags: as defaults of the command that was typed.

use std::collections::BTreeMap;
use std::path::Path;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::file::{Entry, Scope};
use super::options;
use super::origin::{Origin, variable};
use super::profile;

/// A value of an option, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) words: Vec<String>,
    pub(super) origin: Origin,
}

/// Values that replace defaults, by the argument's id.
pub(super) type Values = BTreeMap<String, Value>;

/// The values for a command that stand neither in a variable nor in a flag; and those of variables with several, which clap does not
/// take apart.
pub(super) fn values(
    command: &Command,
    matches: &ArgMatches,
    path: &[String],
    entries: &[Entry],
) -> Values {
    let mut found = of_files(command, matches, path, entries);
    let profile = typed(matches, "profile")
        .map(|name| name.to_string_lossy().into_owned())
        .or_else(|| Some(found.get("profile")?.words.first()?.clone()));
    for (key, value) in profile.iter().flat_map(|name| profile::defaults(name)) {
        if let Some(argument) = argument(command, key) {
            let value = Value {
                words: vec![(*value).to_owned()],
                origin: Origin::Profile(profile.clone().unwrap_or_default()),
            };
            let id = argument.get_id().to_string();
            found.entry(id).or_insert(value);
        }
    }
    for argument in command
        .get_arguments()
        .filter(|argument| options::is_repeatable(argument))
    {
        let id = argument.get_id().as_str();
        if matches.value_source(id) == Some(ValueSource::EnvVariable) {
            // A key may hold colons. A variable has nothing else to tell patterns apart by.
            let raw = matches.get_raw(id).into_iter().flatten();
            let words = raw.flat_map(|raw| {
                let text = raw.to_string_lossy();
                text.split(':').map(str::to_owned).collect::<Vec<_>>()
            });
            let value = Value {
                words: words.collect(),
                origin: Origin::Variable(variable(argument)),
            };
            found.insert(id.to_owned(), value);
        }
    }
    found
}

/// What files say to a command. Of one file, a table about the mountpoint goes before one about the bucket, that before the
/// command's, and that before the top; a later file before all of an earlier one.
fn of_files(command: &Command, matches: &ArgMatches, path: &[String], entries: &[Entry]) -> Values {
    let bucket = typed(matches, "bucket").map(|bucket| bucket.to_string_lossy().into_owned());
    let mut found = Values::new();
    let absolute = |path: &std::ffi::OsStr| std::path::absolute(path).ok();
    let mut files: Vec<&Path> = entries.iter().map(|entry| entry.file.as_path()).collect();
    files.dedup();
    for file in files {
        let of_file = || entries.iter().filter(|entry| entry.file == file);
        for depth in 0..=path.len() {
            let scope = Scope::Command(path[..depth].to_vec());
            take(
                command,
                of_file().filter(|entry| entry.scope == scope),
                &mut found,
            );
        }
        // Where `run` mounts may be said by a file, or by nobody.
        let mountpoint = typed(matches, "mountpoint")
            .or_else(|| typed(matches, "at"))
            .and_then(absolute)
            .or_else(|| absolute(found.get("at")?.words.first()?.as_ref()))
            .or_else(|| absolute(matches.try_get_raw("at").ok()??.next()?));
        let is_there = |entry: &&Entry| match (&entry.scope, &mountpoint) {
            (Scope::Target(name), Some(mountpoint)) => {
                name.starts_with('/') && Path::new(name) == mountpoint
            }
            _ => false,
        };
        let mut above = Values::new();
        take(command, of_file().filter(is_there), &mut above);
        // A table about the mountpoint may say which bucket it is.
        let bucket = bucket.as_ref().or_else(|| {
            let value = above.get("bucket").or_else(|| found.get("bucket"))?;
            value.words.first()
        });
        let is_from = |entry: &&Entry| match (&entry.scope, bucket) {
            (Scope::Target(name), Some(bucket)) => {
                name.trim_end_matches('/') == bucket.trim_end_matches('/')
            }
            _ => false,
        };
        let mut of_bucket = Values::new();
        take(command, of_file().filter(is_from), &mut of_bucket);
        found.extend(of_bucket);
        found.extend(above);
    }
    found
}

/// Takes those values that the command has an option for.
fn take<'a>(command: &Command, entries: impl Iterator<Item = &'a Entry>, found: &mut Values) {
    for entry in entries {
        if let Some(argument) = argument(command, &entry.key) {
            let value = Value {
                words: entry.values.clone(),
                origin: Origin::File(entry.file.clone(), entry.line),
            };
            found.insert(argument.get_id().to_string(), value);
        }
    }
}

fn argument<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|argument| options::key(argument) == Some(key))
}

/// What a variable or a flag says of an argument.
fn typed<'a>(matches: &'a ArgMatches, id: &str) -> Option<&'a std::ffi::OsStr> {
    let mut raw = matches.try_get_raw(id).ok().flatten()?;
    match matches.value_source(id)? {
        ValueSource::CommandLine | ValueSource::EnvVariable => raw.next(),
        _ => None,
    }
}

/// The command with values as its defaults.
pub(super) fn below(command: Command, path: &[String], values: &Values) -> Command {
    let Some((name, rest)) = path.split_first() else {
        return command.mut_args(|argument| {
            let Some(value) = values.get(argument.get_id().as_str()) else {
                return argument;
            };
            let argument = argument.default_values(&value.words).required(false);
            match value.origin {
                // It is taken apart here.
                Origin::Variable(_) => argument.env(Resettable::Reset),
                Origin::Default | Origin::Profile(_) | Origin::File(..) | Origin::Flag => argument,
            }
        });
    };
    command.mut_subcommand(name, |command| below(command, rest, values))
}
