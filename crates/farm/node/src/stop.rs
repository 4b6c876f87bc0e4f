//! The wish that a task stops and is forgotten.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by everyone who may wish it and everyone who has to obey.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is wished.
    pub async fn asked(&self) {
        let mut wish = self.0.subscribe();
        // The sender lives as long as this.
        let _ = wish.wait_for(|asked| *asked).await;
    }
}
