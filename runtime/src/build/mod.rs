//! Building images from a Dockerfile.
//!
//! | module | owns |
//! | --- | --- |
//! | [`context`] | the directory that files are copied from: what is ignored, selected, hashed and sent |

pub mod context;
