//! What the engine is done with.

use core::any::{Any, type_name};
use core::fmt;
use std::sync::Arc;

/// Something the engine is done with, to be freed where freeing is allowed.
///
/// It may be anything that crossed into the engine: a room, a participant, a stream, a list of members, a change of what is
/// monitored or of personal gains, a feed.
pub struct Retired {
    inner: Inner,
    type_name: &'static str,
    is_moving: bool,
}

enum Inner {
    Owned(Box<dyn Any + Send>),
    Shared(Arc<dyn Any + Send + Sync>),
}

impl Retired {
    /// Retires a box. Real-time: safe.
    pub fn owned<T: Any + Send>(it: Box<T>) -> Retired {
        Retired {
            inner: Inner::Owned(it),
            type_name: type_name::<T>(),
            is_moving: false,
        }
    }

    /// Gives out a box that is to go on elsewhere. Real-time: safe.
    pub fn moving<T: Any + Send>(it: Box<T>) -> Retired {
        Retired {
            is_moving: true,
            ..Retired::owned(it)
        }
    }

    /// Retires the engine's share of something. Real-time: safe.
    pub fn shared<T: Any + Send + Sync>(it: Arc<T>) -> Retired {
        Retired {
            inner: Inner::Shared(it),
            type_name: type_name::<T>(),
            is_moving: false,
        }
    }

    /// Whether it is not to be freed but to go on elsewhere: it was [detached](crate::engine::Command::Detach).
    pub fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// The box, if it is one of a `T`.
    ///
    /// # Errors
    /// It is something else, and comes back.
    pub fn into_box<T: Any + Send>(self) -> Result<Box<T>, Retired> {
        match self.inner {
            Inner::Owned(it) if it.is::<T>() => {
                Ok(it.downcast().expect("it was asked just before"))
            }
            inner => Err(Retired { inner, ..self }),
        }
    }

    /// What it is, if it is a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        match &self.inner {
            Inner::Owned(it) => it.downcast_ref(),
            Inner::Shared(it) => it.downcast_ref(),
        }
    }

    /// Whether it is a `T`.
    pub fn is<T: Any>(&self) -> bool {
        self.get::<T>().is_some()
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retired({})", self.type_name)
    }
}
