//! What a user asks of a container.
