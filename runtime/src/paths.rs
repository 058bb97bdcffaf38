//! Every path of the store.
