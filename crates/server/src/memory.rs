//! The memory available to this process.

use std::fs;
use std::path::Path;

/// Returns the smaller of the machine's memory and what the control groups of this process allow,
/// in bytes. `None` where neither is known.
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = smallest_limit(Path::new("/sys/fs/cgroup"), &groups);
    machine.into_iter().chain(groups).min()
}

/// Returns `MemTotal` of /proc/meminfo (proc(5)), in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns the smallest limit of the groups in `groups`, the text of /proc/self/cgroup
/// (cgroups(7)), and of their parents. In a container the group's own directory is the root, so the
/// root counts too.
fn smallest_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let group = Path::new(path.trim_start_matches('/'));
        let limit = |group: &Path| {
            let text = fs::read_to_string(base.join(group).join(file)).ok()?;
            // "max", which means no limit, isn't a number.
            text.trim().parse().ok()
        };
        group.ancestors().filter_map(limit).collect()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let bytes = available();
        assert!(bytes.is_some_and(|bytes| bytes > 1 << 20), "{bytes:?}");
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let text = "MemTotal:       16307980 kB\nMemFree:         1 kB\n";
        assert_eq!(total(text), Some(16_307_980 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: 99999999999999999999 kB\n"), None);
    }

    #[test]
    fn the_smallest_limit_of_all_groups_around_counts() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let root = dir.path();
        fs::create_dir_all(root.join("a/b"))?;
        fs::write(root.join("memory.max"), "max\n")?;
        fs::write(root.join("a/memory.max"), "3000\n")?;
        fs::write(root.join("a/b/memory.max"), "5000\n")?;
        assert_eq!(smallest_limit(root, "0::/a/b\n"), Some(3000));
        assert_eq!(smallest_limit(root, "0::/\n"), None);
        // Version 1, and a path that is not to be seen from inside the container.
        fs::create_dir_all(root.join("memory"))?;
        fs::write(root.join("memory/memory.limit_in_bytes"), "2000\n")?;
        let groups = "5:cpu,cpuacct:/x\n4:memory:/docker/1234\n0::/a\n";
        assert_eq!(smallest_limit(root, groups), Some(2000));
        assert_eq!(smallest_limit(root, ""), None);
        Ok(())
    }
}
