//! What the kernel counts.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// CPU time that a process has used so far, of all its threads, its own and the kernel's for it. In steps of 10 ms.
pub(crate) fn of_process(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    process_time(&text).with_context(|| format!("cannot understand `{path}`"))
}

/// CPU time that everything on the machine has used so far, of all cores together.
pub(crate) fn of_machine() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("cannot read `/proc/stat`")?;
    machine_time(&text).context("cannot understand `/proc/stat`")
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Load average of the last minute.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// The unit of times under `/proc`: `USER_HZ` is 100 on every architecture that Linux shows to programs here.
const TICK: Duration = Duration::from_millis(10);

/// Fields 14 (`utime`) and 15 (`stime`) of proc_pid_stat(5). The name of the program, field 2, may hold spaces and
/// parentheses, so counting starts behind its last parenthesis, with field 3.
fn process_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    ticks(user.checked_add(system)?)
}

/// The line of all cores in proc_stat(5), without what was idle (fields 4 and 5) and without the time of guests, which is
/// part of the first two.
fn machine_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_ascii_whitespace();
    let mut busy = 0_u64;
    for position in 1..=8 {
        let field: u64 = fields.next()?.parse().ok()?;
        if !matches!(position, 4 | 5) {
            busy = busy.checked_add(field)?;
        }
    }
    ticks(busy)
}

fn ticks(number: u64) -> Option<Duration> {
    let tick = u64::try_from(TICK.as_millis()).ok()?;
    number.checked_mul(tick).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_times_are_found_behind_any_name() {
        let rest = "S 1 2 2 0 -1 4194560 100 0 0 0 123 45 7 8 20 0 3 0 999 1000 200 18446744073709551615 1 1 0";
        for (name, expected) in [
            ("usher", Some(1680)),
            ("a name", Some(1680)),
            ("1 2) 3 (4", Some(1680)),
            (") R 9 9 9 9 9 9 9 9 9 9 9 9 9", Some(1680)),
        ] {
            let stat = format!("42 ({name}) {rest}\n");
            assert_eq!(process_time(&stat).map(|time| time.as_millis()), expected, "{name}");
        }
        for broken in [
            "",
            "42 usher S 1",
            "42 (usher)",
            "42 (usher) S 1 2 2 0 -1 0 0 0 0 0 123",
            "42 (usher) S 1 2 2 0 -1 0 0 0 0 0 x 5",
        ] {
            assert_eq!(process_time(broken), None, "{broken}");
        }
    }

    #[test]
    fn machine_time_is_what_is_not_idle() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 7 7 7 7 7 7 7 7 0 0\nintr 5\n";
        assert_eq!(machine_time(stat), Some(Duration::from_millis(630)));
        assert_eq!(machine_time("cpu0 1 2 3 4 5 6 7 8"), None);
        assert_eq!(machine_time("cpu  1 2 3"), None);
    }

    #[test]
    fn the_kernel_writes_what_is_read() {
        let own = of_process(std::process::id()).unwrap();
        assert!(own <= of_machine().unwrap());
        assert!(of_process(u32::MAX).is_err());
    }
}
