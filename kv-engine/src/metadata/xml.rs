//! Elements with their lines: what both files are read through.

use std::fmt::Display;
use std::str::FromStr;

use roxmltree::{Document, Node, ParsingOptions};

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what} (got {got}); {way_out}")]
pub struct MetadataError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub what: String,
    /// What stands there.
    pub got: String,
    /// What would be right.
    pub way_out: String,
}

/// More elements than any real file has; beyond them a file is refused instead of filling the memory.
const NODES_MAX: u32 = 1 << 22;
/// Longest excerpt of a file in an error, in characters.
const EXCERPT_MAX: usize = 80;

/// Reads a file's text. Document types are refused: they can name other files, and can grow without bound.
pub(super) fn document<'a>(file: &str, text: &'a str) -> Result<Document<'a>, MetadataError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| {
        let at = error.pos();
        let line = text.lines().nth(at.row.saturating_sub(1) as usize).unwrap_or_default();
        MetadataError {
            file: file.to_owned(),
            line: at.row,
            what: format!("no well-formed XML: {error}"),
            got: excerpt(line),
            way_out: "write it as the original's config/cluster.xml or config/STORES files are".to_owned(),
        }
    })
}

fn excerpt(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let mut quoted: String = text.chars().take(EXCERPT_MAX).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    format!("{quoted:?}")
}

/// An element and the file it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    file: &'a str,
    node: Node<'a, 'a>,
}

impl<'a> Element<'a> {
    /// The root, which must have this name.
    pub(super) fn root(file: &'a str, document: &'a Document<'a>, name: &str) -> Result<Self, MetadataError> {
        let root = Self { file, node: document.root_element() };
        if root.name() == name {
            return Ok(root);
        }
        Err(root.error("another kind of file", root.name(), format!("the outermost element is <{name}>")))
    }

    pub(super) fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub(super) fn line(&self) -> u32 {
        self.node.document().text_pos_at(self.node.range().start).row
    }

    pub(super) fn error(
        &self,
        what: impl Display,
        got: impl AsRef<str>,
        way_out: impl Display,
    ) -> MetadataError {
        MetadataError {
            file: self.file.to_owned(),
            line: self.line(),
            what: what.to_string(),
            got: excerpt(got.as_ref()),
            way_out: way_out.to_string(),
        }
    }

    /// The elements in it; text between them is refused.
    pub(super) fn elements(&self) -> Result<Vec<Self>, MetadataError> {
        let mut elements = Vec::new();
        for node in self.node.children() {
            if node.is_element() {
                elements.push(Self { file: self.file, node });
            } else if let Some(text) = node.text().filter(|text| node.is_text() && !text.trim().is_empty()) {
                let what = format!("text between the elements of <{}>", self.name());
                return Err(self.error(what, text, "put it into an element, or into a comment"));
            }
        }
        Ok(elements)
    }

    /// Its text, without the space around it. Elements in it are refused.
    pub(super) fn text(&self) -> Result<String, MetadataError> {
        let mut text = String::new();
        for node in self.node.children() {
            if node.is_element() {
                let inner = node.tag_name().name();
                return Err(self.error(
                    format!("an element inside of <{}>", self.name()),
                    inner,
                    "it holds text only",
                ));
            }
            text.push_str(node.text().filter(|_| node.is_text()).unwrap_or_default());
        }
        Ok(text.trim().to_owned())
    }

    /// Its text, which must not be empty.
    pub(super) fn filled(&self) -> Result<String, MetadataError> {
        let text = self.text()?;
        if text.is_empty() {
            return Err(self.error(format!("<{}> is empty", self.name()), "", "it needs a value"));
        }
        Ok(text)
    }

    /// Its text as a number.
    pub(super) fn number<T: FromStr>(&self, range: &str) -> Result<T, MetadataError> {
        let text = self.text()?;
        text.parse().map_err(|_| self.not_a_number(&text, range))
    }

    pub(super) fn not_a_number(&self, text: &str, range: &str) -> MetadataError {
        self.error(format!("<{}> is out of range or no number", self.name()), text, format!("it is {range}"))
    }

    /// Its text as numbers with commas between them; nothing between two commas is passed over.
    pub(super) fn numbers<T: FromStr>(&self, range: &str) -> Result<Vec<T>, MetadataError> {
        let text = self.text()?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| part.parse().map_err(|_| self.not_a_number(part, range))).collect()
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        self.node.attribute(name)
    }

    /// Its elements by name, of which each may come once, in any order; others are refused.
    pub(super) fn fields(&self, known: &'static [&'static str]) -> Result<Fields<'a>, MetadataError> {
        let elements = self.elements()?;
        for (at, element) in elements.iter().enumerate() {
            if !known.contains(&element.name()) {
                let what = format!("<{}> knows no such element", self.name());
                return Err(element.error(what, element.name(), format!("it has {}", known.join(", "))));
            }
            if elements[..at].iter().any(|before| before.name() == element.name()) {
                let what = format!("<{}> has this element twice", self.name());
                return Err(element.error(what, element.name(), "keep one of them"));
            }
        }
        Ok(Fields { of: *self, elements })
    }
}

/// The elements of one element, by name.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    of: Element<'a>,
    elements: Vec<Element<'a>>,
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Element<'a>> {
        self.elements.iter().find(|element| element.name() == name).copied()
    }

    pub(super) fn need(&self, name: &str) -> Result<Element<'a>, MetadataError> {
        self.get(name).ok_or_else(|| {
            let has: Vec<_> = self.elements.iter().map(Element::name).collect();
            let what = format!("<{}> lacks <{name}>", self.of.name());
            self.of.error(what, has.join(", "), format!("add <{name}>"))
        })
    }

    pub(super) fn number<T: FromStr>(&self, name: &str, range: &str) -> Result<Option<T>, MetadataError> {
        self.get(name).map(|element| element.number(range)).transpose()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, MetadataError> {
        self.get(name).map(|element| element.text()).transpose()
    }

    /// Names with commas between them; none if the element isn't there.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, MetadataError> {
        let text = self.text(name)?.unwrap_or_default();
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }
}
