//! [`judge`]: whether a dump keeps what its tokens promise. Pure: tokens and a dump in, violations out.
//!
//! What was attempted but not acknowledged may be there, whole, or not. Without a file of attempts the judge can't tell
//! what was never attempted, so K3 is left out; it also knows no unacknowledged delete then, so it may blame the loss of
//! a put that one of those removed.

mod keyed;
mod records;
mod versions;

#[cfg(test)]
mod tests;

use super::Engine;
use super::dump_line::{Dump, DumpLine};
use super::token::Token;
use super::token_file::TokenFile;
use super::violation::{Cited, Violation};

/// The judge was given tokens of the other engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: `{token}` is no operation of engine {engine}; check the --engine and the file")]
pub struct ForeignToken {
    /// The token file.
    pub file: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The token.
    pub token: Box<Token>,
    /// The engine that was asked for.
    pub engine: Engine,
}

/// Judges `dump` by what was acknowledged and, if known, attempted. Acknowledged operations count as attempted, too.
///
/// # Errors
/// A token is one of the other engine's.
pub fn judge(
    engine: Engine,
    dump: &Dump,
    acked: &TokenFile,
    attempted: Option<&TokenFile>,
) -> Result<Vec<Violation>, ForeignToken> {
    for file in [Some(acked), attempted].into_iter().flatten() {
        let foreign = |token: &Token| match token {
            Token::Put { .. } | Token::Del { .. } => engine.appends(),
            Token::App { .. } | Token::Cut { .. } | Token::Expired { .. } => !engine.appends(),
        };
        if let Some((line, token)) = file.tokens().iter().find(|(_, token)| foreign(token)) {
            return Err(ForeignToken {
                file: file.name().to_owned(),
                line: *line,
                token: Box::new(token.clone()),
                engine,
            });
        }
    }
    Ok(if engine.appends() {
        records::judge(dump, acked, attempted)
    } else {
        versions::judge(dump, acked, attempted)
    })
}

/// K8: recovering a recovered folder changes nothing.
#[must_use]
pub fn judge_repeated(first: &Dump, second: &Dump) -> Option<Violation> {
    let (mut a, mut b) = (first.lines().iter().peekable(), second.lines().iter().peekable());
    let differ = |line: &DumpLine, first| Some(Violation::DumpsDiffer { line: line.to_string(), first });
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => return None,
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), Some(y)) if x > y => return differ(y, false),
            (Some(x), _) => return differ(x, true),
            (None, Some(y)) => return differ(y, false),
        }
    }
}

fn cited(file: &TokenFile, line: usize, token: &Token) -> Cited {
    Cited { file: file.name().to_owned(), line, token: token.clone() }
}
