//! Options and image config become an OCI Spec.
