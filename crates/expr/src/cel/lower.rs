//! From the tree that was written to the tree that is evaluated.
//!
//! ```text
//!  auth.identity.roles      ─► @0             a variable: path 0, followed through the document
//!  ["GET", "HEAD"]          ─► #0             a variable: constant 0, made once
//!  path.matches("^/pets")   ─► @matches(@1, #1)
//!  roles.exists(r, …)       ─► the same over @iterate(@0, cost of a pass, copies of an element)
//!  a + b                    ─► @add(a, b)     unless both are known to be numbers
//!  variables.token          ─► $0             a variable: definition 0, evaluated when it is first needed
//!  jwt.Decode(a, b)         ─► @call(#0, a, b)  an extension, which is constant 0
//! ```

mod comprehensions;

use std::collections::{BTreeSet, HashMap};

use cel::common::{
    ast::{CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr, SourceInfo, operators},
    types::CelList,
    value::Val,
};

use super::{
    check::{Checked, qualified_name},
    declarations::type_named,
    environment::Environment,
    extension::Extension,
    matches::Pattern,
    path::{Key, Path, Step},
    report::Report,
    types::Type,
};

/// A value that does not change from one evaluation to the next.
#[derive(Debug)]
pub(super) enum Constant {
    /// A literal list of literals.
    List(CelList<'static>),
    /// The pattern of `matches`.
    Pattern(Pattern),
    /// A function of an extension.
    Extension(Extension),
}

impl Constant {
    pub(super) fn value(&self) -> &(dyn Val + 'static) {
        match self {
            Self::List(list) => list,
            Self::Pattern(pattern) => pattern,
            Self::Extension(extension) => extension,
        }
    }
}

/// A tree for the interpreter and what its variables stand for.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) tree: IdedExpr,
    pub(super) paths: Vec<Path>,
    pub(super) constants: Vec<Constant>,
    /// The definitions of the environment that are used.
    pub(super) definitions: BTreeSet<usize>,
}

/// The path that a variable of a lowered tree stands for.
pub(super) fn path_index(variable: &str) -> Option<usize> {
    variable.strip_prefix('@')?.parse().ok()
}

/// The constant that a variable of a lowered tree stands for.
pub(super) fn constant_index(variable: &str) -> Option<usize> {
    variable.strip_prefix('#')?.parse().ok()
}

/// The definition that a variable of a lowered tree stands for.
pub(super) fn definition_index(variable: &str) -> Option<usize> {
    variable.strip_prefix('$')?.parse().ok()
}

/// Lowers a tree that was checked. Mistakes in constants go to `report`.
pub(super) fn lower(
    expression: IdedExpr,
    checked: &Checked,
    environment: &Environment,
    positions: &SourceInfo,
    report: &mut Report<'_>,
) -> Lowered {
    let mut lowering = Lowering {
        types: &checked.types,
        environment,
        positions,
        report,
        locals: Vec::new(),
        paths: Vec::new(),
        constants: Vec::new(),
        definitions: BTreeSet::new(),
    };
    let tree = lowering.lower(expression);
    let Lowering { paths, constants, definitions, .. } = lowering;
    Lowered { tree, paths, constants, definitions }
}

/// Functions that go through the whole of the text they are called on.
const LINEAR: [&str; 11] = [
    "charAt",
    "contains",
    "endsWith",
    "lowerAscii",
    "reverse",
    "size",
    "startsWith",
    "substring",
    "trim",
    "upperAscii",
    "bytes",
];

struct Lowering<'c, 's> {
    types: &'c HashMap<u64, Type>,
    environment: &'c Environment,
    positions: &'c SourceInfo,
    report: &'c mut Report<'s>,
    /// The variables of the comprehensions around the current place, innermost last.
    locals: Vec<String>,
    paths: Vec<Path>,
    constants: Vec<Constant>,
    definitions: BTreeSet<usize>,
}

impl Lowering<'_, '_> {
    fn lower(&mut self, expression: IdedExpr) -> IdedExpr {
        if let Some(path) = self.path(&expression) {
            return self.path_variable(expression.id, path);
        }
        if let Some(index) = self.definition(&expression) {
            self.definitions.insert(index);
            return IdedExpr { id: expression.id, expr: Expr::Ident(format!("${index}")) };
        }
        let id = expression.id;
        let lowered = match expression.expr {
            Expr::Ident(name) => Expr::Ident(match name.strip_prefix('.') {
                Some(absolute) => absolute.to_owned(),
                None => name,
            }),
            Expr::Select(select) => return self.select(id, select),
            Expr::Call(call) => return self.call(id, call),
            Expr::List(list) => return self.list(id, list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension),
            other => other,
        };
        IdedExpr { id, expr: lowered }
    }

    fn all(&mut self, expressions: Vec<IdedExpr>) -> Vec<IdedExpr> {
        expressions.into_iter().map(|expression| self.lower(expression)).collect()
    }

    // --- Paths and constants -----------------------------------------------------------------------------------------

    /// The path that an expression spells, if it starts at a root that no local variable hides.
    fn path(&self, expression: &IdedExpr) -> Option<Path> {
        if let Some(index) = self.definition(expression) {
            return self.environment.definitions().get(index)?.alias.clone();
        }
        match &expression.expr {
            Expr::Ident(name) => {
                let absolute = name.strip_prefix('.');
                let root = absolute.unwrap_or(name);
                let hidden = absolute.is_none() && self.is_local(name);
                (!hidden && self.environment.is_root(root)).then(|| Path {
                    root: root.to_owned(),
                    steps: Vec::new(),
                    presence: false,
                })
            }
            Expr::Select(SelectExpr { operand, field, test }) => {
                let mut path = self.extended(operand, Key::Field(field.clone()), false)?;
                path.presence = *test;
                Some(path)
            }
            Expr::Call(CallExpr { func_name, target: None, args }) => {
                let [operand, IdedExpr { expr: Expr::Literal(key), .. }] = args.as_slice() else {
                    return None;
                };
                match (func_name.as_str(), key) {
                    (operators::OPT_SELECT, LiteralValue::String(name)) => {
                        self.extended(operand, Key::Field(name.inner().to_owned()), true)
                    }
                    (operators::INDEX | operators::OPT_INDEX, LiteralValue::String(name)) => {
                        let optional = func_name == operators::OPT_INDEX;
                        self.extended(operand, Key::Member(name.inner().to_owned()), optional)
                    }
                    (operators::INDEX | operators::OPT_INDEX, LiteralValue::Int(index)) => {
                        self.extended(operand, Key::Element(*index.inner()), func_name == operators::OPT_INDEX)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The definition that an expression names, unless a local variable hides it.
    fn definition(&self, expression: &IdedExpr) -> Option<usize> {
        let Expr::Select(SelectExpr { operand, field, test: false }) = &expression.expr else { return None };
        let Expr::Ident(namespace) = &operand.expr else { return None };
        let absolute = namespace.strip_prefix('.');
        if absolute.is_none() && self.is_local(namespace) {
            return None;
        }
        let name = format!("{}.{field}", absolute.unwrap_or(namespace));
        self.environment.definitions().iter().position(|definition| definition.name == name)
    }

    fn extended(&self, operand: &IdedExpr, key: Key, optional: bool) -> Option<Path> {
        let mut path = self.path(operand)?;
        if path.presence {
            return None;
        }
        path.steps.push(Step { key, optional });
        Some(path)
    }

    fn path_variable(&mut self, id: u64, path: Path) -> IdedExpr {
        let index = self.paths.iter().position(|known| *known == path).unwrap_or_else(|| {
            self.paths.push(path);
            self.paths.len() - 1
        });
        IdedExpr { id, expr: Expr::Ident(format!("@{index}")) }
    }

    fn constant(&mut self, id: u64, constant: Constant) -> IdedExpr {
        self.constants.push(constant);
        IdedExpr { id, expr: Expr::Ident(format!("#{}", self.constants.len() - 1)) }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|local| local == name)
    }

    // --- Members, operators and functions ----------------------------------------------------------------------------

    fn select(&mut self, id: u64, select: SelectExpr) -> IdedExpr {
        let SelectExpr { operand, field, test } = select;
        if !test
            && let Some(prefix) = qualified_name(&operand)
            && let name = format!("{prefix}.{field}")
            && let name = name.strip_prefix('.').unwrap_or(&name)
            && type_named(name).is_some()
        {
            return IdedExpr { id, expr: Expr::Ident(name.to_owned()) };
        }
        let function = match (test, self.type_of(&operand)) {
            (true, _) => "@has",
            (false, Type::Optional(_)) => "@optional_select",
            (false, _) => "@select",
        };
        let operand = self.lower(*operand);
        call(id, function, vec![operand, text(field)])
    }

    fn call(&mut self, id: u64, written: CallExpr) -> IdedExpr {
        match written.target {
            None => self.global_call(id, written.func_name, written.args),
            Some(target) => self.member_call(id, *target, written.func_name, written.args),
        }
    }

    /// A call of a function of an extension; the target of a member is the first argument.
    fn extension_call(&mut self, id: u64, extension: Extension, arguments: Vec<IdedExpr>) -> IdedExpr {
        let mut all = vec![self.constant(id, Constant::Extension(extension))];
        all.extend(self.all(arguments));
        call(id, "@call", all)
    }

    fn global_call(&mut self, id: u64, name: String, arguments: Vec<IdedExpr>) -> IdedExpr {
        let name = name.strip_prefix('.').map_or(name.clone(), str::to_owned);
        if let Some(extension) = self.environment.extension(&name) {
            return self.extension_call(id, extension, arguments);
        }
        let first = arguments.first().map_or(&Type::Dyn, |argument| self.type_of(argument));
        let second = arguments.get(1).map_or(&Type::Dyn, |argument| self.type_of(argument));
        // The interpreter knows the operators of numbers and times whose types are known; the others are ours.
        let unknown = !first.is_quantity() || !second.is_quantity();
        let function = match name.as_str() {
            operators::ADD if unknown => "@add",
            operators::SUBSTRACT if unknown => "@subtract",
            operators::MULTIPLY if unknown => "@multiply",
            operators::DIVIDE if unknown => "@divide",
            operators::OPT_INDEX => "@optional_index",
            operators::OPT_SELECT => "@optional_select",
            "string" if matches!(first, Type::Double | Type::Dyn) => "@string",
            operators::EQUALS | operators::NOT_EQUALS
                if !first.is_scalar()
                    && !second.is_scalar()
                    && arguments.first().is_some_and(|left| self.path(left).is_none()) =>
            {
                let equal = call(id, "@equals", self.all(arguments));
                return if name == operators::EQUALS { equal } else { call(id, operators::LOGICAL_NOT, vec![equal]) };
            }
            operators::IN if self.needs_deep_search(first, second, arguments.get(1)) => "@contains",
            "matches" => {
                let Ok([searched, pattern]) = <[IdedExpr; 2]>::try_from(arguments) else {
                    return call(id, &name, Vec::new());
                };
                return self.matches(id, searched, pattern);
            }
            _ => {
                let mut lowered = Vec::with_capacity(arguments.len());
                for (index, argument) in arguments.into_iter().enumerate() {
                    let costly = index == 0 && LINEAR.contains(&name.as_str());
                    lowered.push(self.operand(argument, costly));
                }
                return call(id, &name, lowered);
            }
        };
        let arguments = self.all(arguments);
        call(id, function, arguments)
    }

    fn member_call(&mut self, id: u64, target: IdedExpr, name: String, mut arguments: Vec<IdedExpr>) -> IdedExpr {
        let qualified = qualified_name(&target).map(|prefix| format!("{prefix}.{name}"));
        if let Some(qualified) = qualified
            && let qualified = qualified.strip_prefix('.').unwrap_or(&qualified)
            && self.environment.overloads(qualified).is_some()
        {
            if let Some(extension) = self.environment.extension(qualified) {
                return self.extension_call(id, extension, arguments);
            }
            let arguments = self.all(arguments);
            return call(id, qualified, arguments);
        }
        if let Some(extension) = self.environment.extension(&name) {
            arguments.insert(0, target);
            return self.extension_call(id, extension, arguments);
        }
        let function = match name.as_str() {
            "matches" => {
                return match arguments.pop() {
                    Some(pattern) => self.matches(id, target, pattern),
                    None => target,
                };
            }
            "format" => "@format",
            "indexOf" => "@indexOf",
            "join" => "@join",
            "lastIndexOf" => "@lastIndexOf",
            "replace" => "@replace",
            "split" => "@split",
            _ => {
                let target = self.operand(target, LINEAR.contains(&name.as_str()));
                let args = self.all(arguments);
                return IdedExpr {
                    id,
                    expr: Expr::Call(CallExpr { func_name: name, target: Some(Box::new(target)), args }),
                };
            }
        };
        arguments.insert(0, target);
        let arguments = self.all(arguments);
        call(id, function, arguments)
    }

    /// Lowers an operand. If a function goes through all of it, it is paid for, unless it was when it was read.
    fn operand(&mut self, expression: IdedExpr, costly: bool) -> IdedExpr {
        let id = expression.id;
        let lowered = self.lower(expression);
        if costly && matches!(lowered.expr, Expr::Call(_)) {
            return call(id, "@sized", vec![lowered, number(1)]);
        }
        lowered
    }

    fn matches(&mut self, id: u64, searched: IdedExpr, pattern: IdedExpr) -> IdedExpr {
        let searched = self.lower(searched);
        let pattern = match &pattern.expr {
            Expr::Literal(LiteralValue::String(source)) => match Pattern::compile(source) {
                Ok(compiled) => self.constant(pattern.id, Constant::Pattern(compiled)),
                Err(error) => {
                    self.report.at_node(self.positions, pattern.id, error.message);
                    pattern
                }
            },
            _ => self.lower(pattern),
        };
        call(id, "@matches", vec![searched, pattern])
    }

    /// Whether `value in container` compares maps and lists that may come from the document with those of the source.
    fn needs_deep_search(&self, value: &Type, container: &Type, written: Option<&IdedExpr>) -> bool {
        let scalars = match container {
            Type::List(element) => element.is_scalar(),
            Type::Map(..) => true,
            _ => false,
        };
        !value.is_scalar() && !scalars && written.is_some_and(|container| self.path(container).is_none())
    }

    fn type_of(&self, expression: &IdedExpr) -> &Type {
        self.types.get(&expression.id).unwrap_or(&Type::Dyn)
    }

    // --- Literals ----------------------------------------------------------------------------------------------------

    fn list(&mut self, id: u64, list: ListExpr) -> IdedExpr {
        if !list.elements.is_empty() && list.optional_indices.is_empty() {
            let literals: Option<Vec<Box<dyn Val>>> = list.elements.iter().map(literal).collect();
            if let Some(literals) = literals {
                return self.constant(id, Constant::List(CelList::from(literals)));
            }
        }
        let ListExpr { elements, optional_indices } = list;
        let elements = self.all(elements);
        IdedExpr { id, expr: Expr::List(ListExpr { elements, optional_indices }) }
    }

    fn map(&mut self, map: MapExpr) -> Expr {
        let mut entries = map.entries;
        for entry in &mut entries {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                entry.key = self.lower(std::mem::take(&mut entry.key));
                entry.value = self.lower(std::mem::take(&mut entry.value));
            }
        }
        Expr::Map(MapExpr { entries })
    }
}

fn call(id: u64, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
}

fn text(value: String) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(value.into())) }
}

fn number(value: u64) -> IdedExpr {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(value.into())) }
}

fn literal(expression: &IdedExpr) -> Option<Box<dyn Val>> {
    match &expression.expr {
        Expr::Literal(literal) => Some(literal.to_val().into_owned()),
        _ => None,
    }
}
