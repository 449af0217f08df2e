//! Objects that the engine no longer needs, on their way out.

use core::any::{Any, type_name};
use core::fmt;
use std::sync::Arc;

/// An object that the engine no longer needs, to be freed where freeing is allowed.
///
/// The object can be anything that crossed into the engine: a room, a participant, a stream, a list
/// of members, a change of monitored rooms or personal gains, or a feed.
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

    /// Hands out a box that goes on elsewhere instead of being freed. Real-time: safe.
    pub fn moving<T: Any + Send>(it: Box<T>) -> Retired {
        Retired {
            is_moving: true,
            ..Retired::owned(it)
        }
    }

    /// Retires the engine's reference to a shared object. Real-time: safe.
    pub fn shared<T: Any + Send + Sync>(it: Arc<T>) -> Retired {
        Retired {
            inner: Inner::Shared(it),
            type_name: type_name::<T>(),
            is_moving: false,
        }
    }

    /// Whether the object goes on elsewhere instead of being freed: it was
    /// [detached](crate::engine::Command::Detach).
    pub fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// Takes out the box if it holds a `T`.
    ///
    /// # Errors
    /// Returns the object itself if it holds anything else.
    pub fn into_box<T: Any + Send>(self) -> Result<Box<T>, Retired> {
        match self.inner {
            Inner::Owned(it) if it.is::<T>() => {
                Ok(it.downcast().expect("it was asked just before"))
            }
            inner => Err(Retired { inner, ..self }),
        }
    }

    /// Borrows the object if it is a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        match &self.inner {
            Inner::Owned(it) => it.downcast_ref(),
            Inner::Shared(it) => it.downcast_ref(),
        }
    }

    /// Whether the object is a `T`.
    pub fn is<T: Any>(&self) -> bool {
        self.get::<T>().is_some()
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retired({})", self.type_name)
    }
}
