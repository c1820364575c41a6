// SPDX-License-Identifier: GPL-2.0-only
//! Errors. A measurement that fails prints its error and ends, so that no caller tells errors apart.

/// Any error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result with any error.
pub type Result<T> = std::result::Result<T, Error>;
