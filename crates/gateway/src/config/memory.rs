//! How much memory this process may use, for limits given in percent.

use std::{fs, path::Path};

/// The machine's memory or that of the control group, whichever is less, in bytes.
pub(super) fn total_bytes() -> u64 {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo"))
        .as_deref()
        .and_then(mem_total);
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let caps = group_files(&group).filter_map(|path| read(Path::new(&path))?.trim().parse().ok());
    machine
        .into_iter()
        .chain(caps)
        .min()
        .unwrap_or(ASSUMED_BYTES)
}

/// `MemTotal` of `/proc/meminfo` (proc(5)), which counts in KiB.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The files that may cap this process: `memory.max` of its group and of every group above (cgroups(7), version 2).
fn group_files(proc_self_cgroup: &str) -> impl Iterator<Item = String> {
    let path = proc_self_cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"));
    let groups = path.unwrap_or("/").trim_end_matches('/');
    let ends = groups
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([groups.len()]);
    ends.map(|end| format!("/sys/fs/cgroup{}/memory.max", &groups[..end]))
}

/// Assumed where the system does not say: the smallest machine one would rent.
const ASSUMED_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let meminfo = "MemTotal:        8144216 kB\nMemFree:          123456 kB\n";
        assert_eq!(mem_total(meminfo), Some(8_144_216 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
        assert_eq!(mem_total("MemTotal: many kB\n"), None);
    }

    #[test]
    fn every_group_above_counts() {
        let files = |text| group_files(text).collect::<Vec<_>>();
        assert_eq!(
            files("12:cpu:/x\n0::/system.slice/perigee.service\n"),
            [
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/system.slice/perigee.service/memory.max"
            ]
        );
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(files(""), ["/sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn there_is_some_memory() {
        assert!(total_bytes() > 0);
    }
}
