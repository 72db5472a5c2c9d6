//! Nothing that is written in an expression may end the process, run for ever, or tell a secret.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use usher_expr::cel::{COMPREHENSION_LIMIT, DEPTH_LIMIT, Program, SOURCE_LIMIT};

/// The stack that programs must run on, in bytes: three quarters of that of a runtime's worker.
const STACK: usize = 3 << 19;

fn on_small_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

/// Expressions that nest `levels` deep, one per way to nest.
fn nested(levels: usize) -> Vec<(&'static str, String)> {
    let around =
        |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
    vec![
        ("sum", format!("1{}", "+1".repeat(levels))),
        ("sum of unknowns", format!("dyn(1){}", "+dyn(1)".repeat(levels))),
        ("fields", format!("auth{}", ".a".repeat(levels))),
        ("fields of a literal", format!("{{}}{}", ".a".repeat(levels))),
        ("optional fields", format!("auth{}", ".?a".repeat(levels))),
        ("indices", format!("auth{}", "['a']".repeat(levels))),
        ("calls", format!("'a'{}", ".lowerAscii()".repeat(levels))),
        ("conditions", format!("{}1", "true?1:".repeat(levels))),
        ("conjunction", format!("true{}", "&&true".repeat(levels))),
        ("comparisons", format!("1{}", "==1".repeat(levels))),
        ("negations", around("!(", "true", ")")),
        ("parentheses", around("(", "1", ")")),
        ("lists", around("[", "1", "]")),
        ("maps", around("{'a':", "1", "}")),
        ("functions", around("size([", "1", "])")),
        ("conversions", around("string(", "1", ")")),
        ("mapped lists", format!("[1]{}", ".map(x,x)".repeat(levels))),
        ("mapped options", format!("optional.of(1){}", ".optMap(x,x)".repeat(levels))),
        ("open parentheses", "(".repeat(levels)),
        ("open texts", "'".repeat(levels)),
        ("signs", format!("{}1", "-".repeat(levels))),
    ]
}

#[test]
fn deep_expressions_are_refused_or_run() {
    let document = json!({"auth": {}});
    for levels in [10, 90, DEPTH_LIMIT / 2, DEPTH_LIMIT - 2, DEPTH_LIMIT + 10, 1_000, 5_000] {
        for (kind, source) in nested(levels) {
            let started = Instant::now();
            on_small_stack(|| match Program::expression(&source) {
                Ok(program) => {
                    let _ = program.evaluate(&document);
                }
                Err(error) => assert!(error.message.len() < SOURCE_LIMIT, "{kind}"),
            });
            assert!(started.elapsed() < Duration::from_secs(20), "{kind}, {levels} levels: {:?}", started.elapsed());
        }
    }
}

#[test]
fn chains_within_the_limit_are_accepted() {
    for source in [
        format!("1{}", "+1".repeat(DEPTH_LIMIT - 1)),
        format!("dyn(1){}", "+1".repeat(DEPTH_LIMIT - 2)),
        format!("auth{}", ".?a".repeat(DEPTH_LIMIT - 1)),
        format!("true{}", "&&true".repeat(2_000)),
        format!("[{}].size() > 0", "1,".repeat(4_000)),
    ] {
        on_small_stack(|| {
            let program = Program::expression(&source).unwrap();
            let _ = program.evaluate(&json!({"auth": {}}));
        });
    }
}

#[test]
fn limits_are_told() {
    for (source, message) in [
        ("1".repeat(SOURCE_LIMIT + 1), "the expression is 16385 bytes long; the limit is 16384"),
        (format!("1{}", "+1".repeat(DEPTH_LIMIT)), "the expression is nested 251 levels deep; the limit is 250"),
    ] {
        assert_eq!(Program::expression(&source).unwrap_err().message, message);
    }
    let inside = |levels: usize| {
        let loops: String = (0..levels).map(|level| format!("[1].map(x{level},")).collect();
        format!("{loops}1{}", ")".repeat(levels))
    };
    assert!(Program::expression(&inside(COMPREHENSION_LIMIT)).is_ok());
    assert_eq!(
        Program::expression(&inside(COMPREHENSION_LIMIT + 1)).unwrap_err().message,
        "the expression has 5 comprehensions inside one another; the limit is 4"
    );
    // One after the other is not one inside the other.
    assert!(Program::expression(&format!("[1]{}", ".map(x, x)".repeat(20))).is_ok());
}

#[test]
fn evaluations_end() {
    let numbers: Vec<u32> = (0..1_000).collect();
    let document = json!({"auth": {
        "numbers": numbers,
        "text": "a".repeat(1_000_000),
        "needle": format!("{}b", "a".repeat(400_000)),
        "words": vec!["word"; 20_000],
        "deep": {"list": [[numbers, numbers], [numbers, numbers]]},
    }});
    let doubled = |step: &str| format!("['0123456789']{}", step.repeat(60));
    for source in [
        "auth.numbers.map(a, auth.numbers.map(b, auth.numbers.map(c, auth.numbers.map(d, 1)))).size()".to_owned(),
        "auth.numbers.all(a, auth.numbers.all(b, auth.numbers.all(c, a + b + c >= 0.0)))".to_owned(),
        "auth.numbers.exists(a, auth.numbers.exists(b, auth.numbers.exists(c, false))) || true".to_owned(),
        "auth.numbers.exists(a, auth.numbers.map(b, auth.numbers.map(c, c)) == []) ? 1 : 2".to_owned(),
        doubled(".map(x, x + x)"),
        doubled(".map(x, x.replace('', x))"),
        doubled(".map(x, [x, x].join(x))"),
        doubled(".map(x, '%s%s'.format([x, x]))"),
        format!("[[1]]{}", ".map(x, x + x)".repeat(60)),
        format!("[1]{}.size()", ".map(x, [x, x])".repeat(60)),
        format!("[1]{}.size()", ".map(x, {'a': x, 'b': x})".repeat(60)),
        format!("optional.of([1]){}", ".optMap(x, [x, x])".repeat(60)),
        format!("auth.text{}", " + auth.text".repeat(200)),
        "auth.text.replace('', auth.text)".to_owned(),
        "auth.text.split('').map(x, auth.text.split('')).size()".to_owned(),
        "auth.numbers.map(n, auth.text.lowerAscii().upperAscii().reverse()).size()".to_owned(),
        "auth.words.map(w, w in auth.words).size()".to_owned(),
        "auth.words.map(w, auth == auth).size()".to_owned(),
        "auth.words.map(w, [w].map(v, auth.deep.list)).size()".to_owned(),
        "auth.numbers.map(n, 'x'.matches('a' + string(n))).size() + auth.numbers.map(n, 'x'.matches('b' + string(n))).size() + auth.numbers.map(n, 'x'.matches('c' + string(n))).size()".to_owned(),
    ] {
        let program = Program::expression(&source).unwrap_or_else(|error| panic!("{source}: {}", error.message));
        let started = Instant::now();
        let outcome = program.evaluate(&document);
        let error = outcome.map(|_| ()).expect_err(&source);
        assert_eq!(error.message, "cost limit exceeded", "{source}");
        // Far more than it takes, for machines that do much else at the time.
        assert!(started.elapsed() < Duration::from_secs(15), "{source}: {:?}", started.elapsed());
    }
    // Searching takes time in proportion to the text.
    let program = Program::expression("auth.text.indexOf(auth.needle) + auth.text.lastIndexOf(auth.needle)").unwrap();
    assert_eq!(program.evaluate(&document).unwrap(), json!(-2));
    // The next evaluation starts anew.
    assert_eq!(
        Program::expression("auth.numbers.map(n, n + 1).size()").unwrap().evaluate(&document).unwrap(),
        json!(1_000)
    );
}

#[test]
fn what_people_write_is_far_from_the_limit() {
    let groups: Vec<String> = (0..500).map(|number| format!("group-{number}")).collect();
    let grants: Vec<Value> = (0..50).map(|number| json!({"path": format!("/p{number}"), "groups": groups})).collect();
    let document =
        json!({"auth": {"identity": {"groups": groups}, "metadata": {"grants": grants}}, "request": {"path": "/p49"}});
    for (source, wanted) in [
        ("auth.identity.groups.exists(g, g == 'group-499' && g in ['a', 'b', 'group-499'])", true),
        (
            "auth.metadata.grants.exists(p, p.path == request.path && p.groups.exists(g, g in auth.identity.groups))",
            true,
        ),
        (
            "auth.identity.groups.filter(g, g.startsWith('group-4')).map(g, g.split('-')[1]).exists(n, int(n) == 499)",
            true,
        ),
    ] {
        assert_eq!(Program::predicate(source).unwrap().test(&document), Ok(wanted), "{source}");
    }
}

#[test]
fn types_that_grow_without_end_are_cut() {
    let source = format!("[1]{}", ".map(x, {x: x})".repeat(80));
    let started = Instant::now();
    let _ = Program::expression(&source);
    let source = format!("[{}]", "[[[[[[[[[]]]]]]]]],{{}:{{}:{{}:{}}}},".repeat(300));
    let _ = Program::expression(&source);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

/// What expressions are made of, so that mixtures are not refused right away.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "auth", "request", "metadata", "source", ".identity", ".roles", ".headers", ".?x", "['x']", "[?'y']", "[0]",
            "[-1]", "has(", "size(", "string(", "int(", "dyn(", "type(", "timestamp(", "duration(", "matches(", "optional.of(",
            "optional.none()", ".orValue(", ".optMap(v, ", ".map(x, ", ".filter(x, ", ".all(x, ", ".exists(y, ",
            ".exists_one(x, ", ".split(", ".join(", ".replace(", ".format(", ".indexOf(", ".substring(", ".charAt(",
            ".matches(", ".getHours(", ".getDayOfYear()", ".hasValue()", ".value()", ".trim()", ".reverse()", ")", ")", ")", "[", "]",
            "{", "}", "(", ",", ":", "?", " + ", " - ", " * ", " / ", " % ", " == ", " != ", " < ", " >= ", " in ", " && ",
            " || ", "!", "-", "x", "y", "v", "1", "0", "2u", "1.5", "1e308", "-9223372036854775808", "'a'", "'%d %s'",
            "'é😀'", "b'\\xff'", "r'\\d'", "'1s'", "'2023-01-01T00:00:00Z'", "'-23:59'", "true", "false", "null", "int",
            "google.protobuf.Duration", "\n", "// ", "`", "\u{0}",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ]
}

fn document() -> Value {
    json!({
        "auth": {"identity": {"sub": "SECRET", "roles": ["SECRET", "b", 7, null, {"x": "SECRET"}], "x": "SECRET", "age": 73}},
        "request": {"headers": {"x": "SECRET", "SECRET": "1"}, "x": {"y": "SECRET"}, "size": 7301},
        "source": {"x": []},
    })
}

fn corpus() -> Vec<String> {
    include_str!("cases.yaml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- { cel: "))
        .filter_map(|line| serde_json::Deserializer::from_str(line).into_iter::<String>().next()?.ok())
        .collect()
}

/// Loads and evaluates; whatever comes of it, no value of the document is told.
fn exercise(source: &str) -> Result<(), TestCaseError> {
    let document = document();
    let (Ok(program), predicate) = (Program::expression(source), Program::predicate(source)) else {
        return Ok(());
    };
    let outcomes = [
        program.evaluate(&document).map(|_| ()),
        predicate.map_or(Ok(()), |program| program.test(&document).map(|_| ())),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        let told = error.message.contains("SECRET") || error.message.contains("7301");
        prop_assert!(!told || source.contains("SECRET") || source.contains("7301"), "{source}: {}", error.message);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mixtures_of_pieces_do_no_harm(pieces in prop::collection::vec(piece(), 1..14)) {
        exercise(&pieces.concat())?;
    }

    #[test]
    fn mutations_of_cases_do_no_harm(
        left in prop::sample::select(corpus()),
        right in prop::sample::select(corpus()),
        cut in any::<prop::sample::Index>(),
        join in any::<prop::sample::Index>(),
        between in piece(),
    ) {
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        let (left, right) = (characters(&left), characters(&right));
        let head: String = left[..cut.index(left.len() + 1)].iter().collect();
        let tail: String = right[join.index(right.len() + 1)..].iter().collect();
        exercise(&format!("{head}{between}{tail}"))?;
        exercise(&format!("{head}{tail}"))?;
    }
}

#[test]
fn every_case_can_be_combined() {
    let corpus = corpus();
    assert!(corpus.len() > 600);
    for (index, source) in corpus.iter().enumerate() {
        let other = &corpus[(index * 7 + 13) % corpus.len()];
        for combined in [
            format!("[{source}, {other}]"),
            format!("dyn({source}) == dyn({other})"),
            format!("[dyn({source})].map(x, [x].exists(y, y == dyn({other})))"),
        ] {
            exercise(&combined).unwrap();
        }
    }
}
