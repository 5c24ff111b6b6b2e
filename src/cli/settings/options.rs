//! Which options there are, and what is true of all of them: made from clap's list, so that nothing is said twice.

use clap::builder::{BoolishValueParser, Resettable, ValueRange};
use clap::{Arg, ArgAction, Command};

/// How alike a name must be to be suggested; clap's own measure.
const LIKENESS_MIN: f64 = 0.7;

/// Does something to every argument of a command and of its subcommands.
pub(super) fn each(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command
        .mut_args(change)
        .mut_subcommands(|command| each(command, change))
}

/// What every option has: a variable, and for a switch a way to switch it off.
///
/// - `--attr-ttl` is `ROLEFS_ATTR_TTL`, unless the list of options says otherwise.
/// - An empty variable is an absent one: a startup command writes `ROLEFS_REGION=$REGION` whether or not there is a region.
/// - `--read-only=no` goes before a file or a variable that says yes.
pub(super) fn complete(command: Command) -> Command {
    each(command, &|argument| {
        let argument = match (argument.get_long(), argument.get_env()) {
            (Some(long), None) => {
                let variable = format!("ROLEFS_{}", long.replace('-', "_").to_uppercase());
                argument.env(variable)
            }
            (Some(_) | None, _) => argument,
        };
        let value = argument.get_env().and_then(std::env::var_os);
        let argument = match value.is_some_and(|value| value.is_empty()) {
            true => argument.env(Resettable::Reset),
            false => argument,
        };
        match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .value_parser(BoolishValueParser::new())
                .value_name("yes|no")
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .hide_default_value(true)
                .hide_possible_values(true),
            _ => argument,
        }
    })
}

/// An option that a file may set.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    /// The command that has it, from the outermost; empty for the program itself.
    pub(super) path: Vec<&'a str>,
    /// Its name in a file: the flag's without dashes.
    pub(super) key: &'a str,
    pub(super) argument: &'a Arg,
}

/// All options that a file may set, of all commands.
pub(super) fn known(command: &Command) -> Vec<Known<'_>> {
    let mut found = Vec::new();
    for command in command.get_subcommands() {
        if !super::WITHOUT_FILES.contains(&command.get_name()) {
            collect(command, Vec::new(), &mut found);
        }
    }
    found
}

fn collect<'a>(command: &'a Command, mut path: Vec<&'a str>, found: &mut Vec<Known<'a>>) {
    path.push(command.get_name());
    for argument in command.get_arguments() {
        if let Some(key) = key(argument) {
            let path = path.clone();
            found.push(Known {
                path,
                key,
                argument,
            });
        }
    }
    for command in command.get_subcommands() {
        collect(command, path.clone(), found);
    }
}

/// The name of an option in a file; `None` for what only the command line can say.
pub(super) fn key(argument: &Arg) -> Option<&str> {
    match argument.get_long() {
        // Which file is read is not for a file to say.
        Some("config") => None,
        Some(long) => Some(long),
        // The bucket: the only argument that has no dashes and yet a variable.
        None => (argument.get_id() == "bucket").then_some("bucket"),
    }
}

/// The command that a path of names leads to.
pub(super) fn leaf<'a>(command: &'a Command, path: &[String]) -> &'a Command {
    path.iter().fold(command, |command, name| {
        command.find_subcommand(name).unwrap_or(command)
    })
}

/// As clap shows an argument. It takes one that was not built yet, with the number of its values still open, for an error of its own.
pub(super) fn shown_as(argument: &Arg) -> String {
    match argument.get_num_args() {
        None if argument.get_action().takes_values() && !argument.is_positional() => {
            argument.clone().num_args(1).to_string()
        }
        None | Some(_) => argument.to_string(),
    }
}

/// The variable of the argument that clap shows as `shown`.
pub(super) fn variable_of(command: &Command, shown: &str) -> Option<String> {
    let own = command
        .get_arguments()
        .find(|argument| shown_as(argument) == shown)
        .and_then(Arg::get_env)
        .map(|name| name.to_string_lossy().into_owned());
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|command| variable_of(command, shown))
    })
}

/// True for what is on or off.
pub(super) fn is_switch(argument: &Arg) -> bool {
    argument.is_require_equals_set() && argument.get_num_args() == Some(ValueRange::from(0..=1))
}

/// True for what may be given several times.
pub(super) fn is_repeatable(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Append)
}

/// The word that `name` may have been meant to be.
pub(super) fn near<'a>(name: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    words
        .into_iter()
        .map(|word| (strsim::jaro(name, word), word))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Args;

    fn every_argument(command: &Command, check: &dyn Fn(&Command, &Arg)) {
        for argument in command.get_arguments() {
            check(command, argument);
        }
        for command in command.get_subcommands() {
            every_argument(command, check);
        }
    }

    #[test]
    fn the_completed_options_are_well_formed() {
        complete(Args::command()).debug_assert();
    }

    #[test]
    fn every_flag_of_every_command_has_its_variable() {
        every_argument(&complete(Args::command()), &|command, flag| {
            let Some(long) = flag.get_long() else {
                return;
            };
            let variable = format!("ROLEFS_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(
                flag.get_env().and_then(|name| name.to_str()),
                Some(variable.as_str()),
                "--{long} of {}",
                command.get_name()
            );
        });
    }

    #[test]
    fn switches_are_switched_on_and_off() {
        let command = complete(Args::command());
        let is_read_only = |words: &[&str]| {
            let words = ["rolefs", "mount", "/mnt"].iter().chain(words);
            let matches = command.clone().try_get_matches_from(words).ok()?;
            let (_, of_mount) = matches.subcommand()?;
            of_mount.get_one::<bool>("read_only").copied()
        };
        assert_eq!(is_read_only(&[]), Some(false));
        assert_eq!(is_read_only(&["--read-only", "oss://b"]), Some(true));
        assert_eq!(is_read_only(&["--read-only=yes"]), Some(true));
        assert_eq!(is_read_only(&["--read-only=0"]), Some(false));
        assert_eq!(is_read_only(&["--read-only=perhaps"]), None);
    }

    #[test]
    fn a_file_may_set_what_is_no_word_of_the_command_line_alone() {
        let command = complete(Args::command());
        let known = known(&command);
        let has = |path: &[&str], key: &str| {
            known
                .iter()
                .any(|known| known.path == path && known.key == key)
        };
        assert!(has(&["mount"], "attr-ttl") && has(&["mount"], "bucket"));
        assert!(has(&["warm"], "jobs"));
        assert!(!has(&["mount"], "mountpoint") && !has(&["umount"], "lazy"));
        assert!(known.iter().all(|known| known.key != "config"));
        let of = |key: &str| {
            known
                .iter()
                .find(|known| known.key == key)
                .unwrap()
                .argument
        };
        assert!(is_switch(of("read-only")) && !is_switch(of("memory")));
        assert!(is_repeatable(of("direct")) && !is_repeatable(of("memory")));
    }

    #[test]
    fn near_names_are_found() {
        let words = ["attr-ttl", "memory", "max-qps"];
        assert_eq!(near("attr_ttl", words), Some("attr-ttl"));
        assert_eq!(near("memroy", words), Some("memory"));
        assert_eq!(near("colour", words), None);
    }
}
