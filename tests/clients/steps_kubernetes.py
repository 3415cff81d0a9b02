"""Steps with the official Python client; each value is what a kube-apiserver 1.36 gives."""

import uuid

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

kubernetes.config.load_kube_config()
client = kubernetes.client.ApiClient()
core = kubernetes.client.CoreV1Api(client)
apps = kubernetes.client.AppsV1Api(client)
dynamic = DynamicClient(client)
namespace = f"clients-{uuid.uuid4().hex[:8]}"


def refused(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == code, (code, error.status, error.body)
        return error
    raise AssertionError(f"{call.__name__} was not refused with {code}")


def fields(found, manager):
    entries = [entry for entry in found.metadata.managed_fields or [] if entry.manager == manager]
    return entries[0].fields_v1 if entries else None


def config_map(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def apply(manager, body, **more):
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    return maps.server_side_apply(body=body, namespace=namespace, field_manager=manager, **more).to_dict()


def ownership():
    apply("one", config_map("m", data={}))
    filled = apply("one", config_map("m", data={"a": "1"}))
    assert filled["data"] == {"a": "1"}, filled
    apply("one", config_map("m", data={}))
    refused(409, apply, "two", config_map("m", data={"b": "1"}))
    made = core.create_namespaced_config_map(namespace, config_map("plain", data={"a": "1"}), field_manager="maker")
    assert fields(made, "maker") == {"f:data": {".": {}, "f:a": {}}}, made


def services():
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 80}, {"name": "c", "port": 82}]}}
    made = core.create_namespaced_service(namespace, body, field_manager="maker")
    assert made.status.load_balancer is not None
    assert "f:clusterIP" not in fields(made, "maker")["f:spec"]
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    patched = core.patch_namespaced_service("s", namespace, {"spec": {"ports": ports}})
    assert [port.port for port in patched.spec.ports] == [80, 81, 82], patched.spec.ports
    refused(422, core.patch_namespaced_service, "s", namespace, {"spec": {"clusterIP": "10.96.7.7"}})


def deployments():
    labels = {"app": "d"}
    pod = {"containers": [{"name": "c", "image": "x:1", "resources": {"limits": {"cpu": "1000m"}}}]}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    made = apps.create_namespaced_deployment(namespace, {"metadata": {"name": "d"}, "spec": spec})
    resources = made.spec.template.spec.containers[0].resources
    assert resources.limits == {"cpu": "1"} and resources.requests is None, resources
    add = [{"op": "add", "path": "/status/replicas", "value": 3}]
    assert apps.patch_namespaced_deployment_status("d", namespace, add).status.replicas == 3
    change = {"spec": {"selector": {"matchLabels": {"app": "other"}}}}
    error = refused(422, apps.patch_namespaced_deployment, "d", namespace, change)
    assert "spec.template.metadata.labels" in error.body and "field is immutable" in error.body, error.body


def events():
    about = {"kind": "Pod", "name": "p", "namespace": namespace}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "message": "m", "type": "Normal"}
    core.create_namespaced_event(namespace, event)
    seen = dynamic.resources.get(api_version="events.k8s.io/v1", kind="Event").get(name="e", namespace=namespace)
    assert seen.note == "m" and seen.regarding.name == "p", seen


def options():
    core.create_namespaced_config_map(namespace, config_map("kept"))
    error = refused(422, core.delete_namespaced_config_map, "kept", namespace, propagation_policy="Bogus")
    expected = '"details":{"group":"meta.k8s.io","kind":"DeleteOptions","causes":[{"reason":"FieldValueNotSupported"'
    assert expected in error.body and error.body.endswith("}\n"), error.body
    leases = kubernetes.client.CoordinationV1Api(client)
    refused(400, leases.create_namespaced_lease, namespace, {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-02"}})


core.create_namespace({"metadata": {"name": namespace}})
try:
    for step in (ownership, services, deployments, events, options):
        step()
        print("done:", step.__name__)
finally:
    core.delete_namespace(namespace)
