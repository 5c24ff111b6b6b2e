//! A command that prints a set.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::document::{self, DOCUMENT_BYTES_MAX, Writer};
use super::error::Trouble;
use super::fetch::Answer;

/// How long the command may run: what the official clients give it.
const RUN_MAX: Duration = Duration::from_secs(60);

/// Runs the command and reads its standard output; its standard error goes where ours goes.
///
/// It is ended when it takes too long, or when nobody waits for it any more.
pub(super) async fn ask(command: &str) -> Answer {
    let Some((program, arguments)) = shlex::split(command)
        .and_then(|words| words.split_first().map(|(a, b)| (a.clone(), b.to_vec())))
    else {
        return Err(Trouble::unusable("its quotes do not match"));
    };
    let started = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|error| Trouble::Unusable(format!("cannot run: {error}")))?;
    let output = async {
        let mut text = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES_MAX + 1));
        if let Some(stdout) = child.stdout.take() {
            let mut bounded = stdout.take(DOCUMENT_BYTES_MAX as u64 + 1);
            bounded.read_to_end(&mut text).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, text))
    };
    match timeout(RUN_MAX, output).await {
        Err(_) => Err(Trouble::Unusable(format!("not done within {RUN_MAX:?}"))),
        Ok(Err(error)) => Err(Trouble::Unusable(format!("cannot be read: {error}"))),
        Ok(Ok((_, text))) if text.len() > DOCUMENT_BYTES_MAX => {
            Err(Trouble::unusable("its output is too long"))
        }
        Ok(Ok((status, _))) if !status.success() => {
            Err(Trouble::Unusable(format!("it ended with {status}")))
        }
        Ok(Ok((_, text))) => document::parse(&text, Writer::File),
    }
}
