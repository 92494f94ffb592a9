//! JSON Web Tokens: what somebody else has signed about who asks (RFC 7519). A node verifies them with the keys in a file, and asks
//! nobody. What they allow is in a claim, or in a file of the operator's.

mod claims;
mod crypto;
mod grants;
mod keys;
mod verifier;

pub use verifier::{JwtFiles, JwtVerifier};
