import type { ModelSource } from "../../src/client/types.ts";
import type { App } from "../app.ts";
import { type Child, h, setText } from "../dom.ts";
import { HUB_MODELS } from "../jobs.ts";
import { labelled, select } from "../parts/choice.ts";
import { SIGN_IN } from "../parts/notice.ts";
import { hubModel } from "./address.ts";

const OTHER = "other";

/** A model of the hub from a list, by its id, or by the address of its page. @param hub `id` or `id@revision` */
export function hubField(app: App, hub: string, signal: AbortSignal, changed: (hub: string) => void): Child[] {
  const listed = HUB_MODELS.some(({ id }) => id === hub);
  const id = h("input", {
    type: "text",
    value: listed ? "" : hub,
    placeholder: "owner/name, or its address",
    autocomplete: "off",
    spellcheck: "false",
  });
  id.addEventListener("change", () => {
    const { id: name, revision } = hubModel(id.value);
    id.value = revision === null ? name : `${name}@${revision}`;
    changed(id.value);
  });
  const about =
    "Any Qwen2, 2.5, 3 or 3.5 model with safetensors on huggingface.co: its id, id@revision, or the address of its page.";
  const other = labelled("Model id", id, about);
  other.hidden = listed;
  const options = [
    ...HUB_MODELS.map((one) => [one.id, `${one.id} – ${one.about}`] as const),
    [OTHER, "Another id …"] as const,
  ];
  const list = select(options, listed ? hub : OTHER, (value) => {
    other.hidden = value !== OTHER;
    changed(value === OTHER ? id.value : value);
    if (value === OTHER) id.focus();
  });
  const sign = h("button", { type: "button", class: "quiet" });
  app.token.watch(signal, (token) => setText(sign, token === null ? "Sign in for gated models …" : "Signed in …"));
  sign.addEventListener("click", () => sign.dispatchEvent(new CustomEvent(SIGN_IN, { bubbles: true })));
  return [labelled("Model", list), other, sign];
}

/** A hub model as text: `id` or `id@revision`. */
export function hubText({ id, revision }: Extract<ModelSource, { kind: "hub" }>): string {
  return revision ? `${id}@${revision}` : id;
}

/** The model of such a text; null if it is empty. */
export function hubSource(text: string): ModelSource | null {
  const { id, revision } = hubModel(text);
  return id ? { kind: "hub", id, ...(revision === null ? {} : { revision }) } : null;
}
