//! From the text of MeshConfig's `accessLogFormat` to the steps that write a line.

use serde_json::Value;

use super::format_error::FormatError;
use super::operator::{Command, Op};
use super::out::{Style, inside_json};

/// One step of writing a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FormatStep {
    Literal(String),
    Show(Style, Op),
}

/// A piece of a format string.
enum FormatPiece {
    Literal(String),
    Operator(Op),
}

/// Takes a format string apart.
fn pieces(format: &str) -> Result<Vec<FormatPiece>, FormatError> {
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), format);
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (command, after) = command(after).ok_or_else(|| FormatError::Unclosed(format!("%{after}")))?;
        if !literal.is_empty() {
            pieces.push(FormatPiece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(FormatPiece::Operator(command.compile()?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(FormatPiece::Literal(literal));
    }
    Ok(pieces)
}

/// Reads `NAME(ARGUMENT):LENGTH%`, and returns the rest after it. An argument can hold percent signs, but no
/// closing bracket.
fn command(text: &str) -> Option<(Command<'_>, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|end| *end > 0)?;
    let (name, mut rest) = text.split_at(end);
    let (mut argument, mut length) = (None, None);
    if let Some(after) = rest.strip_prefix('(') {
        let (inside, after) = after.split_once(')')?;
        argument = Some(inside);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(':') {
        let (digits, _) = after.split_once('%')?;
        length = Some(digits.parse().ok()?);
        rest = &after[digits.len()..];
    }
    let after = rest.strip_prefix('%')?;
    let text = &text[..text.len() - after.len() - 1];
    Some((Command { text, name, argument, length }, after))
}

/// The steps of a text format.
pub(super) fn text_steps(format: &str) -> Result<Vec<FormatStep>, FormatError> {
    let step = |piece| match piece {
        FormatPiece::Literal(text) => FormatStep::Literal(text),
        FormatPiece::Operator(op) => FormatStep::Show(Style::Text, op),
    };
    Ok(pieces(format)?.into_iter().map(step).collect())
}

/// The steps of a JSON format: one object a line, its keys sorted as Envoy sorts them.
pub(super) fn json_steps(format: &str) -> Result<Vec<FormatStep>, FormatError> {
    let value: Value = serde_json::from_str(format).map_err(|error| FormatError::NotAnObject(error.to_string()))?;
    if !value.is_object() {
        return Err(FormatError::NotAnObject("it is something else".to_owned()));
    }
    let mut writer = JsonWriter::default();
    writer.value(&value)?;
    writer.literal("\n");
    Ok(writer.steps)
}

#[derive(Default)]
struct JsonWriter {
    steps: Vec<FormatStep>,
}

impl JsonWriter {
    fn literal(&mut self, text: &str) {
        match self.steps.last_mut() {
            Some(FormatStep::Literal(last)) => last.push_str(text),
            _ => self.steps.push(FormatStep::Literal(text.to_owned())),
        }
    }

    fn value(&mut self, value: &Value) -> Result<(), FormatError> {
        match value {
            Value::Object(members) => {
                self.literal("{");
                for (index, (name, value)) in members.iter().enumerate() {
                    self.literal(if index == 0 { "" } else { "," });
                    self.literal(&Value::from(name.as_str()).to_string());
                    self.literal(":");
                    self.value(value)?;
                }
                self.literal("}");
            }
            Value::Array(elements) => {
                self.literal("[");
                for (index, value) in elements.iter().enumerate() {
                    self.literal(if index == 0 { "" } else { "," });
                    self.value(value)?;
                }
                self.literal("]");
            }
            Value::String(format) => self.string(pieces(format)?),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.literal(&value.to_string()),
        }
        Ok(())
    }

    /// A lone operator is a value with its own type; anything else is a string.
    fn string(&mut self, mut pieces: Vec<FormatPiece>) {
        if let [FormatPiece::Operator(_)] = pieces.as_slice()
            && let Some(FormatPiece::Operator(op)) = pieces.pop()
        {
            return self.steps.push(FormatStep::Show(Style::JsonValue, op.in_json()));
        }
        self.literal("\"");
        for piece in pieces {
            match piece {
                FormatPiece::Literal(text) => self.literal(&inside_json(&text)),
                FormatPiece::Operator(op) => self.steps.push(FormatStep::Show(Style::JsonPart, op.in_json())),
            }
        }
        self.literal("\"");
    }
}
