//! The type checker: finds what cannot be evaluated before anything is.
//!
//! It accepts and refuses what the checker of cel-go does in its default setting (literals of mixed types are allowed,
//! numbers of different types do not mix), so that a configuration that was accepted elsewhere is accepted here.

use std::collections::HashMap;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr, SourceInfo,
    operators,
};

use super::{
    bindings::Bindings,
    declarations::{Overload, type_named},
    environment::Environment,
    format,
    report::Report,
    types::Type,
};

/// What the checker found out about an expression that it accepts.
#[derive(Debug)]
pub(super) struct Checked {
    /// The type of the whole.
    pub(super) output: Type,
    /// The types of the parts, by their ids.
    pub(super) types: HashMap<u64, Type>,
}

/// Checks `expression` against what there is in `environment`; mistakes go to `report`.
pub(super) fn check(
    expression: &IdedExpr,
    environment: &Environment,
    positions: &SourceInfo,
    report: &mut Report<'_>,
) -> Checked {
    let mut checker = Checker {
        environment,
        positions,
        report,
        bindings: Bindings::default(),
        locals: Vec::new(),
        types: HashMap::new(),
    };
    let output = checker.check(expression);
    if checker.bindings.exhausted() {
        checker.mistake(expression.id, "the types of this expression are too complex".to_owned());
    }
    let output = checker.bindings.close(&output);
    let types = checker.types.iter().map(|(id, of)| (*id, checker.bindings.close(of))).collect();
    Checked { output, types }
}

struct Checker<'c, 's> {
    environment: &'c Environment,
    positions: &'c SourceInfo,
    report: &'c mut Report<'s>,
    bindings: Bindings,
    /// The variables of the comprehensions around the current place, innermost last.
    locals: Vec<(&'c str, Type)>,
    types: HashMap<u64, Type>,
}

impl<'c> Checker<'c, '_> {
    fn check(&mut self, expression: &'c IdedExpr) -> Type {
        let found = match &expression.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.identifier(expression.id, name),
            Expr::Select(select) => self.select(expression, select),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(message) => {
                let name = &message.type_name;
                self.mistake(expression.id, format!("undeclared reference to '{name}' (in container '')"))
            }
            Expr::Unspecified => self.mistake(expression.id, "the expression is incomplete".to_owned()),
        };
        self.types.insert(expression.id, found.clone());
        found
    }

    fn identifier(&mut self, id: u64, name: &str) -> Type {
        match self.lookup(name) {
            Some(found) => found,
            None if self.environment.is_namespace(name) => {
                self.mistake(id, format!("'{name}' is no value by itself; use '{name}.NAME'"))
            }
            None => self.mistake(id, format!("undeclared reference to '{name}' (in container '')")),
        }
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let absolute = name.strip_prefix('.');
        if absolute.is_none() {
            let local = |name: &str| self.locals.iter().rev().find(|(local, _)| *local == name);
            if let Some((_, local)) = local(name) {
                return Some(local.clone());
            }
            // What a local variable hides has no members here.
            if name.split_once('.').is_some_and(|(first, _)| local(first).is_some()) {
                return type_named(name).map(Type::type_of);
            }
        }
        let name = absolute.unwrap_or(name);
        if self.environment.is_root(name) {
            return Some(Type::map(Type::String, Type::Dyn));
        }
        if let Some(definition) = self.environment.definition(name) {
            return Some(definition.output.clone());
        }
        type_named(name).map(Type::type_of)
    }

    fn select(&mut self, expression: &'c IdedExpr, select: &'c SelectExpr) -> Type {
        if let Some(name) = qualified_name(expression)
            && let Some(found) = self.lookup(&name)
        {
            return found;
        }
        if let Expr::Ident(name) = &select.operand.expr
            && self.environment.is_namespace(name)
            && !self.locals.iter().any(|(local, _)| local == name)
        {
            let message = match self.environment.definition(&format!("{name}.{}", select.field)) {
                Some(_) => format!("'{name}' is no value by itself: 'has' cannot look into it"),
                None => format!("undefined field '{}'", select.field),
            };
            return self.mistake(expression.id, message);
        }
        let operand = self.check(&select.operand);
        let field = self.field(expression.id, &operand, &select.field, false);
        if select.test { Type::Bool } else { field }
    }

    /// The type of a field of a value of type `operand`.
    fn field(&mut self, id: u64, operand: &Type, field: &str, optional: bool) -> Type {
        let operand = self.bindings.resolve(operand);
        let (target, inside_optional) = match operand {
            Type::Optional(inner) => (*inner, true),
            other => (other, false),
        };
        let found = match target {
            Type::Map(_, value) => *value,
            Type::Variable(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Object(object) => match self.environment.field(object, field) {
                Some(found) => found,
                None => self.mistake(id, format!("undefined field '{field}'")),
            },
            other => {
                self.mistake(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if optional || inside_optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, id: u64, call: &'c CallExpr) -> Type {
        let name = call.func_name.as_str();
        if name == operators::OPT_SELECT
            && let [operand, field] = call.args.as_slice()
        {
            let operand = self.check(operand);
            self.check(field);
            let name = match &field.expr {
                Expr::Literal(LiteralValue::String(name)) => name.inner(),
                _ => "",
            };
            return self.field(id, &operand, name, true);
        }
        let mut arguments: Vec<Type> = call.args.iter().map(|argument| self.check(argument)).collect();
        let Some(target) = &call.target else {
            let name = name.strip_prefix('.').unwrap_or(name);
            return match self.environment.overloads(name) {
                Some(declared) => self.resolve(id, name, declared, &arguments, call, false),
                None => self.mistake(id, format!("undeclared reference to '{name}' (in container '')")),
            };
        };
        // `optional.of(x)` is a function with a dot in its name, not a call on something called `optional`.
        if let Some(prefix) = qualified_name(target) {
            let qualified = format!("{prefix}.{name}");
            let qualified = qualified.strip_prefix('.').unwrap_or(&qualified);
            if let Some(declared) = self.environment.overloads(qualified) {
                return self.resolve(id, qualified, declared, &arguments, call, false);
            }
        }
        let target_type = self.check(target);
        let Some(declared) = self.environment.overloads(name) else {
            return self.mistake(id, format!("undeclared reference to '{name}' (in container '')"));
        };
        arguments.insert(0, target_type);
        let found = self.resolve(id, name, declared, &arguments, call, true);
        if name == "format" {
            self.format(target, &call.args);
        }
        found
    }

    /// The result of calling a function with these arguments: of the overload that fits, or `dyn` if several fit that
    /// give different types.
    fn resolve(
        &mut self,
        id: u64,
        name: &str,
        declared: &'c [Overload],
        arguments: &[Type],
        call: &'c CallExpr,
        member: bool,
    ) -> Type {
        if name == operators::LOGICAL_AND || name == operators::LOGICAL_OR {
            for (argument, found) in call.args.iter().zip(arguments) {
                self.expect(argument.id, &Type::Bool, found);
            }
            return Type::Bool;
        }
        let mut result: Option<Type> = None;
        for overload in declared.iter().filter(|overload| overload.member == member) {
            let mut fresh = HashMap::new();
            let parameters: Vec<Type> =
                overload.parameters.iter().map(|parameter| self.instantiate(parameter, &mut fresh)).collect();
            let candidate = self.instantiate(&overload.result, &mut fresh);
            if self.bindings.all_assignable(arguments, &parameters) {
                let candidate = self.bindings.resolve(&candidate);
                result = Some(match result {
                    None => candidate,
                    Some(Type::Dyn) => Type::Dyn,
                    Some(same) if same == candidate => same,
                    Some(_) => Type::Dyn,
                });
            }
        }
        result.unwrap_or_else(|| {
            if arguments.contains(&Type::Error) {
                return Type::Error;
            }
            let mut shown = arguments.iter().map(|argument| self.bindings.close(argument).to_string());
            let target = if member { shown.next().map(|target| format!("{target}.")) } else { None };
            let (target, shown) = (target.unwrap_or_default(), shown.collect::<Vec<_>>().join(", "));
            self.mistake(id, format!("found no matching overload for '{name}' applied to '{target}({shown})'"))
        })
    }

    /// A declared type for one use: its placeholders become variables of their own.
    fn instantiate(&mut self, declared: &Type, fresh: &mut HashMap<char, Type>) -> Type {
        match declared {
            Type::Parameter(name) => match fresh.get(name) {
                Some(variable) => variable.clone(),
                None => {
                    let variable = self.bindings.fresh();
                    fresh.insert(*name, variable.clone());
                    variable
                }
            },
            Type::List(inner) => Type::list(self.instantiate(inner, fresh)),
            Type::Optional(inner) => Type::optional(self.instantiate(inner, fresh)),
            Type::Metatype(inner) => Type::type_of(self.instantiate(inner, fresh)),
            Type::Map(key, value) => {
                let key = self.instantiate(key, fresh);
                Type::map(key, self.instantiate(value, fresh))
            }
            other => other.clone(),
        }
    }

    fn list(&mut self, list: &'c ListExpr) -> Type {
        let mut elements = None;
        for (index, element) in list.elements.iter().enumerate() {
            let mut found = self.check(element);
            if list.optional_indices.contains(&index) {
                found = self.held(element.id, found);
            }
            elements = Some(self.join(elements, found));
        }
        Type::list(elements.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, map: &'c MapExpr) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                continue;
            };
            let key = self.check(&entry.key);
            keys = Some(self.join(keys, key));
            let mut value = self.check(&entry.value);
            if entry.optional {
                value = self.held(entry.value.id, value);
            }
            values = Some(self.join(values, value));
        }
        let keys = keys.unwrap_or_else(|| self.bindings.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.bindings.fresh()))
    }

    /// The type of what an optional element or entry holds.
    fn held(&mut self, id: u64, found: Type) -> Type {
        match self.bindings.resolve(&found) {
            Type::Optional(inner) => *inner,
            open if open.is_open() => open,
            other => {
                self.expect(id, &Type::optional(other.clone()), &other);
                other
            }
        }
    }

    /// The type of the elements of a literal, one more of which was seen.
    fn join(&mut self, so_far: Option<Type>, next: Type) -> Type {
        let Some(so_far) = so_far else { return next };
        if !self.bindings.assignable(&so_far, &next) {
            return Type::Dyn;
        }
        if so_far.is_as_general_as(&next) { so_far } else { next }
    }

    fn comprehension(&mut self, comprehension: &'c ComprehensionExpr) -> Type {
        let range = self.check(&comprehension.iter_range);
        let accumulator = self.check(&comprehension.accu_init);
        let element = match self.bindings.resolve(&range) {
            Type::List(element) => *element,
            Type::Map(key, _) => *key,
            open @ (Type::Dyn | Type::Error | Type::Variable(_)) => {
                self.bindings.assignable(&Type::Dyn, &open);
                Type::Dyn
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.mistake(comprehension.iter_range.id, message)
            }
        };
        self.locals.push((&comprehension.accu_var, accumulator.clone()));
        self.locals.push((&comprehension.iter_var, element));
        let condition = self.check(&comprehension.loop_cond);
        self.expect(comprehension.loop_cond.id, &Type::Bool, &condition);
        let step = self.check(&comprehension.loop_step);
        self.expect(comprehension.loop_step.id, &accumulator, &step);
        self.locals.pop();
        let result = self.check(&comprehension.result);
        self.locals.pop();
        self.bindings.resolve(&result)
    }

    /// Checks the clauses of a constant format string against its arguments.
    fn format(&mut self, target: &IdedExpr, arguments: &[IdedExpr]) {
        let Expr::Literal(LiteralValue::String(text)) = &target.expr else {
            return;
        };
        let [IdedExpr { expr: Expr::List(list), id }] = arguments else {
            return;
        };
        let types: Vec<Type> = list
            .elements
            .iter()
            .map(|element| self.types.get(&element.id).map_or(Type::Dyn, |found| self.bindings.close(found)))
            .collect();
        if let Err(mistake) = format::verify(text, &types) {
            let id = mistake.argument.and_then(|index| list.elements.get(index)).map_or(*id, |element| element.id);
            self.mistake(id, mistake.message);
        }
    }

    fn expect(&mut self, id: u64, wanted: &Type, found: &Type) {
        if !self.bindings.assignable(found, wanted) {
            let (wanted, found) = (self.bindings.close(wanted), self.bindings.close(found));
            self.mistake(id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }

    fn mistake(&mut self, id: u64, message: String) -> Type {
        self.report.at_node(self.positions, id, message);
        Type::Error
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The dotted name that an expression spells: an identifier, or fields selected from one.
pub(super) fn qualified_name(expression: &IdedExpr) -> Option<String> {
    let mut parts = Vec::new();
    let mut current = expression;
    loop {
        match &current.expr {
            Expr::Ident(name) => {
                parts.push(name.as_str());
                parts.reverse();
                return Some(parts.join("."));
            }
            Expr::Select(select) if !select.test => {
                parts.push(&select.field);
                current = &select.operand;
            }
            _ => return None,
        }
    }
}
