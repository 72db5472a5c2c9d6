//! From source text to a tree, within limits.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};

use super::{COMPREHENSION_LIMIT, DEPTH_LIMIT, SOURCE_LIMIT, functions::ENVIRONMENT, report::Report};
use crate::error::ParseError;

/// The stack of the thread that parses, in bytes: chains of operators have no limit in the parser, and its recursion
/// must not end the process.
const STACK: usize = 64 << 20;

/// What may stand on a large stack before an expression is parsed there, in bytes.
const BELOW: usize = 8 << 20;

thread_local! {
    /// Whether this thread has a large stack.
    static IS_LARGE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread with so large a stack that the expressions that it makes need no threads of their own. To
/// start a thread takes longer than to parse most expressions: worth it for whoever makes thousands.
///
/// # Errors
/// There is no such thread.
///
/// # Panics
/// As `work` does.
pub fn with_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let work = || {
        IS_LARGE.set(true);
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("compiler".to_owned()).stack_size(STACK + BELOW);
        Ok(thread.spawn_scoped(scope, work)?.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Runs `compile` with a stack that is large enough for any source within the limits: on a thread for it alone, unless
/// this one has such a stack.
///
/// A panic of the parser is an error like any other.
pub(super) fn on_large_stack<T: Send>(
    source: &str,
    compile: impl FnOnce() -> Result<T, ParseError> + Send,
) -> Result<T, ParseError> {
    if source.len() > SOURCE_LIMIT {
        let length = source.len();
        return Err(ParseError::new(format!("the expression is {length} bytes long; the limit is {SOURCE_LIMIT}")));
    }
    let unparsed = || Err(ParseError::new("the expression cannot be parsed"));
    if IS_LARGE.get() {
        return catch_unwind(AssertUnwindSafe(compile)).unwrap_or_else(|_| unparsed());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("cel".to_owned()).stack_size(STACK).spawn_scoped(scope, compile);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => unparsed(),
            Err(error) => Err(ParseError::new(format!("no thread to parse the expression on: {error}"))),
        }
    })
}

/// A tree and where its nodes stand in the source.
pub(super) struct Parsed {
    pub(super) tree: IdedExpr,
    pub(super) positions: SourceInfo,
    /// How many levels deep the tree is.
    pub(super) depth: usize,
}

/// Parses `source` and refuses what is nested too deeply.
pub(super) fn parse(source: &str) -> Result<Parsed, ParseError> {
    let (tree, positions) = ENVIRONMENT.parser().parse_with_source_info(source).map_err(|errors| {
        // What the parser makes of a tree that is incomplete tells users nothing that the syntax error did not.
        let (internal, told): (Vec<_>, Vec<_>) = errors
            .errors
            .into_iter()
            .partition(|error| error.msg.starts_with("Incomplete") || error.msg.starts_with("No `"));
        let mut report = Report::new(source);
        let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
        for error in &told {
            let message = if error.msg.contains("Recursion limit") {
                "the expression is nested too deeply"
            } else {
                error.msg.as_str()
            };
            report.at(place(error.pos.0), place(error.pos.1), message);
        }
        if let ([], Some(error)) = (told.as_slice(), internal.first()) {
            report.at(place(error.pos.0), place(error.pos.1), "the expression is incomplete");
        }
        report.into_error()
    })?;
    let nesting = measure(&tree);
    if nesting.depth > DEPTH_LIMIT {
        return Err(ParseError::new(format!(
            "the expression is nested {} levels deep; the limit is {DEPTH_LIMIT}",
            nesting.depth
        )));
    }
    if nesting.comprehensions > COMPREHENSION_LIMIT {
        return Err(ParseError::new(format!(
            "the expression has {} comprehensions inside one another; the limit is {COMPREHENSION_LIMIT}",
            nesting.comprehensions
        )));
    }
    Ok(Parsed { tree, positions, depth: nesting.depth })
}

#[derive(Clone, Copy, Default)]
struct Nesting {
    depth: usize,
    /// Comprehensions in the bodies of comprehensions. Those in a range run once, before the passes.
    comprehensions: usize,
}

impl Nesting {
    fn with(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), comprehensions: self.comprehensions.max(other.comprehensions) }
    }
}

fn measure(expression: &IdedExpr) -> Nesting {
    let inner = match &expression.expr {
        Expr::Select(select) => measure(&select.operand),
        Expr::Call(call) => call
            .target
            .iter()
            .map(AsRef::as_ref)
            .chain(&call.args)
            .fold(Nesting::default(), |all, part| all.with(measure(part))),
        Expr::List(list) => list.elements.iter().fold(Nesting::default(), |all, part| all.with(measure(part))),
        Expr::Map(map) => map.entries.iter().fold(Nesting::default(), |all, entry| entry_nesting(all, &entry.expr)),
        Expr::Struct(message) => {
            message.entries.iter().fold(Nesting::default(), |all, entry| entry_nesting(all, &entry.expr))
        }
        Expr::Comprehension(comprehension) => {
            let mut body = measure(&comprehension.loop_step);
            // `optMap` becomes a comprehension without passes.
            let passes = !matches!(&comprehension.iter_range.expr, Expr::List(range) if range.elements.is_empty());
            body.comprehensions += usize::from(passes);
            [&comprehension.iter_range, &comprehension.accu_init, &comprehension.result]
                .into_iter()
                .fold(body, |all, part| all.with(measure(part)))
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Nesting::default(),
    };
    Nesting { depth: inner.depth + 1, ..inner }
}

fn entry_nesting(all: Nesting, entry: &EntryExpr) -> Nesting {
    match entry {
        EntryExpr::MapEntry(entry) => all.with(measure(&entry.key)).with(measure(&entry.value)),
        EntryExpr::StructField(field) => all.with(measure(&field.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::with_large_stack;
    use crate::cel::{Program, SOURCE_LIMIT};

    #[test]
    fn what_is_made_on_a_large_stack_is_as_elsewhere() {
        let repeated = |start: &str, part: &str| {
            let times = (SOURCE_LIMIT - start.len()) / part.len();
            [start, &part.repeat(times)].concat()
        };
        let sources = [
            "request.path == 'a'".to_owned(),
            "request.".to_owned(),
            repeated("", "("),
            repeated("", "["),
            repeated("", "{1:"),
            repeated("", "!"),
            repeated("", "-"),
            repeated("1", "+1"),
            repeated("true", "&&true"),
            repeated("request", ".a"),
            repeated("request", "[0]"),
            repeated("", "1?1:"),
        ];
        let make = |source: &String| Program::expression(source).map(drop).map_err(|error| error.to_string());
        let elsewhere: Vec<_> = sources.iter().map(make).collect();
        assert!(elsewhere.first().is_some_and(Result::is_ok) && elsewhere.get(1).is_some_and(Result::is_err));
        let here = with_large_stack(|| sources.iter().map(make).collect::<Vec<_>>()).unwrap();
        assert_eq!(here, elsewhere);
    }

    #[test]
    #[should_panic(expected = "by the test")]
    fn panics_are_passed_on() {
        let _ = with_large_stack(|| panic!("by the test"));
    }
}
