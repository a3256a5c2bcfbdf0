//! What the thread that talks to the sound server has seen, for those that answer questions meanwhile.

use std::collections::BTreeMap;

/// What is told of the streams and the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Whether the server answers.
    pub server: bool,
    /// Whether each microphone delivers, A first.
    pub present: Vec<bool>,
    /// Whether capture is suspended because nobody records the merged source.
    pub resting: bool,
    /// Merged sound that waits in the server, ms.
    pub waiting_ms: Option<f64>,
    /// What is wrong now, each under the key of its cause.
    pub notices: Notices,
}

/// What is wrong now: logged when it begins and when it ends, and reported by `status` in between.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Notices(BTreeMap<String, String>);

impl Notices {
    /// `cause` gives `text` now, or nothing.
    pub fn set(&mut self, cause: &str, text: Option<String>) {
        match text {
            Some(text) => {
                if self.0.get(cause) != Some(&text) {
                    tracing::warn!("{text}");
                    self.0.insert(cause.to_owned(), text);
                }
            }
            None => {
                if let Some(text) = self.0.remove(cause) {
                    tracing::info!("no longer: {text}");
                }
            }
        }
    }

    /// The same where only the numbers in the text may have changed, which is no news.
    pub fn set_quietly(&mut self, cause: &str, text: Option<String>) {
        match (text, self.0.get_mut(cause)) {
            (Some(text), Some(known)) => *known = text,
            (text, _) => self.set(cause, text),
        }
    }

    /// All of them.
    pub fn texts(&self) -> Vec<String> {
        self.0.values().cloned().collect()
    }
}
