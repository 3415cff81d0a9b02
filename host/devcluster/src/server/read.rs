//! get and list.

use serde_json::json;

use crate::model::collection::Part;
use crate::model::selectors::Selection;
use crate::model::status::ApiError;
use crate::server::api::{Api, Call};
use crate::wire::answer::Answer;
use crate::wire::paging;
use crate::wire::show::{show, show_list};

/// Parses the `resourceVersion` of a get.
pub(crate) fn revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let unfit = || {
        let message =
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        ApiError::new(500, "", message)
    };
    text.parse().map(Some).map_err(|_| unfit())
}

/// Parses the `resourceVersion` of a list, whose error names the number.
fn list_revision(text: &str) -> Result<Option<u64>, ApiError> {
    revision(text).map_err(|error| ApiError::bad_request(format!("invalid resource version: {}", error.message)))
}

/// 504: the revision is in the future.
pub(crate) fn too_large(wanted: u64, current: u64) -> ApiError {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    let mut error =
        ApiError::new(504, "Timeout", message).with_details(json!({"causes": [cause], "retryAfterSeconds": 1}));
    error.retry_after = Some(1);
    error
}

impl Api {
    pub(crate) fn get(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        if let Some(wanted) = revision(call.query.get("resourceVersion"))?
            && wanted > self.store.revision()
        {
            return Err(too_large(wanted, self.store.revision()));
        }
        let found = self.store.collection(&call.of).get(&call.key());
        let object = found.ok_or_else(|| ApiError::not_found(&call.of, &call.at.name))?;
        Ok(show(200, call.accept, &call.of, &object))
    }

    pub(crate) fn list(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        let prefix = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
        let query = call.query;
        let selection = Selection::parse(&call.of, query.get("labelSelector"), query.get("fieldSelector"))?;
        let limit = usize::try_from(query.number("limit").unwrap_or(0)).unwrap_or(usize::MAX);
        let resume = match query.get("continue") {
            "" => None,
            token => Some(paging::resume(&prefix, token)?),
        };
        let at = match &resume {
            Some(resume) => resume.revision,
            None => self.wanted_revision(call, limit)?,
        };
        let part = Part { prefix: &prefix, after: resume.as_ref().map(|resume| resume.after.as_str()), at, limit };
        let table = self.store.collection(&call.of);
        let listing =
            self.store.list(&table, &part, |object| selection.matches(object)).map_err(|_| match &resume {
                Some(resume) => paging::expired(&prefix, &resume.after),
                None => ApiError::expired("The resourceVersion for the provided list is too old."),
            })?;
        let mut metadata = json!({"resourceVersion": listing.revision.to_string()});
        if let Some(last) = &listing.more_after {
            metadata["continue"] = paging::token(&prefix, last, listing.revision).into();
            if selection.is_everything() {
                metadata["remainingItemCount"] = listing.remaining.into();
            }
        }
        let answer = show_list(call.accept, &call.of, listing, &metadata);
        Ok(answer)
    }

    /// Returns the one revision that a list without a token has to show; `None` if the newest will do.
    fn wanted_revision(&self, call: &Call<'_>, limit: usize) -> Result<Option<u64>, ApiError> {
        let (text, rule) = (call.query.get("resourceVersion"), call.query.get("resourceVersionMatch"));
        let forbidden = |why: &str| {
            let message = format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: {why}");
            Err(ApiError::new(422, "Invalid", message))
        };
        match (rule, text) {
            ("" | "Exact" | "NotOlderThan", _) if rule.is_empty() || !text.is_empty() => {}
            ("Exact" | "NotOlderThan", _) => {
                return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            _ => return forbidden("resourceVersionMatch must be one of Exact, NotOlderThan"),
        }
        let Some(wanted) = list_revision(text)?.filter(|wanted| *wanted != 0) else {
            return if rule == "Exact" && text == "0" {
                forbidden("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"")
            } else {
                Ok(None)
            };
        };
        if wanted > self.store.revision() {
            return Err(too_large(wanted, self.store.revision()));
        }
        let exact = rule == "Exact" || (rule.is_empty() && limit != 0);
        Ok(exact.then_some(wanted))
    }
}
