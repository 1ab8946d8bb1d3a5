//! Query parameters of the API, parsed.

use serde_json::Value;

use crate::status::ApiError;

/// The query string as pairs, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

/// What to do with fields the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so.
    Warn,
    /// Refuse the request.
    Strict,
}

/// How the resource version of a list is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// As of exactly that revision.
    Exact,
    /// That revision or newer.
    NotOlderThan,
}

/// Options of every write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Do everything but write.
    pub dry_run: bool,
    /// Who owns the fields written.
    pub manager: String,
    /// Whether the caller named the manager.
    pub manager_given: bool,
    /// What to do with unknown fields.
    pub validation: FieldValidation,
    /// Take over fields of other managers (apply only).
    pub force: bool,
}

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay, without their owner.
    Orphan,
}

/// Options of a delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Do everything but write.
    pub dry_run: bool,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The resource version the object must have.
    pub revision: Option<String>,
    /// What becomes of dependents, when asked for.
    pub propagation: Option<Propagation>,
}

impl Query {
    /// Parses the query part of a URI.
    pub fn parse(query: Option<&str>) -> Self {
        Self(
            url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The first value of a parameter, when it is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is true or false.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "t"))
    }

    /// A parameter that is a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let bad = |_| ApiError::bad_request(format!("invalid value for parameter {name}: {text:?}"));
        text.parse().map(Some).map_err(bad)
    }

    fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!(
                "dryRun: Unsupported value: {other:?}: supported values: \"All\""
            ))),
        }
    }

    /// Options of a write; a manager that is not given is the first part of the user agent.
    pub fn write_options(&self, user_agent: &str) -> Result<WriteOptions, ApiError> {
        let validation = match self.get("fieldValidation") {
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") | None => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                )));
            }
        };
        let agent = user_agent.split('/').next().unwrap_or_default();
        let agent = if agent.is_empty() { "unknown" } else { agent };
        let manager = self.get("fieldManager").unwrap_or(agent).to_owned();
        if manager.len() > 128 {
            return Err(ApiError::bad_request(
                "fieldManager: Too long: may not be more than 128 bytes",
            ));
        }
        Ok(WriteOptions {
            dry_run: self.dry_run()?,
            manager,
            manager_given: self.get("fieldManager").is_some(),
            validation,
            force: self.flag("force"),
        })
    }

    /// Options of a delete, from the query and the body.
    pub fn delete_options(&self, body: &Value) -> Result<DeleteOptions, ApiError> {
        let policy = self
            .get("propagationPolicy")
            .or_else(|| body["propagationPolicy"].as_str());
        let orphan = match (self.get("orphanDependents"), &body["orphanDependents"]) {
            (Some(text), _) => Some(text == "true"),
            (None, Value::Bool(orphan)) => Some(*orphan),
            _ => None,
        };
        let propagation = match (policy, orphan) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                return Err(ApiError::bad_request(format!(
                    "propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
                )));
            }
        };
        let in_body = body["dryRun"]
            .as_array()
            .is_some_and(|all| all.iter().any(|v| v == "All"));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(DeleteOptions {
            dry_run: self.dry_run()? || in_body,
            uid: text(&body["preconditions"]["uid"]),
            revision: text(&body["preconditions"]["resourceVersion"]),
            propagation,
        })
    }

    /// How the resource version is meant, when said.
    pub fn version_match(&self) -> Result<Option<Match>, ApiError> {
        match self.get("resourceVersionMatch") {
            None => Ok(None),
            Some("Exact") => Ok(Some(Match::Exact)),
            Some("NotOlderThan") => Ok(Some(Match::NotOlderThan)),
            Some(other) => Err(ApiError::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            ))),
        }
    }

    /// The resource version, when given; `0` (any) is kept.
    pub fn revision(&self) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get("resourceVersion") else {
            return Ok(None);
        };
        let bad = |_| {
            ApiError::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: invalid resource version"
            ))
        };
        text.parse().map(Some).map_err(bad)
    }
}
