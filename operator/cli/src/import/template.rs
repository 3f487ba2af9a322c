//! Column templates: how a row becomes a key. `{column}` is the cell, `{column:04}` pads it with zeros to a width so that
//! numbers sort as numbers, `{column|none}` stands in for an empty cell; `{{` and `}}` are braces.

use std::borrow::Cow;

use super::rows::Row;

/// A parsed template of a key or a value, to be filled with a row's cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column { name: String, width: usize, default: Option<String> },
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template {0:?} names no column, so every row would have the same key; write columns as {{name}}")]
    Constant(String),
    #[error("template {0:?} has a brace without its partner; write {{{{ or }}}} for a brace itself")]
    Brace(String),
    #[error("template {template:?}: {width:?} is not a width; write {{column:04}} to pad with zeros to 4 digits")]
    Width { template: String, width: String },
    #[error("template {0:?} has braces without a column name")]
    Nameless(String),
}

/// Why a row gives no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CellError {
    #[error("there is no column {name:?}; the columns are {columns}")]
    Missing { name: String, columns: String },
    #[error("column {0:?} is empty; give a stand-in as in {{{0}|none}}")]
    Empty(String),
}

impl Template {
    /// Parses a template: literal text, with columns in braces. It must name at least one column.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let inside = brace.strip_prefix('{').and_then(|b| b.split_once('}'));
                let (inner, after) = inside.ok_or_else(|| TemplateError::Brace(text.to_owned()))?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(column(text, inner)?);
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if parts.iter().any(|p| matches!(p, Part::Column { .. })) {
            Ok(Self { parts })
        } else {
            Err(TemplateError::Constant(text.to_owned()))
        }
    }

    /// Fills the template with a row's cells.
    pub(crate) fn fill(&self, row: &Row) -> Result<String, CellError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Column { name, width, default } => {
                    let missing = || CellError::Missing { name: name.clone(), columns: row.columns().join(", ") };
                    let mut cell = row.cell(name).ok_or_else(missing)?;
                    if cell.is_empty() {
                        cell = Cow::Borrowed(default.as_deref().ok_or_else(|| CellError::Empty(name.clone()))?);
                    }
                    let zeros = width.saturating_sub(cell.chars().count());
                    text.extend(std::iter::repeat_n('0', zeros));
                    text.push_str(&cell);
                }
            }
        }
        Ok(text)
    }
}

fn column(template: &str, inner: &str) -> Result<Part, TemplateError> {
    let (inner, default) = match inner.split_once('|') {
        Some((inner, default)) => (inner, Some(default.to_owned())),
        None => (inner, None),
    };
    let (name, width) = match inner.split_once(':') {
        Some((name, width)) => {
            let bad = || TemplateError::Width { template: template.to_owned(), width: width.to_owned() };
            let digits = width.strip_prefix('0').ok_or_else(bad)?;
            (name, digits.parse::<u8>().map_err(|_| bad())?)
        }
        None => (inner, 0),
    };
    if name.is_empty() || name.contains('{') {
        return Err(TemplateError::Nameless(template.to_owned()));
    }
    Ok(Part::Column { name: name.to_owned(), width: usize::from(width), default })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::rows::tests::csv_row;

    fn fill(template: &str) -> Result<String, CellError> {
        let row = csv_row("tailnum,month,flight", ",1,15");
        Template::parse(template).unwrap().fill(&row)
    }

    #[test]
    fn cells_are_padded_and_empty_ones_replaced() {
        assert_eq!(fill("{month:02}/{flight:04}").unwrap(), "01/0015");
        assert_eq!(fill("{tailnum|none}-{month}").unwrap(), "none-1");
        assert_eq!(fill("{{{month}}}").unwrap(), "{1}");
    }

    #[test]
    fn cell_wider_than_its_width_is_kept_whole() {
        assert_eq!(fill("{flight:01}").unwrap(), "15");
    }

    #[test]
    fn empty_cell_without_stand_in_and_unknown_column_are_refused() {
        assert_eq!(fill("{tailnum}"), Err(CellError::Empty("tailnum".into())));
        let error = fill("{tail}").unwrap_err().to_string();
        assert_eq!(error, r#"there is no column "tail"; the columns are tailnum, month, flight"#);
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_reason() {
        assert!(matches!(Template::parse("month"), Err(TemplateError::Constant(_))));
        assert!(matches!(Template::parse("{month"), Err(TemplateError::Brace(_))));
        assert!(matches!(Template::parse("month}"), Err(TemplateError::Brace(_))));
        assert!(matches!(Template::parse("{month:4}"), Err(TemplateError::Width { .. })));
        assert!(matches!(Template::parse("{}"), Err(TemplateError::Nameless(_))));
    }
}
