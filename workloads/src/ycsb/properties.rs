//! Java's `.properties` text: keys and values with the lines they stand on.
//!
//! A key ends at the first `=`, `:` or blank that is not escaped; a backslash at a line's end joins the next line
//! to it; `\t`, `\n`, `\r`, `\f` and `\uXXXX` are characters, and a backslash before any other stands for that one.

/// One assignment, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) key: String,
    /// Without the blanks at its end, which Java keeps and nobody means.
    pub(super) value: String,
    /// The line on which the key begins, from 1.
    pub(super) line: u64,
}

/// All assignments of a text, in its order.
pub(super) fn read(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = text.split('\n').flat_map(|part| part.strip_suffix('\r').unwrap_or(part).split('\r'));
    let mut number = 0;
    while let Some(first) = lines.next() {
        number += 1;
        let begins = number;
        let first = first.trim_start_matches([' ', '\t', '\u{c}']);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_open(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            number += 1;
            logical.push_str(next.trim_start_matches([' ', '\t', '\u{c}']));
        }
        let (key, value) = split(&logical);
        properties.push(Property {
            key: unescape(key),
            value: unescape(value).trim_end().to_owned(),
            line: begins,
        });
    }
    properties
}

/// Whether the line goes on: it ends with an odd number of backslashes.
fn ends_open(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (blank(*c) || matches!(c, '=' | ':'));
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(blank))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let rest = chars.as_str();
                let code = rest.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                match code.and_then(char::from_u32) {
                    Some(c) => {
                        out.push(c);
                        chars = rest[4..].chars();
                    }
                    // Java refuses it; here the key or value it stands in is refused in its turn.
                    None => out.push_str("\\u"),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn java_s_syntax_is_read_as_java_reads_it() {
        let text = "# comment\n! another\n\n  a = 1\nb:2\r\nc 3\nd=\ne\\ f\\=g = h\nlong = one, \\\n   two\\\\\nu=\\u0041\\t|\rmac=1   ";
        let read: Vec<_> = read(text).into_iter().map(|p| (p.line, p.key, p.value)).collect();
        let expected = [
            (4, "a", "1"),
            (5, "b", "2"),
            (6, "c", "3"),
            (7, "d", ""),
            (8, "e f=g", "h"),
            (9, "long", "one, two\\"),
            (11, "u", "A\t|"),
            (12, "mac", "1"),
        ];
        assert_eq!(read, expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned())));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ab=:\\\\u0-9 \\t\\r\\n#!é]{0,80}") {
            let lines = text.lines().count() as u64 + text.matches('\r').count() as u64 + 1;
            for property in read(&text) {
                prop_assert!(property.line <= lines);
            }
        }
    }
}
