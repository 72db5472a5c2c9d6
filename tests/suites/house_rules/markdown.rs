//! As much of Markdown as our documents use: headings, tables, code between backticks.

/// A heading with what follows it.
#[derive(Debug)]
pub(super) struct Section<'t> {
    /// The text of the heading, without backticks.
    pub(super) heading: String,
    /// 1 for the title of a page.
    pub(super) level: usize,
    /// The lines up to the next heading of any level, outside of fenced blocks.
    pub(super) lines: Vec<(usize, &'t str)>,
}

/// One table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table<'t> {
    pub(super) header: Vec<&'t str>,
    /// The rows with their line numbers.
    pub(super) rows: Vec<(usize, Vec<&'t str>)>,
}

/// The sections of a page, in order.
pub(super) fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut is_fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
        } else if let Some(heading) = line.strip_prefix('#') {
            let level = 1 + heading.len() - heading.trim_start_matches('#').len();
            let heading = heading.trim_start_matches('#').trim().replace('`', "");
            sections.push(Section { heading, level, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push((number, line));
        }
    }
    sections
}

/// The tables among these lines.
pub(super) fn tables<'t>(lines: &[(usize, &'t str)]) -> Vec<Table<'t>> {
    let mut tables = Vec::new();
    let mut is_inside = false;
    for (number, line) in lines {
        let Some(cells) = cells(line) else {
            is_inside = false;
            continue;
        };
        if !is_inside {
            tables.push(Table { header: cells, rows: Vec::new() });
            is_inside = true;
        } else if let Some(table) = tables.last_mut()
            && !cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|letter| letter == '-'))
        {
            table.rows.push((*number, cells));
        }
    }
    tables
}

/// The cells of a line of a table. A vertical bar within a cell has a backslash before it.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let mut cells = Vec::new();
    let mut start = 0;
    for (at, _) in inner.match_indices('|').filter(|(at, _)| !inner[..*at].ends_with('\\')) {
        cells.push(inner[start..at].trim());
        start = at + 1;
    }
    cells.push(inner[start..].trim());
    Some(cells)
}

/// What stands between backticks.
pub(super) fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn pages_are_taken_apart() {
    let text = "\
# Page
Some `code` and `more`.
## A `field`
| field | default |
| --- | --- |
| `a` | `x\\|y` |
| `b` | |

```yaml
# no heading
| no | table |
```
| reason |
| --- |
";
    let sections = sections(text);
    let outline: Vec<_> = sections.iter().map(|section| (section.level, section.heading.as_str())).collect();
    assert_eq!(outline, [(1, "Page"), (2, "A field")]);
    assert_eq!(code(sections[0].lines[0].1), ["code", "more"]);
    let expected = [
        Table { header: vec!["field", "default"], rows: vec![(6, vec!["`a`", "`x\\|y`"]), (7, vec!["`b`", ""])] },
        Table { header: vec!["reason"], rows: Vec::new() },
    ];
    assert_eq!(tables(&sections[1].lines), expected);
}
