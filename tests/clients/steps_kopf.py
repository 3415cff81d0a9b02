"""An operator with kopf: handlers, a timer, owned objects, and a finalizer that it takes away itself."""

import sys
import time
import uuid

import kopf
import kubernetes
from kopf.testing import KopfRunner
from kubernetes.client.exceptions import ApiException

GROUP = "clients.example"


@kopf.on.create(GROUP, "v1", "ponies")
def made(spec, name, namespace, **_):
    child = {"metadata": {"name": f"{name}-child"}, "data": {"colour": spec["colour"]}}
    kopf.adopt(child)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, child)
    return {"child": f"{name}-child"}


@kopf.on.update(GROUP, "v1", "ponies", field="spec.colour")
def changed(new, name, namespace, **_):
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(f"{name}-child", namespace, {"data": {"colour": new}})


@kopf.timer(GROUP, "v1", "ponies", interval=0.5)
def tick(patch, status, **_):
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.on.delete(GROUP, "v1", "ponies")
def gone(**_):
    pass


def until(what, found):
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def missing(call, *args):
    try:
        call(*args)
    except ApiException as error:
        assert error.status == 404, error
        return True
    return False


def main():
    kubernetes.config.load_kube_config()
    core, custom = kubernetes.client.CoreV1Api(), kubernetes.client.CustomObjectsApi()
    definitions = kubernetes.client.ApiextensionsV1Api()
    namespace = f"clients-{uuid.uuid4().hex[:8]}"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    definitions.create_custom_resource_definition({"metadata": {"name": f"ponies.{GROUP}"}, "spec": {
        "group": GROUP, "scope": "Namespaced", "names": {"plural": "ponies", "kind": "Pony"}, "versions": [version],
    }})
    core.create_namespace({"metadata": {"name": namespace}})
    at = (GROUP, "v1", namespace, "ponies")
    try:
        with KopfRunner(["run", "--standalone", "-n", namespace, __file__], timeout=120) as runner:
            pony = {"apiVersion": f"{GROUP}/v1", "kind": "Pony", "metadata": {"name": "p"}, "spec": {"colour": "blue"}}
            until("the type is not served", lambda: not missing(custom.list_namespaced_custom_object, *at))
            custom.create_namespaced_custom_object(*at, pony)
            until("no child", lambda: not missing(core.read_namespaced_config_map, "p-child", namespace))
            ticks = lambda: custom.get_namespaced_custom_object(*at, "p").get("status", {}).get("ticks", 0)
            until("the timer does not run", lambda: ticks() >= 2)
            found = custom.get_namespaced_custom_object(*at, "p")
            assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"], found
            assert found["status"]["made"] == {"child": "p-child"}, found
            custom.patch_namespaced_custom_object(*at, "p", {"spec": {"colour": "red"}})
            colour = lambda: core.read_namespaced_config_map("p-child", namespace).data["colour"]
            until("the child keeps its colour", lambda: colour() == "red")
            custom.delete_namespaced_custom_object(*at, "p")
            until("the pony stays", lambda: missing(custom.get_namespaced_custom_object, *at, "p"))
            until("the child stays", lambda: missing(core.read_namespaced_config_map, "p-child", namespace))
        assert runner.exception is None and runner.exit_code == 0, (runner.exception, runner.output)
    finally:
        core.delete_namespace(namespace)
        definitions.delete_custom_resource_definition(f"ponies.{GROUP}")
    print("done: an operator")


if __name__ == "__main__":
    sys.exit(main())
