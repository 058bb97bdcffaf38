//! OCI image configs.
