//! The few messages that `kubectl` sends as protobuf even to a server that answers in JSON: those of its `create`,
//! `auth` and `drain` commands. A message with a field outside the table is refused whole (415), never read in part.

use serde_json::{Map, Value, json};

/// The beginning of every protobuf body.
const MAGIC: &[u8] = b"k8s\0";

/// The deepest nesting of messages: a pod's template has six levels.
const DEEPEST: usize = 16;

/// The messages, as `MESSAGE NUMBER=FIELD:TYPE …`. A type is s text, i and b a number and a flag that are set if they
/// are sent, z and f the same but unset if they are zero, t a time, x integer or text, y bytes, another message's name,
/// `[` before a repeated one, `{` before the values of a map. The numbers are those of the `generated.proto` files of
/// k8s.io/api.
const MESSAGES: &str = "\
ObjectMeta 1=name:s 2=generateName:s 3=namespace:s 4=selfLink:s 5=uid:s 6=resourceVersion:s 7=generation:z 8=creationTimestamp:t 9=deletionTimestamp:t 10=deletionGracePeriodSeconds:i 11=labels:{s 12=annotations:{s 13=ownerReferences:[OwnerReference 14=finalizers:[s
OwnerReference 1=kind:s 3=name:s 4=uid:s 5=apiVersion:s 6=controller:b 7=blockOwnerDeletion:b
ConfigMap 1=metadata:ObjectMeta 2=data:{s 3=binaryData:{y 4=immutable:b
Secret 1=metadata:ObjectMeta 2=data:{y 3=type:s 4=stringData:{s 5=immutable:b
Namespace 1=metadata:ObjectMeta 2=spec:NamespaceSpec 3=status:NamespaceStatus
NamespaceSpec 1=finalizers:[s
NamespaceStatus 1=phase:s
ServiceAccount 1=metadata:ObjectMeta 4=automountServiceAccountToken:b
PolicyRule 1=verbs:[s 2=apiGroups:[s 3=resources:[s 4=resourceNames:[s 5=nonResourceURLs:[s
Role 1=metadata:ObjectMeta 2=rules:[PolicyRule
ClusterRole 1=metadata:ObjectMeta 2=rules:[PolicyRule 3=aggregationRule:AggregationRule
AggregationRule 1=clusterRoleSelectors:[LabelSelector
RoleBinding 1=metadata:ObjectMeta 2=subjects:[Subject 3=roleRef:RoleRef
ClusterRoleBinding 1=metadata:ObjectMeta 2=subjects:[Subject 3=roleRef:RoleRef
Subject 1=kind:s 2=apiGroup:s 3=name:s 4=namespace:s
RoleRef 1=apiGroup:s 2=kind:s 3=name:s
LabelSelector 1=matchLabels:{s 2=matchExpressions:[LabelSelectorRequirement
LabelSelectorRequirement 1=key:s 2=operator:s 3=values:[s
SelfSubjectAccessReview 1=metadata:ObjectMeta 2=spec:SelfSubjectAccessReviewSpec 3=status:SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec 1=resourceAttributes:ResourceAttributes 2=nonResourceAttributes:NonResourceAttributes
SubjectAccessReviewStatus 1=allowed:f 2=reason:s 3=evaluationError:s 4=denied:f
ResourceAttributes 1=namespace:s 2=verb:s 3=group:s 4=version:s 5=resource:s 6=subresource:s 7=name:s
NonResourceAttributes 1=path:s 2=verb:s
SelfSubjectRulesReview 1=metadata:ObjectMeta 2=spec:SelfSubjectRulesReviewSpec 3=status:SubjectRulesReviewStatus
SelfSubjectRulesReviewSpec 1=namespace:s
SubjectRulesReviewStatus 3=incomplete:f 4=evaluationError:s
SelfSubjectReview 1=metadata:ObjectMeta 2=status:SelfSubjectReviewStatus
SelfSubjectReviewStatus 1=userInfo:UserInfo
UserInfo 1=username:s 2=uid:s
TokenRequest 1=metadata:ObjectMeta 2=spec:TokenRequestSpec 3=status:TokenRequestStatus
TokenRequestSpec 1=audiences:[s 3=boundObjectRef:BoundObjectReference 4=expirationSeconds:i
BoundObjectReference 1=kind:s 2=apiVersion:s 3=name:s 4=uid:s
TokenRequestStatus 1=token:s 2=expirationTimestamp:t
DeleteOptions 1=gracePeriodSeconds:i 2=preconditions:Preconditions 3=orphanDependents:b 4=propagationPolicy:s 5=dryRun:[s
Preconditions 1=uid:s 2=resourceVersion:s
Eviction 1=metadata:ObjectMeta 2=deleteOptions:DeleteOptions
Deployment 1=metadata:ObjectMeta 2=spec:DeploymentSpec 3=status:DeploymentStatus
DeploymentSpec 1=replicas:i 2=selector:LabelSelector 3=template:PodTemplateSpec 4=strategy:DeploymentStrategy 5=minReadySeconds:z 6=revisionHistoryLimit:i 7=paused:f 9=progressDeadlineSeconds:i
DeploymentStrategy 1=type:s
DeploymentStatus 1=observedGeneration:z 2=replicas:z 3=updatedReplicas:z 4=availableReplicas:z 5=unavailableReplicas:z 7=readyReplicas:z
PodTemplateSpec 1=metadata:ObjectMeta 2=spec:PodSpec
PodSpec 2=containers:[Container 3=restartPolicy:s 4=terminationGracePeriodSeconds:i 5=activeDeadlineSeconds:i 6=dnsPolicy:s 7=nodeSelector:{s 8=serviceAccountName:s 9=serviceAccount:s 10=nodeName:s 11=hostNetwork:f 12=hostPID:f 13=hostIPC:f 14=securityContext:PodSecurityContext 16=hostname:s 17=subdomain:s 19=schedulerName:s 21=automountServiceAccountToken:b 24=priorityClassName:s
PodSecurityContext
Container 1=name:s 2=image:s 3=command:[s 4=args:[s 5=workingDir:s 6=ports:[ContainerPort 8=resources:ResourceRequirements 13=terminationMessagePath:s 14=imagePullPolicy:s 16=stdin:f 17=stdinOnce:f 18=tty:f 20=terminationMessagePolicy:s
ContainerPort 1=name:s 2=hostPort:z 3=containerPort:z 4=protocol:s 5=hostIP:s
ResourceRequirements
Job 1=metadata:ObjectMeta 2=spec:JobSpec 3=status:JobStatus
JobSpec 1=parallelism:i 2=completions:i 3=activeDeadlineSeconds:i 4=selector:LabelSelector 5=manualSelector:b 6=template:PodTemplateSpec 7=backoffLimit:i 8=ttlSecondsAfterFinished:i
JobStatus 4=active:z 5=succeeded:z 6=failed:z 7=completedIndexes:s
CronJob 1=metadata:ObjectMeta 2=spec:CronJobSpec 3=status:CronJobStatus
CronJobSpec 1=schedule:s 2=startingDeadlineSeconds:i 3=concurrencyPolicy:s 4=suspend:b 5=jobTemplate:JobTemplateSpec 6=successfulJobsHistoryLimit:i 7=failedJobsHistoryLimit:i 8=timeZone:s
CronJobStatus
JobTemplateSpec 1=metadata:ObjectMeta 2=spec:JobSpec
PriorityClass 1=metadata:ObjectMeta 2=value:i 3=globalDefault:f 4=description:s 5=preemptionPolicy:s
PodDisruptionBudget 1=metadata:ObjectMeta 2=spec:PodDisruptionBudgetSpec 3=status:PodDisruptionBudgetStatus
PodDisruptionBudgetSpec 1=minAvailable:x 2=selector:LabelSelector 3=maxUnavailable:x 4=unhealthyPodEvictionPolicy:s
PodDisruptionBudgetStatus 1=observedGeneration:z 3=disruptionsAllowed:z 4=currentHealthy:z 5=desiredHealthy:z 6=expectedPods:z
Service 1=metadata:ObjectMeta 2=spec:ServiceSpec 3=status:ServiceStatus
ServiceSpec 1=ports:[ServicePort 2=selector:{s 3=clusterIP:s 4=type:s 5=externalIPs:[s 7=sessionAffinity:s 8=loadBalancerIP:s 10=externalName:s 11=externalTrafficPolicy:s 12=healthCheckNodePort:z 13=publishNotReadyAddresses:f
ServicePort 1=name:s 2=protocol:s 3=port:z 4=targetPort:x 5=nodePort:z
ServiceStatus 1=loadBalancer:LoadBalancerStatus
LoadBalancerStatus
";

/// Decodes a body; `None` for a message outside the table or an invalid body.
pub(crate) fn decode(body: &[u8]) -> Option<Value> {
    let mut rest = body.strip_prefix(MAGIC)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Bytes(mut meta)) => {
                while !meta.is_empty() {
                    match take(&mut meta)? {
                        (1, Wire::Bytes(text)) => api_version = text_of(text)?,
                        (2, Wire::Bytes(text)) => kind = text_of(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut value = Value::Object(message(&kind, raw, DEEPEST)?);
    value["kind"] = kind.into();
    value["apiVersion"] = api_version.into();
    Some(value)
}

/// A value in the wire format.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes the next field: its number and value.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Returns the fields of a message: number, name and type.
fn fields(name: &str) -> Option<Vec<(u64, &'static str, &'static str)>> {
    let line = MESSAGES.lines().find(|line| line.split(' ').next() == Some(name))?;
    let field = |word: &'static str| {
        let (number, rest) = word.split_once('=')?;
        let (name, shape) = rest.split_once(':')?;
        Some((number.parse().ok()?, name, shape))
    };
    Some(line.split(' ').skip(1).filter_map(field).collect())
}

fn message(name: &str, mut rest: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let depth = depth.checked_sub(1)?;
    let known = fields(name)?;
    let mut map = Map::new();
    while !rest.is_empty() {
        let (number, wire) = take(&mut rest)?;
        let (_, field, shape) = known.iter().find(|(known, ..)| *known == number)?;
        if let Some(item) = shape.strip_prefix('[') {
            let value = or_empty(single(item, wire, depth)?);
            match map.get_mut(*field).and_then(Value::as_array_mut) {
                Some(list) => list.push(value),
                None => _ = map.insert((*field).to_owned(), json!([value])),
            }
        } else if let Some(item) = shape.strip_prefix('{') {
            let Wire::Bytes(bytes) = wire else { return None };
            let (key, value) = entry(item, bytes, depth)?;
            let entries = map.entry(*field).or_insert_with(|| json!({}));
            entries[key] = value;
        } else {
            let value = single(shape, wire, depth)?;
            if !value.is_null() {
                map.insert((*field).to_owned(), value);
            }
        }
    }
    Some(map)
}

/// Replaces null by an empty text, which stays in a list or a map.
fn or_empty(value: Value) -> Value {
    if value.is_null() { "".into() } else { value }
}

/// Decodes one entry of a map.
fn entry(shape: &str, mut rest: &[u8], depth: usize) -> Option<(String, Value)> {
    let (mut key, mut value) = (String::new(), Value::from(""));
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Bytes(text)) => key = text_of(text)?,
            (2, wire) => value = or_empty(single(shape, wire, depth)?),
            _ => return None,
        }
    }
    Some((key, value))
}

/// Decodes one value; null means unset.
fn single(shape: &str, wire: Wire<'_>, depth: usize) -> Option<Value> {
    use base64::Engine as _;
    let unless = |none: bool, value: Value| if none { Value::Null } else { value };
    match (shape, wire) {
        ("s", Wire::Bytes(text)) => Some(unless(text.is_empty(), text_of(text)?.into())),
        ("y", Wire::Bytes(bytes)) => Some(base64::engine::general_purpose::STANDARD.encode(bytes).into()),
        ("i", Wire::Number(number)) => Some(signed(number).into()),
        ("z", Wire::Number(number)) => Some(unless(number == 0, signed(number).into())),
        ("b", Wire::Number(number)) => Some((number != 0).into()),
        ("f", Wire::Number(number)) => Some(unless(number == 0, true.into())),
        ("t", Wire::Bytes(bytes)) => time(bytes),
        ("x", Wire::Bytes(bytes)) => int_or_text(bytes),
        (name, Wire::Bytes(bytes)) => message(name, bytes, depth).map(Value::Object),
        _ => None,
    }
}

/// Decodes a negative number from its two's complement.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// Returns the text of a time; null for the zero time.
fn time(mut rest: &[u8]) -> Option<Value> {
    let mut seconds = 0;
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Number(number)) => seconds = signed(number),
            (2, Wire::Number(_)) => {}
            _ => return None,
        }
    }
    let time = jiff::Timestamp::from_second(seconds).ok().filter(|_| seconds > 0);
    Some(time.map_or(Value::Null, |time| time.to_string().into()))
}

fn int_or_text(mut rest: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = signed(value),
            (3, Wire::Bytes(bytes)) => text = text_of(bytes)?,
            _ => return None,
        }
    }
    Some(if is_text { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap_or(0);
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &meta), &field(2, raw)].concat()
    }

    #[test]
    fn a_known_message_is_read_and_an_unknown_field_refuses_the_whole() {
        let metadata = field(1, &[field(1, b"a"), field(3, b"")].concat());
        let data = field(2, &[field(1, b"x"), field(2, b"1")].concat());
        let whole = body("ConfigMap", &[metadata, data].concat());
        let expected = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "1"}});
        assert_eq!(decode(&whole), Some(expected));
        assert_eq!(decode(&body("ConfigMap", &field(9, b"?"))), None);
        assert_eq!(decode(&body("Nothing", b"")), None);
        assert_eq!(decode(b"k8s\0\xff\xff"), None);
    }

    #[test]
    fn every_message_that_the_table_names_is_in_it() {
        for line in MESSAGES.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            for (_, field, shape) in fields(name).unwrap_or_default() {
                let inner = shape.trim_start_matches(['[', '{']);
                assert!(inner.len() == 1 || fields(inner).is_some(), "{name}.{field}: {inner}");
            }
        }
    }
}
