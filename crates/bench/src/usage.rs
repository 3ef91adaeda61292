//! What a server and its children took of the processor and hold of memory, as the operating system accounts for it.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use crate::Result;

/// Processor time of a process tree, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Nanoseconds of each living thread.
    threads: BTreeMap<u32, u64>,
    /// Ticks of 10 ms of the tree, with threads and children that are gone.
    ticks: u64,
    /// Ticks of children that are gone.
    reaped: u64,
}

/// A tick of the accounting: USER_HZ is 100 on Linux wherever it matters.
const TICK: Duration = Duration::from_millis(10);

impl Cpu {
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        let (mut ticks, mut reaped) = (0, 0);
        for process in tree(root)? {
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
                continue;
            };
            let numbers = after_name(&stat);
            // utime, stime, cutime, cstime
            ticks += numbers[11] + numbers[12] + numbers[13] + numbers[14];
            reaped += numbers[13] + numbers[14];
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let name = task.file_name();
                let thread = name.to_string_lossy().parse()?;
                if let Ok(line) = fs::read_to_string(task.path().join("schedstat")) {
                    let first = line.split(' ').next().unwrap_or("0");
                    threads.insert(thread, first.parse()?);
                }
            }
        }
        if ticks == 0 && threads.is_empty() {
            return Err(format!("the server, process {root}, is gone").into());
        }
        Ok(Self {
            threads,
            ticks,
            reaped,
        })
    }

    /// What was used since then: to the nanosecond where every thread still lives, else to the tick.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let ticks = |now: u64, then: u64| {
            TICK * u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX)
        };
        let all_live = before
            .threads
            .keys()
            .all(|thread| self.threads.contains_key(thread));
        if all_live && self.reaped == before.reaped {
            let used = |(thread, nanos): (&u32, &u64)| {
                nanos.saturating_sub(before.threads.get(thread).copied().unwrap_or(0))
            };
            Duration::from_nanos(self.threads.iter().map(used).sum())
        } else {
            ticks(self.ticks, before.ticks)
        }
    }
}

/// Proportional set size of a process tree, in bytes.
pub(crate) fn memory(root: u32) -> Result<u64> {
    let mut sum = 0;
    for process in tree(root)? {
        let Ok(rollup) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) else {
            continue;
        };
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        sum += kib.map_or(Ok(0), str::parse::<u64>)? * 1024;
    }
    Ok(sum)
}

/// A process and all its descendants.
fn tree(root: u32) -> Result<Vec<u32>> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(process) = tree.get(next).copied() {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                tree.push(child.parse()?);
            }
        }
    }
    Ok(tree)
}

/// The numbers of `stat` from the parent on: the name before them may have spaces and parentheses.
fn after_name(stat: &str) -> Vec<u64> {
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut numbers: Vec<u64> = rest
        .split(' ')
        .map(|number| number.trim().parse().unwrap_or(0))
        .collect();
    numbers.resize(numbers.len().max(15), 0);
    numbers
}

/// The machine: processor, cores, memory and kernel.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
    };
    let processor = read("/proc/cpuinfo");
    let cores = processor
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let gib = memory
        .trim_end_matches(" kB")
        .parse::<u64>()
        .map_or(0, |kib| (kib + (1 << 19)) >> 20);
    format!(
        "{}, {cores} cores, {gib} GiB, Linux {}",
        field(&processor, "model name"),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_move_the_numbers() {
        let stat = "17 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        let numbers = after_name(stat);
        assert_eq!(
            (numbers[11], numbers[12], numbers[13], numbers[14]),
            (11, 12, 13, 14)
        );
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = std::process::id();
        let before = Cpu::of(own).expect("it lives");
        let mut sum = 0_u64;
        while Cpu::of(own).expect("it lives").since(&before) < Duration::from_millis(20) {
            sum = (0..1_000_000).fold(sum, |sum, i| sum.rotate_left(1) ^ i);
        }
        assert_ne!(sum, 1);
        assert!(memory(own).expect("it lives") > 100_000);
    }

    #[test]
    fn children_that_are_gone_are_counted_in_ticks() {
        let cpu = |threads: &[(u32, u64)], ticks, reaped| Cpu {
            threads: threads.iter().copied().collect(),
            ticks,
            reaped,
        };
        let before = cpu(&[(1, 100)], 5, 0);
        assert_eq!(
            cpu(&[(1, 350), (2, 50)], 5, 0).since(&before),
            Duration::from_nanos(300)
        );
        assert_eq!(
            cpu(&[(1, 350)], 9, 2).since(&before),
            Duration::from_millis(40)
        );
        assert_eq!(
            cpu(&[(2, 350)], 8, 0).since(&before),
            Duration::from_millis(30)
        );
    }
}
