use std::{collections::BTreeSet, fs, path::Path};

use clap::ValueEnum;

use super::*;

fn document(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn page_of_documents() -> String {
    document("diagnosis.md")
}

#[test]
fn the_guide_shows_this_table() {
    let guide = page_of_documents();
    let page = page();
    let first = page.lines().next().unwrap();
    let start = guide.find(&format!("\n{first}\n")).unwrap_or_else(|| panic!("no `{first}`")) + 1;
    let shown = &guide[start..];
    for (shown, line) in shown.lines().zip(page.lines()) {
        assert_eq!(shown, line, "replace the end of docs/diagnosis.md by the output of `usher doctor causes`");
    }
    assert_eq!(shown, page, "replace the end of docs/diagnosis.md by the output of `usher doctor causes`");
}

#[test]
fn the_guide_leads_to_every_cause() {
    let guide = page_of_documents();
    for cause in all() {
        let anchor: String = cause
            .title
            .to_lowercase()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        assert!(guide.contains(&format!("](#{anchor})")), "nothing leads to #{anchor}");
    }
}

/// All that the program can say in logs and answers, more or less: the sources without comments, tests and what the
/// formatter adds.
fn sources() -> String {
    fn is_left_out(path: &Path) -> bool {
        let name = path.file_stem().unwrap().to_str().unwrap();
        ["doctor", "tests", "testing", "test_world"].contains(&name) || name.ends_with("_tests")
    }
    fn read(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if is_left_out(&path) {
                continue;
            }
            if path.is_dir() {
                read(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let tests = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub(crate) mod tests"];
                let end = tests.iter().filter_map(|tests| text.find(tests)).min().unwrap_or(text.len());
                let code = &text[..end];
                for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                    all.push_str(line);
                    all.push('\n');
                }
            }
        }
    }
    let mut all = String::new();
    for crate_folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap() {
        let folder = crate_folder.unwrap().path().join("src");
        if folder.is_dir() {
            read(&folder, &mut all);
        }
    }
    all.split('\\').map(str::trim_start).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_usher_is_said_to_say_it_says() {
    let sources = sources();
    for cause in all() {
        let Signs { log, reason, .. } = cause.signs;
        let reasons: &[&str] = if let Text::Contains(texts) = reason { texts } else { &[] };
        for text in log.iter().chain(reasons) {
            // What is put in place of `{}` is not in the sources.
            let text = text.replace("x-forwarded-client-cert", "");
            let said = text.split_once(" not found in").map_or(text.as_str(), |_| "not found in request");
            assert!(sources.contains(said), "{}: nobody says `{text}`", cause.title);
        }
    }
}

/// What a sentence that begins with "log has" has in backticks: what stands in the log, or names of fields there.
fn quoted_of_log(text: &str) -> Vec<&str> {
    let mut quoted = Vec::new();
    for rest in text.split("log has ").skip(1) {
        for (number, part) in rest.split('`').enumerate() {
            match number % 2 {
                1 => quoted.push(part),
                _ if part.contains(['.', ';', ':']) => break,
                _ => {}
            }
        }
    }
    quoted
}

#[test]
fn what_is_quoted_of_the_log_stands_there() {
    let sources = sources();
    // What tests say is no line of a log.
    assert!(!sources.contains("assert_eq!("));
    let mut count = 0;
    for cause in all() {
        for text in cause.proof.iter().chain(cause.changes.iter().map(|change| &change.what)) {
            for quoted in quoted_of_log(text) {
                assert!(sources.contains(quoted), "{}: no log has `{quoted}`", cause.title);
                count += 1;
                // What looks like a line leads to a cause by itself.
                if quoted.split(' ').count() > 1
                    && quoted != "outgoing authorization response"
                    && quoted != "request id"
                {
                    let is_known = all().any(|cause| {
                        let Text::Contains(reasons) = cause.signs.reason else {
                            return cause.signs.log.iter().any(|log| quoted.contains(log));
                        };
                        cause.signs.log.iter().chain(reasons).any(|log| quoted.contains(log))
                    });
                    assert!(is_known || quoted.starts_with("incoming "), "{}: `{quoted}` leads nowhere", cause.title);
                }
            }
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn every_cause_can_be_found_and_helps() {
    let mut titles = BTreeSet::new();
    for cause in all() {
        assert!(titles.insert(cause.title), "{} is there twice", cause.title);
        assert!(!cause.signs.sentence().is_empty(), "{}", cause.title);
        assert!(!cause.proof.is_empty() && !cause.changes.is_empty(), "{}", cause.title);
        for text in cause.proof.iter().chain(cause.changes.iter().map(|change| &change.what)) {
            assert!(!text.is_empty() && text.matches('`').count().is_multiple_of(2), "{}: {text}", cause.title);
        }
        for gateway in Gateway::value_variants() {
            let concerned = cause.signs.gateways.is_empty() || cause.signs.gateways.contains(gateway);
            let helped = cause.changes.iter().any(|change| change.is_for(Some(*gateway)));
            assert!(!concerned || helped, "{}: nothing to change for {gateway}", cause.title);
        }
    }
}

#[test]
fn everything_that_can_be_observed_has_words_and_is_a_sign() {
    for observed in Observed::value_variants() {
        let (name, words) = (observed.name(), observed.words());
        assert!(words.split(' ').count() > 2, "{name}: {words}");
        assert!(words.starts_with(char::is_lowercase) && !words.ends_with('.'), "{name}: {words}");
        let signs = all().map(|cause| cause.signs).filter(|signs| signs.observed.contains(observed));
        let sentences: Vec<_> = signs.map(|signs| signs.sentence()).collect();
        assert!(!sentences.is_empty(), "{name} is a sign of nothing");
        assert!(sentences.iter().all(|sentence| sentence.contains(&words)), "{name}: {sentences:?}");
    }
    assert_eq!(Observed::Hangs.words(), "the client waits, and gets no answer");
}

#[test]
fn the_page_of_the_command_line_names_everything_that_can_be_observed_and_every_gateway() {
    let page = document("cli.md");
    let observed = Observed::value_variants().iter().map(|observed| observed.name());
    let gateways = Gateway::value_variants().iter().filter_map(|gateway| {
        let value = gateway.to_possible_value()?;
        Some(value.get_name().to_owned())
    });
    for name in observed.chain(gateways) {
        assert!(page.contains(&format!("`{name}`")), "docs/cli.md does not name `{name}`");
    }
}
