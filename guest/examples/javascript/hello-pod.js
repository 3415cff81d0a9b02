// Prints its pod, the pod's labels and the pods of the namespace, and writes a greeting to a config map.
//
//     npm install && npm run build

import { getIdentity } from "attache:pod/metadata@0.1.0";
import { open } from "attache:pod/api@0.1.0";
import { getDirectories } from "wasi:filesystem/preopens@0.2.12";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const parse = (json) => JSON.parse(decoder.decode(json));

// The export `wasi:cli/run`, which `attache run` calls.
export const run = {
  run() {
    try {
      hello();
    } catch (failed) {
      // A denial names the missing rule of the grant; a refusal has the API server's answer.
      console.error("hello-pod:", JSON.stringify(failed.payload ?? String(failed)));
      throw undefined;
    }
  },
};

function hello() {
  const identity = getIdentity();
  const namespace = identity.namespace ?? "default";
  console.log(`I am ${identity.name ?? "nobody"} in ${namespace}`);
  console.log("labels:", labels());

  const pods = open({ group: "", version: "v1", plural: "pods" }, namespace);
  console.log("pods:", names(pods).join(", "));

  const greeting = { data: { greeting: `hello from JavaScript, ${identity.name}` } };
  const body = encoder.encode(JSON.stringify(greeting));
  const configMaps = open({ group: "", version: "v1", plural: "configmaps" }, namespace);
  const patch = { tag: "apply", val: { body, fieldManager: "hello-pod", force: false } };
  const stored = parse(configMaps.patch("hello-from-javascript", patch, {}));
  console.log("stored:", stored.metadata.name, stored.data.greeting);
}

// Returns the file of labels, at the path of a container.
function labels() {
  try {
    return readText("/etc/podinfo/labels").trim();
  } catch (failed) {
    return `none (${failed.payload ?? failed})`;
  }
}

// Returns a file as text. The grant's mounts are below one root directory, at the paths of a container.
function readText(path) {
  const [[root]] = getDirectories();
  const file = root.openAt({ symlinkFollow: true }, path.slice(1), {}, { read: true });
  const text = new TextDecoder();
  let [found, offset, end] = ["", 0n, false];
  while (!end) {
    let bytes;
    [bytes, end] = file.read(65536n, offset);
    found += text.decode(bytes, { stream: !end });
    offset += BigInt(bytes.length);
  }
  return found;
}

// Returns the names of all objects, page by page.
function names(objects) {
  const found = [];
  let cursor;
  do {
    const page = objects.list({ labels: "", fields: "" }, 500, cursor);
    found.push(...page.items.map((item) => parse(item).metadata.name));
    cursor = page.cursor;
  } while (cursor !== undefined);
  return found;
}
