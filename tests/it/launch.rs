//! Ways to start `rolefs` that go beyond a plain mount in the foreground: from a prompt, in a container, by a wrapper.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{BUCKET, Mount, SOON, World, is_mounted, wait_for};

/// Roles of which only the job's policy differs; `POLICY` stands for its statements, `JOB` for more lines of the job.
const ONE_ROLE: &str = r#"
[[bucket]]
name = "workspace-default"
default = true
[[bucket]]
name = "other-bucket"
[[bucket]]
name = "hierarchical-bucket"
hierarchical = true
[role.custom]
policy = '''{"Version": "1", "Statement": [POLICY]}'''
[job]
role = "custom"
JOB
"#;

/// A job whose role has these statements, and tokens that live for an hour.
pub(crate) fn role(statements: &str) -> String {
    let job = "token_life = \"1h\"\nrotate_every = \"30min\"";
    ONE_ROLE.replace("POLICY", statements).replace("JOB", job)
}

/// A job that may do everything, whose credentials are as `job` says. The injected file, where there is one, is
/// [`injected_file`].
pub(crate) fn job(lines: &str) -> String {
    let everything = r#"{"Effect": "Allow", "Action": "oss:*", "Resource": "*"}"#;
    let file = r#"credentials_file = "CREDENTIALS_FILE.d/.alibabacloud/credentials""#;
    ONE_ROLE
        .replace("POLICY", everything)
        .replace("JOB", &format!("{file}\n{lines}"))
}

/// Where the jobs of [`job`] find their file.
pub(crate) fn injected_file(world: &World) -> PathBuf {
    world.path("credentials.d/.alibabacloud/credentials")
}

/// A container to mount in: it has the injected file where the platform puts it, and its mounts are seen outside.
pub(crate) struct Container {
    shared: PathBuf,
}

impl Container {
    /// For a world of [`job`]. Drop it after the mounts and before the world.
    pub(crate) fn new(world: &World) -> Self {
        let shared = world.path("").canonicalize().unwrap();
        fs::create_dir_all(shared.join("credentials.d/.alibabacloud")).unwrap();
        for arguments in [&["--bind"][..], &["--make-shared"]] {
            let mut command = Command::new("mount");
            command.args(arguments).arg(&shared);
            if arguments[0] == "--bind" {
                command.arg(&shared);
            }
            assert!(command.status().unwrap().success());
        }
        Self { shared }
    }

    /// `rolefs` in this container: with a mount namespace of its own, in which `/mnt` is the job's.
    pub(crate) fn rolefs(&self, world: &World) -> Command {
        self.with(world, "credentials.d", "/mnt")
    }

    /// `rolefs` in a mount namespace of its own, in which a file or directory of the world stands at `place`.
    pub(crate) fn with(&self, world: &World, name: &str, place: &str) -> Command {
        let inside = r#"mount --make-private "$(findmnt --noheadings --output TARGET --target "$2")"
            mount --bind "$1" "$2"; shift 2; exec "$@""#;
        let mut wrapper = vec!["unshare", "--mount", "--propagation", "unchanged"];
        wrapper.extend(["sh", "-euc", inside, "sh"]);
        let own = self.shared.join(name);
        wrapper.extend([own.to_str().unwrap(), place]);
        wrapped(&wrapper, &world.rolefs())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.shared)
            .status();
    }
}

/// The command run by another one, in the same process.
pub(crate) fn wrapped(wrapper: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(wrapper[0]);
    outer.args(&wrapper[1..]).arg(command.get_program());
    outer.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

impl World {
    /// Mounts in the foreground by `command`, which becomes `rolefs`, and waits until the mount answers. Standard error
    /// goes to `NAME.stderr`.
    pub(crate) fn launch(&self, name: &str, command: Command, arguments: &[&str]) -> Mount {
        let mut mount = self.launch_unready(name, command, arguments);
        wait_for(Duration::from_secs(60), "the mount answers", || {
            if let Some(status) = mount.child.try_wait().unwrap() {
                panic!("rolefs ended with {status}: {}", self.stderr(name));
            }
            is_mounted(&mount.path) && mount.log_text().contains("mounted")
        });
        mount
    }

    /// As [`World::launch`], but waits for nothing.
    pub(crate) fn launch_unready(
        &self,
        name: &str,
        mut command: Command,
        arguments: &[&str],
    ) -> Mount {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        let log = self.path(&format!("{name}.log"));
        let stats = self.path(&format!("{name}.stats"));
        command.args(["mount", "--foreground"]).arg(&path);
        if !arguments.iter().any(|word| word.starts_with("oss://")) {
            command.arg(format!("oss://{BUCKET}"));
        }
        if !arguments.iter().any(|word| word.starts_with("--log-level")) {
            command.arg("--log-level=debug");
        }
        let child = command
            .args(arguments)
            .arg("--log-file")
            .arg(&log)
            .arg("--stats-file")
            .arg(&stats)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.path(&format!("{name}.stderr"))).unwrap())
            .spawn()
            .unwrap();
        Mount {
            child,
            path,
            log,
            stats,
        }
    }

    /// What the mount `name` wrote to standard error.
    pub(crate) fn stderr(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.stderr"))).unwrap_or_default()
    }

    /// Mounts in the background, as at a prompt; `rolefs` is the command without arguments.
    pub(crate) fn background(&self, name: &str, mut rolefs: Command, arguments: &[&str]) -> Prompt {
        let path = self.path(name);
        rolefs.arg("mount").arg(&path);
        if !arguments.iter().any(|word| word.contains("oss://")) {
            rolefs.arg(format!("oss://{BUCKET}"));
        }
        rolefs.args(arguments);
        let output = output(rolefs);
        Prompt { output, path }
    }

    /// A mount at a prompt that is refused: not 0, one line on standard error that has all of `words`, nothing mounted,
    /// nobody left.
    pub(crate) fn refused(&self, rolefs: Command, arguments: &[&str], words: &[&str]) -> String {
        fs::create_dir_all(self.path("refused")).unwrap();
        let prompt = self.background("refused", rolefs, arguments);
        prompt.assert_refused(words)
    }
}

/// What a prompt showed after `rolefs mount`. Dropping it ends the mount, if there is one.
pub(crate) struct Prompt {
    pub(crate) output: Output,
    pub(crate) path: PathBuf,
}

impl Prompt {
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    /// The process behind the mount.
    pub(crate) fn daemon(&self) -> Option<u32> {
        daemon_of(&self.path)
    }

    pub(crate) fn assert_refused(&self, words: &[&str]) -> String {
        let said = self.stderr();
        assert!(!self.output.status.success(), "mounted: {said}");
        let line = said.strip_suffix('\n').unwrap_or(&said);
        assert!(
            !line.contains('\n') && line.starts_with("rolefs: "),
            "{said}"
        );
        for word in words {
            assert!(line.contains(word), "'{word}' is not in: {line}");
        }
        assert!(self.output.stdout.is_empty());
        assert!(!is_mounted(&self.path), "{line}");
        wait_for(SOON, "the background process is gone", || {
            self.daemon().is_none()
        });
        line.to_owned()
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        if !is_mounted(&self.path) {
            return;
        }
        let daemon = self.daemon();
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .status();
        let deadline = Instant::now() + SOON;
        while let Some(pid) = daemon.filter(|_| self.daemon() == daemon) {
            if Instant::now() > deadline {
                // It may have ended by now.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// The process that serves the mount on `path`.
pub(crate) fn daemon_of(path: &Path) -> Option<u32> {
    let wanted = path.to_str().unwrap();
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&str> = std::str::from_utf8(&line).ok()?.split('\0').collect();
        let serves = words.first()?.ends_with("/rolefs") && words.get(1) == Some(&"mount");
        (serves && words.contains(&wanted)).then_some(pid)
    })
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// Waits until a child has ended.
pub(crate) fn ended(child: &mut Child, limit: Duration) -> ExitStatus {
    let mut status = None;
    wait_for(limit, "the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// As [`Command::output`], but a command whose pipes stay open for longer than a minute fails the test.
pub(crate) fn output(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let running = std::thread::spawn(move || command.output().unwrap());
    wait_for(
        Duration::from_secs(60),
        "the command and its pipes end",
        || running.is_finished(),
    );
    running.join().unwrap()
}

/// Reads a whole file past the page cache.
pub(crate) fn read_direct(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// What an address answers to a GET.
pub(crate) fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
