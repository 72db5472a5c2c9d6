//! Comprehensions and what a pass of them costs.

use std::collections::BTreeMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators};

use super::{Lowering, call, constant_index, number};
use crate::cel::budget;

/// The accumulator of comprehensions, as the parser calls it.
const ACCUMULATOR: &str = "@result";

/// The loop variable of the comprehension without passes that the parser makes of `optMap`, to give a value a name.
const UNUSED: &str = "#unused";

impl Lowering<'_, '_> {
    pub(super) fn comprehension(&mut self, mut comprehension: ComprehensionExpr) -> Expr {
        if comprehension.iter_var == UNUSED {
            comprehension.accu_init = self.lower(comprehension.accu_init);
            self.locals.push(comprehension.accu_var.clone());
            comprehension.result = self.lower(comprehension.result);
            self.locals.pop();
            let uses = self.tally(&comprehension.result, &comprehension.accu_var);
            let uses = uses.uses.get(&comprehension.accu_var).copied().unwrap_or(0);
            let init = comprehension.accu_init;
            comprehension.accu_init = call(init.id, "@sized", vec![init, number(uses.saturating_add(1))]);
            return Expr::Comprehension(Box::new(comprehension));
        }
        let mut range = self.lower(comprehension.iter_range);
        self.locals.push(comprehension.iter_var.clone());
        comprehension.loop_step = self.step(comprehension.loop_step);
        self.locals.pop();
        let Tally { weight, mut uses } = self.tally(&comprehension.loop_step, &comprehension.iter_var);
        let own = uses.remove(&comprehension.iter_var).unwrap_or(0);
        let id = range.id;
        range = call(id, "@iterate", vec![range, number(weight), number(own.saturating_add(1))]);
        for (outer, uses) in uses {
            let held = IdedExpr { id, expr: Expr::Ident(outer) };
            range = call(id, "@held", vec![range, held, number(uses)]);
        }
        comprehension.iter_range = range;
        Expr::Comprehension(Box::new(comprehension))
    }

    /// Lowers the step of a comprehension, whose outermost form the interpreter must recognise: `@result && x`,
    /// `@result || x`, `@result + [x]`, `@result + 1`, or one of them as `condition ? step : @result`.
    fn step(&mut self, step: IdedExpr) -> IdedExpr {
        let id = step.id;
        let Expr::Call(CallExpr { func_name, target: None, args }) = step.expr else {
            return self.lower(step);
        };
        let folds = args.first().is_some_and(is_accumulator);
        let args = match func_name.as_str() {
            operators::CONDITIONAL if args.get(2).is_some_and(is_accumulator) => {
                let mut args = args.into_iter();
                let condition = args.next().map(|condition| self.lower(condition));
                let taken = args.next().map(|step| self.step(step));
                condition.into_iter().chain(taken).chain(args).collect()
            }
            operators::ADD if folds => {
                let mut args = args.into_iter();
                let accumulator = args.next();
                let added = args.map(|added| match added.expr {
                    Expr::List(ListExpr { elements, optional_indices }) => {
                        let elements = self.all(elements);
                        IdedExpr { id: added.id, expr: Expr::List(ListExpr { elements, optional_indices }) }
                    }
                    other => IdedExpr { id: added.id, expr: other },
                });
                accumulator.into_iter().chain(added).collect()
            }
            operators::LOGICAL_AND | operators::LOGICAL_OR if folds => self.all(args),
            _ => return self.global_call(id, func_name, args),
        };
        IdedExpr { id, expr: Expr::Call(CallExpr { func_name, target: None, args }) }
    }

    /// What one evaluation of a lowered `body` costs, and how often it names each local variable. Inner comprehensions
    /// pay for their passes themselves.
    fn tally(&self, body: &IdedExpr, variable: &str) -> Tally {
        let mut tally = Tally::default();
        self.add_to(&mut tally, body, variable, &mut Vec::new());
        tally
    }

    fn add_to<'e>(&self, tally: &mut Tally, expression: &'e IdedExpr, variable: &str, bound: &mut Vec<&'e str>) {
        tally.weight = tally.weight.saturating_add(1);
        match &expression.expr {
            Expr::Ident(name) => {
                if !bound.contains(&name.as_str()) && (name == variable || self.is_local(name)) {
                    *tally.uses.entry(name.clone()).or_default() += 1;
                }
                let constant = constant_index(name).and_then(|index| self.constants.get(index));
                tally.weight =
                    tally.weight.saturating_add(constant.map_or(0, |constant| budget::size(constant.value())));
            }
            Expr::Literal(LiteralValue::String(text)) => {
                tally.weight = tally.weight.saturating_add(budget::text(text.len()));
            }
            Expr::Select(select) => self.add_to(tally, &select.operand, variable, bound),
            Expr::Call(call) => {
                for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    self.add_to(tally, part, variable, bound);
                }
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.add_to(tally, element, variable, bound);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.add_to(tally, &entry.key, variable, bound);
                        self.add_to(tally, &entry.value, variable, bound);
                    }
                }
            }
            Expr::Comprehension(inner) if inner.iter_var == UNUSED => {
                self.add_to(tally, &inner.accu_init, variable, bound);
                bound.push(&inner.accu_var);
                self.add_to(tally, &inner.result, variable, bound);
                bound.pop();
            }
            Expr::Comprehension(inner) => self.add_to(tally, &inner.iter_range, variable, bound),
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
        }
    }
}

#[derive(Default)]
struct Tally {
    weight: u64,
    uses: BTreeMap<String, u64>,
}

fn is_accumulator(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == ACCUMULATOR)
}
