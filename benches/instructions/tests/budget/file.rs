//! The budget: its file, and how it is held against what was counted.

use std::{collections::BTreeMap, fmt::Write as _};

/// So many percent are not looked at: another build of the same code may place it differently, and tables that are
/// seeded at random collide differently.
pub(super) const SLACK: u64 = 5;

/// Instructions per check, by scenario.
pub(super) type Counts = BTreeMap<String, u64>;

/// What is committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    /// The compiler of the counts, `1.95.0`.
    pub(super) rustc: String,
    pub(super) counts: Counts,
}

const HEAD: &str = "\
# Instructions of one check, by scenario. README.md beside this file says how they are counted.
# Written by `UPDATE=1 cargo test -p usher-instructions`.
";

impl Budget {
    /// Reads the few forms of TOML that [`Self::to_text`] writes.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut budget = Self::default();
        let lines = text.lines().map(str::trim).zip(1..);
        for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with(['#', '['])) {
            let (name, value) = line.split_once('=').ok_or_else(|| format!("line {number} is not `name = value`"))?;
            let (name, value) = (name.trim(), value.trim());
            if name == "rustc" {
                budget.rustc = value.trim_matches('"').to_owned();
                continue;
            }
            let count = value.replace('_', "").parse().ok().filter(|count| *count > 0);
            let count = count.ok_or_else(|| format!("line {number}: `{value}` is no number of instructions"))?;
            if budget.counts.insert(name.to_owned(), count).is_some() {
                return Err(format!("line {number}: `{name}` is there twice"));
            }
        }
        Ok(budget)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{HEAD}rustc = \"{}\"\n\n[instructions-per-check]\n", self.rustc);
        for (name, count) in &self.counts {
            let _ = writeln!(text, "{name} = {count}");
        }
        text
    }

    /// Whether a scenario keeps to its budget, with the slack.
    pub(super) fn keeps(&self, scenario: &str, count: u64) -> bool {
        let within = |budget: &u64| (budget * (100 - SLACK)..=budget * (100 + SLACK)).contains(&(count * 100));
        self.counts.get(scenario).is_some_and(within)
    }

    /// What is wrong with the counts of a build by a compiler of this version. Nothing, if they keep to the budget.
    pub(super) fn judge(&self, counts: &Counts, rustc: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, count) in counts.iter().filter(|(name, count)| !self.keeps(name, **count)) {
            wrong.push(match self.counts.get(name) {
                None => format!("{name}: {count} instructions, and no budget"),
                Some(budget) if count > budget => {
                    format!("{name}: {count} instructions, {} to the budget of {budget}", change(*budget, *count))
                }
                Some(budget) => format!(
                    "{name}: {count} instructions, {} to the budget of {budget}: well done, lower it",
                    change(*budget, *count)
                ),
            });
        }
        let gone = self.counts.keys().filter(|name| !counts.contains_key(*name));
        wrong.extend(gone.map(|name| format!("{name}: in the budget, and there is no such scenario")));
        if !wrong.is_empty() {
            wrong.push("`UPDATE=1 cargo test -p usher-instructions` writes the budget anew".to_owned());
            if self.rustc != rustc {
                wrong.push(format!("the budget was made with rustc {}, and this is {rustc}", self.rustc));
            }
        }
        wrong
    }
}

/// `+1.2 %`, from one number to another.
pub(super) fn change(from: u64, to: u64) -> String {
    format!("{:+.1} %", (to as f64 / from as f64 - 1.0) * 100.0)
}

#[test]
fn what_is_written_is_read() {
    let counts = [("anonymous", 1000), ("opa", 20_000)];
    let budget =
        Budget { rustc: "1.95.0".to_owned(), counts: counts.map(|(name, count)| (name.to_owned(), count)).into() };
    assert_eq!(Budget::read(&budget.to_text()), Ok(budget));
    for (text, why) in [
        ("anonymous", "line 1 is not `name = value`"),
        ("# ten\n\nanonymous = ten", "line 3: `ten` is no number of instructions"),
        ("anonymous = 0", "line 1: `0` is no number of instructions"),
        ("opa = 1\nopa = 1_000", "line 2: `opa` is there twice"),
    ] {
        assert_eq!(Budget::read(text), Err(why.to_owned()));
    }
}

#[test]
fn counts_may_be_five_percent_off() {
    let budget = Budget::read("rustc = \"1.95.0\"\nanonymous = 1000\nopa = 20000\n").unwrap();
    let judged = |anonymous: u64, rustc: &str| {
        let counts = [("anonymous".to_owned(), anonymous), ("opa".to_owned(), 20_000)].into();
        budget.judge(&counts, rustc)
    };
    for good in [950, 1000, 1050] {
        assert_eq!(judged(good, "1.96.0"), [""; 0], "{good}");
    }
    let how = "`UPDATE=1 cargo test -p usher-instructions` writes the budget anew";
    assert_eq!(judged(1051, "1.95.0"), ["anonymous: 1051 instructions, +5.1 % to the budget of 1000", how]);
    assert_eq!(
        judged(949, "1.96.0"),
        [
            "anonymous: 949 instructions, -5.1 % to the budget of 1000: well done, lower it",
            how,
            "the budget was made with rustc 1.95.0, and this is 1.96.0"
        ]
    );
}

#[test]
fn every_scenario_has_a_budget_and_every_budget_a_scenario() {
    let budget = Budget::read("rustc = \"1.95.0\"\nopa = 1000\n").unwrap();
    let judged = budget.judge(&[("anonymous".to_owned(), 1000)].into(), "1.95.0");
    let expected = [
        "anonymous: 1000 instructions, and no budget",
        "opa: in the budget, and there is no such scenario",
        "`UPDATE=1 cargo test -p usher-instructions` writes the budget anew",
    ];
    assert_eq!(judged, expected);
}
