//! Counts the instructions of a part of a program.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Valgrind, as it was found.
#[derive(Debug)]
pub(super) struct Callgrind {
    program: PathBuf,
    /// Where its tools are, if not where it expects them.
    library: Option<PathBuf>,
}

/// What the counted part of a program is called: only while it runs, instructions are counted.
const COUNTED: &str = "usher_instructions::counted";

impl Callgrind {
    /// What `VALGRIND` names, else the program of that name, or the one that `tests/run` has unpacked.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let unpacked = root.join(".parts/valgrind/usr");
        let named = env::var_os("VALGRIND").map_or_else(|| "valgrind".into(), PathBuf::from);
        let candidates = [
            Self { program: named, library: None },
            Self { program: unpacked.join("bin/valgrind"), library: Some(unpacked.join("libexec/valgrind")) },
        ];
        candidates.into_iter().find(|candidate| {
            candidate
                .command()
                .args(["--tool=callgrind", "true"])
                .arg("--callgrind-out-file=/dev/null")
                .output()
                .is_ok_and(|told| told.status.success())
        })
    }

    /// The instructions of each counted part of a command, in order, or what it said as it failed. The
    /// folder is for files in between.
    pub(super) fn count(&self, command: &[&str], folder: &Path) -> Result<Vec<u64>, String> {
        let file = folder.join("callgrind");
        let output = self
            .command()
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .args([format!("--toggle-collect={COUNTED}"), format!("--dump-after={COUNTED}")])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .args(command)
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        let parts = (1..).map(|part| file.with_extension(part.to_string())).take_while(|part| part.is_file());
        Ok(parts.map(|part| total(&fs::read_to_string(part).unwrap())).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(library) = &self.library {
            command.env("VALGRIND_LIB", library);
        }
        command
    }
}

/// The sum of the first kind of event that was counted, which is instructions (`events: Ir`).
fn total(profile: &str) -> u64 {
    let line = profile.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
