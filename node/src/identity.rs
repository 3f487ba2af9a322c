//! Which database, node and start a volume belongs to.
