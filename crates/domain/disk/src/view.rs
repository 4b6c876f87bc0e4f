//! The part of a tree that one filesystem holds.
