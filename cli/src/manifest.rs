//! Manifests: from files to typed objects, with the place of every mistake.
//!
//! ```text
//! files --library--> texts --document--> documents --tree, scalar--> located trees --object, decode--> typed objects
//!                                                                                        |
//!                                                            catalogue: one state an identity, complaints with places
//! ```

pub mod catalogue;
pub mod complaint;
pub mod decode;
pub mod document;
pub mod library;
pub mod object;
pub mod scalar;
#[cfg(test)]
mod tests;
pub mod tree;
