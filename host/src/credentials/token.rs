//! A bearer token that does not show itself.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::CredentialsError;

/// One reading of the token file. The text is reached by [`Token::expose`] alone, and overwritten on drop.
pub struct Token {
    text: Zeroizing<String>,
    order: u64,
}

impl Token {
    /// Takes the token out of a file's content: the white space around it is cut off.
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

    /// The token's text: visible ASCII, never empty, fit for a header after `Bearer `. Whoever puts it into a header
    /// marks that header as sensitive.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Which reading it came from.
    pub(super) fn order(&self) -> u64 {
        self.order
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
