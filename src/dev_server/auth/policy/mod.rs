//! RAM policies: what a role may do. Plain data; [`Policy::allows`] is the whole decision.
//!
//! A `Deny` wins over every `Allow`, and what nothing allows is denied (RAM help "Policy structure and syntax"). What this
//! reader does not know (`NotAction`, another condition operator or key) is an error and never ignored: a policy
//! that means something else here than in the cloud would be worse than none. Actions and resources are compared with
//! their case; whether RAM folds the case of actions is not public.

use serde::Deserialize;

/// What one request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// Such as `oss:GetObject`.
    pub(crate) action: &'a str,
    /// Such as `acs:oss:oss-cn-hangzhou:1234567890123456:bucket/key`.
    pub(crate) resource: &'a str,
    /// The prefix of a listing; empty for everything else and for a listing that names none.
    pub(crate) prefix: &'a str,
    /// The delimiter of a listing; empty like the prefix.
    pub(crate) delimiter: &'a str,
}

/// Statements of one or more policy documents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    version: String,
    statement: OneOrMany<Statement>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Statement {
    effect: Effect,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
    #[serde(default)]
    condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", default)]
struct Condition {
    string_equals: Keys,
    string_not_equals: Keys,
    string_like: Keys,
    string_not_like: Keys,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    #[serde(rename = "oss:Prefix")]
    prefix: Option<OneOrMany<String>>,
    #[serde(rename = "oss:Delimiter")]
    delimiter: Option<OneOrMany<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Policy {
    /// Reads a policy document.
    ///
    /// # Errors
    /// One line that says what is wrong and where.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if document.version != "1" {
            return Err(format!(
                "policy version '{}' is not known, only '1'",
                document.version
            ));
        }
        Ok(Self {
            statements: document.statement.as_slice().to_vec(),
        })
    }

    /// A system policy by its name; `None` if it is not one of those this server knows.
    pub(crate) fn system(name: &str) -> Option<Self> {
        match name {
            "AliyunOSSReadOnlyAccess" => Some(Self::allow(&["oss:Get*", "oss:List*"], &["*"])),
            "AliyunOSSFullAccess" => Some(Self::everything()),
            _ => None,
        }
    }

    /// Everything of every service: the account's owner.
    pub(crate) fn owner() -> Self {
        Self::allow(&["*"], &["*"])
    }

    /// Every operation of OSS on every bucket.
    pub(crate) fn everything() -> Self {
        Self::allow(&["oss:*"], &["*"])
    }

    /// Every operation on one bucket and its objects, nothing else: the default role of a job.
    pub(crate) fn one_bucket(bucket: &str) -> Self {
        let bucket = format!("acs:oss:*:*:{bucket}");
        Self::allow(&["oss:*"], &[&bucket, &format!("{bucket}/*")])
    }

    fn allow(actions: &[&str], resources: &[&str]) -> Self {
        let owned = |list: &[&str]| OneOrMany::Many(list.iter().map(ToString::to_string).collect());
        Self {
            statements: vec![Statement {
                effect: Effect::Allow,
                action: owned(actions),
                resource: owned(resources),
                condition: Condition::default(),
            }],
        }
    }

    /// This policy and `other` together, as when both are attached to one role.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.statements.extend(other.statements);
        self
    }

    /// Whether the policy allows what is asked.
    pub(crate) fn allows(&self, question: &Question<'_>) -> bool {
        let applies = |effect| {
            self.statements
                .iter()
                .any(|statement| statement.effect == effect && statement.applies(question))
        };
        applies(Effect::Allow) && !applies(Effect::Deny)
    }
}

impl Statement {
    fn applies(&self, question: &Question<'_>) -> bool {
        let any = |patterns: &OneOrMany<String>, text| {
            patterns
                .as_slice()
                .iter()
                .any(|pattern| matches(pattern, text))
        };
        any(&self.action, question.action)
            && any(&self.resource, question.resource)
            && self.condition.holds(question)
    }
}

impl Condition {
    fn holds(&self, question: &Question<'_>) -> bool {
        let equal = |want: &str, have: &str| want == have;
        self.string_equals.all(question, |any| any, equal)
            && self.string_not_equals.all(question, |any| !any, equal)
            && self.string_like.all(question, |any| any, matches)
            && self.string_not_like.all(question, |any| !any, matches)
    }
}

impl Keys {
    /// Whether for each key `verdict` accepts that any of its values is `alike`.
    fn all(
        &self,
        question: &Question<'_>,
        verdict: impl Fn(bool) -> bool,
        alike: impl Fn(&str, &str) -> bool,
    ) -> bool {
        [
            (&self.prefix, question.prefix),
            (&self.delimiter, question.delimiter),
        ]
        .into_iter()
        .filter_map(|(wanted, have)| Some((wanted.as_ref()?, have)))
        .all(|(wanted, have)| verdict(wanted.as_slice().iter().any(|want| alike(want, have))))
    }
}

/// Whether `text` is what `pattern` says: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Behind the last `*`: the rest of the pattern, and the text that the star has not swallowed.
    let mut star: Option<(&str, &str)> = None;
    loop {
        let mut wanted = pattern.chars();
        let mut given = text.chars();
        match (wanted.next(), given.next()) {
            (Some('*'), _) => {
                pattern = wanted.as_str();
                star = Some((pattern, text));
            }
            (Some(want), Some(have)) if want == '?' || want == have => {
                (pattern, text) = (wanted.as_str(), given.as_str());
            }
            (None, None) => return true,
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                let mut from = from.chars();
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after, from.as_str());
                star = Some((after, text));
            }
        }
    }
}

#[cfg(test)]
mod tests;
