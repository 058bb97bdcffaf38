//! A tar becomes a layer.
