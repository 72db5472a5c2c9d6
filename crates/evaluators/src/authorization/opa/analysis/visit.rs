//! One rule: what it reads, calls and builds, and the stack that it takes.

use std::collections::BTreeSet;

use regorus::unstable::{ArithOp, AssignOp, Expr, Literal, Query, Ref, Rule, RuleHead};

use super::{Edit, position};

/// Stack units of a comprehension or `every`, measured: 4 to 6 kB.
const QUERY_FRAMES: usize = 6;
/// Stack units of a loop within a body: what follows runs inside of it, measured: about 2 kB.
const LOOP_FRAMES: usize = 3;
/// A reference: its components up to the first that is not fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) fixed: Vec<String>,
}

impl Path {
    pub(super) fn root(&self) -> &str {
        self.fixed.first().map_or("", String::as_str)
    }
}

/// The path of a reference that starts with a name.
pub(super) fn path(expression: &Expr) -> Option<Path> {
    let mut components = Vec::new();
    let mut expression = expression;
    loop {
        match expression {
            Expr::Var { span, .. } => {
                components.push(Some(span.text().to_owned()));
                break;
            }
            Expr::RefDot { refr, field, .. } => {
                components.push(Some(field.0.text().to_owned()));
                expression = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                components.push(match index.as_ref() {
                    Expr::String { value, .. } | Expr::RawString { value, .. } => {
                        value.as_string().ok().map(|text| text.to_string())
                    }
                    _ => None,
                });
                expression = refr;
            }
            _ => return None,
        }
    }
    Some(Path { fixed: components.into_iter().rev().map_while(|component| component).collect() })
}

/// A call of a function.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) path: Vec<String>,
    pub(super) arguments: usize,
    pub(super) line: u32,
    /// Set where the call stands as a statement, so that the last argument may be its result: `f(x, result)` as
    /// `result = f(x)`. The engine knows the former for its own functions only.
    pub(super) result_in_front: Option<[Edit; 2]>,
}

/// Collects what one rule does.
#[derive(Debug, Default)]
pub(super) struct Visit {
    pub(super) locals: BTreeSet<String>,
    pub(super) reads: Vec<Path>,
    pub(super) calls: Vec<Call>,
    pub(super) replacements: Vec<(Vec<String>, Vec<String>)>,
    /// What `with` replaces.
    pub(super) replaced: Vec<Path>,
    pub(super) built: usize,
    pub(super) factors: usize,
    pub(super) growth: usize,
    loops: usize,
    /// Loops that do not stand in a comprehension.
    pub(super) bare_loops: usize,
}

impl Visit {
    /// Visits a rule; answers with the stack units that it takes by itself.
    pub(super) fn rule(&mut self, rule: &Rule) -> usize {
        match rule {
            Rule::Default { value, .. } => self.expression(value),
            Rule::Spec { head, bodies, .. } => {
                let mut stack = 0;
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        stack = stack.max(self.head_reference(refr));
                        if let Some(assign) = assign {
                            stack = stack.max(self.expression(&assign.value));
                        }
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.built += 1;
                        self.growth += 1;
                        stack = stack.max(self.head_reference(refr));
                        if let Some(key) = key {
                            stack = stack.max(self.expression(key));
                        }
                    }
                    RuleHead::Func { refr, args, assign, .. } => {
                        stack = stack.max(self.head_reference(refr));
                        for argument in args {
                            self.bind(argument);
                            stack = stack.max(self.expression(argument));
                        }
                        if let Some(assign) = assign {
                            stack = stack.max(self.expression(&assign.value));
                        }
                    }
                }
                // The value of the head is computed inside of all loops of a body.
                let head = stack;
                for body in bodies {
                    let assign = body.assign.as_ref().map_or(0, |assign| self.expression(&assign.value));
                    stack = stack.max(self.query(&body.query, head.max(assign)));
                }
                stack
            }
        }
    }

    /// The name of a rule is no reference, but what stands in its brackets is.
    fn head_reference(&mut self, refr: &Expr) -> usize {
        let mut stack = 0;
        let mut expression = refr;
        loop {
            match expression {
                Expr::RefDot { refr, .. } => {
                    self.built += 1;
                    expression = refr;
                }
                Expr::RefBrack { refr, index, .. } => {
                    self.built += 1;
                    self.growth += 1;
                    stack = stack.max(self.expression(index) + 1);
                    expression = refr;
                }
                _ => return stack,
            }
        }
    }

    /// Visits a body; `inner` is the stack that its result takes.
    fn query(&mut self, query: &Query, inner: usize) -> usize {
        let mut loops = 0;
        let mut stack = inner;
        for statement in &query.stmts {
            let before = self.loops;
            for modifier in &statement.with_mods {
                self.replaced.extend(path(&modifier.refr));
                if let (Some(target), Some(replacement)) = (path(&modifier.refr), path(&modifier.r#as)) {
                    self.replacements.push((target.fixed, replacement.fixed));
                }
                self.built += 1;
                stack = stack.max(self.expression(&modifier.r#as) + LOOP_FRAMES);
            }
            stack = stack.max(self.literal(&statement.literal));
            loops += self.loops - before;
        }
        stack.saturating_add(loops.saturating_mul(LOOP_FRAMES))
    }

    fn literal(&mut self, literal: &Literal) -> usize {
        match literal {
            Literal::SomeVars { vars, .. } => {
                self.locals.extend(vars.iter().map(|name| name.text().to_owned()));
                0
            }
            Literal::SomeIn { key, value, collection, .. } => {
                self.growth += 1;
                self.loops += 1;
                let mut stack = self.expression(collection) + LOOP_FRAMES;
                for pattern in key.iter().chain([value]) {
                    self.bind(pattern);
                    stack = stack.max(self.expression(pattern));
                }
                stack
            }
            Literal::Expr { expr, .. } => {
                let calls = self.calls.len();
                let stack = self.expression(expr);
                if let (Expr::Call { .. }, Some(call)) = (expr.as_ref(), self.calls.get_mut(calls)) {
                    call.result_in_front = result_in_front(expr);
                }
                stack
            }
            Literal::NotExpr { expr, .. } => self.expression(expr),
            Literal::Every { key, value, domain, query, .. } => {
                self.growth += 1;
                self.locals.extend(key.iter().chain([value]).map(|name| name.text().to_owned()));
                self.expression(domain).max(QUERY_FRAMES + self.query(query, 0))
            }
        }
    }

    pub(super) fn expression(&mut self, expression: &Expr) -> usize {
        let inner = match expression {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => 0,
            Expr::Var { .. } => {
                self.reads.extend(path(expression));
                0
            }
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expression),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                let (reads, calls) = (self.reads.len(), self.calls.len());
                let inner = self.all(items);
                self.count_brackets(reads, calls);
                inner
            }
            Expr::Object { fields, .. } => {
                let (reads, calls) = (self.reads.len(), self.calls.len());
                let inner = fields
                    .iter()
                    .map(|(_, key, value)| self.expression(key).max(self.expression(value)))
                    .max()
                    .unwrap_or(0);
                self.count_brackets(reads, calls);
                inner
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.comprehension(&[term], query)
            }
            Expr::ObjectCompr { key, value, query, .. } => self.comprehension(&[key, value], query),
            Expr::Call { span, fcn, params, .. } => {
                let function = path(fcn).map(|path| path.fixed).unwrap_or_default();
                if function.first().is_some_and(|name| name == "walk") {
                    self.loops += 1;
                }
                self.calls.push(Call {
                    path: function,
                    arguments: params.len(),
                    line: span.line,
                    result_in_front: None,
                });
                self.all(params)
            }
            Expr::UnaryExpr { expr, .. } => self.expression(expr),
            Expr::BinExpr { lhs, rhs, .. } | Expr::BoolExpr { lhs, rhs, .. } => {
                self.expression(lhs).max(self.expression(rhs))
            }
            Expr::ArithExpr { op, lhs, rhs, .. } => {
                let is_constant =
                    matches!((lhs.as_ref(), rhs.as_ref()), (Expr::Number { .. }, _) | (_, Expr::Number { .. }));
                if *op == ArithOp::Mul && !is_constant {
                    self.factors += 1;
                    self.growth += 1;
                }
                self.expression(lhs).max(self.expression(rhs))
            }
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                if *op == AssignOp::ColEq {
                    self.bind(lhs);
                }
                self.expression(lhs).max(self.expression(rhs))
            }
            Expr::Membership { key, value, collection, .. } => {
                let key = key.as_ref().map_or(0, |key| self.expression(key));
                key.max(self.expression(value)).max(self.expression(collection))
            }
        };
        inner + 1
    }

    fn all(&mut self, expressions: &[Ref<Expr>]) -> usize {
        expressions.iter().map(|expression| self.expression(expression)).max().unwrap_or(0)
    }

    /// Brackets around nothing but constants cannot be put around anything.
    fn count_brackets(&mut self, reads: usize, calls: usize) {
        let variable = self.reads.len() - reads + self.calls.len() - calls;
        if variable > 0 {
            self.built += 1;
        }
        // What holds a value twice is twice as large when compared or written out.
        if variable > 1 {
            self.growth += 1;
        }
    }

    fn comprehension(&mut self, terms: &[&Ref<Expr>], query: &Query) -> usize {
        self.built += 1;
        self.growth += 1;
        let bare_loops = self.bare_loops;
        let term = terms.iter().map(|term| self.expression(term)).max().unwrap_or(0);
        let stack = QUERY_FRAMES + self.query(query, term);
        self.bare_loops = bare_loops;
        stack
    }

    fn reference(&mut self, expression: &Expr) -> usize {
        let mut stack: usize = 0;
        let mut length: usize = 0;
        let mut current = expression;
        let mut is_named = false;
        loop {
            length += 1;
            match current {
                Expr::RefDot { refr, .. } => current = refr,
                Expr::RefBrack { refr, index, .. } => {
                    if !matches!(index.as_ref(), Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. }) {
                        // It may be a loop over all members.
                        self.growth += 1;
                        self.loops += 1;
                        self.bare_loops += 1;
                        stack = stack.max(self.expression(index));
                    }
                    current = refr;
                }
                Expr::Var { .. } => {
                    is_named = true;
                    break;
                }
                _ => break,
            }
        }
        if is_named {
            self.reads.extend(path(expression));
        } else {
            stack = stack.max(self.expression(current));
        }
        stack.saturating_add(length)
    }

    /// The names in a pattern belong to the body from here on.
    fn bind(&mut self, pattern: &Expr) {
        match pattern {
            Expr::Var { span, .. } => {
                self.locals.insert(span.text().to_owned());
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.bind(item)),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| self.bind(value)),
            _ => {}
        }
    }
}

fn result_in_front(expression: &Expr) -> Option<[Edit; 2]> {
    let Expr::Call { span, params, .. } = expression else { return None };
    let (result, arguments) = params.split_last()?;
    // The span of a text is what stands between its quotes.
    let quotes = |expression: &Expr| u32::from(matches!(expression, Expr::String { .. } | Expr::RawString { .. }));
    let start = result.span().start.checked_sub(quotes(result))?;
    let end = result.span().end.checked_add(quotes(result))?;
    let argument = arguments.last()?;
    let arguments_end = argument.span().end.checked_add(quotes(argument))?;
    let result = span.source.get_contents().get(position(start)?..position(end)?)?;
    Some([
        Edit { range: position(span.start)?..position(span.start)?, text: format!("{result} = ") },
        Edit { range: position(arguments_end)?..position(span.end)?, text: ")".to_owned() },
    ])
}
