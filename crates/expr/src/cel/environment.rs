//! What expressions can name: roots of the document, definitions, functions of extensions.
//!
//! ```text
//!  roots          request, object          members of the document, map(string, dyn)
//!  definitions    variables.token          expressions with a name; later ones may use earlier ones
//!  libraries      jwt.Decode(…), x.With…   functions written in Rust, and the types of what they make
//! ```
//!
//! What every expression has (operators, the standard library, texts, optional values) is in `declarations.rs`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use super::{
    Compiled, DEPTH_LIMIT, Program, Shape, boolean,
    declarations::{self, Overload},
    extension::{Call, Extension},
    path::Path,
    types::Type,
};
use crate::error::ParseError;

/// What evaluating a definition from within another expression adds to the depth of an evaluation, in levels.
const LEVELS_BETWEEN: usize = 4;

/// Functions of one subject and the types of their values.
#[derive(Debug)]
pub struct Library {
    /// The types.
    pub objects: &'static [ObjectType],
    /// The functions.
    pub functions: &'static [Function],
}

/// A type of values that only functions of libraries make.
#[derive(Debug)]
pub struct ObjectType {
    /// How declarations and messages call it.
    pub name: &'static str,
    /// Names and types of the fields that expressions can read.
    pub fields: &'static [(&'static str, &'static str)],
}

/// A function of a library.
#[derive(Debug)]
pub struct Function {
    /// Its name: that of a member (`WithBody`), or one with a dot (`jwt.Decode`).
    pub name: &'static str,
    /// The ways to call it, separated by ` | `: `(string, int) -> TYPE` or, for members, `TYPE.(string) -> TYPE`. At
    /// most three parameters, the target included.
    pub signatures: &'static str,
    /// What it does. Types are checked before where they are known; arguments of type `dyn` can be anything.
    pub call: Call,
}

/// What an expression must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// True or false.
    Boolean,
    /// A value of this type of a library.
    Object(&'static str),
}

/// What expressions can name. It grows while a configuration is loaded.
#[derive(Debug, Default)]
pub struct Environment {
    roots: Vec<&'static str>,
    namespace: &'static str,
    definitions: Vec<Definition>,
    objects: HashMap<&'static str, Vec<(&'static str, Type)>>,
    functions: HashMap<&'static str, (Extension, Vec<Overload>)>,
}

/// An expression with a name.
#[derive(Debug)]
pub(super) struct Definition {
    /// With its namespace.
    pub(super) name: String,
    pub(super) output: Type,
    pub(super) program: Program,
    pub(super) depth: usize,
    /// The path, if it is nothing else: then it is followed anew where it is used, like any other.
    pub(super) alias: Option<Path>,
}

impl Environment {
    /// An environment with these roots of the document and these libraries. Definitions are named `namespace.NAME`.
    #[must_use]
    pub fn new(roots: &[&'static str], namespace: &'static str, libraries: &[&Library]) -> Self {
        let mut environment = Self { roots: roots.to_vec(), namespace, ..Self::default() };
        let types = libraries.iter().flat_map(|library| library.objects);
        let names: Vec<&'static str> = types.clone().map(|object| object.name).collect();
        for object in types {
            let fields = object.fields.iter();
            let fields = fields.filter_map(|(name, text)| Some((*name, declarations::type_expression(text, &names)?)));
            environment.objects.insert(object.name, fields.collect());
        }
        for function in libraries.iter().flat_map(|library| library.functions) {
            let overloads = declarations::read(function.signatures, &names);
            environment.functions.insert(function.name, (Extension(function.call), overloads));
        }
        environment
    }

    /// What the expressions of AuthConfigs can name.
    pub(super) fn of_auth_configs() -> &'static Self {
        static ENVIRONMENT: LazyLock<Environment> =
            LazyLock::new(|| Environment::new(&["request", "source", "destination", "metadata", "auth"], "", &[]));
        &ENVIRONMENT
    }

    /// Gives an expression of any type a name, which later expressions can use.
    ///
    /// # Errors
    /// When it cannot be parsed, does not type-check, or exceeds a limit; when the name is taken, or is none.
    pub fn define(&mut self, name: &str, source: &str) -> Result<(), ParseError> {
        let mut bytes = name.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !starts || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(ParseError::new(format!("`{name}` is not a name: letters, digits and underscores make one")));
        }
        let qualified = format!("{}.{name}", self.namespace);
        if self.definition(&qualified).is_some() {
            return Err(ParseError::new(format!("`{name}` is defined already")));
        }
        let Compiled { program, output, depth } = Program::compile(source, self, |_| Ok(()))?;
        let alias = match &program.inner.shape {
            Shape::Path(index) => program.inner.lowered.paths.get(*index).cloned(),
            _ => None,
        };
        let alias = alias.filter(|path| !path.presence && !path.is_optional());
        self.definitions.push(Definition { name: qualified, output, program, depth, alias });
        Ok(())
    }

    /// An expression, to be evaluated in a [`Scope`](super::Scope) of this environment.
    ///
    /// # Errors
    /// When it cannot be parsed, does not type-check, exceeds a limit, or gives something else.
    pub fn program(&self, source: &str, wanted: Output) -> Result<Program, ParseError> {
        let compiled = Program::compile(source, self, |output| match (wanted, output) {
            (Output::Boolean, output) => boolean(output),
            (Output::Object(wanted), Type::Object(found)) if wanted == *found => Ok(()),
            (Output::Object(wanted), found) => {
                Err(ParseError::new(format!("type error: got {found}, wanted {wanted} output type")))
            }
        });
        compiled.map(|compiled| compiled.program)
    }

    pub(super) fn is_root(&self, name: &str) -> bool {
        self.roots.contains(&name)
    }

    /// Whether `name` is what the names of definitions begin with.
    pub(super) fn is_namespace(&self, name: &str) -> bool {
        !self.namespace.is_empty() && name.strip_prefix('.').unwrap_or(name) == self.namespace
    }

    pub(super) fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// The definition of this name, with its namespace.
    pub(super) fn definition(&self, name: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.name == name)
    }

    /// The type of a field of an object.
    pub(super) fn field(&self, object: &str, field: &str) -> Option<Type> {
        self.objects.get(object)?.iter().find(|(name, _)| *name == field).map(|(_, of)| of.clone())
    }

    /// The ways to call a function, or `None` if there is no such function.
    pub(super) fn overloads(&self, function: &str) -> Option<&[Overload]> {
        declarations::overloads(function)
            .or_else(|| self.functions.get(function).map(|(_, overloads)| overloads.as_slice()))
    }

    /// The function of a library.
    pub(super) fn extension(&self, function: &str) -> Option<Extension> {
        self.functions.get(function).map(|(extension, _)| *extension)
    }

    /// How deep an evaluation may go: definitions are evaluated on the same stack.
    pub(super) fn depth(&self, own: usize, used: &BTreeSet<usize>) -> Result<usize, ParseError> {
        let used = used.iter().filter_map(|index| self.definitions.get(*index));
        let depth = own + used.map(|definition| definition.depth + LEVELS_BETWEEN).max().unwrap_or(0);
        if depth > DEPTH_LIMIT {
            return Err(ParseError::new(format!(
                "the expression is nested {depth} levels deep with those that it uses; the limit is {DEPTH_LIMIT}"
            )));
        }
        Ok(depth)
    }
}
