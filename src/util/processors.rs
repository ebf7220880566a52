//! How much can be done at the same time.

/// How many processors there are, and at least two: where one thing may take long, another goes on.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get().max(2))
}
