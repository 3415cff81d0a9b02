//! The smallest grant that a component's imports suggest.

use super::imports::{API, METADATA, OUTGOING};
use super::inspect::Inspection;
use crate::policy::{ComponentPin, Grant, Rule, SuggestedGrant};
use crate::telemetry::legible_name;

/// The variables of most pods, by the convention of the Kubernetes documentation.
const VARIABLES: &str = "env: [POD_NAME, POD_NAMESPACE]";

impl Inspection {
    /// Drafts a grant called `name`. It holds what the imports prove to be needed, and comments for what they leave
    /// open. An import shows that an interface is used, but not for what, so a person or a recorded run has to fill in
    /// the rules.
    pub fn draft(&self, name: &str) -> SuggestedGrant {
        let imports = |interface: &str| self.imports.iter().any(|import| import.interface() == interface);
        let mut grant = Grant::nothing(name);
        grant.component = self.pin();
        let name = legible_name(name);
        let mut draft = SuggestedGrant::new(grant);
        draft.about = vec![
            format!("The smallest grant that the imports of {name} tell of. What is commented is for you to decide;"),
            "`attache dev --record FILE` finds out which rules a run needs.".to_owned(),
        ];
        if imports(METADATA) {
            draft.grant.podinfo = vec![crate::policy::PodInfoMount::default()];
            let why = format!("It imports {METADATA}: the variables that it reads there, by name.");
            draft.open_fields.push((why, VARIABLES.to_owned()));
        }
        if imports(API) || imports(OUTGOING) {
            let interface = if imports(API) { API } else { OUTGOING };
            let why = format!("It imports {interface}: what it may ask of the API server, such as");
            draft.open_rules = Some((why, vec![example()]));
        }
        if imports(OUTGOING) {
            let credentials =
                "For code that reads a token as in a container, and sends it to the API server.".to_owned();
            draft.open_fields.push((credentials, "credentials: scoped".to_owned()));
            let egress = "Where else it may call.".to_owned();
            draft.open_fields.push((egress, "egress: [\"https://hooks.example.com\"]".to_owned()));
        }
        draft
    }

    fn pin(&self) -> Option<ComponentPin> {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut sha256).ok()?;
        Some(ComponentPin::new(sha256))
    }
}

/// Returns an example of a rule.
fn example() -> Rule {
    Rule::default().api_groups([""]).resources(["pods"]).verbs(["get", "list"]).namespaces(["$(POD_NAMESPACE)"])
}
