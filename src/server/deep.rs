//! Values that may be nested deeply.

use tokio::runtime::Handle;
use tonic::Status;

/// A plan is as deep as its statement, and to copy or drop it recurses. This one is dropped on the threads that made it,
/// which have the stack for it; those of the network, or of a program, have not. It must be dropped while these are there.
#[derive(Debug)]
pub(super) struct Deep<T: Send + 'static> {
    /// There until it is dropped.
    value: Option<T>,
    runtime: Handle,
}

impl<T: Send + 'static> Deep<T> {
    /// Must be called on a thread of the runtime on which the value is to be dropped.
    pub(super) fn new(value: T) -> Self {
        Self { value: Some(value), runtime: Handle::current() }
    }

    pub(super) fn get(&self) -> Result<&T, Status> {
        self.value.as_ref().ok_or_else(|| Status::internal("internal error: a plan is used after its end"))
    }
}

impl<T: Send + 'static> Drop for Deep<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if Handle::try_current().is_ok_and(|current| current.id() == self.runtime.id()) {
            drop(value);
        } else {
            self.runtime.spawn(async move { drop(value) });
        }
    }
}
