//! What the process finds around it: environment, memory, cores.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::credentials;

/// What the process finds around it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Surroundings {
    /// `OSS_ENDPOINT`.
    pub(in crate::cli) oss_endpoint: Option<String>,
    /// The credentials variables.
    pub(in crate::cli) credentials: credentials::Environment,
    /// The smaller of the machine's memory and the cgroup's limit.
    pub(in crate::cli) memory_limit: u64,
    /// Cores this process may use.
    pub(in crate::cli) cores: usize,
    /// The user and group that mount.
    pub(in crate::cli) uid: u32,
    pub(in crate::cli) gid: u32,
    /// What relative paths start from.
    pub(in crate::cli) directory: PathBuf,
}

impl Surroundings {
    /// Reads them.
    pub(in crate::cli) fn now() -> Self {
        let variable = |name: &str| env::var(name).ok();
        Self {
            oss_endpoint: variable("OSS_ENDPOINT").filter(|value| !value.is_empty()),
            credentials: credentials::Environment::read(variable),
            memory_limit: memory_limit(),
            cores: std::thread::available_parallelism().map_or(2, usize::from),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            // Without one, relative paths fail when they are used.
            directory: env::current_dir().unwrap_or_default(),
        }
    }
}

/// The smaller of the machine's memory and the limits of the cgroup and its parents (v2, then v1).
fn memory_limit() -> u64 {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let total = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            text.lines()
                .next()?
                .split_whitespace()
                .nth(1)?
                .parse::<u64>()
                .ok()
        })
        .map_or(8 << 30, |kib| kib * 1024);
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limit = total;
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be the host's; the mount's own root then holds our limit.
        let own = PathBuf::from(root).join(path.trim_start_matches('/'));
        for directory in own
            .ancestors()
            .take_while(|directory| directory.starts_with(root))
        {
            limit = limit.min(number(directory.join(file)).unwrap_or(u64::MAX));
        }
    }
    limit
}
