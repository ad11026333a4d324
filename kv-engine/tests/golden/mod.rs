//! Golden bytes out of the documents in docs/formats.

use std::path::Path;

/// The bytes of a block that follows `<!-- golden: NAME -->`: hex, comments behind `#`.
pub(crate) fn golden(document: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats").join(document);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (_, rest) = text.split_once(&format!("<!-- golden: {name} -->\n```\n")).expect("the marked block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let digits = block.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
    digits.map(|hex| u8::from_str_radix(hex, 16).expect("two hex digits")).collect()
}
