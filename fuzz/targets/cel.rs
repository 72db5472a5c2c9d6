//! CEL expressions: compiled, then evaluated on a fixed document.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use usher_expr::cel::Program;

fuzz_target!(|source: &str| {
    let context = usher_fuzz::context();
    let value = match Program::expression(source) {
        Ok(program) => {
            assert_eq!(program.source(), source);
            Some(program.evaluate(&context))
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    };
    if let Ok(predicate) = Program::predicate(source) {
        // A predicate is an expression, and both mean the same.
        let value = value.expect("what is a predicate is an expression");
        match (predicate.test(&context), value) {
            (Ok(truth), value) => assert_eq!(value.ok(), Some(Value::Bool(truth))),
            (Err(_), Ok(value)) => assert!(!value.is_boolean()),
            (Err(_), Err(_)) => {}
        }
    }
});
