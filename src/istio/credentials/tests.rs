//! Secrets and files.
