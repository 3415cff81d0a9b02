//! A bearer token that never appears in logs or errors.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::CredentialsError;

/// A bearer token. Only [`Token::expose`] returns its text, which drop overwrites.
pub struct Token {
    text: Zeroizing<String>,
    order: u64,
}

impl Token {
    /// Makes a token from a file's content, without the white space around it.
    pub(super) fn from_file(bytes: &[u8], order: u64, path: PathBuf) -> Result<Self, CredentialsError> {
        let token = bytes.trim_ascii();
        if token.is_empty() {
            return Err(CredentialsError::Empty { path });
        }
        match std::str::from_utf8(token) {
            Ok(text) if token.iter().all(u8::is_ascii_graphic) => {
                Ok(Self { text: Zeroizing::new(text.to_owned()), order })
            }
            _ => Err(CredentialsError::Malformed { path, fault: "holds a byte that no bearer token has" }),
        }
    }

    /// Returns the text of the token: visible ASCII, never empty, fit for a header after `Bearer `. Mark the header as
    /// sensitive.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns the number of the read that made this token.
    pub(super) fn order(&self) -> u64 {
        self.order
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
