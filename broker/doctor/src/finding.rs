//! The finding of a check, and the fix for it.

use serde::{Serialize, Serializer};

/// The judgement of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The asked number of connections is not possible.
    Fail,
    /// The connections are possible, but something else suffers.
    Warn,
    /// The check could not find out.
    Unknown,
    /// Nothing to do.
    Ok,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was checked: the name of a kernel setting where it is one.
    pub(crate) name: String,
    /// The present value.
    pub(crate) present: String,
    /// The value as it should be.
    pub(crate) wanted: String,
    /// The judgement.
    pub(crate) verdict: Verdict,
    /// One sentence, with the sum behind the wanted value.
    pub(crate) why: String,
    /// What would make it right; in JSON, its command.
    #[serde(serialize_with = "command_of")]
    pub(crate) fix: Option<Fix>,
}

/// What makes a finding right. It is shown, never run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// A kernel setting.
    Sysctl {
        /// Its dotted name.
        key: String,
        /// The value that it should have.
        value: String,
    },
    /// A line of the `[Service]` section of the broker's unit.
    Unit(String),
    /// A command that root runs after each boot.
    Command(String),
    /// Something that only a person can do.
    Advice(String),
}

impl Fix {
    pub(crate) fn sysctl(key: &str, value: &impl ToString) -> Self {
        Self::Sysctl {
            key: key.to_owned(),
            value: value.to_string(),
        }
    }

    /// The command to type.
    #[must_use]
    pub(crate) fn command(&self) -> String {
        match self {
            Self::Sysctl { key, value } => format!("sysctl -w {key}='{value}'"),
            Self::Unit(line) => {
                format!("systemctl edit oyez-server  # [Service] {line}")
            }
            Self::Command(command) => command.clone(),
            Self::Advice(advice) => format!("# {advice}"),
        }
    }
}

fn command_of<S: Serializer>(fix: &Option<Fix>, serializer: S) -> Result<S::Ok, S::Error> {
    fix.as_ref().map(Fix::command).serialize(serializer)
}

impl Finding {
    /// A finding that is fine until [`Finding::judged`] says otherwise.
    pub(crate) fn new(
        name: impl Into<String>,
        present: impl Into<String>,
        wanted: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            present: present.into(),
            wanted: wanted.into(),
            verdict: Verdict::Ok,
            why: why.into(),
            fix: None,
        }
    }

    /// A finding that this host does not allow to judge.
    pub(crate) fn unknown(name: impl Into<String>, why: impl Into<String>) -> Self {
        let mut finding = Self::new(name, "?", "", why);
        finding.verdict = Verdict::Unknown;
        finding
    }

    /// The finding for a kernel setting that cannot be read.
    pub(crate) fn unreadable(key: &str) -> Self {
        let path = key.replace('.', "/");
        Self::unknown(key, format!("/proc/sys/{path} cannot be read here"))
    }

    /// Whether a report shows the finding; `all` asks for every one.
    pub(crate) const fn is_told(&self, all: bool) -> bool {
        all || matches!(self.verdict, Verdict::Fail | Verdict::Warn)
    }

    /// Judges the finding: fine when `fine`; otherwise `verdict`, with `fix`.
    pub(crate) fn judged(mut self, fine: bool, verdict: Verdict, fix: Fix) -> Self {
        if !fine {
            self.verdict = verdict;
            self.fix = Some(fix);
        }
        self
    }
}
