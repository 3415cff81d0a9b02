//! Label and field selectors, in the API's own syntax and with its own error messages.

use crate::model::object::{Object, selectable};
use crate::model::resources::Type;
use crate::model::status::ApiError;

/// The longest selector that is read. A URL of a real server is at most 1 MiB, and nobody writes 64 KiB.
const LONGEST: usize = 64 * 1024;

/// The selection of a list, a watch or a collection's deletion.
#[derive(Debug, Default, Clone)]
pub(crate) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl Selection {
    /// Parses both selectors of a request on the type `of`.
    ///
    /// # Errors
    /// 400 with the words of a real server for an invalid selector or an unknown field.
    pub(crate) fn parse(of: &Type, labels: &str, fields: &str) -> Result<Self, ApiError> {
        if labels.len() > LONGEST || fields.len() > LONGEST {
            return Err(ApiError::bad_request("selector is too long"));
        }
        Ok(Self {
            labels: parse_labels(labels).map_err(ApiError::bad_request)?,
            fields: parse_fields(of, fields).map_err(ApiError::bad_request)?,
        })
    }

    /// Returns whether everything is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Returns whether the object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.labels.iter().all(|requirement| requirement.holds(object.label(&requirement.key)))
            && self.fields.iter().all(|term| (object.field(&term.field) == Some(&*term.value)) == term.equal)
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(set) => value.is_some_and(|value| set.iter().any(|one| one == value)),
            Test::NotIn(set) => value.is_none_or(|value| set.iter().all(|one| one != value)),
            Test::Above(bound) => number().is_some_and(|value| value > *bound),
            Test::Below(bound) => number().is_some_and(|value| value < *bound),
        }
    }
}

/// A token of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'static str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) => text,
            Token::Sign(text) => text,
            Token::End => "",
        }
    }
}

/// The operators, longest first, so that `==` is not read as two.
const SIGNS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest = rest.get(sign.len()..).unwrap_or_default();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "=!(),<>".contains(c)).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            found.push(Token::Word(word));
            rest = tail;
        }
        rest = rest.trim_start();
    }
    found
}

/// The tokens and the parser's position in them.
struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).cloned().unwrap_or(Token::End)
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = self.at.saturating_add(1);
        token
    }

    fn starts_requirement(&self) -> bool {
        matches!(self.peek(), Token::Word(_) | Token::Sign("!"))
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek() == Token::Sign("!");
        if negated {
            self.take();
        }
        let key = match self.take() {
            Token::Word(word) => word.to_owned(),
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        crate::model::names::label_key("", &key).map_err(|cause| cause.message)?;
        if negated {
            return Ok(Requirement { key, test: Test::Missing });
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let test = self.test()?;
        Ok(Requirement { key, test })
    }

    fn test(&mut self) -> Result<Test, String> {
        match self.take() {
            Token::Word("in") => Ok(Test::In(self.set()?)),
            Token::Word("notin") => Ok(Test::NotIn(self.set()?)),
            Token::Sign("=" | "==") => Ok(Test::In(vec![self.exact()?])),
            Token::Sign("!=") => Ok(Test::NotIn(vec![self.exact()?])),
            Token::Sign(">") => Ok(Test::Above(self.number()?)),
            Token::Sign("<") => Ok(Test::Below(self.number()?)),
            other => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let text = self.exact()?;
        let unfit =
            || format!("values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer");
        text.parse().map_err(|_| unfit())
    }

    fn exact(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(String::new());
        }
        match self.take() {
            Token::Word(word) => Ok(word.to_owned()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        match self.take() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                Token::Word(word) => {
                    values.push(word.to_owned());
                    match self.take() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(values),
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Sign(",") => values.push(String::new()),
                Token::Sign(")") => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
            }
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        if parser.peek() == Token::End && requirements.is_empty() {
            return Ok(requirements);
        }
        if !parser.starts_requirement() {
            let found = parser.peek().text().to_owned();
            return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
        }
        let requirement = parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
        requirements.push(requirement);
        match parser.take() {
            Token::End => return Ok(requirements),
            Token::Sign(",") if parser.starts_requirement() => {}
            Token::Sign(",") => {
                let found = parser.peek().text().to_owned();
                return Err(format!("found '{found}', expected: identifier after ','"));
            }
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

fn parse_fields(of: &Type, text: &str) -> Result<Vec<Term>, String> {
    split_terms(text).into_iter().filter(|term| !term.is_empty()).map(|term| parse_term(of, text, &term)).collect()
}

/// Splits at commas without a backslash.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut hidden = false;
    for c in text.chars() {
        match c {
            ',' if !hidden => terms.push(String::new()),
            _ => terms.last_mut().into_iter().for_each(|term| term.push(c)),
        }
        hidden = c == '\\' && !hidden;
    }
    terms
}

fn parse_term(of: &Type, whole: &str, term: &str) -> Result<Term, String> {
    let unread = || format!("invalid selector: '{whole}'; can't understand '{term}'");
    let (field, value, equal) = [("!=", false), ("==", true), ("=", true)]
        .into_iter()
        .filter_map(|(sign, equal)| Some((term.find(sign)?, sign, equal)))
        .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()))
        .and_then(|(at, sign, equal)| Some((term.get(..at)?, term.get(at + sign.len()..)?, equal)))
        .ok_or_else(unread)?;
    let field = if of.custom.is_some() { field.trim_start_matches('.') } else { field };
    let known = ["metadata.name", "metadata.namespace"].contains(&field)
        || selectable(of).any(|path| path.trim_start_matches('.') == field);
    if !known {
        return Err(unsupported(of, field));
    }
    let field = selectable(of).find(|path| path.trim_start_matches('.') == field).unwrap_or(field);
    let field = crate::model::versions::kept_path(of, field).unwrap_or_else(|| field.to_owned());
    Ok(Term { field, value: unescape(value), equal })
}

/// Returns the message for an unknown field. Types with their own selectors have other words than the rest.
fn unsupported(of: &Type, field: &str) -> String {
    if of.custom.is_none() && selectable(of).next().is_some() {
        format!("field label not supported: {field}")
    } else {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    }
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::model::resources::built_in;

    fn pod_type() -> Type {
        built_in().into_iter().find(|of| of.kind == "Pod").unwrap()
    }

    fn pod() -> Object {
        let value = json!({
            "metadata": {"name": "a", "namespace": "demo", "labels": {"app": "web", "tier": "", "size": "7"}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"},
        });
        Object::build(&pod_type(), &value, 5)
    }

    #[test]
    fn every_label_operator_selects_as_the_api_says() {
        let cases = [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!nope", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("nope!=x", true),
            ("tier=", true),
            ("app in (api, web)", true),
            ("app notin (api,web)", false),
            ("nope notin (x)", true),
            ("size>6,size<8", true),
            ("size > 7", false),
            ("app=web,nope", false),
            ("tier in ()", true),
        ];
        for (text, expected) in cases {
            let selection = Selection::parse(&pod_type(), text, "").unwrap();
            assert_eq!(selection.matches(&pod()), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_as_a_real_server_tells_it() {
        let cases = [
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("a,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_labels(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn fields_select_by_equality_alone() {
        let cases = [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("spec.nodeName==n1,status.phase!=Pending", true),
            ("spec.hostNetwork=false", true),
        ];
        for (text, expected) in cases {
            let selection = Selection::parse(&pod_type(), "", text).unwrap();
            assert_eq!(selection.matches(&pod()), expected, "{text}");
        }
        let refused = |text| Selection::parse(&pod_type(), "", text).unwrap_err().message;
        assert_eq!(refused("spec.bogus=1"), "field label not supported: spec.bogus");
        assert_eq!(refused("x"), "invalid selector: 'x'; can't understand 'x'");
    }
}
