//! The defaults of the resources of a pod as a whole (KEP-2837).
//!
//! If only limits are set, the requests follow from the containers' requests, or else from the limits. Containers get
//! nothing from their pod: their missing values stay missing [`pkg/apis/core/v1/defaults.go`, `defaultPodRequests` and
//! `defaultHugePagePodLimits`; `component-helpers/resource`, `AggregateContainerRequests`].

use std::collections::BTreeMap;

use attache_base::quantity::Quantity;
use serde_json::{Value, json};

/// The prefix of the names of huge pages, whose limit equals their request.
const HUGE_PAGES: &str = "hugepages-";

type Amounts = BTreeMap<String, Quantity>;

/// Completes `spec.resources` of a pod, whose containers have been completed.
pub(crate) fn complete(spec: &mut Value) {
    if !["limits", "requests"].iter().any(|list| !amounts(spec, list).is_empty()) {
        return;
    }
    let asked = amounts(spec, "requests");
    let huge = aggregate(spec, "limits").into_iter();
    let huge = huge.filter(|(name, _)| name.starts_with(HUGE_PAGES) && !asked.contains_key(name));
    fill(spec, "limits", huge.collect());
    let limits = amounts(spec, "limits");
    if limits.is_empty() {
        return;
    }
    let of_containers = aggregate(spec, "requests").into_iter().filter(|(name, _)| matches!(&**name, "cpu" | "memory"));
    fill(spec, "requests", of_containers.collect());
    fill(spec, "requests", limits.into_iter().filter(|(name, _)| is_supported(name)).collect());
}

/// Returns whether a pod has resources as a whole. Its quality of service then ignores the containers' resources.
pub(crate) fn are_set(spec: &Value) -> bool {
    ["limits", "requests"].iter().any(|list| amounts(spec, list).keys().any(|name| is_supported(name)))
}

fn is_supported(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with(HUGE_PAGES)
}

/// Adds the amounts of resources that a list lacks.
fn fill(spec: &mut Value, list: &str, amounts: Amounts) {
    if amounts.is_empty() {
        return;
    }
    let entries = &mut spec["resources"][list];
    if !entries.is_object() {
        *entries = json!({});
    }
    for (name, amount) in amounts {
        if entries.get(&name).is_none() {
            entries[name] = amount.to_string().into();
        }
    }
}

/// Returns the amounts of a container, or of the pod's spec. An invalid quantity is refused elsewhere.
fn amounts(holder: &Value, list: &str) -> Amounts {
    let entries = holder.get("resources").and_then(|resources| resources.get(list)).and_then(Value::as_object);
    let read = |(name, value): (&String, &Value)| Some((name.clone(), serde_json::from_value(value.clone()).ok()?));
    entries.into_iter().flatten().filter_map(read).collect()
}

/// Returns the total of all containers. The main containers and the sidecars run at once. Each init container runs
/// before, beside the sidecars that started earlier.
fn aggregate(spec: &Value, list: &str) -> Amounts {
    let each = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
    let (mut total, mut sidecars, mut most_at_start) = (Amounts::new(), Amounts::new(), Amounts::new());
    each("containers").iter().for_each(|container| add(&mut total, &amounts(container, list)));
    for container in each("initContainers") {
        let own = amounts(&container, list);
        let mut at_once = sidecars.clone();
        add(&mut at_once, &own);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            sidecars.clone_from(&at_once);
        }
        raise(&mut most_at_start, &at_once);
    }
    raise(&mut total, &most_at_start);
    total
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.get(name).map_or_else(|| amount.clone(), |before| before.plus(amount));
        total.insert(name.clone(), sum);
    }
}

fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        if total.get(name).is_none_or(|before| before < amount) {
            total.insert(name.clone(), amount.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::complete;

    fn completed(resources: Value, containers: Value, init: Value) -> Value {
        let mut spec = json!({"resources": resources, "containers": containers, "initContainers": init});
        complete(&mut spec);
        spec["resources"].clone()
    }

    #[test]
    fn limits_alone_become_the_requests() {
        let limits = json!({"cpu": "500m", "memory": "96Mi"});
        let found = completed(json!({"limits": limits}), json!([{"name": "a"}]), json!([]));
        assert_eq!(found, json!({"limits": limits, "requests": limits}));
    }

    #[test]
    fn what_the_containers_ask_for_becomes_the_request() {
        let asks = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
        let found = completed(
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"memory": "512Mi"}}),
            json!([{"resources": asks("100m", "1Mi")}, {"resources": asks("150m", "1Mi")}]),
            json!([
                {"resources": asks("50m", "1Mi"), "restartPolicy": "Always"},
                {"resources": asks("1", "1Mi")},
            ]),
        );
        assert_eq!(found["requests"], json!({"cpu": "1050m", "memory": "512Mi"}));
    }

    #[test]
    fn huge_pages_of_containers_are_the_pods_limit() {
        let huge = json!([{"resources": {"limits": {"hugepages-2Mi": "4Mi"}, "requests": {"hugepages-2Mi": "4Mi"}}}]);
        let found = completed(json!({"requests": {"cpu": "1"}}), huge, json!([]));
        assert_eq!(
            found,
            json!({
                "limits": {"hugepages-2Mi": "4Mi"}, "requests": {"cpu": "1", "hugepages-2Mi": "4Mi"},
            })
        );
    }

    #[test]
    fn a_pod_that_says_nothing_gets_nothing() {
        let asks = json!([{"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]);
        assert_eq!(completed(Value::Null, asks, json!([])), Value::Null);
    }
}
