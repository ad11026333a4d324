//! [`TokenFile`]: tokens with the lines they stand on, and the [`Transcript`] of a writer.
//!
//! A token file has one token a line. The writer's own output (`try TOKEN`, `ack TOKEN`) is accepted in its place: as
//! acknowledged tokens its `ack` lines are taken, as attempted ones both kinds. Its last line is left out if it has no
//! line end: the writer was killed inside it, so the operation had not begun, or was never acknowledged.

use std::collections::HashSet;
use std::str::FromStr;

use super::token::{Token, TokenError};

/// What the tokens of a file claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// These operations were acknowledged.
    Acked,
    /// These operations were attempted.
    Attempted,
}

/// Tokens, each with the number of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    name: String,
    tokens: Vec<(usize, Token)>,
}

/// A line that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The line is no token.
    #[error(
        "{file}:{line}: {why}; a token file has one token a line, as stress write prints after try and ack"
    )]
    Token {
        /// The file.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        why: TokenError,
    },
    /// The line isn't text.
    #[error("{file}:{line}: the line is not UTF-8; is this a token file?")]
    NotText {
        /// The file.
        file: String,
        /// The line's number, from 1.
        line: usize,
    },
}

/// Splits off `try` or `ack`.
fn prefixed(line: &str) -> (Option<Role>, &str) {
    if let Some(token) = line.strip_prefix("ack ") {
        (Some(Role::Acked), token)
    } else if let Some(token) = line.strip_prefix("try ") {
        (Some(Role::Attempted), token)
    } else {
        (None, line)
    }
}

/// The lines of `bytes` that aren't empty, as text, with their numbers, and whether each has its line end.
fn numbered<'a>(
    file: &'a str,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<(usize, &'a str, bool), TokenFileError>> {
    let lines = bytes.split_inclusive(|&b| b == b'\n').enumerate();
    lines.filter_map(move |(i, raw)| {
        let line = i + 1;
        let (raw, whole) = raw.strip_suffix(b"\n").map_or((raw, false), |raw| (raw, true));
        match std::str::from_utf8(raw) {
            Err(_) => Some(Err(TokenFileError::NotText { file: file.to_owned(), line })),
            Ok("") => None,
            Ok(text) => Some(Ok((line, text, whole))),
        }
    })
}

impl TokenFile {
    /// Reads a file's bytes; `name` stands in messages.
    ///
    /// # Errors
    /// A line is no token.
    pub fn parse(name: &str, bytes: &[u8], role: Role) -> Result<Self, TokenFileError> {
        let mut tokens = Vec::new();
        for numbered in numbered(name, bytes) {
            let (line, text, whole) = numbered?;
            let (prefix, text) = prefixed(text);
            if prefix.is_some() && !whole {
                continue;
            }
            let token = Token::from_str(text).map_err(|why| TokenFileError::Token {
                file: name.to_owned(),
                line,
                why,
            })?;
            if !(role == Role::Acked && prefix == Some(Role::Attempted)) {
                tokens.push((line, token));
            }
        }
        Ok(Self { name: name.to_owned(), tokens })
    }

    /// A file of these tokens, numbered from 1.
    #[must_use]
    pub fn from_tokens(name: &str, tokens: impl IntoIterator<Item = Token>) -> Self {
        Self {
            name: name.to_owned(),
            tokens: tokens.into_iter().enumerate().map(|(i, t)| (i + 1, t)).collect(),
        }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Line numbers and tokens, in the file's order.
    #[must_use]
    pub fn tokens(&self) -> &[(usize, Token)] {
        &self.tokens
    }
}

/// What a writer printed: every attempt before its acknowledgement.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    attempted: Vec<Token>,
    acked: Vec<Token>,
}

/// The writer's output breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// A line is no token.
    #[error(transparent)]
    Line(#[from] TokenFileError),
    /// A line has neither `try` nor `ack`.
    #[error("{file}:{line}: a line of the writer's output begins with try or ack")]
    NoPrefix {
        /// The file.
        file: String,
        /// The line's number, from 1.
        line: usize,
    },
    /// An acknowledgement of something that was not in flight.
    #[error("{file}:{line}: ack {token} has no try before it, or a second ack")]
    AckWithoutTry {
        /// The file.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// What was acknowledged.
        token: Box<Token>,
    },
}

impl Transcript {
    /// Adds a run's output and checks it: each `ack` follows a `try` of this run that has none yet.
    ///
    /// # Errors
    /// A line is malformed, or the order is broken.
    pub fn add_run(&mut self, name: &str, bytes: &[u8]) -> Result<(), TranscriptError> {
        let mut open: HashSet<Token> = HashSet::new();
        for numbered in numbered(name, bytes) {
            let (line, text, whole) = numbered?;
            if !whole {
                continue;
            }
            let (prefix, text) = prefixed(text);
            let token = Token::from_str(text).map_err(|why| TokenFileError::Token {
                file: name.to_owned(),
                line,
                why,
            })?;
            match prefix {
                None => return Err(TranscriptError::NoPrefix { file: name.to_owned(), line }),
                Some(Role::Attempted) => {
                    open.insert(token.clone());
                    self.attempted.push(token);
                }
                Some(Role::Acked) => {
                    if !open.remove(&as_attempted(&token)) {
                        let token = Box::new(token);
                        return Err(TranscriptError::AckWithoutTry { file: name.to_owned(), line, token });
                    }
                    self.acked.push(token);
                }
            }
        }
        Ok(())
    }

    /// Everything attempted, in the order of the lines.
    #[must_use]
    pub fn attempted(&self) -> TokenFile {
        TokenFile::from_tokens("attempted", self.attempted.iter().cloned())
    }

    /// Everything acknowledged, in the order of the lines.
    #[must_use]
    pub fn acked(&self) -> TokenFile {
        TokenFile::from_tokens("acked", self.acked.iter().cloned())
    }

    /// How many operations were attempted, and how many of them acknowledged.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.attempted.len(), self.acked.len())
    }
}

/// The token as it stood behind `try`: an append had no offset yet.
fn as_attempted(token: &Token) -> Token {
    let mut token = token.clone();
    if let Token::App { offset, .. } = &mut token {
        *offset = None;
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_by_file_and_line() {
        let error =
            TokenFile::parse("acked.txt", b"del 6b 1:1\n\ndel 6b 1:x\n", Role::Acked).expect_err("1:x");
        assert!(error.to_string().starts_with("acked.txt:3: "), "{error}");
        let error = TokenFile::parse("acked.txt", b"del 6b 1:1\n\xff\n", Role::Acked).expect_err("not text");
        assert!(error.to_string().starts_with("acked.txt:2: "), "{error}");
    }

    #[test]
    fn the_writer_s_own_output_serves_as_both_files() {
        let output = b"try put 6b 00000001 1:1\nack put 6b 00000001 1:1\ntry put 6b 00000002 1:2\ntry put 6b 00000003 1:";
        let acked = TokenFile::parse("out", output, Role::Acked).expect("acks");
        assert_eq!(acked.tokens().iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2]);
        let attempted = TokenFile::parse("out", output, Role::Attempted).expect("all whole lines");
        assert_eq!(attempted.tokens().len(), 3);
        let last_line_open = TokenFile::parse("out", b"del 6b 1:1", Role::Acked).expect("a token file");
        assert_eq!(last_line_open.tokens().len(), 1, "a plain token needs no line end");
    }

    #[test]
    fn an_acknowledgement_needs_an_open_attempt() {
        let mut transcript = Transcript::default();
        transcript
            .add_run("run", b"try app t-0 1.0.1 00000000\nack app t-0 1.0.1 00000000 7\n")
            .expect("in order");
        assert_eq!(transcript.counts(), (1, 1));
        for bad in [
            b"ack del 6b 1:1\ntry del 6b 1:1\n".as_slice(),
            b"try del 6b 1:1\nack del 6b 1:1\nack del 6b 1:1\n",
            b"del 6b 1:1\n",
        ] {
            assert!(Transcript::default().add_run("run", bad).is_err());
        }
    }
}
