//! Moves bytes between the container, its log and its clients.
