// SPDX-License-Identifier: GPL-2.0-only
//! A finding of the doctor, and the list of findings.

use std::fmt;

/// Severity of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Traffic is not steered or not shaped as the mapping says.
    Error,
    /// Traffic is shaped as it should be, but this costs something or may not last.
    Warning,
}

/// A fault of the set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Severity.
    pub severity: Severity,
    /// The interface, CPU or map that has the fault.
    pub subject: String,
    /// The fault and its consequence.
    pub what: String,
    /// What the operator can do.
    pub remedy: String,
}

/// Writes one line: `ERROR eth0: what; remedy`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARN ",
        };
        write!(f, "{severity} {}: {}; {}", self.subject, self.what, self.remedy)
    }
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds an error.
    pub(super) fn error(
        &mut self,
        subject: impl ToString,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, subject, what, remedy);
    }

    /// Adds a warning.
    pub(super) fn warn(
        &mut self,
        subject: impl ToString,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, subject, what, remedy);
    }

    /// Returns the findings, in the order in which they were added.
    pub(super) fn into_list(self) -> Vec<Finding> {
        self.0
    }

    fn add(
        &mut self,
        severity: Severity,
        subject: impl ToString,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (subject, what, remedy) = (subject.to_string(), what.into(), remedy.into());
        self.0.push(Finding { severity, subject, what, remedy });
    }
}

/// Writes the first three items of a list, then `…` if there are more.
pub(super) struct Few(pub(super) Vec<String>);

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        f.write_str(&self.0[..self.0.len().min(SHOWN)].join(", "))?;
        if self.0.len() > SHOWN {
            f.write_str(", …")?;
        }
        Ok(())
    }
}
