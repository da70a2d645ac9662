//! What is done to a text before and after an engine has it.
//!
//! Here belong languages and their detection, what must come through untouched, and the phrases that need no engine. No I/O.

mod detect;
mod lang;
mod mask;
mod phrases;

pub use detect::{detect, in_wrong_language, is_echo};
pub use lang::Lang;
pub use mask::{MarkedText, Sentence};
pub use phrases::phrase;
