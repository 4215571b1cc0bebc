//! What a check has found, and what would change it.

use serde::{Serialize, Serializer};

/// Whether something is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// So many connections are not possible.
    Fail,
    /// They are possible; something else suffers.
    Warn,
    /// It could not be found out.
    Unknown,
    /// Nothing to do.
    Ok,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at: the name of a kernel setting where it is one.
    pub(crate) name: String,
    /// As it is.
    pub(crate) present: String,
    /// As it should be.
    pub(crate) wanted: String,
    /// The judgement.
    pub(crate) verdict: Verdict,
    /// One sentence, with the sum behind the wanted value.
    pub(crate) why: String,
    /// What would make it right; as its command in JSON.
    #[serde(serialize_with = "command_of")]
    pub(crate) fix: Option<Fix>,
}

/// What makes something right. It is shown, never run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// A kernel setting.
    Sysctl {
        /// Its dotted name.
        key: String,
        /// What it should be.
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

    /// What to type.
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
    /// Begins a finding that is fine until [`Finding::judged`] says otherwise.
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

    /// Something that this host does not tell.
    pub(crate) fn unknown(name: impl Into<String>, why: impl Into<String>) -> Self {
        let mut finding = Self::new(name, "?", "", why);
        finding.verdict = Verdict::Unknown;
        finding
    }

    /// A kernel setting that cannot be read.
    pub(crate) fn unreadable(key: &str) -> Self {
        let path = key.replace('.', "/");
        Self::unknown(key, format!("/proc/sys/{path} cannot be read here"))
    }

    /// Whether a report names it that is not asked for all.
    pub(crate) const fn is_told(&self, all: bool) -> bool {
        all || matches!(self.verdict, Verdict::Fail | Verdict::Warn)
    }

    /// Fine when `fine`; otherwise `verdict`, and `fix` makes it right.
    pub(crate) fn judged(mut self, fine: bool, verdict: Verdict, fix: Fix) -> Self {
        if !fine {
            self.verdict = verdict;
            self.fix = Some(fix);
        }
        self
    }
}
