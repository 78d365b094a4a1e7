import type { ModelSource, PairWriter } from "../../src/client/types.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { choice, labelled } from "../parts/choice.ts";
import { modelPicker } from "../parts/model-picker.ts";

/** Fields of an endpoint, kept while the tab is open: a key must not be stored. */
const endpoint = { url: "", model: "", key: "" };

const EMBEDDED_ABOUT =
  "The embedded model is too small to write good pairs: it shows the way. Choose a model from the hub for real ones.";
const KEY_ABOUT = "Sent only to this address. It is kept in memory until you close the tab.";
const ADDRESS_ABOUT =
  "An OpenAI-compatible API, such as Ollama, vLLM or llama.cpp. The documents' text is sent there. The server must allow requests from this page (CORS).";

/** Chooses who writes and rates the pairs. @param changed receives null while a field is missing */
export function writerPart(app: App, signal: AbortSignal, changed: (writer: PairWriter | null) => void): HTMLElement {
  let kind: PairWriter["kind"] = "model";
  let model: ModelSource | null = { kind: "embedded" };
  const about = h("p", { class: "about" }, EMBEDDED_ABOUT);
  const detail = h("div", { class: "detail" });
  const models = modelPicker(app, signal, (chosen) => {
    model = chosen;
    about.hidden = chosen?.kind !== "embedded";
    tell();
  });

  const writer = (): PairWriter | null => {
    if (kind === "model") return model && { kind, model };
    const { url, model: name, key } = endpoint;
    return url && name && addressProblem(url) === null ? { kind, url, model: name, key: key || null } : null;
  };
  const tell = () => changed(writer());

  const wrong = h("p", { class: "wrong", role: "alert" });
  const field = (name: keyof typeof endpoint, label: string, attributes: Record<string, string>, help?: string) => {
    const input = h("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      value: endpoint[name],
      ...attributes,
    });
    input.addEventListener("change", () => {
      endpoint[name] = input.value.trim();
      fill(wrong, endpoint.url && addressProblem(endpoint.url));
      tell();
    });
    return labelled(label, input, help);
  };
  const fields = h(
    "div",
    { class: "columns" },
    field("url", "Address", { placeholder: "http://localhost:11434/v1" }, ADDRESS_ABOUT),
    field("model", "Model of the endpoint", { placeholder: "qwen3:8b" }),
    field("key", "Key", { type: "password", placeholder: "if it needs one" }, KEY_ABOUT),
  );
  const show = () => (kind === "model" ? fill(detail, models, about) : fill(detail, fields, wrong));
  show();
  return h(
    "div",
    { class: "picker" },
    choice<PairWriter["kind"]>(
      "Who writes",
      [
        { value: "model", title: "A model in this tab", about: "Its replies are always valid JSON" },
        { value: "endpoint", title: "An endpoint", about: "A server with OpenAI's API" },
      ],
      kind,
      (value) => {
        kind = value;
        show();
        tell();
      },
    ),
    detail,
  );
}

/** Why an address cannot be used, or null. */
function addressProblem(url: string): string | null {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    return "The address must begin with http:// or https://, such as http://localhost:11434/v1.";
  const { username, password } = new URL(url);
  return username || password ? "The address must not contain a password: use the field Key." : null;
}
