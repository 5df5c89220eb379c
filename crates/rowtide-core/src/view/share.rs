//! What a view may take of the system it looks at, which others need too.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// A connection that may be used. Dropping it gives it back.
pub type Spare = Box<dyn Any + Send + Sync>;

/// A view's share of its system.
#[async_trait]
pub trait Share: Send + Sync + fmt::Debug {
    /// Waits until the next statement that reads the table may begin.
    async fn turn(&self);

    /// A connection besides the view's own, if there is one to spare just now.
    fn spare(&self) -> Option<Spare>;
}

/// A fixed number of connections, and no waiting.
#[derive(Debug, Clone)]
pub struct Fixed(Arc<Semaphore>);

impl Fixed {
    /// So many `connections`, with the view's own.
    pub fn of(connections: usize) -> Arc<dyn Share> {
        Arc::new(Self(Arc::new(Semaphore::new(connections.saturating_sub(1)))))
    }
}

#[async_trait]
impl Share for Fixed {
    async fn turn(&self) {}

    fn spare(&self) -> Option<Spare> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Box::new(permit))
    }
}
