//! Text that must not reach logs.

use std::{fmt, path::Path};

/// A password, code or token, of a request or of the configuration. It is never shown: neither in logs nor by a
/// `config` command.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text: the caller takes care where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it was left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This text, or the first line of `file` when there is one.
    ///
    /// # Errors
    /// A sentence that names the file which cannot be read.
    pub fn or_file(&self, file: Option<&Path>) -> Result<Self, String> {
        let Some(path) = file else { return Ok(self.clone()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Self(text.lines().next().unwrap_or_default().to_owned()))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret()" } else { "Secret(..)" })
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "(hidden)" })
    }
}
