//! A story told in this process, by whoever has all of it: after a crash it is told again from its beginning, and what Redis has
//! of it already is passed by.

use kiln_model::Event;

use crate::Settings;
use crate::publish::{Delivery, Moment, Publisher};
use crate::relay::addresses;
use crate::story::Story;

/// A build's line to Redis.
pub struct Direct {
    story: Story,
    publisher: Publisher,
    settings: Settings,
}

impl Direct {
    /// Begins to tell. `base` is the same number, milliseconds since 1970 when the build began, whenever this build is told. What tells
    /// calls `passes` at each moment, and waits for it.
    pub fn start(settings: Settings, base: u64, passes: fn(Moment)) -> Self {
        let mut to = addresses(&settings);
        if let Some(stream) = &mut to.stream {
            stream.base = Some(base);
        }
        let publisher = Publisher::watched(settings.redis.clone(), to, passes);
        Self { story: Story::default(), publisher, settings }
    }

    /// Tells an event; never waits. Their numbers grow.
    pub fn event(&mut self, event: &Event) {
        self.story.tell(event).into_iter().for_each(|post| self.publisher.post(post));
    }

    /// Whether the end was told.
    pub fn is_over(&self) -> bool {
        self.story.is_over()
    }

    /// Waits for what is not delivered yet, as long as the settings say.
    pub fn close(self) -> Delivery {
        self.publisher.finish(self.settings.flush)
    }
}
