//! A development server with a role, and mounts of its bucket by the real binary.
//!
//! A [`World`] owns a server in this process and a directory; a [`Mount`] owns a `rolefs` process in the foreground.
//! Dropping them takes everything away, also when a test fails: the mount leaves the tree lazily, and the process is
//! killed if it does not end by itself.

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::test_runner::Config as ProptestConfig;
use rolefs::dev_server::roles::{self, Job, Roles};
use rolefs::dev_server::{BucketConfig, Config, DevServer};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The bucket of every world.
pub(crate) const BUCKET: &str = "workspace-default";

/// Any free port that only this machine reaches.
const LOOPBACK: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// How long a test waits for what should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The default role, with tokens that live longer than any test.
pub(crate) const DEFAULT_ROLE: &str = r#"
[[bucket]]
name = "workspace-default"
default = true
[role.AliyunPAIDLCDefaultRole]
default_bucket_only = true
[job]
role = "AliyunPAIDLCDefaultRole"
token_life = "1h"
rotate_every = "30min"
"#;

/// Waits until `what` is true, at most `limit`.
pub(crate) fn wait_for(limit: Duration, what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A server, its roles, and room for mounts.
pub(crate) struct World {
    // Dropped in this order: the tasks of server and roles need the runtime.
    pub(crate) server: DevServer,
    pub(crate) roles: Option<Roles>,
    pub(crate) runtime: Runtime,
    pub(crate) directory: TempDir,
}

impl World {
    /// A bucket that everybody may read, no signature looked at.
    pub(crate) fn open() -> Self {
        Self::open_at(LOOPBACK)
    }

    /// As [`World::open`], at an address.
    pub(crate) fn open_at(listen: SocketAddr) -> Self {
        Self::build(None, listen)
    }

    /// A bucket with the default role of PAI.
    pub(crate) fn with_default_role() -> Self {
        Self::with_roles(DEFAULT_ROLE)
    }

    /// Roles as TOML; `CREDENTIALS_FILE` in it stands for a path of this world.
    pub(crate) fn with_roles(toml: &str) -> Self {
        Self::build(Some(toml), LOOPBACK)
    }

    fn build(toml: Option<&str>, listen: SocketAddr) -> Self {
        let directory = TempDir::with_prefix("rolefs-test-").unwrap();
        fs::create_dir(directory.path().join("run")).unwrap();
        let runtime = runtime();
        let (server, roles) = runtime.block_on(async {
            let parsed = toml.map(|toml| {
                let file = directory.path().join("credentials");
                roles::Config::parse(&toml.replace("CREDENTIALS_FILE", file.to_str().unwrap()))
                    .unwrap()
            });
            let roles = match &parsed {
                Some(parsed) => Some(Roles::start(parsed).await.unwrap()),
                None => None,
            };
            let buckets = match &parsed {
                Some(parsed) => parsed.buckets.iter().map(BucketConfig::from).collect(),
                None => vec![BucketConfig::new(BUCKET)],
            };
            let auth = roles.as_ref().map(|roles| Arc::clone(&roles.authority));
            let server = DevServer::start(Config {
                listen,
                buckets,
                auth,
                ..Config::default()
            })
            .await
            .unwrap();
            (server, roles)
        });
        Self {
            server,
            roles,
            runtime,
            directory,
        }
    }

    /// The job whose credentials are injected.
    pub(crate) fn job(&self) -> &Job {
        self.roles
            .as_ref()
            .and_then(|roles| roles.job.as_ref())
            .expect("the world has a job")
    }

    /// Stores an object past the wire; returns its ETag.
    pub(crate) fn put(&self, key: &str, bytes: impl Into<bytes::Bytes>) -> String {
        self.server.put(BUCKET, key, bytes).unwrap()
    }

    /// A path in this world's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command `rolefs` with a clean environment and this world's endpoint and credentials.
    pub(crate) fn rolefs(&self) -> Command {
        let mut command = rolefs_at(&self.server);
        command
            .env("TMPDIR", self.directory.path())
            .env("XDG_RUNTIME_DIR", self.path("run"));
        match &self.roles {
            Some(Roles { job: Some(job), .. }) => {
                command.env("ALIBABA_CLOUD_CREDENTIALS_URI", job.uri());
            }
            Some(_) => {}
            None => {
                as_anybody(&mut command);
            }
        }
        command
    }

    /// Mounts the bucket with more arguments, and waits until the mount answers.
    pub(crate) fn mount(&self, arguments: &[&str]) -> Mount {
        self.mount_at("mnt", arguments)
    }

    /// As [`World::mount`], on a directory of its own.
    pub(crate) fn mount_at(&self, name: &str, arguments: &[&str]) -> Mount {
        let mut command = self.rolefs();
        command.arg("mount").arg("--foreground").args(arguments);
        self.mount_command(name, command)
    }

    /// Mounts by a command to which only log, mountpoint and bucket are added. A bucket of the form `oss://…` among its
    /// arguments replaces the world's.
    pub(crate) fn mount_command(&self, name: &str, mut command: Command) -> Mount {
        let mountpoint = self.path(name);
        fs::create_dir_all(&mountpoint).unwrap();
        let log = self.path(&format!("{name}.log"));
        let names_bucket = command
            .get_args()
            .any(|argument| argument.to_string_lossy().starts_with("oss://"));
        command.arg("--log-level=debug").arg("--log-file").arg(&log);
        command
            .arg("--stats-file")
            .arg(self.path(&format!("{name}.stats")));
        if !names_bucket {
            command.env("ROLEFS_BUCKET", format!("oss://{BUCKET}"));
        }
        // The mountpoint is the first positional argument.
        let mut ordered = Command::new(command.get_program());
        ordered.env_clear();
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                ordered.env(key, value);
            }
        }
        let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        arguments.insert(1, mountpoint.clone().into_os_string());
        let stderr = File::create(self.path(&format!("{name}.stderr"))).unwrap();
        let child = ordered
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut mount = Mount {
            child,
            path: mountpoint,
            log,
            stats: self.path(&format!("{name}.stats")),
        };
        let stderr = self.path(&format!("{name}.stderr"));
        wait_for(Duration::from_secs(60), "the mount answers", || {
            if let Some(status) = mount.child.try_wait().unwrap() {
                panic!(
                    "rolefs ended with {status}: {}",
                    fs::read_to_string(&stderr).unwrap_or_default()
                );
            }
            is_mounted(&mount.path) && mount.log_text().contains("mounted")
        });
        mount
    }
}

/// The command `rolefs` with a clean environment and a server's endpoint, without credentials.
pub(crate) fn rolefs_at(server: &DevServer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolefs"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // Whatever this machine is an instance of is nothing to the tests.
        .env("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
        .env("ROLEFS_ENDPOINT", server.endpoint())
        .env("ROLEFS_REGION", "cn-hangzhou");
    command
}

/// Credentials for a server that looks at none.
pub(crate) fn as_anybody(command: &mut Command) -> &mut Command {
    command
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "anybody")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
}

/// True if a rolefs is mounted there.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == at.to_str() && line.contains(" - fuse.rolefs "))
}

/// A mount and its process.
pub(crate) struct Mount {
    pub(crate) child: Child,
    pub(crate) path: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) stats: PathBuf,
}

impl Mount {
    /// A path in the mount.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The content of a file of the mount.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap()
    }

    /// What was logged so far.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The memory that the process has in use now, from `/proc/PID/status`.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most memory that the process ever had in use.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    /// Unmounts, and returns the metrics that the mount leaves.
    pub(crate) fn unmount(mut self) -> Metrics {
        self.end();
        wait_for(SOON, "the statistics are written", || self.stats.exists());
        Metrics(fs::read_to_string(&self.stats).unwrap())
    }

    fn end(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .stderr(Stdio::null())
            .status();
        let deadline = Instant::now() + SOON;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of {}:\n{}",
                self.path.display(),
                tail(&self.log_text(), 60)
            );
        }
        self.end();
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The metrics of a mount that has ended, as Prometheus text.
pub(crate) struct Metrics(String);

impl Metrics {
    /// A counter or gauge by its full name, e.g. `rolefs_oss_get_requests_total`.
    pub(crate) fn value(&self, name: &str) -> u64 {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is no metric"))
            .trim()
            .parse()
            .unwrap()
    }
}

/// So many cases of a property, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(count),
    }
}

/// What a development server, or a file system without a kernel, runs on in a test.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Bytes that differ everywhere and repeat nowhere, from a seed.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// Runs a shell command in the mount's directory and returns what it printed.
pub(crate) fn shell(directory: &Path, script: &str) -> String {
    let output = run(directory, script);
    assert!(
        output.status.success(),
        "{script}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a shell command and returns all of its outcome.
pub(crate) fn run(directory: &Path, script: &str) -> Output {
    Command::new("bash")
        .arg("-euo")
        .arg("pipefail")
        .arg("-c")
        .arg(script)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// Reads what is left of a file in one go.
pub(crate) fn read_rest(mut file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
