//! Asks the server for a stream's times, one question at a time.
//!
//! The client library has room for 32 questions without an answer and refuses more, which its binding takes for a fault of
//! the program's and ends it. So a server that stands still for a second is not asked again before it has answered.

use libpulse_binding::stream::Stream;
use std::cell::Cell;
use std::rc::Rc;

/// How far the newest question is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    Asked,
    Answered,
}

/// A question that may be on its way.
#[derive(Default)]
pub(super) struct Question(Rc<Cell<Stage>>);

impl Question {
    /// Whether an answer has come, once for each.
    pub fn answered(&self) -> bool {
        let answered = self.0.get() == Stage::Answered;
        if answered {
            self.0.set(Stage::None);
        }
        answered
    }

    /// Asks for the times of `stream`, which is ready, unless the question before is still on its way.
    pub fn ask(&self, stream: &mut Stream) {
        if self.0.replace(Stage::Asked) == Stage::Asked {
            return;
        }
        let stage = Rc::clone(&self.0);
        let answer = move |done| stage.set(if done { Stage::Answered } else { Stage::None });
        let _ = stream.update_timing_info(Some(Box::new(answer)));
    }
}
