// Says which pod it runs in, names the pods beside it, and leaves a greeting in a config map.
//
//     npm install && npm run build

import { getIdentity } from "attache:pod/metadata@0.1.0";
import { open } from "attache:pod/api@0.1.0";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const parse = (json) => JSON.parse(decoder.decode(json));

// `wasi:cli/run`: what `attache run` calls.
export const run = {
  run() {
    try {
      hello();
    } catch (failed) {
      // A denial says which rule the grant lacks; a refusal, what the API server said.
      console.error("hello-pod:", JSON.stringify(failed.payload ?? String(failed)));
      throw undefined;
    }
  },
};

function hello() {
  const identity = getIdentity();
  const namespace = identity.namespace ?? "default";
  console.log(`I am ${identity.name ?? "nobody"} in ${namespace}`);

  const pods = open({ group: "", version: "v1", plural: "pods" }, namespace);
  console.log("pods:", names(pods).join(", "));

  const greeting = { data: { greeting: `hello from JavaScript, ${identity.name}` } };
  const body = encoder.encode(JSON.stringify(greeting));
  const configMaps = open({ group: "", version: "v1", plural: "configmaps" }, namespace);
  const patch = { tag: "apply", val: { body, fieldManager: "hello-pod", force: false } };
  const stored = parse(configMaps.patch("hello-from-javascript", patch, {}));
  console.log("stored:", stored.metadata.name, stored.data.greeting);
}

// The names of all objects, read page by page.
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
