//! Lists whose places are typed, so that a place in one is never taken for a place in another.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// A place in an [`Arena`] of `T`.
pub(super) struct Id<T> {
    /// The index and 1, so that an `Option` of it is no larger.
    number: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    fn index(self) -> usize {
        self.number.get() as usize - 1
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index())
    }
}

/// A list that only grows.
#[derive(Debug)]
pub(super) struct Arena<T> {
    all: Vec<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { all: Vec::new() }
    }
}

impl<T> Arena<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// # Panics
    /// At four billion entries, which no schema that fits into memory has.
    pub(super) fn add(&mut self, value: T) -> Id<T> {
        self.all.push(value);
        let number = u32::try_from(self.all.len()).ok().and_then(NonZeroU32::new);
        Id {
            number: number.expect("fewer entries than an index can count"),
            of: PhantomData,
        }
    }
}

impl<T> Index<Id<T>> for Arena<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        &self.all[id.index()]
    }
}

impl<T> IndexMut<Id<T>> for Arena<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        &mut self.all[id.index()]
    }
}
