//! How much memory a process has.

use std::fs;

use anyhow::Context as _;

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is resident now.
    pub(crate) resident: u64,
    /// The most that ever was.
    pub(crate) peak: u64,
}

impl Memory {
    /// What the kernel counts now.
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{process}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        Self::read(&text).with_context(|| format!("cannot understand `{path}`"))
    }

    /// `VmRSS` and `VmHWM` of proc_pid_status(5), which are in KiB.
    fn read(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kibibytes.checked_mul(1024)
        };
        Some(Self { resident: field("VmRSS")?, peak: field("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tusher\nVmPeak:\t  900 kB\nVmHWM:\t    200 kB\nVmRSS:\t     100 kB\nThreads:\t3\n";
        assert_eq!(Memory::read(status), Some(Memory { resident: 100 << 10, peak: 200 << 10 }));
        for broken in ["", "VmRSS:\t100 kB\n", "VmHWM: x kB\nVmRSS: 1 kB", "VmHWM: 1\nVmRSS: 1 kB"] {
            assert_eq!(Memory::read(broken), None, "{broken}");
        }
        let own = Memory::of(std::process::id()).unwrap();
        assert!(own.resident > 0 && own.peak >= own.resident);
        assert!(Memory::of(u32::MAX).is_err());
    }
}
