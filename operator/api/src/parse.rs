//! A database from a file, as strictly as Kubernetes would take it: schema first, then the rules.

use kube::CustomResourceExt;
use kube::core::cel::ValidationErrors;
use serde_json::Value;

use crate::crd::crd;
use crate::schema::{Fault, check};
use crate::spec::DistributedDatabase;
use crate::{GROUP, VERSION};

/// Why a text is not a database.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not YAML.
    #[error("failed to read the YAML")]
    Yaml(#[source] serde_yaml::Error),
    /// Another resource.
    #[error("{}; apiVersion must be {GROUP}/{VERSION} and kind DistributedDatabase", resource(.0.as_deref(), .1.as_deref()))]
    Kind(Option<String>, Option<String>),
    /// `metadata.name` is absent.
    #[error("metadata.name: is required")]
    NoName,
    /// Not as the schema says.
    #[error("{}", joined(.0))]
    Schema(Vec<Fault>),
    /// The schema does not say it all. A schema test guards against this.
    #[error("failed to read the resource")]
    Form(#[source] serde_json::Error),
    /// Breaks a rule.
    #[error("{}", joined(.0))]
    Rules(Vec<Fault>),
}

/// Reads and checks one database; the message of an error names the field and says what is allowed.
pub fn parse(yaml: &str) -> Result<DistributedDatabase, ParseError> {
    // By way of a YAML value, which has no key twice: of two, the first would be lost without a word.
    let value: serde_yaml::Value = serde_yaml::from_str(yaml).map_err(ParseError::Yaml)?;
    let value: Value = serde_yaml::from_value(value).map_err(ParseError::Yaml)?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let expected = (format!("{GROUP}/{VERSION}"), DistributedDatabase::api_resource().kind);
    if (api_version.as_ref(), kind.as_ref()) != (Some(&expected.0), Some(&expected.1)) {
        return Err(ParseError::Kind(api_version, kind));
    }
    if value.pointer("/metadata/name").and_then(Value::as_str).is_none() {
        return Err(ParseError::NoName);
    }
    let definition = crd().map_err(ParseError::Form)?;
    let version = definition.spec.versions.into_iter().next();
    if let Some(schema) = version.and_then(|v| v.schema).and_then(|s| s.open_api_v3_schema) {
        let faults = check(&schema, &value);
        if !faults.is_empty() {
            return Err(ParseError::Schema(faults));
        }
    }
    let database: DistributedDatabase = serde_json::from_value(value).map_err(ParseError::Form)?;
    database.validate_cel().map_err(|errors| ParseError::Rules(faults(&errors)))?;
    Ok(database)
}

/// Checks that one state of a database that was founded may follow another, as Kubernetes does on every update.
pub fn check_update(new: &DistributedDatabase, old: &DistributedDatabase) -> Result<(), ParseError> {
    let mut old = old.clone();
    old.status.get_or_insert_default().founded = true;
    new.validate_cel_update(&old).map_err(|errors| ParseError::Rules(faults(&errors)))
}

fn faults(errors: &ValidationErrors) -> Vec<Fault> {
    let fault =
        |e: &kube::core::cel::ValidationError| Fault { field: e.field_path.clone(), message: e.message.clone() };
    errors.as_slice().iter().map(fault).collect()
}

/// What the text says that it is.
fn resource(api_version: Option<&str>, kind: Option<&str>) -> String {
    match (api_version, kind) {
        (None, None) => "this is no resource: apiVersion and kind are missing".to_owned(),
        (Some(api_version), None) => format!("this is no resource: it is of {api_version} and kind is missing"),
        (None, Some(kind)) => format!("this is no resource: it is a {kind} and apiVersion is missing"),
        (Some(api_version), Some(kind)) => format!("this is {api_version} {kind}"),
    }
}

fn joined(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
