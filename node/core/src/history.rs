//! Checks per key what clients saw.
