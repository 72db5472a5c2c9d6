//! What we evaluate ourselves instead of leaving it to the interpreter.
//!
//! The names start with `@`, which no source can spell: [`lower`](super::lower) puts calls to them where the meaning
//! we want differs from that of the interpreter, or where something has to be paid for.

use std::sync::{Arc, LazyLock};

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        functions::Function,
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelOptional, CelString, CelUInt, DYN_TYPE, INT_TYPE, Kind,
            LIST_TYPE, STRING_TYPE, Type,
        },
        value::{CowVal, Val},
    },
};

use super::{budget, extension, format, matches, text};

pub(super) type Arguments<'b, 'v> = Vec<CowVal<'b, 'v>>;
pub(super) type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// The environment of all programs, made once.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // A literal that repeats a key keeps the last entry, as in cel-go.
    environment.set_error_on_duplicate_map_keys(false);
    let registered = environment.add_extension(cel::extensions::strings).and_then(|()| register(&mut environment));
    debug_assert!(registered.is_ok(), "{registered:?}");
    Arc::new(environment)
});

fn register(environment: &mut Env) -> Result<(), DeclarationError> {
    let any = || DYN_TYPE;
    let (string, int, list) = (|| STRING_TYPE, || INT_TYPE, || LIST_TYPE);
    let functions: Vec<(&str, Vec<Type>, Function)> = vec![
        ("@select", vec![any(), string()], select),
        ("@has", vec![any(), string()], has),
        ("@optional_select", vec![any(), string()], optional_lookup),
        ("@optional_index", vec![any(), any()], optional_lookup),
        ("@equals", vec![any(), any()], equals),
        ("@contains", vec![any(), any()], contains),
        ("@add", vec![any(), any()], add),
        ("@subtract", vec![any(), any()], subtract),
        ("@multiply", vec![any(), any()], multiply),
        ("@divide", vec![any(), any()], divide),
        ("@iterate", vec![any(), int(), int()], iterate),
        ("@held", vec![any(), any(), int()], held),
        ("@sized", vec![any(), int()], sized),
        ("@matches", vec![string(), any()], matches::matches),
        ("@call", vec![any()], extension::call),
        ("@call", vec![any(), any()], extension::call),
        ("@call", vec![any(), any(), any()], extension::call),
        ("@call", vec![any(), any(), any(), any()], extension::call),
        ("@string", vec![any()], text::string),
        ("@format", vec![string(), list()], format::format),
        ("@indexOf", vec![string(), string()], text::index_of),
        ("@indexOf", vec![string(), string(), int()], text::index_of),
        ("@lastIndexOf", vec![string(), string()], text::last_index_of),
        ("@lastIndexOf", vec![string(), string(), int()], text::last_index_of),
        ("@join", vec![list()], text::join),
        ("@join", vec![list(), string()], text::join),
        ("@replace", vec![string(), string(), string()], text::replace),
        ("@replace", vec![string(), string(), string(), int()], text::replace),
        ("@split", vec![string(), string()], text::split),
        ("@split", vec![string(), string(), int()], text::split),
    ];
    for (name, parameters, function) in functions {
        let id = format!("{name}/{}", parameters.len());
        environment.add_overload(name, &id, parameters, function)?;
    }
    Ok(())
}

/// The arguments of a function of `N` parameters.
pub(super) fn exactly<'b, 'v, const N: usize>(
    arguments: Arguments<'b, 'v>,
) -> Result<[CowVal<'b, 'v>; N], ExecutionError> {
    arguments.try_into().map_err(|all: Vec<_>| ExecutionError::invalid_argument_count(N, all.len()))
}

/// A result that was made anew.
pub(super) fn owned<'b, 'v>(value: impl Val + 'v) -> Outcome<'b, 'v> {
    Ok(CowVal::owned(value))
}

/// An error whose text may be shown as it is.
pub(super) fn failure(message: impl Into<String>) -> ExecutionError {
    ExecutionError::FunctionError { function: String::new(), message: message.into() }
}

pub(super) fn no_overload(function: &str, arguments: &[&dyn Val]) -> ExecutionError {
    let types = arguments.iter().map(|argument| argument.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}

// --- Members -------------------------------------------------------------------------------------------------------

/// `operand.field`
fn select<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [operand, field] = exactly(arguments)?;
    match optional(operand) {
        Operand::Plain(operand) => match operand.get_type().kind() {
            // Objects of extensions have no kind of CEL.
            Kind::Map | Kind::Unspecified => element(operand, field.as_ref()),
            Kind::List => Err(no_overload("_._", &[operand.as_ref(), field.as_ref()])),
            _ => Err(ExecutionError::no_such_key(field.downcast_ref::<CelString>().map_or("", CelString::inner))),
        },
        Operand::Held(operand) => look_up(operand, field.as_ref()),
        Operand::Empty => owned(CelOptional::none()),
    }
}

/// `has(operand.field)`: false, not an error, for values that have no members.
fn has<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [operand, field] = exactly(arguments)?;
    let present = match optional(operand) {
        Operand::Plain(operand) if operand.get_type().kind() == Kind::List => {
            return Err(no_overload("_._", &[operand.as_ref(), field.as_ref()]));
        }
        Operand::Plain(operand) | Operand::Held(operand) => {
            matches!(operand.get_type().kind(), Kind::Map | Kind::Unspecified)
                && is_member(operand.as_ref(), field.as_ref())?
        }
        Operand::Empty => false,
    };
    owned(CelBool::from(present))
}

/// `operand.?field` and `operand[?key]`
fn optional_lookup<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [operand, key] = exactly(arguments)?;
    match optional(operand) {
        Operand::Plain(operand) | Operand::Held(operand) => look_up(operand, key.as_ref()),
        Operand::Empty => owned(CelOptional::none()),
    }
}

/// The member or element at `key` if it is there: what is not there, but would read as an empty value, is not.
fn look_up<'b, 'v>(container: CowVal<'b, 'v>, key: &dyn Val) -> Outcome<'b, 'v> {
    let found = match container.get_type().kind() {
        Kind::Map | Kind::Unspecified if is_member(container.as_ref(), key).unwrap_or(false) => {
            Some(element(container, key)?)
        }
        Kind::List => element(container, key).ok(),
        _ => None,
    };
    Ok(CowVal::owned(found.map_or_else(CelOptional::none, |found| CelOptional::of(found.into_owned()))))
}

fn is_member(map: &dyn Val, key: &dyn Val) -> Result<bool, ExecutionError> {
    map.as_container().map_or(Ok(false), |map| map.contains(key))
}

/// The member or element at `key`, borrowed if the container is.
fn element<'b, 'v>(container: CowVal<'b, 'v>, key: &dyn Val) -> Outcome<'b, 'v> {
    let unsupported = || ExecutionError::no_such_overload("_[_]", Vec::new());
    match container {
        CowVal::Borrowed(container) => container.as_indexer().ok_or_else(unsupported)?.get(key),
        CowVal::Owned(container) => {
            let movable = container.downcast_ref::<CelMap>().is_some() || container.downcast_ref::<CelList>().is_some();
            if movable {
                container.into_indexer().ok_or_else(unsupported)?.steal(key).map(CowVal::Owned)
            } else {
                let found = container.as_indexer().ok_or_else(unsupported)?.get(key)?;
                Ok(CowVal::Owned(found.into_owned()))
            }
        }
    }
}

enum Operand<'b, 'v> {
    Plain(CowVal<'b, 'v>),
    /// What an optional value holds.
    Held(CowVal<'b, 'v>),
    /// An optional value that holds nothing.
    Empty,
}

fn optional<'b, 'v>(value: CowVal<'b, 'v>) -> Operand<'b, 'v> {
    match value {
        CowVal::Borrowed(value) => match value.downcast_ref::<CelOptional>() {
            None => Operand::Plain(CowVal::Borrowed(value)),
            Some(optional) => match optional.option() {
                Some(held) => Operand::Held(CowVal::Borrowed(held)),
                None => Operand::Empty,
            },
        },
        CowVal::Owned(value) => {
            let Some(optional) = value.downcast_ref::<CelOptional>() else {
                return Operand::Plain(CowVal::Owned(value));
            };
            match optional.option() {
                Some(held) => Operand::Held(CowVal::Owned(held.clone_as_boxed())),
                None => Operand::Empty,
            }
        }
    }
}

// --- Equality ------------------------------------------------------------------------------------------------------

fn equals<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [left, right] = exactly(arguments)?;
    Ok(CowVal::owned(CelBool::from(equal(left.as_ref(), right.as_ref()))))
}

/// `value in container`
fn contains<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [value, container] = exactly(arguments)?;
    let unsupported = || no_overload("@in", &[value.as_ref(), container.as_ref()]);
    let found = match container.get_type().kind() {
        Kind::List => {
            let mut elements = container.as_iterable().ok_or_else(unsupported)?.iter();
            let mut found = false;
            while !found && let Some(element) = elements.next() {
                found = equal(element, value.as_ref());
            }
            found
        }
        Kind::Map => is_member(container.as_ref(), value.as_ref()).map_err(|_| unsupported())?,
        _ => return Err(unsupported()),
    };
    owned(CelBool::from(found))
}

/// Whether two values are equal, whoever made them: maps and lists of the document and of the source compare by what
/// they hold.
pub(super) fn equal(left: &dyn Val, right: &dyn Val) -> bool {
    if budget::charge(1).is_err() {
        return false;
    }
    match (left.get_type().kind(), right.get_type().kind()) {
        (Kind::List, Kind::List) => equal_lists(left, right).unwrap_or(false),
        (Kind::Map, Kind::Map) => equal_maps(left, right).unwrap_or(false),
        _ => match (left.downcast_ref::<CelOptional>(), right.downcast_ref::<CelOptional>()) {
            (Some(left), Some(right)) => match (left.option(), right.option()) {
                (Some(left), Some(right)) => equal(left, right),
                (left, right) => left.is_none() && right.is_none(),
            },
            _ => left.equals(right),
        },
    }
}

fn equal_lists(left: &dyn Val, right: &dyn Val) -> Option<bool> {
    if left.as_sizer()?.size() != right.as_sizer()?.size() {
        return Some(false);
    }
    let (mut left, mut right) = (left.as_iterable()?.iter(), right.as_iterable()?.iter());
    while let (Some(left), Some(right)) = (left.next(), right.next()) {
        if !equal(left, right) {
            return Some(false);
        }
    }
    Some(true)
}

fn equal_maps(left: &dyn Val, right: &dyn Val) -> Option<bool> {
    if left.as_sizer()?.size() != right.as_sizer()?.size() {
        return Some(false);
    }
    let mut keys = left.as_iterable()?.iter();
    while let Some(key) = keys.next() {
        if !right.as_container()?.contains(key).ok()? {
            return Some(false);
        }
        let (left, right) = (left.as_indexer()?.get(key).ok()?, right.as_indexer()?.get(key).ok()?);
        if !equal(left.as_ref(), right.as_ref()) {
            return Some(false);
        }
    }
    Some(true)
}

// --- Arithmetic ----------------------------------------------------------------------------------------------------

fn add<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [left, right] = exactly(arguments)?;
    if let Some((left, right)) = mixed(left.as_ref(), right.as_ref()) {
        return owned(CelDouble::from(left + right));
    }
    budget::charge(budget::size(left.as_ref()).saturating_add(budget::size(right.as_ref())))?;
    let adder = left.as_adder().ok_or_else(|| no_overload("_+_", &[left.as_ref(), right.as_ref()]))?;
    adder.add(right.as_ref()).map(|sum| CowVal::Owned(sum.into_owned()))
}

fn subtract<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [left, right] = exactly(arguments)?;
    if let Some((left, right)) = mixed(left.as_ref(), right.as_ref()) {
        return owned(CelDouble::from(left - right));
    }
    let subtractor = left.as_subtractor().ok_or_else(|| no_overload("_-_", &[left.as_ref(), right.as_ref()]))?;
    subtractor.sub(right.as_ref()).map(|difference| CowVal::Owned(difference.into_owned()))
}

fn multiply<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [left, right] = exactly(arguments)?;
    if let Some((left, right)) = mixed(left.as_ref(), right.as_ref()) {
        return owned(CelDouble::from(left * right));
    }
    let multiplier = left.as_multiplier().ok_or_else(|| no_overload("_*_", &[left.as_ref(), right.as_ref()]))?;
    multiplier.mul(right.as_ref()).map(|product| CowVal::Owned(product.into_owned()))
}

fn divide<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [left, right] = exactly(arguments)?;
    if let Some((left, right)) = mixed(left.as_ref(), right.as_ref()) {
        return owned(CelDouble::from(left / right));
    }
    let divider = left.as_divider().ok_or_else(|| no_overload("_/_", &[left.as_ref(), right.as_ref()]))?;
    divider.div(right.as_ref()).map(|quotient| CowVal::Owned(quotient.into_owned()))
}

/// Both operands as doubles if exactly one of them is one and the other is a whole number.
///
/// All numbers of the document are doubles; without this `auth.identity.age + 1` would fail.
fn mixed(left: &dyn Val, right: &dyn Val) -> Option<(f64, f64)> {
    let double = |value: &dyn Val| value.downcast_ref::<CelDouble>().map(|double| *double.inner());
    match (double(left), double(right)) {
        (Some(left), None) => Some((left, whole(right)?)),
        (None, Some(right)) => Some((whole(left)?, right)),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "the result is a double in any case")]
fn whole(value: &dyn Val) -> Option<f64> {
    let int = value.downcast_ref::<CelInt>().map(|int| *int.inner() as f64);
    int.or_else(|| value.downcast_ref::<CelUInt>().map(|uint| *uint.inner() as f64))
}

// --- Payment -------------------------------------------------------------------------------------------------------

/// The range of a comprehension, whose passes are paid for before the first: each costs `weight`, and the elements are
/// copied `uses` times.
fn iterate<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [range, weight, uses] = exactly(arguments)?;
    let copies = budget::size(range.as_ref()).saturating_mul(constant(uses.as_ref()));
    budget::charge(length(range.as_ref()).saturating_mul(constant(weight.as_ref())).saturating_add(copies))?;
    Ok(range)
}

/// The range of a comprehension in every pass of which a `value` from outside is copied `uses` times.
fn held<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [range, value, uses] = exactly(arguments)?;
    let copies = budget::size(value.as_ref()).saturating_mul(constant(uses.as_ref()));
    budget::charge(length(range.as_ref()).saturating_mul(copies))?;
    Ok(range)
}

/// A value that is copied, or gone through, `uses` times.
fn sized<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [value, uses] = exactly(arguments)?;
    budget::charge(budget::size(value.as_ref()).saturating_mul(constant(uses.as_ref())))?;
    Ok(value)
}

fn length(range: &dyn Val) -> u64 {
    range.as_sizer().map_or(0, |range| u64::try_from(*range.size().inner()).unwrap_or(0))
}

fn constant(value: &dyn Val) -> u64 {
    value.downcast_ref::<CelInt>().map_or(1, |int| u64::try_from(*int.inner()).unwrap_or(1))
}
