//! Jobs and CronJobs [`pkg/controller/job/job_controller.go` and `indexed_job_utils.go`;
//! `pkg/controller/cronjob/utils.go`].

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Surroundings, template};

/// The label and annotation that hold the index of an indexed Job's pod.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The environment variable that holds the index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The longest stem of a generated name. Names have up to 63 characters, of which the server generates five.
const LONGEST_STEM: usize = 58;

/// Returns the Job of a CronJob that is due in this minute.
pub(super) fn job(owner: &Value, around: Surroundings<'_>) -> Value {
    let of_jobs = &owner["spec"]["jobTemplate"];
    let minute = around.now.as_second().div_euclid(60);
    let mut made = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": format!("{}-{minute}", template::name(owner)), "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [template::reference(owner)],
        },
        "spec": of_jobs["spec"],
    });
    for field in ["labels", "annotations"] {
        if let Some(given) = of_jobs["metadata"].get(field).filter(|given| !given.is_null()) {
            made["metadata"][field] = given.clone();
        }
    }
    let due = Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(around.now);
    // In UTC, regardless of `timeZone`: there is no database of time zones here.
    template::set(&mut made, "annotations", "batch.kubernetes.io/cronjob-scheduled-timestamp", &due.to_string());
    made
}

/// Returns the first pod of a Job. The server has put the Job's labels into the template.
pub(super) fn pod(owner: &Value, _: Surroundings<'_>) -> Value {
    let of_pods = &owner["spec"]["template"];
    if owner["spec"]["completionMode"] != "Indexed" {
        return template::pod(owner, of_pods, &template::stem(owner));
    }
    let name = template::name(owner);
    let stem = format!("{}-0-", name.get(..LONGEST_STEM - "-0-".len()).unwrap_or(name));
    let mut made = template::pod(owner, of_pods, &stem);
    for map in ["labels", "annotations"] {
        template::set(&mut made, map, INDEX, "0");
    }
    if owner["spec"]["backoffLimitPerIndex"].is_number() {
        template::set(&mut made, "annotations", "batch.kubernetes.io/job-index-failure-count", "0");
    }
    made["spec"]["hostname"] = format!("{name}-0").into();
    for list in ["initContainers", "containers"] {
        made["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(set_index);
    }
    made
}

/// Gives a container the index variable, unless it has a variable of that name.
fn set_index(container: &mut Value) {
    let variable = json!({
        "name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}},
    });
    match container.get_mut("env").and_then(Value::as_array_mut) {
        Some(env) if env.iter().any(|one| one["name"] == INDEX_VARIABLE) => {}
        Some(env) => env.push(variable),
        None => *template::field(container, "env") = json!([variable]),
    }
}
