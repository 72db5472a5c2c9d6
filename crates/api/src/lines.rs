//! At which lines of a text the fields of a document stand.

/// The lines of a document's fields. Empty for objects that do not come from a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// Counted from 1; 0 if unknown.
    pub(crate) line: usize,
    pub(crate) members: Vec<(String, Lines)>,
    pub(crate) items: Vec<Lines>,
}

impl Lines {
    /// The line, counted from 1, of a field such as `spec.authentication.keys.apiKey.selector` or
    /// `spec.when[0].operator`; of the nearest field around it if it is not there. None if there are no lines.
    pub fn find(&self, path: &str) -> Option<usize> {
        let mut here = self;
        let mut rest = path;
        // Names may contain dots and brackets: the longest that fits is taken.
        loop {
            let member = here
                .members
                .iter()
                .filter_map(|(name, below)| Some((name.len(), after_name(rest, name)?, below)))
                .max_by_key(|(length, ..)| *length)
                .map(|(_, after, below)| (after, below));
            let Some((after, below)) = member.or_else(|| after_index(rest, &here.items)) else {
                break;
            };
            if below.line == 0 {
                break;
            }
            here = below;
            rest = after;
        }
        (here.line > 0).then_some(here.line)
    }
}

/// What follows a name at the beginning of a path.
fn after_name<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let after = path.strip_prefix(name)?;
    (!path.is_empty() && (after.is_empty() || after.starts_with(['.', '[']))).then_some(after)
}

/// What follows an index at the beginning of a path, and the item that it names.
fn after_index<'p, 'l>(path: &'p str, items: &'l [Lines]) -> Option<(&'p str, &'l Lines)> {
    let (index, after) = path.strip_prefix('[')?.split_once(']')?;
    Some((after, items.get(index.parse::<usize>().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(line: usize) -> Lines {
        Lines { line, ..Lines::default() }
    }

    #[test]
    fn fields_are_found_or_else_what_is_around_them() {
        let members =
            |list: Vec<(&str, Lines)>| list.into_iter().map(|(name, lines)| (name.to_owned(), lines)).collect();
        let items = Lines { line: 3, items: vec![leaf(4), leaf(5)], ..Lines::default() };
        let names = Lines {
            line: 6,
            members: members(vec![("a", leaf(7)), ("a.b", leaf(8)), ("x[0]", leaf(9))]),
            items: vec![],
        };
        let spec = Lines { line: 2, members: members(vec![("when", items), ("names", names)]), items: vec![] };
        let document = Lines { line: 1, members: members(vec![("spec", spec)]), items: vec![] };
        for (path, line) in [
            ("", 1),
            ("metadata.name", 1),
            ("spec", 2),
            ("spec.hosts", 2),
            ("spec.when", 3),
            ("spec.when[0]", 4),
            ("spec.when[1].operator", 5),
            ("spec.when[2]", 3),
            ("spec.when[x]", 3),
            ("spec.names.a", 7),
            ("spec.names.a.c", 7),
            ("spec.names.a.b", 8),
            ("spec.names.x[0].y", 9),
            ("spec.namesake", 2),
        ] {
            assert_eq!(document.find(path), Some(line), "{path}");
        }
        assert_eq!(Lines::default().find("spec"), None);
    }
}
