//! `rolefs credentials exec`: becomes the command, with a service of credentials beside it.
//!
//! The command takes the place of this process (execve(2)), so its signals, its terminal and its exit code are its own. The
//! service is a process of its own session; it holds one end of a pipe whose other end the command keeps, and goes when
//! the command and those it has started are gone.

use std::io::{self, BufRead, BufReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::args::{ExecArgs, SourceArgs, impatient};
use super::serve::READY;
use crate::cli::config::Surroundings;
use crate::credentials::{Credentials, Provider};

/// Exit codes of a command that cannot be run, as shells have them.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// What would speak before the service in the chains of the official SDKs. All of it is what the set was found by, if it was.
const REMOVED: [&str; 9] = [
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    "ALIBABA_CLOUD_PROFILE",
    "ALIBABA_CLOUD_ECS_METADATA",
    "ALIBABA_CLOUD_CREDENTIALS_URI",
];

/// What would have a rolefs below take the role once more, with a session of it.
const OF_THE_ROLE: [&str; 4] = [
    "ROLEFS_ROLE_ARN",
    "ROLEFS_ROLE_SESSION_NAME",
    "ROLEFS_SESSION_POLICY",
    "ROLEFS_ROLE_DURATION",
];

/// The same for what is not a variable.
const SWITCHED_OFF: [(&str, &str); 3] = [
    ("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true"),
    ("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true"),
    // An ini file cannot be switched off; this one has no sections.
    ("ALIBABA_CLOUD_CREDENTIALS_FILE", "/dev/null"),
];

/// Becomes the command; returns only if that fails before there is one.
#[expect(
    clippy::print_stderr,
    reason = "a command that cannot be run has an exit code of its own, and is told here"
)]
pub(super) fn run(args: &ExecArgs, config: Option<&Path>) -> Result<()> {
    let (program, arguments) = args.command.split_first().context("no command is given")?;
    let source = args.source.clone().config(&Surroundings::now())?;
    let set = super::block_on(async {
        let provider = Provider::new(impatient(source), std::sync::Arc::default())?;
        anyhow::Ok(provider.first().await?)
    })?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in REMOVED.iter().chain(&OF_THE_ROLE) {
        command.env_remove(name);
    }
    command.envs(SWITCHED_OFF);
    for (name, value) in of_oss(&set) {
        command.env(name, value);
    }
    // Held by the command from now on: it is not closed when this process becomes the command.
    let mut service = None;
    // A permanent key has no end, and nothing to be renewed.
    if args.fixed || set.token().is_none() {
        for (name, value) in of_all(&set) {
            command.env(name, value);
        }
        command.env("ROLEFS_CREDENTIALS", "env");
    } else {
        let (url, held) = start(&args.source, config)?;
        // A rolefs below must not find what the platform injects for another role than this one.
        command.env("ROLEFS_CREDENTIALS", format!("uri:{url}"));
        command.env("ALIBABA_CLOUD_CREDENTIALS_URI", url);
        service = Some(held);
    }
    let error = command.exec();
    drop(service);
    eprintln!("rolefs: cannot run {}: {error}", program.display());
    std::process::exit(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUNNABLE,
    });
}

/// The keys as oss2, alibabacloud-oss-v2 and ossutil read them from the environment when they are told to look there only. They
/// are those of now.
fn of_oss(set: &Credentials) -> Vec<(&'static str, &str)> {
    named(
        set,
        [
            "OSS_ACCESS_KEY_ID",
            "OSS_ACCESS_KEY_SECRET",
            "OSS_SESSION_TOKEN",
        ],
    )
}

/// The keys as everything else reads them.
fn of_all(set: &Credentials) -> Vec<(&'static str, &str)> {
    let [id, secret, token, ..] = REMOVED;
    named(set, [id, secret, token])
}

fn named<'a>(set: &'a Credentials, names: [&'static str; 3]) -> Vec<(&'static str, &'a str)> {
    let [id, secret, token] = names;
    let mut pairs = vec![(id, set.access_key_id()), (secret, set.secret().expose())];
    pairs.extend(set.token().map(|set| (token, set.expose())));
    pairs
}

/// Starts the service and waits until it answers: its URL, and what keeps it alive.
fn start(source: &SourceArgs, config: Option<&Path>) -> Result<(String, PipeWriter)> {
    let (end, held) = io::pipe().context("cannot make a pipe")?;
    let mut starter = Command::new(std::env::current_exe().context("cannot find ourselves")?)
        .args(["credentials", "serve", "--log-level=warn"])
        // Whatever a file or a variable says of a service of its own.
        .args(["--listen=127.0.0.1:0", "--listen-path=", "--for-process"])
        .arg(std::process::id().to_string())
        .envs(source.variables())
        .envs(config.map(|path| ("ROLEFS_CONFIG", path)))
        .stdin(Stdio::from(end))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the service")?;
    let mut said = String::new();
    let out = starter.stdout.take().context("the service is silent")?;
    BufReader::new(out)
        .read_line(&mut said)
        .context("cannot hear from the service")?;
    let status = starter.wait()?;
    ensure!(
        status.success() || !said.is_empty(),
        "the service did not start: {status}"
    );
    let Some(url) = said.trim_end().strip_prefix(READY) else {
        match said.trim() {
            "" => bail!("the service ended without a word"),
            error => return Err(anyhow!("{error}")),
        }
    };
    fcntl(&held, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot keep the pipe open")?;
    Ok((url.to_owned(), held))
}
