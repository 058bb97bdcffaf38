//! Building images from a Dockerfile.
//!
//! | module | owns |
//! | --- | --- |
//! | [`context`] | the directory that files are copied from: what is ignored, what is selected |

pub mod context;
