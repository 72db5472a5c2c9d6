//! What needs valgrind. `tests/run` installs it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    iter,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use crate::{
    callgrind::Callgrind,
    file::{Budget, Counts, SLACK, change},
};

/// The checks of the two counted parts of a run. What is around the checks is in both, and not in their difference.
const CHECKS: [usize; 2] = [500, 1500];

/// So often a scenario is counted before its count is written down or found to be wrong: hash tables are seeded anew in each
/// run. The median counts.
const RUNS: usize = 3;

#[test]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "the budget is one for Linux on x86-64")]
fn checks_keep_to_their_budget() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).unwrap();
    let Some(callgrind) = Callgrind::find(root) else {
        let why = "valgrind is missing, and VALGRIND does not name it; tests/run installs it";
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "{why}");
        // Written to the stream itself, because what tests print is shown only if they fail.
        let _ = writeln!(io::stderr(), "SKIPPED: suite with_valgrind: {why}");
        return;
    };
    let file = package.join("budget.toml");
    let budget = Budget::read(&fs::read_to_string(&file).unwrap_or_default()).unwrap();
    let rustc = rustc(root);
    let program = build(root);
    let is_update = env::var("UPDATE").as_deref() == Ok("1");
    let mut counted = BTreeMap::new();
    let names = scenarios(&program);
    if is_update {
        count_all(&callgrind, &program, &names, RUNS, &mut counted);
    } else {
        count_all(&callgrind, &program, &names, 1, &mut counted);
        let doubtful: Vec<String> =
            names.into_iter().filter(|name| !budget.keeps(name, median(&counted[name]))).collect();
        count_all(&callgrind, &program, &doubtful, RUNS - 1, &mut counted);
    }
    let counts: Counts = counted.iter().map(|(name, runs)| (name.clone(), median(runs))).collect();
    show(&budget, &counted);
    if is_update {
        fs::write(&file, Budget { rustc, counts }.to_text()).unwrap();
        return;
    }
    let wrong = budget.judge(&counts, &rustc);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Builds the program that is counted, optimised, and says where it is.
fn build(root: &Path) -> PathBuf {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["build", "--profile", "instructions", "--package", "usher-instructions"]);
    let output = command.args(["--message-format", "json-render-diagnostics"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?))).next_back().unwrap()
}

/// `1.95.0`
fn rustc(root: &Path) -> String {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let told = command.current_dir(root).arg("--version").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split_whitespace().nth(1).unwrap().to_owned()
}

fn scenarios(program: &Path) -> Vec<String> {
    let names = Command::new(program).output().unwrap();
    String::from_utf8(names.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Adds what so many runs of each of these scenarios counted, on all cores.
fn count_all(
    callgrind: &Callgrind,
    program: &Path,
    scenarios: &[String],
    runs: usize,
    counted: &mut BTreeMap<String, Vec<u64>>,
) {
    let left = Mutex::new(scenarios.iter().flat_map(|name| iter::repeat_n(name, runs)));
    let counted = Mutex::new(counted);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                loop {
                    let Some(name) = left.lock().unwrap().next() else { break };
                    let count = count(callgrind, program, name);
                    counted.lock().unwrap().entry(name.clone()).or_default().push(count);
                }
            });
        }
    });
}

/// Instructions per check. Where all is fifty times slower than usual, and the machine busy, a check may run into its limit of
/// time, which the program says; then it is run again.
fn count(callgrind: &Callgrind, program: &Path, scenario: &str) -> u64 {
    let [few, many] = CHECKS;
    let command = [program.to_str().unwrap(), scenario, &few.to_string(), &many.to_string()];
    let mut attempts = (0..3).map(|_| callgrind.count(&command, tempfile::tempdir().unwrap().path()));
    let parts = attempts.find_map(|parts| parts.map_err(|told| eprintln!("{told}")).ok());
    let parts = parts.unwrap_or_else(|| panic!("{scenario} does not end well"));
    let [first, second] = parts[..] else { panic!("{scenario}: counted parts: {parts:?}") };
    (second - first) / (many - few) as u64
}

fn median(runs: &[u64]) -> u64 {
    let mut runs = runs.to_vec();
    runs.sort_unstable();
    runs[runs.len() / 2]
}

/// The table, for whoever runs this with `--nocapture`, or sees it fail.
fn show(budget: &Budget, counted: &BTreeMap<String, Vec<u64>>) {
    println!("{:<20}{:>10}{:>10}{:>10}{:>10}", "scenario", "budget", "counted", "change", "spread");
    for (name, runs) in counted {
        let count = median(runs);
        let (budget, changed) = match budget.counts.get(name) {
            Some(budget) => (budget.to_string(), change(*budget, count)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let spread = change(*runs.iter().min().unwrap(), *runs.iter().max().unwrap());
        println!("{name:<20}{budget:>10}{count:>10}{changed:>10}{spread:>10}");
    }
    println!("{SLACK} % either way are allowed");
}
