//! Where the values of options come from: flags, before variables, before files, before a profile, before defaults.
//!
//! clap holds the one list of options ([`super::args`]), and clap alone judges values. Everything here is made from that list:
//! [`options`] gives each option its variable, and says what a file may hold; [`mod@file`] turns a TOML file into values with their lines;
//! [`profile`] is a set of defaults by name; [`layers`] puts the values that count below clap's variables and flags, as
//! defaults of the command that was typed. So a value is checked in the same way wherever it stands, and what is wrong with it names
//! that place ([`Settings::named`]).
//!
//! The words are parsed twice: once to know the command, `--config` and `--profile`, and once with what was found there.

mod command;
mod file;
mod layers;
mod options;
mod origin;
mod profile;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::args::Args;
use super::fstab;
pub(super) use command::{ConfigCommand, run};
use file::Places;
pub(super) use origin::Settings;
pub(super) use profile::NAMES as PROFILES;

/// Commands that no file has a say in: what ends a mount works whatever has become of a file since.
const WITHOUT_FILES: &[&str] = &["config", "generate", "umount"];

/// What was typed, and where each value is from.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) args: Args,
    pub(super) settings: Settings,
}

/// Reads what this process was started with. Help that was asked for is shown, and ends the process.
///
/// # Errors
/// One line that says what cannot be understood, and where it stands.
pub(super) fn read() -> Result<Typed> {
    of_words(fstab::typed().get(1..).unwrap_or_default())
}

/// As [`read`], for words that stand behind the program's name.
///
/// # Errors
/// As [`read`].
pub(super) fn of_words(words: &[OsString]) -> Result<Typed> {
    let mut line = vec![OsString::from("rolefs")];
    line.extend_from_slice(words);
    let command = definition();
    let read = resolve(&command, &line, &Places::of_this_user())?;
    Ok(Typed {
        args: Args::from_arg_matches(&read.matches).map_err(|error| mistyped(&error))?,
        settings: read.settings,
    })
}

/// All commands and options, for what is generated from them.
pub(super) fn definition() -> Command {
    options::complete(Args::command())
}

/// Words with all values that count.
struct Resolved {
    matches: ArgMatches,
    settings: Settings,
    files: Vec<PathBuf>,
}

fn resolve(command: &Command, words: &[OsString], places: &Places) -> Result<Resolved> {
    // What is missing may stand in a file.
    let first = options::each(command.clone(), &|argument: Arg| argument.required(false));
    let first = parse(&first, words)?;
    let path = path(&first);
    let has_files = path
        .first()
        .is_some_and(|name| !WITHOUT_FILES.contains(&name.as_str()));
    let files = if has_files {
        let named = first.get_one::<PathBuf>("config");
        let what = match first.value_source("config") {
            Some(ValueSource::EnvVariable) => "ROLEFS_CONFIG",
            _ => "--config",
        };
        file::read(named.map(|file| (what, file.as_path())), places)?
    } else {
        Vec::new()
    };
    let known = options::known(command);
    let mut parsed = Vec::new();
    for (file, text) in &files {
        let (found, problems) = file::parse(file, text, &known);
        if let Some(first) = problems.first() {
            let more = match problems.len() {
                1 => String::new(),
                all => format!(
                    "; and {} more, see 'rolefs config check {}'",
                    all - 1,
                    file.display()
                ),
            };
            bail!("{first}{more}");
        }
        parsed.extend(found);
    }
    let values = layers::values(options::leaf(command, &path), leaf(&first), &path, &parsed);
    let command = layers::below(command.clone(), &path, &values);
    let matches = parse(&command, words)?;
    let settings = Settings::new(options::leaf(&command, &path), leaf(&matches), &values);
    Ok(Resolved {
        matches,
        settings,
        files: files.into_iter().map(|(file, _)| file).collect(),
    })
}

/// The names of the command and its subcommands that were typed.
fn path(matches: &ArgMatches) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        path.push(name.to_owned());
        at = below;
    }
    path
}

/// What was typed for the last of them.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, below)) => leaf(below),
        None => matches,
    }
}

/// Parses the words. A bad value of a variable is told as the variable's.
fn parse(command: &Command, words: &[OsString]) -> Result<ArgMatches> {
    let error = match command.clone().try_get_matches_from(words) {
        Ok(matches) => return Ok(matches),
        Err(error) => error,
    };
    let refused = |error: &clap::Error| match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => Some(argument.clone()),
        _ => None,
    };
    let said = mistyped(&error);
    let Some(shown) = refused(&error) else {
        return Err(said);
    };
    // Without its variable the option is well: so it was the variable.
    let without = options::each(
        command.clone(),
        &|argument: Arg| match options::shown_as(&argument) == shown {
            true => argument.env(Resettable::Reset),
            false => argument,
        },
    );
    let is_variable = match without.try_get_matches_from(words) {
        Ok(_) => true,
        Err(second) => refused(&second).as_ref() != Some(&shown),
    };
    match options::variable_of(command, &shown).filter(|_| is_variable) {
        Some(variable) => Err(anyhow!(
            "{}",
            format!("{said:#}").replace(&format!("'{shown}'"), &variable)
        )),
        None => Err(said),
    }
}

/// Shows the help that was asked for, or says in one line what cannot be understood.
fn mistyped(error: &clap::Error) -> Error {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {}
    }
    anyhow!("{}; see 'rolefs --help'", first_paragraph(error))
}

/// What clap says first, in one line. Behind the first empty line stand tips and the usage.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let what: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    what.strip_prefix("error: ").unwrap_or(&what).to_owned()
}

/// The arguments of `mount` that a file alone would give.
fn mount_of(file: &Path, target: Option<&str>) -> Result<Typed> {
    let without_variables = |argument: Arg| argument.env(Resettable::Reset);
    let command = options::each(definition(), &without_variables);
    let mut words = vec![
        OsString::from("rolefs"),
        "--config".into(),
        file.into(),
        "mount".into(),
    ];
    match target {
        Some(mountpoint) if mountpoint.starts_with('/') => words.push(mountpoint.into()),
        Some(bucket) => words.extend(["/mnt".into(), bucket.into()]),
        None => words.push("/mnt".into()),
    }
    let read = resolve(&command, &words, &Places::default())?;
    Ok(Typed {
        args: Args::from_arg_matches(&read.matches).context("the options of mount")?,
        settings: read.settings,
    })
}
