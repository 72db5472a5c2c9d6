//! The fenced blocks of a Markdown page: what stands between lines of three backticks.

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The number of the line with the opening fence, from 1.
    pub(crate) line: usize,
    /// What that line says after the backticks, such as `yaml`.
    pub(crate) language: String,
    /// The lines between the fences, without the indentation of the fence.
    pub(crate) lines: Vec<String>,
}

impl Block {
    /// All of it, as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// All of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((line, fence)) = lines.next() {
        let Some(language) = fence.trim_start().strip_prefix("```") else { continue };
        let indentation = fence.len() - fence.trim_start().len();
        let inner = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim_start().starts_with("```"));
        let lines = inner.map(|line| line.get(indentation..).unwrap_or_default().to_owned()).collect();
        blocks.push(Block { line, language: language.trim().to_owned(), lines });
    }
    blocks
}

#[test]
fn blocks_are_found() {
    let page = "\
1. first
   ```yaml
   a:
     b: 1

   ```
```
no language
```
";
    let block = |line, language: &str, lines: &[&str]| Block {
        line,
        language: language.to_owned(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(blocks(page), [block(2, "yaml", &["a:", "  b: 1", ""]), block(7, "", &["no language"])]);
    assert_eq!(blocks(page)[0].text(), "a:\n  b: 1\n");
}
