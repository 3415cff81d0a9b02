//! The pods of the tests.

/// A pod with every kind of volume and variable that this kubelet fills.
pub(crate) const FULL: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, shape: round}
binaryData: {raw: AP8=}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: open-sesame}
---
apiVersion: v1
kind: Pod
metadata:
  name: full
  labels: {app: web, tier: front}
  annotations:
    note: "two\nlines and a \"quote\""
spec:
  initContainers:
  - name: prepare
    image: registry.invalid/x:1
    resources: {limits: {memory: 1Gi}}
  containers:
  - name: main
    image: registry.invalid/x:1
    resources:
      requests: {cpu: 125m, memory: 32Mi}
      limits: {cpu: 250m, memory: 64Mi}
    envFrom:
    - {prefix: CFG_, configMapRef: {name: settings}}
    - {secretRef: {name: keys}}
    - {configMapRef: {name: nowhere, optional: true}}
    env:
    - {name: PLAIN, value: "1"}
    - {name: EXPANDED, value: "$(PLAIN)-$(CFG_colour)-$$(PLAIN)-$(NOBODY)"}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST_IPS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: NO_SUCH_LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['none']"}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: CPU_MILLI, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: MEMORY_KI, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Ki}}}
    - {name: SCRATCH_GI, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Gi}}}
    - {name: OTHERS, valueFrom: {resourceFieldRef: {containerName: prepare, resource: limits.memory, divisor: 1Mi}}}
    - {name: SHAPE, valueFrom: {configMapKeyRef: {name: settings, key: shape}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: UNSET, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}
    volumeMounts:
    - {name: podinfo, mountPath: /etc/podinfo}
    - {name: settings, mountPath: /etc/settings}
    - {name: some, mountPath: /etc/some}
    - {name: keys, mountPath: /etc/keys}
    - {name: all, mountPath: /etc/all}
    - {name: scratch, mountPath: /scratch}
    - {name: scratch, mountPath: /own, subPathExpr: of/$(POD_NAME), readOnly: true}
    - {name: podinfo, mountPath: /labels-then, subPath: labels}
  volumes:
  - name: podinfo
    downwardAPI:
      defaultMode: 0400
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: annotations, mode: 0644, fieldRef: {fieldPath: metadata.annotations}}
      - {path: deep/name, mode: 511, fieldRef: {fieldPath: metadata.name}}
      - {path: app, fieldRef: {fieldPath: "metadata.labels['app']"}}
      - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
      - {path: memory, resourceFieldRef: {containerName: prepare, resource: limits.memory, divisor: 1Mi}}
  - {name: settings, configMap: {name: settings}}
  - name: some
    configMap: {name: settings, defaultMode: 0440, items: [{key: colour, path: a/b, mode: 0600}, {key: shape, path: shape}]}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - name: all
    projected:
      defaultMode: 0444
      sources:
      - configMap: {name: settings, items: [{key: colour, path: colour}]}
      - secret: {name: keys}
      - secret: {name: nowhere, optional: true}
      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
      - serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}
  - {name: scratch, emptyDir: {}}
"#;

/// A pod with one volume.
pub(crate) const SMALL: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: small, labels: {app: web}}
spec:
  containers:
  - name: main
    image: registry.invalid/x:1
    volumeMounts:
    - {name: podinfo, mountPath: /etc/podinfo}
    - {name: podinfo, mountPath: /labels-then, subPath: labels}
  volumes:
  - {name: podinfo, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
";

/// A pod with its own limits, whose containers have no limits or some.
pub(crate) const LIMITED: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  resources: {limits: {cpu: 500m, memory: 96Mi}}
  initContainers:
  - {name: side, image: registry.invalid/x:1, restartPolicy: Always}
  containers:
  - name: main
    image: registry.invalid/x:1
    env:
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: ASKED, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: OTHERS, valueFrom: {resourceFieldRef: {containerName: own, resource: limits.cpu, divisor: 1m}}}
    volumeMounts: [{name: all, mountPath: /etc/all}]
  - name: own
    image: registry.invalid/x:1
    resources: {limits: {cpu: 250m}}
  volumes:
  - name: all
    projected:
      sources:
      - downwardAPI:
          items:
          - {path: cpu_limit, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
          - {path: mem_limit, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Mi}}
          - {path: mem_request, resourceFieldRef: {containerName: main, resource: requests.memory, divisor: 1Mi}}
          - {path: own_cpu, resourceFieldRef: {containerName: own, resource: limits.cpu, divisor: 1m}}
          - {path: own_mem, resourceFieldRef: {containerName: own, resource: limits.memory, divisor: 1Mi}}
          - {path: scratch, resourceFieldRef: {containerName: main, resource: limits.ephemeral-storage, divisor: 1Gi}}
      - configMap: {name: settings}
";
