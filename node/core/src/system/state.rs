//! The system shard's state, and what each command does to it.
