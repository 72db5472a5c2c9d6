//! From source text to a tree, within limits.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};

use super::{COMPREHENSION_LIMIT, DEPTH_LIMIT, SOURCE_LIMIT, functions::ENVIRONMENT, report::Report};
use crate::error::ParseError;

/// The stack of the thread that parses, in bytes: chains of operators have no limit in the parser, and its recursion
/// must not end the process.
const STACK: usize = 64 << 20;

/// Runs `compile` on a thread with a stack that is large enough for any source within the limits.
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
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK).spawn_scoped(scope, compile);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ParseError::new("the expression cannot be parsed")),
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
