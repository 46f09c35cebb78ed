//! What watchers hear.
