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
    /// What a container of PAI is told.
    pub(in crate::cli) pai: Pai,
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

/// What a container of PAI is told of itself; by the names that PAI's own SDK goes by, the older ones too (undocumented).
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Pai {
    /// `PAI_WORKSPACE_ID`, or `PAI_AI_WORKSPACE_ID`.
    pub(in crate::cli) workspace: Option<String>,
    /// `REGION`, or `dsw_region`.
    pub(in crate::cli) region: Option<String>,
    /// `ROLEFS_AIWORKSPACE_ENDPOINT`, instead of the hosts of the region: for tests.
    pub(in crate::cli) workspace_endpoint: Option<String>,
}

impl Surroundings {
    /// Reads them.
    pub(in crate::cli) fn now() -> Self {
        let variable = |name: &str| env::var(name).ok();
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| variable(name));
            values.find(|value| !value.is_empty())
        };
        Self {
            oss_endpoint: variable("OSS_ENDPOINT").filter(|value| !value.is_empty()),
            credentials: credentials::Environment::read(variable),
            pai: Pai {
                workspace: first(&["PAI_WORKSPACE_ID", "PAI_AI_WORKSPACE_ID"]),
                region: first(&["REGION", "dsw_region"]),
                workspace_endpoint: first(&["ROLEFS_AIWORKSPACE_ENDPOINT"]),
            },
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
