//! A grant that a program suggests to a user.

use std::fmt;

use attache_base::untrusted::is_hidden;

use super::{Grant, Rule};

/// A grant, with comments for decisions of the user. It prints as YAML that [`Grant::parse`] reads back to the grant.
/// To accept a commented line, remove its `#`.
///
/// ```
/// use attache_policy::{Grant, SuggestedGrant};
///
/// let mut suggested = SuggestedGrant::new(Grant::nothing("card"));
/// suggested.about.push("from one run".to_owned());
/// assert!(suggested.to_string().starts_with("# from one run\napiVersion: "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestedGrant {
    /// The origin of the grant, line by line.
    pub about: Vec<String>,
    /// The grant with the rights that are known to be needed.
    pub grant: Grant,
    /// Rules that a user has to decide on, after the reason. They are printed among the rules of the grant.
    pub open_rules: Option<(String, Vec<Rule>)>,
    /// Other fields of `spec` that a user has to decide on: the reason, and the line of YAML.
    pub open_fields: Vec<(String, String)>,
}

impl SuggestedGrant {
    /// Returns a suggestion that leaves nothing open.
    pub fn new(grant: Grant) -> Self {
        Self { about: Vec::new(), grant, open_rules: None, open_fields: Vec::new() }
    }

    fn write_rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open_rules.as_ref().filter(|(_, rules)| !rules.is_empty());
        if !self.grant.api.is_empty() {
            writeln!(f, "  api:")?;
        }
        for rule in &self.grant.api {
            writeln!(f, "  - {rule}")?;
        }
        let Some((why, rules)) = open else { return Ok(()) };
        writeln!(f, "  # {}", in_a_line(why))?;
        if self.grant.api.is_empty() {
            writeln!(f, "  # api:")?;
        }
        rules.iter().try_for_each(|rule| writeln!(f, "  # - {rule}"))
    }
}

impl fmt::Display for SuggestedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.about {
            writeln!(f, "# {}", in_a_line(line))?;
        }
        let rest = Grant { api: Vec::new(), ..self.grant.clone() }.to_yaml();
        let rest = rest.trim_end();
        // A `spec` of nothing is written `{}`, and nothing can follow that.
        let head = if self.grant.api.is_empty() { rest } else { rest.strip_suffix(" {}").unwrap_or(rest) };
        writeln!(f, "{head}")?;
        self.write_rules(f)?;
        for (why, yaml) in &self.open_fields {
            writeln!(f, "  # {}\n  # {}", in_a_line(why), in_a_line(yaml))?;
        }
        Ok(())
    }
}

/// Returns a text on one line. A comment ends with its line, and a guest's text must not begin another.
fn in_a_line(text: &str) -> String {
    text.replace(is_hidden, " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(resource: &str) -> Rule {
        let words = |word: &str| vec![word.to_owned()];
        Rule {
            api_groups: words(""),
            resources: words(resource),
            verbs: words("get"),
            namespaces: words("$(POD_NAMESPACE)"),
            ..Rule::default()
        }
    }

    #[test]
    fn a_draft_reads_back_to_its_grant() {
        let mut grant = Grant::nothing("drafted");
        for (api, env) in
            [(vec![], vec![]), (vec![rule("pods")], vec![]), (vec![rule("pods"), rule("jobs")], vec!["A".to_owned()])]
        {
            (grant.api, grant.env) = (api, env);
            let mut draft = SuggestedGrant::new(grant.clone());
            draft.about = vec!["from\nspec: {env: [B]}".into()];
            draft.open_rules = Some(("perhaps".into(), vec![rule("secrets")]));
            draft.open_fields = vec![("or".into(), "egress: [\"https://a.example\"]".into())];
            assert_eq!(Grant::parse(&draft.to_string()).unwrap(), grant, "{draft}");
        }
    }

    #[test]
    fn an_open_rule_counts_once_its_sign_is_taken_off() {
        let mut draft = SuggestedGrant::new(Grant { env: vec!["A".into()], ..Grant::nothing("drafted") });
        draft.open_rules = Some(("perhaps".into(), vec![rule("secrets")]));
        let text = draft.to_string().replace("# api", "api").replace("# -", "-");
        assert_eq!(Grant::parse(&text).unwrap().api, [rule("secrets")], "{text}");
        draft.grant.api = vec![rule("pods")];
        let text = draft.to_string().replace("# -", "-");
        assert_eq!(Grant::parse(&text).unwrap().api, [rule("pods"), rule("secrets")], "{text}");
    }
}
