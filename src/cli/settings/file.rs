//! TOML files with the flags' names.
//!
//! Keys at the top are for every command that has the option. A table of a command's name is for that command alone, and one of a
//! mountpoint (`["/mnt/data"]`) or of a bucket as it is typed (`["oss://my-bucket/train"]`) for what is mounted there or from there.
//! What no command understands is an error, with its line: a setting that is mistyped must not be silently none.

use std::fmt;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::builder::ValueHint;
use clap::{Arg, Command};
use toml::de::{DeTable, DeValue};

use super::options::{self, Known};

/// Bytes of the longest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where files are looked for when none is named.
#[derive(Debug, Default)]
pub(super) struct Places(pub(super) Vec<PathBuf>);

impl Places {
    /// `/etc/rolefs/config.toml`, and above it `rolefs/config.toml` below `XDG_CONFIG_HOME` or `~/.config`.
    pub(super) fn of_this_user() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = || variable("HOME").map(|home| home.join(".config"));
        let user = variable("XDG_CONFIG_HOME").or_else(home);
        let directories = std::iter::once(PathBuf::from("/etc")).chain(user);
        Self(
            directories
                .map(|directory| directory.join("rolefs/config.toml"))
                .collect(),
        )
    }
}

/// The files that count and their texts, the strongest last: the one that is named (with the word that named it), or those that are
/// there.
///
/// # Errors
/// A named file that is not there, and any that cannot be read.
pub(super) fn read(
    named: Option<(&str, &Path)>,
    places: &Places,
) -> Result<Vec<(PathBuf, String)>> {
    let Some((what, path)) = named.filter(|(_, path)| !path.as_os_str().is_empty()) else {
        let there = places.0.iter().filter(|path| path.exists());
        return there
            .map(|path| {
                let text = text(path).with_context(|| path.display().to_string())?;
                Ok((path.clone(), text))
            })
            .collect();
    };
    let context = || format!("{what} {}", path.display());
    // Its lines are named, and its paths taken, from wherever this process goes.
    let absolute = std::path::absolute(path).with_context(context)?;
    let text = text(&absolute).with_context(context)?;
    Ok(vec![(absolute, text)])
}

fn text(path: &Path) -> Result<String> {
    let file = fs::File::open(path)?;
    let kind = file.metadata()?.file_type();
    ensure!(
        !kind.is_fifo() && !kind.is_dir(),
        "not a file; the process in the background has to read it again"
    );
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= FILE_BYTES_MAX,
        "longer than {FILE_BYTES_MAX} bytes"
    );
    Ok(text)
}

/// Whom a value is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// A command and its subcommands; of no name, all commands.
    Command(Vec<String>),
    /// A mountpoint or a bucket.
    Target(String),
}

/// What a file says of one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) scope: Scope,
    pub(super) key: String,
    pub(super) values: Vec<String>,
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) line: usize,
}

/// What is wrong in a file. Display is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    file: PathBuf,
    line: usize,
    text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)
    }
}

/// What a file says, and all that is wrong in it, by line.
pub(super) fn parse(file: &Path, text: &str, known: &[Known<'_>]) -> (Vec<Entry>, Vec<Problem>) {
    let mut parsing = Parsing {
        file,
        text,
        known,
        entries: Vec::new(),
        problems: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // Without the line that toml would show: it may hold a secret.
        parsing.wrong(
            &error.span().unwrap_or_default(),
            error.message().to_owned(),
        );
    }
    // What stands around a broken line is not what was meant.
    if errors.is_empty() {
        parsing.table(table.get_ref(), &Scope::Command(Vec::new()));
    }
    let Parsing {
        entries,
        mut problems,
        ..
    } = parsing;
    problems.sort_by_key(|problem| problem.line);
    (entries, problems)
}

struct Parsing<'a> {
    file: &'a Path,
    text: &'a str,
    known: &'a [Known<'a>],
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Parsing<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn wrong(&mut self, span: &Range<usize>, text: String) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: self.line(span),
            text,
        });
    }

    fn table(&mut self, table: &DeTable<'_>, scope: &Scope) {
        for (name, value) in table {
            let (key, span) = (name.get_ref(), name.span());
            match (value.get_ref(), scope) {
                (DeValue::Table(inner), Scope::Command(path))
                    if path.is_empty() && is_target(key) =>
                {
                    self.table(inner, &Scope::Target(key.to_string()));
                }
                (DeValue::Table(inner), Scope::Command(path)) => {
                    let mut path = path.clone();
                    path.push(key.to_string());
                    if self.known.iter().any(|known| starts_with(known, &path)) {
                        self.table(inner, &Scope::Command(path));
                    } else {
                        let text = self.unknown(key, "no command", scope);
                        self.wrong(&span, text);
                    }
                }
                (DeValue::Table(_), Scope::Target(_)) => {
                    self.wrong(
                        &span,
                        format!("'{key}' stands too deep: no table is in this one"),
                    );
                }
                (value, _) => self.option(key, &span, value, scope),
            }
        }
    }

    fn option(&mut self, key: &str, span: &Range<usize>, value: &DeValue<'_>, scope: &Scope) {
        let meant: Vec<&Known<'_>> = self
            .known
            .iter()
            .filter(|known| known.key == key && is_for(known, scope))
            .collect();
        if meant.is_empty() {
            let text = self.unknown(key, "no option", scope);
            self.wrong(span, text);
            return;
        }
        let mut values = Vec::new();
        for known in meant {
            match self.values(known.argument, value) {
                Ok(found) => values = found,
                Err(why) => {
                    self.wrong(span, format!("{key}: {why}"));
                    return;
                }
            }
        }
        // An empty text is none, as in a variable or a flag.
        if values.iter().any(String::is_empty) {
            return;
        }
        self.entries.push(Entry {
            scope: scope.clone(),
            key: key.to_owned(),
            values,
            file: self.file.to_owned(),
            line: self.line(span),
        });
    }

    fn unknown(&self, name: &str, what: &str, scope: &Scope) -> String {
        let here = self.known.iter().filter(|known| is_for(known, scope));
        let depth = match scope {
            Scope::Command(path) => path.len(),
            Scope::Target(_) => usize::MAX,
        };
        let words =
            here.flat_map(|known| std::iter::once(known.key).chain(known.path.get(depth).copied()));
        let of = match scope {
            Scope::Command(path) if !path.is_empty() => format!(" of {}", path.join(" ")),
            Scope::Command(_) | Scope::Target(_) => String::new(),
        };
        match options::near(name, words) {
            Some(near) if near != name => format!("'{name}' is {what}{of}; did you mean '{near}'?"),
            Some(_) | None => format!("'{name}' is {what}{of}; see 'rolefs mount --help'"),
        }
    }

    /// A value as the words that clap would take.
    fn values(&self, argument: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let words = match value {
            DeValue::Boolean(is_on) if options::is_switch(argument) => vec![is_on.to_string()],
            _ if options::is_switch(argument) => {
                return Err("a switch: write true or false".to_owned());
            }
            DeValue::Array(list) if options::is_repeatable(argument) => list
                .iter()
                .map(|value| word(value.get_ref()))
                .collect::<Result<_, _>>()?,
            value => vec![word(value)?],
        };
        let words = words
            .into_iter()
            .map(|word| self.resolved_here(argument, word));
        let words: Vec<String> = words.collect();
        for word in words.iter().filter(|word| !word.is_empty()) {
            check(argument, word)?;
        }
        Ok(words)
    }

    /// Relative paths start from the file's directory.
    fn resolved_here(&self, argument: &Arg, word: String) -> String {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let join = |path: &str| directory.join(path).to_string_lossy().into_owned();
        let is_path = matches!(
            argument.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
        );
        match word.strip_prefix("file:") {
            _ if word.is_empty() => word,
            Some(path) if argument.get_id() == "credentials" && !path.is_empty() => {
                format!("file:{}", join(path))
            }
            _ if is_path => join(&word),
            _ => word,
        }
    }
}

/// True for the name of a table about a mountpoint or a bucket.
fn is_target(name: &str) -> bool {
    name.starts_with('/') || name.starts_with("oss://")
}

fn starts_with(known: &Known<'_>, path: &[String]) -> bool {
    path.len() <= known.path.len()
        && path
            .iter()
            .zip(&known.path)
            .all(|(one, other)| one == other)
}

/// True if a value of this scope can be meant for the option.
fn is_for(known: &Known<'_>, scope: &Scope) -> bool {
    match scope {
        Scope::Command(path) => starts_with(known, path),
        Scope::Target(_) => true,
    }
}

/// A text, or a number as it was written.
fn word(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(_) => {
            Err("write the number in decimal, or as a text such as \"0644\"".to_owned())
        }
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(_) => Err("takes a value, not true or false".to_owned()),
        DeValue::Datetime(_) => Err("takes no date".to_owned()),
        DeValue::Array(_) => Err("takes one value, not a list".to_owned()),
        DeValue::Table(_) => Err("takes a value, not a table".to_owned()),
    }
}

/// Lets clap judge a value as it would judge the flag's.
///
/// # Errors
/// Why it does not take it.
pub(super) fn check(argument: &Arg, value: &str) -> Result<(), String> {
    let alone = Arg::new("value")
        .long("value")
        .value_parser(argument.get_value_parser().clone());
    let command = Command::new("rolefs")
        .no_binary_name(true)
        .disable_help_flag(true)
        .arg(alone);
    match command.try_get_matches_from([format!("--value={value}")]) {
        Ok(_) => Ok(()),
        Err(error) => Err(super::first_paragraph(&error).replace(" for '--value <value>'", "")),
    }
}
