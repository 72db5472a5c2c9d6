//! What an expression reads of a document, known without evaluating it.
//!
//! ```text
//!  request.headers["x-tenant"] == auth.identity.tenant   ─► request.headers.x-tenant, auth.identity.tenant
//!  request.headers[auth.identity.header]                 ─► request.headers, auth.identity.header
//! ```
//!
//! A reference is the names that lead from the document to a part of it; whatever lies below may be read too. Where a
//! name is computed, or any will do, the reference ends before it. Two documents that agree in all references of an
//! expression, and in which of the objects on the way to them are there, are the same to it.

use std::collections::BTreeSet;

/// The parts of a document that an expression reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References(BTreeSet<Vec<String>>);

impl References {
    /// Adds the part that these names lead to; none lead to the whole document.
    pub fn add<N: Into<String>>(&mut self, names: impl IntoIterator<Item = N>) {
        self.0.insert(names.into_iter().map(Into::into).collect());
    }

    /// Adds what others read.
    pub fn add_all(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// These and those.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.add_all(others);
        self
    }

    /// The names that lead to each part. One may lie within another.
    pub fn iter(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        borrow::Cow,
        collections::BTreeSet,
        sync::{Mutex, PoisonError},
    };

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Document, Expression, Node, Part, selector::Selector};

    fn references(expression: &Expression) -> Vec<String> {
        expression.references().iter().map(|names| names.join("/")).collect()
    }

    #[test]
    fn cel_reads_what_its_paths_lead_to() {
        for (source, expected) in [
            ("true", vec![]),
            ("request.headers['x-a'] == auth.identity.sub", vec!["auth/identity/sub", "request/headers/x-a"]),
            ("has(request.headers.x)", vec!["request/headers/x"]),
            ("request.?headers[?'x'].orValue('')", vec!["request/headers/x"]),
            ("request.headers[auth.identity.h]", vec!["auth/identity/h", "request/headers"]),
            ("request.headers['a' + 'b']", vec!["request/headers"]),
            ("request.headers.exists(h, h == 'x')", vec!["request/headers"]),
            ("'x' in request.headers", vec!["request/headers"]),
            ("size(request) > 1", vec!["request"]),
            ("{'a': request}.a.headers.x", vec!["request"]),
            ("[1, 2].map(request, request + 1)", vec![]),
            ("[1, 2].map(request, .request.path)", vec!["request/path"]),
            ("auth.identity.roles.all(r, r != request.headers.x)", vec!["auth/identity/roles", "request/headers/x"]),
            ("auth.identity.list[0].x", vec!["auth/identity/list"]),
            (
                "request.body.matches(metadata.filter_metadata['a.b'].re)",
                vec!["metadata/filter_metadata/a.b/re", "request/body"],
            ),
            ("true || request.id == ''", vec!["request/id"]),
            ("optional.of(request.headers).optMap(h, h.x)", vec!["request/headers"]),
        ] {
            assert_eq!(references(&Expression::cel(source).unwrap()), expected, "{source}");
        }
    }

    #[test]
    fn selectors_read_what_lies_before_anything_computed() {
        for (source, expected) in [
            ("request.headers.x-a", vec!["request/headers/x-a"]),
            (r"metadata.filter_metadata.a\.b.c", vec!["metadata/filter_metadata/a.b/c"]),
            ("request.headers.x-*", vec!["request/headers"]),
            ("r?quest.path", vec![""]),
            ("request.path.@extract:{\"sep\":\"/\",\"pos\":1}", vec!["request/path"]),
            ("@this.request.path", vec!["request/path"]),
            ("@this.request|@keys", vec!["request"]),
            ("request|headers|x", vec!["request/headers/x"]),
            ("request.headers.@keys|#", vec!["request/headers"]),
            ("auth.identity.roles.#(name==\"a\").id", vec!["auth/identity/roles"]),
            ("auth.identity.roles.#", vec!["auth/identity/roles"]),
            ("request.headers.#", vec!["request/headers"]),
            ("[request.method,request.headers.x]", vec!["request/headers/x", "request/method"]),
            ("request.{\"a\":headers.x,path}", vec!["request/headers/x", "request/path"]),
            ("request.[headers.x].0", vec!["request/headers/x"]),
            ("!\"text\"", vec![]),
            ("request.id|!\"text\"", vec!["request/id"]),
            ("request.id|[!1,!2]", vec!["request/id"]),
            ("..0.request.path", vec![""]),
            ("", vec![""]),
        ] {
            let selector = Expression::Selector(Selector::parse(source).unwrap());
            assert_eq!(references(&selector), expected, "{source}");
        }
        let template = "{request.method} of {request.headers.x} with \\{braces\\}, {auth.identity.a.@case:upper}";
        let expected = ["auth/identity/a", "request/headers/x", "request/method"];
        assert_eq!(references(&Expression::selector(template).unwrap()), expected);
    }

    #[test]
    fn queries_read_what_lies_before_anything_computed() {
        for (source, expected) in [
            ("$.request.headers['x-a']", vec!["request/headers/x-a"]),
            ("$.request['headers','path']", vec!["request"]),
            ("$.request.headers.*", vec!["request/headers"]),
            ("$..x", vec![""]),
            ("$.request..x", vec!["request"]),
            ("$.auth.identity.roles[0].name", vec!["auth/identity/roles"]),
            ("$.auth.identity.roles[?@.name == $.request.headers.x]", vec!["auth/identity/roles", "request/headers/x"]),
            ("$.auth.roles[?@.a[?@ == $.request.path]]", vec!["auth/roles", "request/path"]),
            ("$.auth.roles[?length(@.a) > length($.request.path)]", vec!["auth/roles", "request/path"]),
            (
                "$.auth.roles[?count($.request.headers.*) > 1 || value($..x) == 1]",
                vec!["", "auth/roles", "request/headers"],
            ),
            (
                "$.auth.roles[?match(@.a, $.request.body) && !(search($.request.id, 'x'))]",
                vec!["auth/roles", "request/body", "request/id"],
            ),
            ("$.auth.roles[?$.request.size]", vec!["auth/roles", "request/size"]),
            ("$", vec![""]),
        ] {
            assert_eq!(references(&Expression::json_path(source).unwrap()), expected, "{source}");
        }
    }

    /// A document that notes what is read of it.
    struct Watched {
        value: Value,
        objects: Mutex<Vec<Vec<String>>>,
        read: Mutex<BTreeSet<Vec<String>>>,
    }

    impl Watched {
        fn new(value: Value) -> Self {
            Self { value, objects: Mutex::new(vec![Vec::new()]), read: Mutex::default() }
        }

        fn path(&self, part: Part) -> Vec<String> {
            self.objects.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(part.0)].clone()
        }

        fn at(&self, path: &[String]) -> Option<&Value> {
            path.iter().try_fold(&self.value, |value, name| value.get(name))
        }

        fn child(&self, part: Part, key: &str) -> Option<Node<'_>> {
            let path = [self.path(part), vec![key.to_owned()]].concat();
            self.read.lock().unwrap().insert(path.clone());
            match self.at(&path)? {
                Value::Object(_) => {
                    let mut objects = self.objects.lock().unwrap();
                    objects.push(path);
                    Some(Node::Message(self, Part(u16::try_from(objects.len() - 1).unwrap())))
                }
                value => Some(Node::Json(value)),
            }
        }
    }

    impl Document for Watched {
        fn member<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
            self.child(part, key)
        }

        fn members<'a>(&'a self, part: Part) -> Vec<(Cow<'a, str>, Node<'a>)> {
            let path = self.path(part);
            self.read.lock().unwrap().insert(path.clone());
            let names: Vec<_> = self.at(&path).unwrap().as_object().unwrap().keys().collect();
            names.into_iter().map(|name| (Cow::Borrowed(name.as_str()), self.child(part, name).unwrap())).collect()
        }

        fn json(&self) -> Cow<'_, Value> {
            self.read.lock().unwrap().insert(Vec::new());
            Cow::Borrowed(&self.value)
        }
    }

    fn document() -> Value {
        json!({
            "request": {"headers": {"x": "1", "y": "headers", "a.b": "2"}, "path": "/a/b", "size": 3},
            "auth": {"identity": {"roles": [{"name": "x"}, {"name": "y"}], "key": "x", "list": ["x", "y"]}},
            "metadata": {"a": {"b": "x"}},
        })
    }

    /// Pieces that make paths, conditions and modifiers when they are put together.
    fn pieces(language: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(language), 1..8).prop_map(|pieces| pieces.concat())
    }

    const SELECTOR: &[&str] = &[
        "request",
        "headers",
        "x",
        "auth",
        "identity",
        "roles",
        "name",
        "path",
        "metadata",
        ".",
        ".",
        ".",
        "|",
        "*",
        "#",
        "#.",
        "#(name==\"x\")",
        "#(name==\"x\")#",
        "@this",
        "@keys",
        "@values",
        "@case:upper",
        "@reverse",
        "[",
        "]",
        "{",
        "}",
        ",",
        "..",
        "0",
        "!\"a\"",
        "r?quest",
        "\\",
        "@extract:{\"sep\":\"/\"}",
    ];
    const QUERY: &[&str] = &[
        "$",
        "$",
        ".request",
        ".headers",
        ".x",
        "['x']",
        ".auth.identity",
        ".roles",
        ".*",
        "..",
        "[0]",
        "[?@.name]",
        "[?@.name == $.request.headers.x]",
        "[?count($.request.*) > 1]",
        "[?@ == $.auth.identity.key]",
        "name",
        "[0:1]",
        "['headers','path']",
        "[?length($.request.path) > 1]",
    ];
    const CEL: &[&str] = &[
        "request",
        "auth",
        "metadata",
        ".headers",
        ".x",
        ".?headers",
        "[?'x']",
        "['x']",
        ".identity",
        ".roles",
        ".path",
        "[0]",
        "has(",
        ")",
        " == ",
        " in ",
        " && ",
        "'x'",
        "[auth.identity.key]",
        ".exists(r, r == ",
        ".map(request, request)",
        "size(",
        "{'a': ",
        "}",
        ".a",
        "[",
        "]",
        ".orValue('')",
        ".name",
        "!",
        " + ",
    ];

    /// Whether all that is read lies on the way to a part that is told, or below one.
    fn is_told(read: &[String], told: &References) -> bool {
        told.iter().any(|names| names.starts_with(read) || read.starts_with(names))
    }

    fn holds(expression: &Expression) -> Result<(), TestCaseError> {
        let document = Watched::new(document());
        let _ = expression.resolve(&document);
        let told = expression.references();
        for read in document.read.lock().unwrap().iter() {
            // To list the members of an object is to read all of it.
            prop_assert!(is_told(read, &told), "{expression:?} reads {read:?}, told are {told:?}");
        }
        Ok(())
    }

    /// A document in which everything that is not told is something else.
    fn holds_for_another(expression: &Expression) -> Result<(), TestCaseError> {
        let told = expression.references();
        let mut other = document();
        for path in [
            &["request", "headers", "x"][..],
            &["request", "headers", "y"],
            &["request", "headers", "a.b"],
            &["request", "path"],
            &["request", "size"],
            &["auth", "identity", "key"],
            &["auth", "identity", "roles"],
            &["metadata", "a", "b"],
        ] {
            let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
            if !told.iter().any(|names| path.starts_with(names) || names.starts_with(&path)) {
                let parent = path.split_last().unwrap();
                let parent = parent.1.iter().try_fold(&mut other, |value, name| value.get_mut(name)).unwrap();
                parent.as_object_mut().unwrap().insert(path.last().unwrap().clone(), json!("other"));
            }
        }
        let of = |document: &Value| expression.resolve(document).map_err(|error| error.to_string());
        prop_assert_eq!(of(&document()), of(&other), "{:?}, told are {:?}", expression, told);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { max_global_rejects: 1_000_000, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn nothing_else_is_read_by_selectors(source in pieces(SELECTOR)) {
            // With braces, what is a selector for one is a template for another.
            let expressions = [Expression::selector(&source), Selector::parse(&source).map(Expression::Selector)];
            for expression in expressions.into_iter().flatten() {
                holds(&expression)?;
                holds_for_another(&expression)?;
            }
        }

        #[test]
        fn nothing_else_is_read_by_queries(source in pieces(QUERY)) {
            if let Ok(expression) = Expression::json_path(&source) {
                holds(&expression)?;
                holds_for_another(&expression)?;
            }
        }

        #[test]
        fn nothing_else_is_read_by_cel(source in pieces(CEL)) {
            if let Ok(expression) = Expression::cel(&source) {
                holds(&expression)?;
                holds_for_another(&expression)?;
            }
        }
    }
}
