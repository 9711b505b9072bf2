//! The memory that a process uses for requests unless it is told otherwise.

use std::path::Path;

use turnpike_types::capped;

const MIB: usize = 1 << 20;
/// The smallest budget with which the largest message (a reference table) can be received.
pub const TRANSPORT_MIN: usize = 96 * MIB;
/// The smallest memory of a process for requests: the budget of the transport, and what the front or
/// node itself holds.
pub const MEMORY_MIN: usize = 128 * MIB;
const MEMORY_DEFAULT: usize = 1024 * MIB;

/// The default budget of a process: 1 GiB, or a quarter of the memory that it may use if that is
/// less, and at least [`MEMORY_MIN`].
pub fn default_memory() -> usize {
    let groups =
        std::fs::read_to_string("/proc/self/cgroup").unwrap_or_else(|_not_linux| String::new());
    let limits = limit_files(&groups).into_iter().filter_map(|file| number_in(&file));
    let available = limits.chain(physical()).min();
    available.map_or(MEMORY_DEFAULT, |bytes| MEMORY_DEFAULT.min(bytes / 4).max(MEMORY_MIN))
}

/// The memory of the machine in bytes, on Linux.
fn physical() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(capped(kilobytes.saturating_mul(1024)))
}

/// The files with the limits of memory of a process, given its `/proc/PID/cgroup` (cgroups(7)): those of
/// its control groups and of all groups around them. Within a container the mounted root is its own.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(path).ancestors() {
            let group = group.display().to_string();
            files.push(format!("{root}{}/{file}", group.trim_end_matches('/')));
        }
    }
    files
}

/// A limit in a file of a control group; `None` if the file does not exist or says `max`.
fn number_in(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok().map(capped)
}

#[cfg(test)]
mod tests {
    use super::limit_files;

    /// systemd limits a service by the group of its unit, which is not the root's.
    #[test]
    fn the_limits_of_all_groups_of_a_process_count() {
        let unit = "0::/system.slice/turnpike-front.service\n";
        let expected = [
            "/sys/fs/cgroup/system.slice/turnpike-front.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(limit_files(unit), expected);
        assert_eq!(limit_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        let first_version = "5:cpu,cpuacct:/a\n4:memory:/a\n";
        let expected = [
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        assert_eq!(limit_files(first_version), expected);
        assert!(limit_files("").is_empty() && limit_files("nonsense\n").is_empty());
    }
}
