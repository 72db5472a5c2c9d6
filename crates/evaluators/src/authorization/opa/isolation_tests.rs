//! What a policy sees of a request: all that it asks for, and nothing of another request.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// Policies that read input in all ways that there are. The names are those of the documents below.
const POLICIES: &[&str] = &[
    "allow if input.a.b.c == \"x\"",
    "allow if input.a.b == input.b.a",
    "allow if { input.a[input.b.c] }",
    "allow if { some k; input.a[k].b == \"x\" }",
    "allow if { some k, v in input.a; v == input.b[k] }",
    "allow if { some k; input[k].a }",
    "allow if { every v in input.a.b { v != input.c.a } }",
    "allow if { not input.a.b.c; not input.c[0] }",
    "allow if { input.a[0].b == input.a[1][\"c\"] }",
    "allow if { input[\"a\"][`b`] == input.b[\"a\"].c }",
    "allow if { count(input.a) == 2; is_object(input.a) }",
    "allow if { walk(input.b, [path, \"x\"]); path[_] == \"c\" }",
    "allow if { walk(input, [[\"a\", \"b\"], value]); is_number(value) }",
    "allow if { x := input.a; x.b == input.b }",
    "allow if { f(input.a).b }\nf(x) := x.c if input.b.a\nf(x) := x.b if not input.b.a",
    "allow if { input.a.b with input.a.b as input.c }",
    "allow if { input.a.b.c == 1 with input.a.b.c as 1 }",
    "allow if { input.c.a with input as {\"c\": input.a} }",
    "allow if { r with input.a as input.b }\nr if input.a.b == input.c.b",
    "allow if { count([x | x := input.a[_].b]) > count({x | x := input.b[_]}) }",
    "allow if { object.get(input.a, [\"b\", \"c\"], 1) == 1 }",
    "allow if { object.get(input, [\"a\", \"b\"], 1) == 1 }",
    "allow if { json.filter(input.a, [\"b/c\"]) == {\"b\": {\"c\": \"x\"}} }",
    "allow if { input.a == input.b } else := true if { input.b.b } else := input.c.a.b",
    "import input.a.b as ab\nimport input.c\nallow if { ab.c == c.a }",
    "import input.a\nallow if { a.b with a.b as input.b.b }",
    "import input as all\nallow if { all.a.b == all[\"b\"].a }",
    "s contains input.a.b if input.b\ns contains x if some x in input.c\nallow if count(s) > 1",
    "o[input.a.b] := input.b\nallow if o.x",
    "allow if { [x, y] := [input.a.b, input.a.c]; x != y }",
    "allow if { input.a.b.c > 0; input.a.b < input.b }",
    "allow if { startswith(input.a.b, \"x\"); 2 > count(input.a.b) }",
    "allow if { input.a.b == null } else if { input.a == {} } else if { input.a == [] }",
    "allow := input.a.b",
    "t := {\"k\": input.a.b.c, \"l\": [input.b.c]}\nallow if t.l[0] == t.k",
];

fn document() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Json::from),
        (-1..3_i64).prop_map(Json::from),
        Just(json!(1.5)),
        prop_oneof![Just("x"), Just("a"), Just("b"), Just("c"), Just("")].prop_map(Json::from),
    ];
    let name = || prop_oneof![3 => Just("a"), 3 => Just("b"), 3 => Just("c"), 1 => Just("0"), 1 => Just("x")];
    let value = leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            3 => prop::collection::btree_map(name().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(name().prop_map(str::to_owned), value, 0..4)
        .prop_map(|members| Json::Object(members.into_iter().collect()))
}

fn outcome(policy: &Policy, input: &Json, parts: &Parts) -> Result<Json, String> {
    let input = values::input(input, parts).unwrap();
    policy
        .evaluate(input, Duration::from_secs(5))
        .map(|value| (*value).clone())
        .map_err(|failure| format!("{failure:?}"))
}

fn policies(all_values: bool) -> Vec<Policy> {
    let compile = |rego: &&str| {
        let compiled = Policy::compile(rego, RegoVersion::V1, all_values, None);
        compiled.unwrap_or_else(|error| panic!("{rego}: {error}")).0
    };
    POLICIES.iter().map(compile).collect()
}

#[test]
fn policies_see_no_less_than_the_whole_input() {
    let policies = [false, true].map(policies);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let same = |document: Json| {
        for (policy, rego) in policies.iter().flat_map(|policies| policies.iter().zip(POLICIES)) {
            prop_assert_eq!(
                outcome(policy, &document, policy.parts()),
                outcome(policy, &document, &Parts::All),
                "{}",
                rego
            );
        }
        Ok(())
    };
    runner.run(&document(), same).unwrap();
}

/// A request is decided as if it were the only one, whatever came before.
#[test]
fn policies_see_nothing_of_other_requests() {
    let used = policies(true);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(20));
    let same = |documents: [Json; 2]| {
        for (policy, rego) in used.iter().zip(POLICIES) {
            let (fresh, _) = Policy::compile(rego, RegoVersion::V1, true, None).unwrap();
            let [first, second] = &documents;
            outcome(policy, first, policy.parts()).ok();
            prop_assert_eq!(
                outcome(policy, second, policy.parts()),
                outcome(&fresh, second, fresh.parts()),
                "{}",
                rego
            );
        }
        Ok(())
    };
    runner.run(&[document(), document()], same).unwrap();
}
