//! Building images from a Dockerfile.
//!
//! | module | owns |
//! | --- | --- |
//! | [`context`] | the directory that files are copied from: what is ignored, selected, hashed and sent |
//! | [`dockerfile`] | the language: parse tree, instructions, substitution of variables; pure |

pub mod context;
pub mod dockerfile;
