//! `rolefs config`: what would count, and what is wrong in a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Subcommand};

use super::file::{self, Places, Scope};
use super::origin::{Form, Origin, Setting};
use super::{mount_of, options, resolve};
use crate::cli::args::{Args, Command};
use crate::cli::config::{Config, Surroundings};
use crate::credentials::Source;

/// What `rolefs config` is asked for.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Show the options of a command and where their values are from, as a file that sets them.
    Print {
        /// The command and its options; mount if none is named.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "COMMAND|OPTION"
        )]
        words: Vec<OsString>,
    },
    /// Say what is wrong in a file, with lines.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// The column that says where values are from begins here, if the value before it is not longer.
const ORIGIN_COLUMN: usize = 40;

/// Runs it; `named` is what `--config` says.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(in crate::cli) fn run(command: &ConfigCommand, named: Option<&Path>) -> Result<()> {
    match command {
        ConfigCommand::Print { words } => {
            print!("{}", print(words, named)?);
            Ok(())
        }
        ConfigCommand::Check { file } => {
            check(file)?;
            println!("{}: ok", file.display());
            Ok(())
        }
    }
}

/// The options of a command and their values, as a file that sets them.
fn print(words: &[OsString], named: Option<&Path>) -> Result<String> {
    let command = options::complete(Args::command());
    // What must be given to run the command need not be given to look at it.
    let command = options::each(command, &|argument| argument.required(false));
    let is_command = words.first().is_some_and(|word| {
        word.to_str()
            .is_some_and(|word| command.find_subcommand(word).is_some())
    });
    let mut line: Vec<OsString> = vec!["rolefs".into()];
    if let Some(named) = named {
        line.extend(["--config".into(), named.into()]);
    }
    if !is_command {
        line.push("mount".into());
    }
    line.extend_from_slice(words);
    let read = resolve(&command, &line, &Places::of_this_user())?;
    let mut text = String::new();
    for file in &read.files {
        text.push_str(&format!("# read: {}\n", file.display()));
    }
    for setting in read.settings.iter() {
        text.push_str(&shown(setting));
    }
    Ok(text)
}

fn shown(setting: &Setting) -> String {
    let Setting {
        key,
        values,
        origin,
        form,
    } = setting;
    let is_set = values.iter().any(|value| !value.is_empty());
    let quoted = |value: &String| quoted(&without_secret(value));
    let value = match (form, values.as_slice()) {
        (Form::Switch, [value]) => value.clone(),
        (Form::List, values) => {
            let all: Vec<String> = values.iter().map(quoted).collect();
            format!("[{}]", all.join(", "))
        }
        // What this type shows is what may be shown.
        (Form::Secret, [value]) => match value.parse::<Source>() {
            Ok(source) => self::quoted(&source.to_string()),
            Err(_) => self::quoted("***"),
        },
        (Form::Switch | Form::Secret | Form::Text, values) => {
            values.iter().map(quoted).collect::<Vec<_>>().join(" ")
        }
    };
    let line = if is_set {
        format!("{key} = {value}")
    } else {
        format!("# {key} is not set")
    };
    match origin {
        Origin::Default if !is_set => format!("{line}\n"),
        _ => format!("{line:<ORIGIN_COLUMN$} # {origin}\n"),
    }
}

/// A text of TOML: its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A value without what may stand before an `@` in an address.
fn without_secret(value: &str) -> String {
    match (value.find("://"), value.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://***{}", &value[..scheme], &value[at..])
        }
        _ => value.to_owned(),
    }
}

/// Looks at a file as every command would, and then at what its values mean to a mount.
#[expect(clippy::print_stderr, reason = "each problem has its line")]
fn check(file: &Path) -> Result<()> {
    let command = options::complete(Args::command());
    let files = file::read(Some(("file", file)), &Places::default())?;
    for (path, text) in &files {
        let (entries, problems) = file::parse(path, text, &options::known(&command));
        for problem in &problems {
            eprintln!("{problem}");
        }
        match problems.len() {
            0 => {}
            1 => bail!("{}: there is 1 mistake", file.display()),
            all => bail!("{}: there are {all} mistakes", file.display()),
        }
        let mut targets = vec![None];
        for entry in &entries {
            if let Scope::Target(name) = &entry.scope
                && !targets.contains(&Some(name.as_str()))
            {
                targets.push(Some(name));
            }
        }
        for target in targets {
            meaning(path, target)?;
        }
    }
    Ok(())
}

/// Gives the values of a file their meaning, as a mount would.
fn meaning(file: &Path, target: Option<&str>) -> Result<()> {
    let typed = mount_of(file, target)?;
    let Command::Mount(mut typed_mount) = typed.args.command else {
        bail!("mount is a command");
    };
    let mount = &mut typed_mount.mount;
    // These a file may leave to whoever mounts.
    mount.bucket.get_or_insert("oss://bucket".to_owned());
    let mut around = Surroundings::now();
    around.oss_endpoint = Some("oss-cn-hangzhou.aliyuncs.com".to_owned());
    Config::new(typed_mount.mountpoint, typed_mount.mount, &around)
        .map(drop)
        .map_err(|error| anyhow::anyhow!(typed.settings.named(&format!("{error:#}"))))
        .with_context(|| match target {
            Some(target) => format!("[\"{target}\"]"),
            None => "for a mount".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, values: &[&str], form: Form) -> Setting {
        Setting {
            key: key.to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
            origin: Origin::Flag,
            form,
        }
    }

    #[test]
    fn a_setting_is_shown_as_a_file_would_hold_it() {
        let line = |key, values: &[&str], form| {
            let shown = shown(&setting(key, values, form));
            shown
                .trim_end()
                .trim_end_matches("# flag")
                .trim_end()
                .to_owned()
        };
        assert_eq!(line("memory", &["1GiB"], Form::Text), r#"memory = "1GiB""#);
        assert_eq!(
            line("read-only", &["true"], Form::Switch),
            "read-only = true"
        );
        assert_eq!(
            line("direct", &["a", "b"], Form::List),
            r#"direct = ["a", "b"]"#
        );
        assert_eq!(line("memory", &[""], Form::Text), "# memory is not set");
    }

    #[test]
    fn no_secret_is_shown() {
        for (key, value, form) in [
            (
                "credentials",
                "uri:http://id:secret@host/?t=secret",
                Form::Secret,
            ),
            ("credentials", "LTAI-secret", Form::Secret),
            ("endpoint", "http://id:secret@host", Form::Text),
            ("bucket", "oss://id:sec/secret@bucket", Form::Text),
        ] {
            let shown = shown(&setting(key, &[value], form));
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
