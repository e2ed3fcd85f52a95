//! How much memory there is for the page cache.

/// Bytes that the page cache can take before something has to be dropped from it: what the
/// system counts as available, or less where a control group allows less. `None` where the
/// system does not say.
pub(super) fn available() -> Option<u64> {
    let system = from_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = groups.lines().filter_map(group_limit).min();
    Some(limit.map_or(system, |limit| limit.min(system)))
}

fn from_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The least limit of a control group (a line of /proc/self/cgroup) and those above it.
fn group_limit(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?.trim_start_matches('/'));
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    let path = std::path::Path::new(root).join(group);
    let groups = path.ancestors().take_while(|path| path.starts_with(root));
    // An absent limit is a file that is not there, or says `max`.
    groups
        .filter_map(|group| std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:       24684084 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(from_meminfo(text), Some(1 << 20));
        assert_eq!(from_meminfo("MemTotal: 1 kB"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_how_much() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn other_controllers_have_no_limit() {
        assert_eq!(group_limit("3:cpuset:/"), None);
        assert_eq!(group_limit("nonsense"), None);
    }
}
